"""The remotes of this process: opened when first used, kept, and never shared with a forked child."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from caskeeper.errors import CaskeeperError, ConfigInvalid
from worker.remote.address import place_of
from worker.remote.apart import IndexApart
from worker.remote.blobs import RemoteBlobs
from worker.remote.breaker import Breaker
from worker.remote.indexes import NegotiatedIndex
from worker.remote.patience import Patience
from worker.remote.session import Session
from worker.remote.shared_blobs import SharedBlobs, SharedUploads
from worker.remote.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.config.remotes import RemoteSpec
    from worker.protocols import BlobAccess, Context, PeerBlobs, RefIndex
    from worker.remote.turns import Turn

#: How long a verb waits for a remote that may be back: one that is answers in less, a dead one costs no more.
_BACK_S = 0.3


class Remote:
    """One remote, by its full spec (D-12). Nothing is contacted before the first use.

    A remote that did not answer is not asked again for a few seconds: every use of it meanwhile raises
    what was remembered at once (lessons B.17). A server that only names what others hold stands for all of
    them: ``blobs`` and ``uploads`` are theirs.
    """

    def __init__(self, spec: RemoteSpec, session: Session, storages: Sequence[Session] = ()) -> None:
        """``storages``: the sessions of the spec's own ``storages``, in their order."""
        self.spec = spec
        self._session = session
        self._storages = tuple(zip(spec.storages, storages, strict=True))
        self._meeting = threading.Lock()
        self.url = session.url
        #: what is read there, and where a push writes
        self.blobs, self.uploads = self._faces()
        self._index = NegotiatedIndex(spec, session, self.uploads)
        self.index: RefIndex = self._index
        if storages and session.connection.address.target not in {
            held.connection.address.target for held in storages
        }:
            self.index = IndexApart(self._index, spec, url=self.url)

    def _faces(self) -> tuple[PeerBlobs, PeerBlobs]:
        if not self._storages:
            both = RemoteBlobs(self._session)
            return both, both
        held = {session: RemoteBlobs(session) for _spec, session in self._storages}
        readers = tuple(held.values())

        def writers() -> list[BlobAccess]:
            return [held[session] for session in self._writable_storages()]

        return SharedBlobs(readers, url=self.url), SharedUploads(readers, writers, url=self.url)

    def _writable_storages(self) -> list[Session]:
        """Those that are meant to be pushed to and allow it. Raises when one of them does not answer."""
        return [
            session
            for spec, session in self._storages
            if spec.push and not session.capabilities().upload_refusal
        ]

    @property
    def writable(self) -> bool:
        """Pushing is configured and the server allows it (D-15). Negotiates at the first use."""
        return self.spec.push and not self.push_refusal

    @property
    def push_refusal(self) -> str:
        """Why the server does not take pushes, in its words or ours; empty = it does."""
        if not self._storages:
            return self._session.capabilities().push_refusal
        refusal = self._session.capabilities().binding_refusal
        if refusal or self._writable_storages():
            return refusal
        return "none of its storage servers takes pushes"

    def meet(self) -> None:
        """Make the first contact in a thread, unless it was made; a failure is met again at the first use."""
        unmet = [session for session in self.sessions() if not session.met]
        if not unmet or not self._meeting.acquire(blocking=False):
            return
        threading.Thread(target=self._meet, args=(unmet,), name=f"meets {self.url[:40]}", daemon=True).start()

    def _meet(self, unmet: Sequence[Session]) -> None:
        """Its storages at the same time, so that two dead servers cost one deadline (D-22)."""
        try:
            others = [threading.Thread(target=_greet, args=(one,), daemon=True) for one in unmet[1:]]
            for other in others:
                other.start()
            _greet(unmet[0])
            for other in others:
                other.join()
        finally:
            self._meeting.release()

    def sessions(self) -> list[Session]:
        """Its own connection and those of its storages, each once."""
        return list(dict.fromkeys([self._session, *(session for _spec, session in self._storages)]))

    def probe(self) -> tuple[str, str]:
        """How it is asked for names, and why it takes no pushes (empty = it does).

        Raises what makes it useless in its role: it does not answer, knows no names, holds no content.
        """
        capabilities = self._session.capabilities()
        if self.spec.holds and capabilities.storage_refusal:
            raise ConfigInvalid(
                f"the remote cannot hold content: {capabilities.storage_refusal}",
                place_of(self.spec, url=self.url),
                "check that the url names a storage server",
            )
        if not self.spec.names:
            return "storage", capabilities.upload_refusal
        return self._index.name(), capabilities.push_refusal

    def close(self) -> None:
        """End every call under way."""
        for session in self.sessions():
            session.connection.close()


