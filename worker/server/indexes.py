"""The ref indexes that a server offers (`--index`): views of one set of refs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.server.action_cache import ActionCache
from worker.server.reference_storage import ReferenceStorage
from worker.server.remote_asset import RemoteAsset

if TYPE_CHECKING:
    from collections.abc import Collection

    import grpc

    from worker.server.published import PublishedRefs

REFERENCE_STORAGE, REMOTE_ASSET, ACTION_CACHE = "reference-storage", "remote-asset", "action-cache"
INDEXES = (REFERENCE_STORAGE, REMOTE_ASSET, ACTION_CACHE)


def handlers(
    indexes: Collection[str], refs: PublishedRefs, *, read_only: bool
) -> list[grpc.GenericRpcHandler]:
    """The services of ``indexes``, ready to be added to a server. The others are not there at all."""
    found: list[grpc.GenericRpcHandler] = []
    if REFERENCE_STORAGE in indexes:
        found.append(ReferenceStorage(refs, read_only=read_only).handlers())
    if REMOTE_ASSET in indexes:
        found.extend(RemoteAsset(refs, read_only=read_only).handlers())
    if ACTION_CACHE in indexes:
        found.append(ActionCache(refs, read_only=read_only).handlers())
    return found
