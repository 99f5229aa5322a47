"""The client: typed, synchronous, light. It enqueues, waits, protects and looks; workers do the work.

Nothing is connected before it is needed. Without a Redis in the configuration the embedded one of the
cachedir is joined, or started (interface section 1).
"""

from __future__ import annotations

import os
import sys
import uuid
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Self

from caskeeper.artifact import Ref, project_name
from caskeeper.config import load_settings
from caskeeper.contract import (
    CleanupRequest,
    CleanupResult,
    CommitRequest,
    CommitResult,
    ComputeSizeRequest,
    ComputeSizeResult,
    DiffRequest,
    DiffResult,
    ExplainRequest,
    Explanation,
    ExtractRequest,
    ExtractResult,
    ImportRequest,
    ImportResult,
    LinkRequest,
    LinkResult,
    PullRequest,
    PullResult,
    PullTreeRequest,
    PullTreeResult,
    PushDirectoryRequest,
    PushDirectoryResult,
    PushMessageRequest,
    PushMessageResult,
    PushRequest,
    PushResult,
    RemotesCheckRequest,
    RemotesCheckResult,
    RemoveRequest,
    RemoveResult,
    VerifyRequest,
    VerifyResult,
)
from caskeeper.digest import Digest
from caskeeper.errors import CaskeeperError, InvalidRequest
from caskeeper.layout import Layout, relative_subdir
from caskeeper.pins import read_pins
from caskeeper.presence import check_mounted, has_subdir, is_here

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from caskeeper.config import Settings
    from caskeeper.contract import Message
    from caskeeper.coordination import Coordination, SessionRecord, Usage
    from caskeeper.embedding import Membership
    from caskeeper.job import Job
    from caskeeper.pins import Pin
    from caskeeper.queue import Queue
    from caskeeper.session import DetachedSession, Session

_BUILDTREE = "buildtree"
#: How often a session's beginning has a worker look for room, and until when the look is worth it.
_LOOK, _LOOK_EVERY_S = "look:cache.cleanup", 30.0


class ClientStatus(NamedTuple):
    """What Redis knows: sizes, sessions, waiting jobs by queue, and jobs that workers hold."""

    usage: Usage
    sessions: tuple[SessionRecord, ...]
    queues: dict[str, int]
    taken: int


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"caskeeper: {line}\n")


