"""The gRPC client: other caches as BlobAccess and RefIndex. No gRPC error leaves this package."""

from worker.remote.patience import Patience
from worker.remote.pool import Remote, RemotePool, open_remote

__all__ = ["Patience", "Remote", "RemotePool", "open_remote"]
