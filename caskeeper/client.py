"""The client: typed, synchronous, light. It enqueues, waits, protects and looks; workers do the work.

Nothing is connected before it is needed. Without a Redis in the configuration the embedded one of the
cachedir is joined, or started (interface section 1).
"""

from __future__ import annotations

import os
import sys
import uuid
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

from caskeeper import contract
from caskeeper.arguments import (
    digest_argument,
    exclusions,
    path_argument,
    ref_argument,
    refs_argument,
    remotes_argument,
)
from caskeeper.artifact import Ref, project_name
from caskeeper.config import load_settings
from caskeeper.errors import CaskeeperError
from caskeeper.layout import Layout
from caskeeper.message import Message
from caskeeper.pins import read_pins
from caskeeper.presence import check_mounted, has_subdir, is_here

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from caskeeper.best_effort import BestEffort
    from caskeeper.config import Settings
    from caskeeper.contract import (
        CleanupResult,
        CommitResult,
        ComputeSizeResult,
        DiffResult,
        Explanation,
        ExtractResult,
        ImportResult,
        LinkResult,
        PullResult,
        PullTreeResult,
        PushDirectoryResult,
        PushMessageResult,
        PushResult,
        RemotesCheckResult,
        RemoveResult,
        Request,
        VerifyResult,
    )
    from caskeeper.coordination import Coordination, SessionRecord, Usage
    from caskeeper.coordination.jobrecords import JobRecord, State
    from caskeeper.coordination.jobs import Withdrawal
    from caskeeper.digest import Digest
    from caskeeper.embedding import Membership
    from caskeeper.job import Job
    from caskeeper.pins import Pin
    from caskeeper.queue import Queue
    from caskeeper.session import DetachedSession, Session