def _greet(session: Session) -> None:
    with contextlib.suppress(CaskeeperError):
        session.capabilities()


def open_remote(spec: RemoteSpec, patience: Patience | None = None, breaker: Breaker | None = None) -> Remote:
    """The remote of ``spec``, with connections of its own.

    Raises ConfigInvalid for a url or instance name that cannot be one.
    """
    own = replace(spec, storages=())
    sessions = {one: _opened(one, patience or Patience(), breaker) for one in (own, *spec.storages)}
    return Remote(spec, sessions[own], [sessions[storage] for storage in spec.storages])


def _opened(spec: RemoteSpec, patience: Patience, breaker: Breaker | None) -> Session:
    return Session(spec, patience.configured(spec.connection), breaker)


class RemotePool:
    """One Remote for each spec and process. Safe to use from several threads.

    Through ``breaker`` the fleet shares what it knows of remotes that do not answer, through ``turns`` the
    number of transfers that each of them gets at once.
    """

    def __init__(
        self, patience: Patience | None = None, *, breaker: Breaker | None = None, turns: Turns | None = None
    ) -> None:
        self._patience = patience
        self._breaker = breaker or Breaker()
        self._turns = turns or Turns()
        self._renew()

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._remotes: dict[RemoteSpec, Remote] = {}
        self._sessions: dict[RemoteSpec, Session] = {}

    def get(self, spec: RemoteSpec) -> Remote:
        """The remote of ``spec``, the same one each time. Raises ConfigInvalid as ``open_remote`` does."""
        if self._pid != os.getpid():
            # After a fork: what the parent opened is left alone, not even closed, and its lock may be held.
            self._renew()
        with self._lock:
            remote = self._remotes.get(spec)
            if remote is None:
                own = self._session(replace(spec, storages=()))
                storages = [self._session(storage) for storage in spec.storages]
                remote = self._remotes[spec] = Remote(spec, own, storages)
            return remote

    def _session(self, spec: RemoteSpec) -> Session:
        """One connection to a server, whatever it stands beside."""
        session = self._sessions.get(spec)
        if session is None:
            session = self._sessions[spec] = _opened(spec, self._patience or Patience(), self._breaker)
        return session

    def meet(self, specs: Sequence[RemoteSpec]) -> None:
        """Hear what the fleet knows of them, and begin the first contact with all the others at once.

        Whoever then uses them in order waits for one deadline when several are dead, not for one each
        (D-22), and not at all for those that another worker found dead. What cannot be a remote is left to
        whoever uses it.
        """
        remotes = []
        for spec in specs:
            with contextlib.suppress(CaskeeperError):
                remotes.append(self.get(spec))
        self._hear([session for remote in remotes for session in remote.sessions()])
        if len(specs) > 1 or any(spec.storages for spec in specs):
            for remote in remotes:
                remote.meet()

    def _hear(self, sessions: Sequence[Session]) -> None:
        told = self._breaker.look(list(dict.fromkeys(session.url for session in sessions)))
        if told is None:
            return
        looking = [session.hear(told.get(session.url)) for session in dict.fromkeys(sessions)]
        end = time.monotonic() + _BACK_S
        for thread in looking:
            if thread is not None:
                thread.join(max(0.0, end - time.monotonic()))

    def turn(self, spec: RemoteSpec, context: Context) -> Turn:
        """A turn for content at this remote, to be taken when it is needed."""
        return self._turns.at(spec.url, context)

    def fresh(self, spec: RemoteSpec) -> Remote:
        """Another remote of ``spec`` that knows nothing yet; who asked for it closes it."""
        return open_remote(spec, self._patience, self._breaker)

    def close(self) -> None:
        """Close what this process opened."""
        if self._pid != os.getpid():
            return
        with self._lock:
            remotes, self._remotes = list(self._remotes.values()), {}
            self._sessions = {}
        for remote in remotes:
            remote.close()
