"""The health of remotes: all at once under one deadline, what is of no use dropped (AC-17 to AC-25, D-22)."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from caskeeper.contract import OTHER_PROJECTS, Progress, RemoteHealth, RemotesCheckResult
from caskeeper.errors import CaskeeperError, DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caskeeper.config.remote_spec import RemoteSpec
    from caskeeper.config.settings import Settings
    from caskeeper.contract import RemotesCheckRequest
    from worker.protocols import Context
    from worker.remote import Remote, RemotePool

log = logging.getLogger(__name__)

#: All remotes together: what the slowest may take for its first contact (`Patience.probe_s`), and some more.
DEADLINE_S = 7.0
_LOOK_S = 0.5


class Remotes:
    """The verb ``remotes.check``, and what its last run found."""

    def __init__(self, *, settings: Settings, remotes: RemotePool, deadline_s: float = DEADLINE_S) -> None:
        self._settings = settings
        self._remotes = remotes
        self._deadline_s = deadline_s
        self._last = RemotesCheckResult()

    def __call__(self, request: RemotesCheckRequest, context: Context) -> RemotesCheckResult:
        """Contact every distinct spec once, by connections of its own; the order is that of priority.

        A remote that cannot be used is no failure (AC-21): it is dropped with one warning (AC-20). One
        that refuses pushes stays for fetching, with one warning too (D-15).
        """
        users = self._users(request.project)
        context.progress(Progress(phase=f"asking {len(users)} remotes", total_objects=len(users)))
        probes = [_Probe(self._remotes, spec) for spec in users]
        for probe in probes:
            probe.start()
        end = time.monotonic() + self._deadline_s
        for number, probe in enumerate(probes):
            while not probe.over.wait(min(_LOOK_S, max(0.0, end - time.monotonic()))):
                context.check()
                if time.monotonic() >= end:
                    probe.give_up(self._deadline_s)
                    break
            context.progress(
                Progress(phase="asking remotes", done_objects=number + 1, total_objects=len(users))
            )
        found = tuple(probe.health(users[probe.spec]) for probe in probes)
        for health in found:
            if not health.usable:
                log.warning("remote dropped", extra={"url": health.url, "reason": health.reason})
            elif health.reason:
                log.warning(
                    "remote is used for fetching only", extra={"url": health.url, "reason": health.reason}
                )
        self._last = RemotesCheckResult(remotes=found)
        return self._last

    def has_fetch_remotes(self, project: str | None = None) -> bool:
        """AC-23, as the last check found it; False before the first (AC-25)."""
        return self._last.has_fetch_remotes(project)

    def has_push_remotes(self, project: str | None = None) -> bool:
        """AC-24, as the last check found it; False before the first (AC-25)."""
        return self._last.has_push_remotes(project)

    def _users(self, project: str | None) -> Mapping[RemoteSpec, tuple[str, ...]]:
        """Every spec once, with the projects it is for; those of other projects do not leak in (D-11)."""
        names = [project] if project is not None else [*self._settings.projects, OTHER_PROJECTS]
        users: dict[RemoteSpec, tuple[str, ...]] = {}
        for name in names:
            for spec in self._settings.remotes_for(name):
                users[spec] = (*users.get(spec, ()), name)
        return users


class _Probe:
    """One remote being asked, in a thread of its own: a daemon, for nobody waits for one that hangs."""

    def __init__(self, remotes: RemotePool, spec: RemoteSpec) -> None:
        self.spec = spec
        self.over = threading.Event()
        self._remotes = remotes
        self._guard = threading.Lock()
        self._remote: Remote | None = None
        self._abandoned = False
        self._failure: CaskeeperError | None = None
        self._bug: BaseException | None = None
        self._started = time.monotonic()
        self._latency_ms: float | None = None
        self._protocol = ""
        self._refusal = ""

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"probe of {self.spec.url[:40]}", daemon=True).start()

    def give_up(self, deadline_s: float) -> None:
        """It took too long: end its calls, and take what it says later for nothing."""
        with self._guard:
            if self.over.is_set():
                return
            self._abandoned = True
            self._failure = DeadlineExceeded(f"no answer within {deadline_s:g} s", self.spec.url)
            remote = self._remote
        if remote is not None:
            remote.close()

    def health(self, projects: tuple[str, ...]) -> RemoteHealth:
        """What was found. Raises what no error of the project's explains."""
        with self._guard:
            if self._bug is not None:
                raise self._bug
            failure, refusal = self._failure, self._refusal
        spec = self.spec
        usable = failure is None
        wanted = usable and spec.push
        return RemoteHealth(
            url=spec.url,
            usable=usable,
            fetch=usable,
            push=wanted and not refusal,
            reason=str(failure) if failure is not None else (refusal if wanted else ""),
            protocol=self._protocol if usable else "",
            latency_ms=self._latency_ms if usable else None,
            type=spec.type,
            push_configured=spec.push,
            projects=projects,
            where=spec.where,
        )

    def _run(self) -> None:
        protocol = refusal = ""
        failure: CaskeeperError | None = None
        bug: BaseException | None = None
        try:
            remote = self._remotes.fresh(self.spec)
            with self._guard:
                self._remote = remote
                abandoned = self._abandoned
            try:
                if not abandoned:
                    protocol, refusal = remote.probe()
            finally:
                remote.close()
        except CaskeeperError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 -- raised again by the thread that waits
            bug = error
        latency_ms = round((time.monotonic() - self._started) * 1000, 1)
        with self._guard:
            if not self._abandoned:
                self._failure, self._bug = failure, bug
                self._protocol, self._refusal, self._latency_ms = protocol, refusal, latency_ms
            self.over.set()