R = TypeVar("R", bound=Message)

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
        self._best_effort: BestEffort | None = None
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
        best_effort: bool = False,
    ) -> Job[PullResult]:
        """Bring an artifact here; its build tree only if `pull-buildtrees` is set or ``subdir`` names it.

        ``best_effort``: what is Transient does not raise, neither here nor from the job's ``result()``, which
        then says that nothing was pulled; it is told once by ``say`` (caskeeper.best_effort).
        """
        request = contract.PullRequest(
            ref=ref_argument(ref),
            subdir=subdir,
            excluded_subdirs=exclusions(self.settings, excluded_subdirs, subdir=subdir),
            remotes=remotes_argument(remotes),
            refresh=refresh,
        )
        if best_effort:
            return self._attempt(
                request, contract.PullResult, contract.PullResult(pulled=False, cached=False)
            )
        return self.queue.submit(request, contract.PullResult)

    def push(
        self, *refs: Ref | str, remotes: Sequence[str] | None = None, best_effort: bool = False
    ) -> Job[PushResult]:
        """Offer artifacts to every push remote of their project.

        ``best_effort``: as for ``pull``, and what its remotes refuse does not raise either.
        """
        request = contract.PushRequest(refs=refs_argument(refs), remotes=remotes_argument(remotes))
        if best_effort:
            return self._attempt(request, contract.PushResult, contract.PushResult(pushed=False))
        return self.queue.submit(request, contract.PushResult)

    def pull_tree(self, project: str, digest: Digest | str) -> Job[PullTreeResult]:
        """Bring what a Tree blob names here; the result has the digest of the root Directory, or None.

        No ref names it: it is protected while the job runs and garbage afterwards.
        """
        request = contract.PullTreeRequest(project=project_name(project), digest=digest_argument(digest))
        return self.queue.submit(request, contract.PullTreeResult)

    def push_directory(self, project: str, digest: Digest | str | None) -> Job[PushDirectoryResult]:
        """Send everything below a Directory that is here to the push remotes; without a digest, nothing."""
        chosen = None if digest is None else digest_argument(digest)
        request = contract.PushDirectoryRequest(project=project_name(project), digest=chosen)
        return self.queue.submit(request, contract.PushDirectoryResult)

    def push_message(self, project: str, message: bytes) -> Job[PushMessageResult]:
        """Send one serialised message to the push remotes; the result has its digest."""
        request = contract.PushMessageRequest.of(project_name(project), message)
        return self.queue.submit(request, contract.PushMessageResult)

    def commit(self, path: str | os.PathLike[str], *refs: Ref | str) -> Job[CommitResult]:
        """Import a folder and bind every ref to it."""
        request = contract.CommitRequest(
            path=path_argument(self.settings, path, "DIR"), refs=refs_argument(refs)
        )
        return self.queue.submit(request, contract.CommitResult)

    def extract(
        self,
        ref: Ref | str,
        *,
        subdir: str | None = None,
        destination: str | os.PathLike[str] | None = None,
    ) -> Job[ExtractResult]:
        """Check out: shared and read-only in the cache, or a private writable copy at ``destination``."""
        place = None if destination is None else path_argument(self.settings, destination, "destination")
        request = contract.ExtractRequest(ref=ref_argument(ref), subdir=subdir, destination=place)
        return self.queue.submit(request, contract.ExtractResult)

    def link(self, ref: Ref | str, key: str) -> Job[LinkResult]:
        """Bind another key of the same element to what ``ref`` names."""
        return self.queue.submit(contract.LinkRequest(ref=ref_argument(ref), key=key), contract.LinkResult)

    def diff(self, ref_a: Ref | str, ref_b: Ref | str, *, subdir: str | None = None) -> Job[DiffResult]:
        """What changed from ``ref_a`` to ``ref_b``; paths are relative to ``subdir`` when it is given."""
        request = contract.DiffRequest(ref_a=ref_argument(ref_a), ref_b=ref_argument(ref_b), subdir=subdir)
        return self.queue.submit(request, contract.DiffResult)

    def import_cache(self, path: str | os.PathLike[str], *, dry_run: bool = False) -> Job[ImportResult]:
        """Take over the artifacts of a BuildStream 1.x cache folder, which stays as it is."""
        request = contract.ImportRequest(path=path_argument(self.settings, path, "DIR"), dry_run=dry_run)
        return self.queue.submit(request, contract.ImportResult)

    def remove(self, *refs: Ref | str) -> Job[RemoveResult]:
        """Forget refs and free what nothing else needs."""
        return self.queue.submit(contract.RemoveRequest(refs=refs_argument(refs)), contract.RemoveResult)

    def remotes(self, project: str | None = None) -> Job[RemotesCheckResult]:
        """Ask every configured remote, or those of one project, how it is; all at once."""
        chosen = None if project is None else project_name(project)
        return self.queue.submit(contract.RemotesCheckRequest(project=chosen), contract.RemotesCheckResult)

    def cleanup(self, *, target_bytes: int | None = None, dry_run: bool = False) -> Job[CleanupResult]:
        """Evict down to ``target_bytes``, by default to the low watermark; ``dry_run`` only plans."""
        request = contract.CleanupRequest(target_bytes=target_bytes, dry_run=dry_run)
        return self.queue.submit(request, contract.CleanupResult)

    def compute_size(self) -> Job[ComputeSizeResult]:
        """Recount the volume."""
        return self.queue.submit(contract.ComputeSizeRequest(), contract.ComputeSizeResult)

    def explain(self, ref: Ref | str) -> Job[Explanation]:
        """Why an artifact is kept, or why and when it went; by a worker, which sees the volume."""
        return self.queue.submit(contract.ExplainRequest(ref=ref_argument(ref)), contract.Explanation)

    def verify(self, *, repair: bool = False, sample: float | None = None) -> Job[VerifyResult]:
        """Look at everything on the volume, and mend what is wrong when asked to.

        ``sample``: hash so many percent of the objects, by default all.
        """
        return self.queue.submit(contract.VerifyRequest(repair=repair, sample=sample), contract.VerifyResult)

    def job(self, job_id: str) -> Job[Message]:
        """A job by its id, whoever sent it."""
        return self.queue.job(job_id)

    # What needs no worker

    def jobs(
        self, *, limit: int = 50, state: State | None = None, lane: str | None = None
    ) -> list[JobRecord]:
        """The records of so many jobs, the last sent first; 10,000 are kept, each for a week."""
        return self.queue.jobs(limit, state=state, lane=lane)

    def record(self, job_id: str) -> JobRecord | None:
        """What is written down about a job: who, what, when, where, outcome, why. None: nothing is."""
        return self.queue.record(job_id)

    def cancel(self, job_id: str) -> Withdrawal:
        """End a job, whoever waits for it: at once when it waits, within two seconds when it runs.

        Raises InvalidRequest for an id that nobody knows.
        """
        return self.queue.cancel(job_id)

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

    def _attempt(self, request: Request, result: type[R], instead: R) -> Job[R]:
        from caskeeper.best_effort import BestEffort, is_trouble, passes_of

        if self._best_effort is None:
            self._best_effort = BestEffort(self._say)
        passes = passes_of(request.remotes) if isinstance(request, contract.PushRequest) else is_trouble
        return self._best_effort.job(
            lambda: self.queue.submit(request, result), instead=instead, passes=passes
        )

    def _look_for_room(self) -> None:
        """Before a build begins, a worker looks whether the cache is too full from before (D-33).

        Nobody waits for that; many that begin at once ask once. A build must not fail on it.
        """
        job_id = str(uuid.uuid4())
        try:
            if self.coordination.flights.take(_LOOK, job_id, ttl_s=_LOOK_EVERY_S):
                request = contract.CleanupRequest(if_wanted=True)
                self.queue.submit(request, contract.CleanupResult, job_id=job_id, expires_s=_LOOK_EVERY_S)
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
            from caskeeper.reaching import reach

            self._coordination = reach(self.redis_url, self.settings.leases)
        return self._coordination
