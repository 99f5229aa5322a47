"""`caskeeper demo`: a real tree through every verb, by real processes, in a folder that goes afterwards.

Each step checks what it claims; the first claim that does not hold ends the demo with an error.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from caskeeper.artifact import Ref
from caskeeper.client import Client
from caskeeper.config.sizes import pretty_size
from caskeeper.contract import Message
from caskeeper.errors import CaskeeperError, NoSpace
from caskeeper.layout import Layout
from tasks import demo_trees
from tasks.cli import wording
from tasks.cli.failures import Ended
from tasks.cli.waiting import Deadline, Sent, outcome_of, wait
from tasks.demo_fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from caskeeper.job import Job
    from tasks.cli.invocation import Invocation
    from tasks.demo_trees import Tree

R = TypeVar("R", bound=Message)

PACKAGES = 8
_MIB = 1024 * 1024
#: No job of the demo takes longer; without this a fault of ours would hang it.
_JOB_S = 600.0
_MOST_FILLERS = 16


class Row(NamedTuple):
    """One line of the table. ``seconds`` of wall-clock time, over all processes."""

    operation: str
    files: str
    size_bytes: int
    seconds: float


@dataclass
class Outcome:
    """What happened, row by row, and what was found out on the way."""

    rows: list[Row] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    def row(self, operation: str, files: str, size_bytes: int, began: float) -> None:
        self.rows.append(Row(operation, files, size_bytes, time.monotonic() - began))


def run(invocation: Invocation) -> Outcome:
    """The whole story. Whatever happens, no process and no file is left."""
    outcome = Outcome()
    previous = signal.signal(signal.SIGTERM, _end)
    fleet = None
    try:
        with _folder(invocation) as folder:
            library, packages = _prepare(invocation, folder)
            # Room for the library and what is extracted of it, but not for much more.
            quota_bytes = int(1.5 * (library.size_bytes + 4096 * library.files)) + 64 * _MIB
            fleet = Fleet(folder, quota_bytes=quota_bytes)
            with _running(fleet), Client(fleet.settings, say=invocation.note) as client:
                _Story(invocation, outcome, client, fleet, library, packages, quota_bytes).tell()
    finally:
        signal.signal(signal.SIGTERM, previous)
    if not fleet.clean or os.path.lexists(folder):
        raise CaskeeperError("a process or a file was left behind, and is gone now", folder)
    outcome.findings.append("no process and no file is left")
    return outcome


class _Story:
    """The steps, in their order."""

    def __init__(
        self,
        invocation: Invocation,
        outcome: Outcome,
        client: Client,
        fleet: Fleet,
        library: Tree,
        packages: Sequence[Tree],
        quota_bytes: int,
    ) -> None:
        self._invocation = invocation
        self._outcome = outcome
        self._client = client
        self._fleet = fleet
        self._layout = Layout(fleet.settings.cachedir)
        self._folder = fleet.folder
        self._library = library
        self._quota_bytes = quota_bytes
        #: artifacts by their refs, the large one first
        self._trees = {_ref(os.path.basename(tree.path), version=1): tree for tree in (library, *packages)}
        self._name = next(iter(self._trees))

    def tell(self) -> None:
        self._commit()
        self._push()
        self._empty()
        self._pull()
        self._extract()
        self._next_version()
        self._overfill()

    def _commit(self) -> None:
        """Import: the library first, then what it holds already."""
        self._commit_as("commit the library", [self._name])
        new_bytes = self._commit_as("commit packages", self._small)
        self._find(
            f"{wording.count(len(self._small), 'package')} that the library holds too "
            f"took {wording.size(new_bytes)} more of the disk"
        )

    def _commit_as(self, title: str, refs: Sequence[Ref]) -> int:
        began = time.monotonic()
        jobs = {str(ref): self._client.commit(self._trees[ref].path, ref) for ref in refs}
        results = self._wait("commit", jobs)
        files, size_bytes = sum(one.files for one in results), sum(one.size_bytes for one in results)
        self._outcome.row(title, f"{files:,}", size_bytes, began)
        return sum(one.added_bytes for one in results)

    def _push(self) -> None:
        began = time.monotonic()
        jobs = {str(ref): self._client.push(ref, remotes=[self._fleet.remote]) for ref in self._trees}
        remotes = [remote for result in self._wait("push", jobs) for remote in result.remotes]
        blobs, size_bytes = sum(one.blobs for one in remotes), sum(one.bytes for one in remotes)
        self._outcome.row(f"push {len(jobs)} artifacts", f"{blobs:,}", size_bytes, began)

    def _empty(self) -> None:
        """Nothing of it is left here, so the next step cannot cheat."""
        began = time.monotonic()
        before = self._client.status().usage.used_bytes
        self._wait("remove", {"everything": self._client.remove(*self._trees)})
        self._wait("cleanup", {"everything": self._client.cleanup(target_bytes=0)})
        left = demo_trees.measure(self._layout.objects).files
        self._claim(left == 0, f"{left} objects are left in a cache that was emptied")
        freed = before - self._client.status().usage.used_bytes
        self._outcome.row("empty the cache", f"{len(self._trees)} refs", freed, began)

    def _pull(self) -> None:
        """All at once; both workers take part."""
        began = time.monotonic()
        jobs = {str(ref): self._client.pull(ref, remotes=[self._fleet.remote]) for ref in self._trees}
        results = self._wait("pull", jobs)
        self._claim(all(result.pulled for result in results), "an artifact was not pulled")
        blobs, size_bytes = sum(one.blobs for one in results), sum(one.bytes for one in results)
        self._outcome.row(f"pull {len(jobs)} artifacts", f"{blobs:,}", size_bytes, began)
        workers = Counter(self._worker_of(job) for job in jobs.values())
        told = ", ".join(f"{name} pulled {count}" for name, count in sorted(workers.items()))
        self._find(f"both workers had work: {told}")
        self._claim(len(workers) > 1, f"only one worker had work: {told}")

    def _extract(self) -> None:
        """Shared checkouts of all, a private copy of the library, each compared with its origin."""
        began = time.monotonic()
        trees = list(self._trees.values())
        results = self._wait("extract", {str(ref): self._client.extract(ref) for ref in self._trees})
        files, size_bytes = sum(tree.files for tree in trees), sum(tree.size_bytes for tree in trees)
        self._outcome.row(f"extract {len(results)}, shared", f"{files:,}", size_bytes, began)
        began = time.monotonic()
        private = f"{self._folder}/private"
        self._wait("extract", {"a private copy": self._client.extract(self._name, destination=private)})
        library = self._library
        self._outcome.row("extract, private copy", f"{library.files:,}", library.size_bytes, began)
        began = time.monotonic()
        pairs = [(tree.path, result.path) for tree, result in zip(trees, results, strict=True)]
        same = [demo_trees.compare(*pair) for pair in (*pairs, (library.path, private))]
        files, links = sum(tree.files for tree in same), sum(tree.links for tree in same)
        executables = sum(tree.executables for tree in same)
        self._outcome.row("compare", f"{files:,}", sum(tree.size_bytes for tree in same), began)
        self._find(
            f"identical byte for byte: {files:,} files, {links} link targets, {executables} execute bits"
        )
        shutil.rmtree(private)

    def _next_version(self) -> None:
        """A few files differ, so little is stored and little travels."""
        done = demo_trees.change(self._library.path)
        began = time.monotonic()
        second = _ref(self._name.element, version=2)
        (stored,) = self._wait("commit", {str(second): self._client.commit(self._library.path, second)})
        self._outcome.row("commit a changed version", f"{stored.files:,}", stored.added_bytes, began)
        began = time.monotonic()
        (pushed,) = self._wait("push", {str(second): self._client.push(second, remotes=[self._fleet.remote])})
        travelled = pushed.remotes[0]
        self._outcome.row("push it", f"{travelled.blobs:,}", travelled.bytes, began)
        self._find(
            f"the next version ({done.edited} files edited, {done.added} added, {done.removed} removed, "
            f"{done.relinked} link changed) is {wording.size(stored.size_bytes)}: "
            f"{wording.size(stored.added_bytes)} stored, {wording.size(travelled.bytes)} sent"
        )
        self._claim(travelled.bytes < stored.size_bytes / 4, "most of the changed version travelled again")
        self._trees[second] = demo_trees.measure(self._library.path)

    def _overfill(self) -> None:
        """More than the quota: what nobody needs goes, what a session requires stays."""
        required = self._small[0]
        with self._client.session(label="demo") as session:
            self._claim(bool(session.require(required)), f"{required} is not here")
            self._fill()
            gone = [ref for ref in self._trees if not self._client.contains(ref)]
            self._claim(bool(gone), "nothing was evicted from a cache that is too small")
            usage = self._client.status().usage
            self._find(
                f"written over the quota, the cache holds {wording.size(usage.used_bytes)} of "
                f"{wording.size(self._quota_bytes)}: {wording.count(len(gone), 'older artifact')} went"
            )
            self._claim(usage.used_bytes <= self._quota_bytes, "the quota is exceeded")
            began = time.monotonic()
            (cleaned,) = self._wait("cleanup", {"all that may go": self._client.cleanup(target_bytes=0)})
            evicted = f"{cleaned.evicted_refs} refs"
            self._outcome.row("clean up all that may go", evicted, cleaned.freed_bytes, began)
            reasons = [group.reason for group in cleaned.groups if str(required) in group.refs]
            self._claim(self._client.contains(required), f"{required} is required and was evicted")
            left = [ref for ref in self._trees if self._client.contains(ref)]
            self._claim(left == [required], f"{len(left)} artifacts are left instead of the required one")
            (kept,) = self._wait("extract", {str(required): self._client.extract(required)})
            demo_trees.compare(self._trees[required].path, kept.path)
            self._find(f"kept: {required}, {' '.join(reasons)}; still identical")

    def _fill(self) -> None:
        """Large strangers, two at a time, until the library has to make room."""
        began = time.monotonic()
        size_bytes = self._quota_bytes // 10
        for number in range(0, _MOST_FILLERS, 2):
            jobs = {}
            for one in (number, number + 1):
                path, ref = f"{self._folder}/filler-{one}", _ref(f"filler-{one}", version=1)
                demo_trees.write_filler(path, size_bytes=size_bytes)
                jobs[str(ref)] = self._client.commit(path, ref)
            self._wait("commit", jobs)
            for one in (number, number + 1):
                shutil.rmtree(f"{self._folder}/filler-{one}")
            if not self._client.contains(self._name):
                break
        self._outcome.row("fill over the quota", f"{number + 2}", (number + 2) * size_bytes, began)

    @property
    def _small(self) -> list[Ref]:
        return [ref for ref in self._trees if ref.element != self._name.element]

    def _wait(self, verb: str, jobs: dict[str, Job[R]]) -> list[R]:
        """The results, in order. Raises the first error, or what became of the fleet."""
        what = ", ".join(jobs) if len(jobs) < 3 else wording.count(len(jobs), "artifact")
        self._invocation.note(f"{verb} {what}")
        sent = [Sent(name, job) for name, job in jobs.items()]
        wait(self._invocation, sent, verb=verb, deadline=Deadline(_JOB_S), goes_on=False)
        self._fleet.check()
        return [outcome_of(one) for one in sent]

    def _worker_of(self, job: Job[R]) -> str:
        return str((self._client.queue.state(job.id) or {}).get("worker")).partition("@")[0]

    def _find(self, sentence: str) -> None:
        self._outcome.findings.append(sentence)

    def _claim(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001 -- the claim itself
        if not holds:
            raise CaskeeperError(otherwise, "demo", "this is a fault of caskeeper: please report it")


def _ref(name: str, *, version: int) -> Ref:
    """With a key like a build tool's: every version of everything has its own, which a session protects."""
    return Ref("demo", name, hashlib.sha256(f"{name} {version}".encode()).hexdigest()[:12])


