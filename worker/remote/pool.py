"""The remotes of this process: opened when first used, kept, and never shared with a forked child."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from worker.remote.blobs import RemoteBlobs
from worker.remote.patience import Patience
from worker.remote.reference_storage import ReferenceStorageIndex
from worker.remote.session import Session

if TYPE_CHECKING:
    from caskeeper.config.remotes import RemoteSpec
    from worker.protocols import BlobAccess, RefIndex


class Remote:
    """One remote, by its full spec (D-12). Nothing is contacted before the first use.

    A remote that did not answer is not asked again for a few seconds: every use of it meanwhile raises
    what was remembered at once (lessons B.17).
    """

    def __init__(self, spec: RemoteSpec, patience: Patience) -> None:
        self.spec = spec
        self._session = Session(spec, patience)
        self.url = self._session.url
        self.blobs: BlobAccess = RemoteBlobs(self._session)
        self.index: RefIndex = ReferenceStorageIndex(self._session)

    @property
    def writable(self) -> bool:
        """Pushing is configured and the server allows it (D-15). Negotiates at the first use."""
        return self.spec.push and not self.push_refusal

    @property
    def push_refusal(self) -> str:
        """Why the server does not take pushes, in its words or ours; empty = it does."""
        return self._session.capabilities().push_refusal

    def close(self) -> None:
        """End every call under way."""
        self._session.connection.close()


def open_remote(spec: RemoteSpec, patience: Patience | None = None) -> Remote:
    """The remote of ``spec``. Raises ConfigInvalid for a url or instance name that cannot be one."""
    return Remote(spec, patience or Patience())


class RemotePool:
    """One Remote for each spec and process. Safe to use from several threads."""

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience
        self._renew()

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._remotes: dict[RemoteSpec, Remote] = {}

    def get(self, spec: RemoteSpec) -> Remote:
        """The remote of ``spec``, the same one each time. Raises ConfigInvalid as ``open_remote`` does."""
        if self._pid != os.getpid():
            # After a fork: what the parent opened is left alone, not even closed, and its lock may be held.
            self._renew()
        with self._lock:
            remote = self._remotes.get(spec)
            if remote is None:
                remote = self._remotes[spec] = open_remote(spec, self._patience)
            return remote

    def close(self) -> None:
        """Close what this process opened."""
        if self._pid != os.getpid():
            return
        with self._lock:
            remotes, self._remotes = list(self._remotes.values()), {}
        for remote in remotes:
            remote.close()
