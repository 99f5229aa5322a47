"""The remotes of this process: opened when first used, kept, and never shared with a forked child."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from caskeeper.errors import CaskeeperError, ConfigInvalid
from worker.remote.address import place_of, shown
from worker.remote.blobs import RemoteBlobs
from worker.remote.patience import Patience
from worker.remote.reference_storage import ReferenceStorageIndex
from worker.remote.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        self._meeting = threading.Lock()
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

    def meet(self) -> None:
        """Make the first contact in a thread, unless it was made; a failure is met again at the first use."""
        if self._session.met or not self._meeting.acquire(blocking=False):
            return
        threading.Thread(target=self._meet, name=f"meets {self.url[:40]}", daemon=True).start()

    def _meet(self) -> None:
        try:
            with contextlib.suppress(CaskeeperError):
                self._session.capabilities()
        finally:
            self._meeting.release()

    def probe(self) -> tuple[str, str]:
        """How it is asked for names, and why it takes no pushes (empty = it does).

        Raises what makes it useless for fetching: it does not answer, or knows no names.
        """
        capabilities = self._session.capabilities()
        if capabilities.index_refusal:
            raise ConfigInvalid(
                f"the remote cannot name artifacts: {capabilities.index_refusal}",
                place_of(self.spec, url=self.url),
                "check that the url names an artifact server of this kind",
            )
        return "reference-storage", capabilities.push_refusal

    def close(self) -> None:
        """End every call under way."""
        self._session.connection.close()


def open_remote(spec: RemoteSpec, patience: Patience | None = None) -> Remote:
    """The remote of ``spec``. Raises ConfigInvalid for a url or instance name that cannot be one."""
    _refuse_other_roles(spec)
    return Remote(spec, (patience or Patience()).configured(spec.connection))


def _refuse_other_roles(spec: RemoteSpec) -> None:
    """Only servers that hold content and answer ReferenceStorage are spoken to."""
    for key, value, spoken in (
        ("type", spec.type, ("all",)),
        ("index", spec.index, ("auto", "reference-storage")),
    ):
        if value not in spoken:
            raise ConfigInvalid(
                f"a remote of `{key}: {value}` cannot be used by this version",
                place_of(spec, url=shown(spec.url)),
                f"give `{key}: {spoken[-1]}`, or another remote",
            )


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

    def meet(self, specs: Sequence[RemoteSpec]) -> None:
        """Begin the first contact with all of them at once, in the background.

        Whoever then uses them in order waits for one deadline when several are dead, not for one each
        (D-22). What cannot be a remote is left to whoever uses it.
        """
        for spec in specs if len(specs) > 1 else ():
            with contextlib.suppress(CaskeeperError):
                self.get(spec).meet()

    def fresh(self, spec: RemoteSpec) -> Remote:
        """Another remote of ``spec`` that knows nothing yet; who asked for it closes it."""
        return open_remote(spec, self._patience)

    def close(self) -> None:
        """Close what this process opened."""
        if self._pid != os.getpid():
            return
        with self._lock:
            remotes, self._remotes = list(self._remotes.values()), {}
        for remote in remotes:
            remote.close()