def _prepare(invocation: Invocation, folder: str) -> tuple[Tree, list[Tree]]:
    invocation.note(f"copying the running Python's library to {folder}")
    library = demo_trees.copy_library(f"{folder}/library")
    packages = demo_trees.copy_packages(library.path, f"{folder}/packages", count=PACKAGES)
    enough = library.files >= demo_trees.FILES and len(packages) == PACKAGES
    if not (enough and library.links and library.executables):
        raise CaskeeperError(
            f"this Python's library has only {library.files} files, {library.links} links and "
            f"{library.executables} executables",
            library.path,
            "run the demo with a Python that came with its whole library",
        )
    # The server's copy, the cache up to its quota, a private copy, what fills it.
    needed = 5 * library.size_bytes
    if shutil.disk_usage(folder).free < needed:
        raise NoSpace(f"the demo needs {pretty_size(needed)}", folder, "name another folder with TMPDIR")
    return library, packages


@contextmanager
def _folder(invocation: Invocation) -> Iterator[str]:
    """A folder that goes, whatever happens."""
    folder = tempfile.mkdtemp(prefix="caskeeper-demo-")
    try:
        yield folder
    finally:
        with _unheard():
            invocation.note(f"removing {folder}")
            shutil.rmtree(folder)


@contextmanager
def _running(fleet: Fleet) -> Iterator[None]:
    """The fleet while the story is told; its end is not cut short by a second Ctrl-C."""
    try:
        fleet.start()
        yield
    except BaseException:
        with _unheard():
            fleet.kill()
        raise
    with _unheard():
        fleet.stop()


@contextmanager
def _unheard() -> Iterator[None]:
    """Signals to end are not heard: this is the end."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)


def _end(number: int, _frame: object) -> None:
    raise Ended(number)