class Client:
    """``with Client() as cache``. ``settings`` or the path ``config``, else as the command line finds it.

    ``say`` receives the line that tells of a started embedded server, and why nobody takes a job that is
    waited for. Every method that needs Redis raises CoordinatorUnavailable when it does not answer.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        config: str | None = None,
        *,
        say: Callable[[str], None] = _to_stderr,
    ) -> None:
        self.settings = settings if settings is not None else load_settings(config)
        self._layout = Layout(self.settings.cachedir)
        self._say = say
        self._embedded: Membership | None = None
        self._queue: Queue | None = None
        self._coordination: Coordination | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every connection; an embedded server may then end. Jobs go on."""
        if self._queue is not None:
            self._queue.close()
        if self._coordination is not None:
            self._coordination.close()
        if self._embedded is not None:
            self._embedded.close()
        self._queue = self._coordination = self._embedded = None

    # What workers do

    def pull(
        self,
        ref: Ref | str,
        *,
        subdir: str | None = None,
        excluded_subdirs: Sequence[str] = (),
        remotes: Sequence[str] | None = None,
        refresh: bool = False,
    ) -> Job[PullResult]:
        """Bring an artifact here; its build tree only if `pull-buildtrees` is set or ``subdir`` names it."""
        excluded = list(dict.fromkeys(excluded_subdirs))
        asked_for = subdir is not None and relative_subdir(subdir).split("/")[0] == _BUILDTREE
        if not self.settings.cache.pull_buildtrees and not asked_for and _BUILDTREE not in excluded:
            excluded.append(_BUILDTREE)
        request = PullRequest(
            ref=_ref(ref),
            subdir=subdir,
            excluded_subdirs=tuple(excluded),
            remotes=_remotes(remotes),
            refresh=refresh,
        )
        return self.queue.submit(request, PullResult)

    def push(self, *refs: Ref | str, remotes: Sequence[str] | None = None) -> Job[PushResult]:
        """Offer artifacts to every push remote of their project."""
        request = PushRequest(refs=_refs(refs), remotes=_remotes(remotes))
        return self.queue.submit(request, PushResult)

    def pull_tree(self, project: str, digest: Digest | str) -> Job[PullTreeResult]:
        """Bring what a Tree blob names here; the result has the digest of the root Directory, or None.

        No ref names it: it is protected while the job runs and garbage afterwards.
        """
        request = PullTreeRequest(project=project_name(project), digest=_digest(digest))
        return self.queue.submit(request, PullTreeResult)

    def push_directory(self, project: str, digest: Digest | str | None) -> Job[PushDirectoryResult]:
        """Send everything below a Directory that is here to the push remotes; without a digest, nothing."""
        chosen = None if digest is None else _digest(digest)
        request = PushDirectoryRequest(project=project_name(project), digest=chosen)
        return self.queue.submit(request, PushDirectoryResult)

    def push_message(self, project: str, message: bytes) -> Job[PushMessageResult]:
        """Send one serialised message to the push remotes; the result has its digest."""
        request = PushMessageRequest.of(project_name(project), message)
        return self.queue.submit(request, PushMessageResult)

    def commit(self, path: str | os.PathLike[str], *refs: Ref | str) -> Job[CommitResult]:
        """Import a folder and bind every ref to it."""
        request = CommitRequest(path=self._path(path, "DIR"), refs=_refs(refs))
        return self.queue.submit(request, CommitResult)

    def extract(
        self,
        ref: Ref | str,
        *,
        subdir: str | None = None,
        destination: str | os.PathLike[str] | None = None,
    ) -> Job[ExtractResult]:
        """Check out: shared and read-only in the cache, or a private writable copy at ``destination``."""
        place = None if destination is None else self._path(destination, "destination")
        request = ExtractRequest(ref=_ref(ref), subdir=subdir, destination=place)
        return self.queue.submit(request, ExtractResult)

    def link(self, ref: Ref | str, key: str) -> Job[LinkResult]:
        """Bind another key of the same element to what ``ref`` names."""
        return self.queue.submit(LinkRequest(ref=_ref(ref), key=key), LinkResult)

    def diff(self, ref_a: Ref | str, ref_b: Ref | str, *, subdir: str | None = None) -> Job[DiffResult]:
        """What changed from ``ref_a`` to ``ref_b``; paths are relative to ``subdir`` when it is given."""
        request = DiffRequest(ref_a=_ref(ref_a), ref_b=_ref(ref_b), subdir=subdir)
        return self.queue.submit(request, DiffResult)

    def import_cache(self, path: str | os.PathLike[str], *, dry_run: bool = False) -> Job[ImportResult]:
        """Take over the artifacts of a BuildStream 1.x cache folder, which stays as it is."""
        request = ImportRequest(path=self._path(path, "DIR"), dry_run=dry_run)
        return self.queue.submit(request, ImportResult)

    def remove(self, *refs: Ref | str) -> Job[RemoveResult]:
        """Forget refs and free what nothing else needs."""
        return self.queue.submit(RemoveRequest(refs=_refs(refs)), RemoveResult)

    def remotes(self, project: str | None = None) -> Job[RemotesCheckResult]:
        """Ask every configured remote, or those of one project, how it is; all at once."""
        chosen = None if project is None else project_name(project)
        return self.queue.submit(RemotesCheckRequest(project=chosen), RemotesCheckResult)

    def cleanup(self, *, target_bytes: int | None = None, dry_run: bool = False) -> Job[CleanupResult]:
        """Evict down to ``target_bytes``, by default to the low watermark; ``dry_run`` only plans."""
        request = CleanupRequest(target_bytes=target_bytes, dry_run=dry_run)
        return self.queue.submit(request, CleanupResult)

    def compute_size(self) -> Job[ComputeSizeResult]:
        """Recount the volume."""
        return self.queue.submit(ComputeSizeRequest(), ComputeSizeResult)

    def explain(self, ref: Ref | str) -> Job[Explanation]:
        """Why an artifact is kept, or why and when it went; by a worker, which sees the volume."""
        return self.queue.submit(ExplainRequest(ref=_ref(ref)), Explanation)

    def verify(self, *, repair: bool = False, sample: float | None = None) -> Job[VerifyResult]:
        """Look at everything on the volume, and mend what is wrong when asked to.

        ``sample``: hash so many percent of the objects, by default all.
        """
        return self.queue.submit(VerifyRequest(repair=repair, sample=sample), VerifyResult)

    def job(self, job_id: str) -> Job[Message]:
        """A job by its id, whoever sent it."""
        return self.queue.job(job_id)

    # What needs no worker

    def contains(self, ref: Ref | str, *, subdir: str | None = None) -> bool:
        """Whether an artifact is here now; a promise is what sessions give.

        With ``subdir`` whether all of that folder is (AC-48): ArtifactNotFound without the artifact,
        InvalidRequest for a path that it has not.
        """
        parsed = Ref.parse(str(ref))
        if self.settings.redis is not None:
            check_mounted(self._layout)
        if subdir is not None:
            return has_subdir(self._layout, parsed, subdir)
        return is_here(self._layout, parsed)

    def session(
        self,
        *,
        label: str = "",
        life_s: float | None = None,
        on_lost: Callable[[frozenset[Ref]], None] | None = None,
    ) -> Session:
        """A session, to be opened by ``with``; renewed until the block ends.

        ``life_s`` is how long it outlives a process that dies; by default `leases: session`. Raises
        ConfigInvalid where the volume is not mounted.
        """
        from caskeeper.session import Session

        coordination = self.coordination
        check_mounted(self._layout)
        return Session(
            coordination,
            self._layout,
            label=label,
            life_s=life_s,
            on_lost=on_lost,
            on_open=self._look_for_room,
        )

    def detached_session(self, session_id: str | None = None) -> DetachedSession:
        """The session with this id, or a new one to be ``open()``ed: it goes on when this process ends."""
        from caskeeper.session import DetachedSession

        return DetachedSession(self.coordination, self._layout, session_id, on_open=self._look_for_room)

    def pins(self) -> tuple[Pin, ...]:
        """The operator's permanent protections. Raises VolumeFailed when one of them cannot be read."""
        if self.settings.redis is None and not os.path.exists(self._layout.format):
            return ()  # the volume is made with the first use
        check_mounted(self._layout)
        return read_pins(self._layout).pins

    def status(self) -> ClientStatus:
        """Sizes, sessions and queues. Raises StateLost while workers recover Redis' state."""
        return ClientStatus(
            usage=self.coordination.usage.snapshot(),
            sessions=tuple(self.coordination.sessions.live()),
            queues=self.queue.lengths(),
            taken=self.queue.taken(),
        )

    def _look_for_room(self) -> None:
        """Before a build begins, a worker looks whether the cache is too full from before (D-33).

        Nobody waits for that; many that begin at once ask once. A build must not fail on it.
        """
        job_id = str(uuid.uuid4())
        try:
            if self.coordination.flights.take(_LOOK, job_id, ttl_s=_LOOK_EVERY_S):
                request = CleanupRequest(if_wanted=True)
                self.queue.submit(request, CleanupResult, job_id=job_id, expires_s=_LOOK_EVERY_S)
        except CaskeeperError:
            return

    # Connections, made when they are needed

    @property
    def redis_url(self) -> str:
        """The Redis in use; the embedded one is joined or started here."""
        if self.settings.redis is not None:
            return self.settings.redis
        if self._embedded is None:
            from caskeeper.embedding import join

            self._embedded = join(self.settings, say=self._say)
        return self._embedded.url

    @property
    def queue(self) -> Queue:
        """The door to the queue."""
        if self._queue is None:
            from caskeeper.queue import Queue
            from caskeeper.trouble import trouble_of

            redis_url = self.redis_url
            trouble = partial(trouble_of, self.settings.cachedir) if self.settings.redis is None else None
            self._queue = Queue(redis_url, trouble=trouble, say=self._say)
        return self._queue

    @property
    def coordination(self) -> Coordination:
        """What the fleet agrees on."""
        if self._coordination is None:
            from caskeeper.coordination import Coordination

            self._coordination = Coordination.connect(
                self.redis_url, volume_id=None, leases=self.settings.leases
            )
        return self._coordination

    def _path(self, path: str | os.PathLike[str], argument: str) -> str:
        """An absolute path, below a root or, with the embedded server, below the current folder.

        The embedded worker is this user's own process and takes any path: which folder is the current
        one only its client knows, so the check is here. Raises InvalidRequest.
        """
        if not os.fspath(path):  # which would be the current folder
            raise InvalidRequest("the path is empty", f"argument {argument}", "name a folder")
        absolute = os.path.abspath(os.fspath(path))
        if self.settings.redis is None:
            real = os.path.realpath(absolute)
            roots = [os.path.realpath(root) for root in (*self.settings.roots, os.getcwd())]
            if not any(real == root or real.startswith(f"{root.rstrip('/')}/") for root in roots):
                raise InvalidRequest(
                    f"{absolute!r} is not below a permitted folder",
                    f"argument {argument}",
                    f"permitted are {', '.join(roots)}; name more with `roots`",
                )
        return absolute


def _ref(ref: Ref | str) -> str:
    """Checked here: a bad name need not travel."""
    return str(Ref.parse(str(ref)))


def _digest(digest: Digest | str) -> str:
    return str(Digest.parse(str(digest), where="argument DIGEST"))


def _remotes(remotes: Sequence[str] | None) -> tuple[str, ...] | None:
    """As a worker understands them: credential files by whole paths."""
    if remotes is None:
        return None
    from caskeeper.config.remote_arguments import absolute_remote_argument

    folder = os.getcwd()
    return tuple(absolute_remote_argument(text, folder=folder) for text in remotes)


def _refs(refs: Sequence[Ref | str]) -> tuple[str, ...]:
    if not refs:
        raise InvalidRequest("no ref is given", "argument REF", "name at least one PROJECT/ELEMENT/KEY")
    return tuple(dict.fromkeys(_ref(ref) for ref in refs))
