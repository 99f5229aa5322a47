"""How far jobs are, on stderr: live bars on a terminal, a line every few seconds otherwise.

Short jobs show nothing: a view is made when the first of them has taken longer than a moment. A job that
stands still is shown as such.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from caskeeper.contract import Progress
from caskeeper.job import STARTED, TRYING_AGAIN
from tasks.cli import wording

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.progress import TaskID

#: Nothing is shown before a job has taken so long.
MOMENT_S = 0.4
#: Between two lines about one job.
LINE_S = 3.0
#: A job whose numbers have not changed for so long is said to stand still.
STILL_S = 10.0
#: Without a rate and a time left it is as soon as nothing has moved for so long.
MOVING_S = 3.0
#: A line that says what the last one said is written again after so long, for those who end silent jobs.
REMINDER_S = 60.0
#: The rate is the mean over so long.
_WINDOW_S = 10.0
#: More bars than this do not fit on a screen; the rest is counted beside them.
_BARS = 16
#: From so many columns on there is room for all numbers. Of a long key so much is shown where it is tight.
_WIDE, _KEY = 100, 8
#: More jobs than this have one line together: a log is no screen.
_LINES = 4


@dataclass
class Followed:
    """One job as it was last seen, and how fast it has been of late."""

    label: str
    progress: Progress = field(default_factory=Progress)
    changed: float = 0.0
    moved: float = 0.0
    samples: list[tuple[float, int]] = field(default_factory=list)

    def see(self, progress: Progress, now: float) -> None:
        """Take in a new state."""
        if progress == self.progress:
            return
        if progress.done_bytes < self.progress.done_bytes:
            self.samples.clear()  # it began anew, or with the next remote
        if (progress.done_bytes, progress.done_objects) != (
            self.progress.done_bytes,
            self.progress.done_objects,
        ):
            self.moved = now
        self.progress, self.changed = progress, now
        self.samples.append((now, progress.done_bytes))
        while len(self.samples) > 2 and self.samples[0][0] < now - _WINDOW_S:
            self.samples.pop(0)

    @property
    def queued(self) -> bool:
        """No worker has taken it yet."""
        return self.progress.phase in {"", "queued"}

    def rate(self, now: float) -> float:
        """Bytes a second over the last while; 0 once nothing has moved for a moment."""
        if not self.samples or now - self.moved > MOVING_S:
            return 0.0
        began, first = self.samples[0]
        return (self.progress.done_bytes - first) / max(now - began, 0.001)

    def speed(self, now: float) -> list[str]:
        """``5.1M/s`` and ``3 s left``, as far as they are known."""
        rate, seen = self.rate(now), self.progress
        if rate <= 0:
            return []
        said = [f"{wording.size(rate)}/s"]
        if seen.total_bytes:
            left_s = max(0, seen.total_bytes - seen.done_bytes) / rate
            said.append(f"{wording.duration(left_s)} left")
        return said

    @property
    def amount(self) -> str:
        """``1.5M of 27.0M``, or in objects where bytes are not known; '' = nothing is."""
        seen = self.progress
        if seen.total_bytes:
            objects = f", {seen.done_objects:,} of {seen.total_objects:,}" if seen.total_objects else ""
            return f"{wording.size(seen.done_bytes)} of {wording.size(seen.total_bytes)}{objects}"
        if seen.total_objects:
            return f"{seen.done_objects:,} of {seen.total_objects:,}"
        if seen.done_objects:
            return f"{seen.done_objects:,} files, {wording.size(seen.done_bytes)}"
        return wording.size(seen.done_bytes) if seen.done_bytes else ""

    @property
    def share(self) -> str:
        """As ``amount``, in a few characters."""
        seen = self.progress
        for done, total in ((seen.done_bytes, seen.total_bytes), (seen.done_objects, seen.total_objects)):
            if total:
                return f"{100 * done // total}%"
        return wording.size(seen.done_bytes) if seen.done_bytes else ""

    def sentence(self, now: float) -> str:
        """``pull demo/app/k1: 45% of 27.0M, 5.1M/s, 3 s left``."""
        seen, parts = self.progress, []
        if seen.total_bytes:
            share = 100 * seen.done_bytes // seen.total_bytes
            parts.append(f"{share}% of {wording.size(seen.total_bytes)}")
        elif seen.total_objects:
            parts.append(f"{seen.done_objects:,} of {seen.total_objects:,}")
        elif seen.done_objects:
            parts.append(f"{seen.done_objects:,} files, {wording.size(seen.done_bytes)}")
        else:
            parts.append(seen.phase or "queued")
        if seen.present_bytes:
            parts.append(f"{wording.size(seen.present_bytes)} already there")
        parts += self.speed(now)
        if now - self.changed > STILL_S:
            parts.append(f"no progress for {wording.duration(now - self.changed)}")
        return f"{self.label}: {', '.join(parts)}"


class View(Protocol):
    """What shows jobs while they run. Called from one thread only."""

    def show(self, running: list[Followed], *, waiting: int) -> None:
        """These run now, and so many are not looked at yet."""

    def close(self) -> None:
        """The last one has ended."""


class Nothing:
    """No view."""

    def show(self, running: list[Followed], *, waiting: int) -> None:
        """Shows nothing."""

    def close(self) -> None:
        """Nothing to end."""


class Lines:
    """A line for each running job every few seconds, for logs and CI; what was said is not repeated."""

    def __init__(self, write: Callable[[str], None], *, jobs: int = 1) -> None:
        """``jobs``: how many there are, ended ones too."""
        self._write = write
        self._next = time.monotonic() + LINE_S
        self._said: dict[int, tuple[Progress, bool, float]] = {}
        self._together, self._jobs = ("", 0.0), jobs

    def show(self, running: list[Followed], *, waiting: int) -> None:
        now = time.monotonic()
        left = len(running) + waiting
        if now < self._next:
            return
        self._next = now + LINE_S
        if left > _LINES:
            self._show_together(running, left, now)
            return
        for job in running:
            if self._is_news(job, now):
                self._write(job.sentence(now))

    def _show_together(self, running: list[Followed], left: int, now: float) -> None:
        """``12 of 100 jobs left, 5.1M/s; pull demo/app/k1: 45% of 27.0M``: the one that runs longest."""
        rate = sum(job.rate(now) for job in running)
        line = f"{left:,} of {wording.count(max(self._jobs, left), 'job')} left"
        if rate > 0:
            line += f", {wording.size(rate)}/s"
        begun = [job for job in running if not job.queued]
        for job in begun[:1]:
            line += f"; {job.sentence(now)}"
        said, when = self._together
        if line != said or now - when >= REMINDER_S:
            self._write(line)
            self._together = (line, now)

    def _is_news(self, job: Followed, now: float) -> bool:
        """Whether its line says more than its last one, which was not long ago."""
        seen, still = job.progress, now - job.changed > STILL_S
        last, last_still, when = self._said.get(id(job), (None, False, 0.0))
        if last is not None and now - when < REMINDER_S:
            if last.phase.startswith(TRYING_AGAIN) and seen in (last, Progress(phase=STARTED)):
                return False  # one more attempt that has not come further
            if (last, last_still) == (seen, still):
                return False
        self._said[id(job)] = (seen, still, now)
        return True

    def close(self) -> None:
        """Lines stay."""


class Bars:
    """Live bars with bytes, objects, rate and time left."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        self._console = console or Console(stderr=True)
        self._bars = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20 if self._console.width >= _WIDE else 6),
            TextColumn("{task.fields[amount]}", markup=False),
            # It gives way when it is narrow: what the others tell is shorter.
            TextColumn("{task.fields[remark]}", markup=False, table_column=Column(no_wrap=True, ratio=1)),
            expand=True,
            console=self._console,
            transient=True,
            refresh_per_second=8,
        )
        self._tasks: dict[str, TaskID] = {}
        self._rest: TaskID | None = None
        self._bars.start()

    def show(self, running: list[Followed], *, waiting: int) -> None:
        now = time.monotonic()
        shown = {job.label: job for job in running[:_BARS]}
        self._count(len(running) - len(shown) + waiting)
        width = self._console.width  # asked each time: a terminal is resized
        for label in list(self._tasks):
            if label not in shown:
                self._bars.remove_task(self._tasks.pop(label))
        for label, job in shown.items():
            if label not in self._tasks:
                self._tasks[label] = self._bars.add_task("", total=None, amount="", remark="")
            seen = job.progress
            still = now - job.changed > STILL_S
            remark = f"still since {wording.duration(now - job.changed)}" if still else ""
            if not (seen.total_bytes or seen.done_bytes):
                remark = remark or seen.phase
            there = [f"{wording.size(seen.present_bytes)} already there"] if seen.present_bytes else []
            remark = remark or ", ".join([*job.speed(now), *there])
            self._bars.update(
                self._tasks[label],
                completed=seen.done_bytes,
                total=seen.total_bytes or None,
                description=shortened(wording.printable(label), max(16, width // 3)),
                amount=job.amount if width >= _WIDE else job.share,
                remark=wording.printable(remark),
            )

    def _count(self, rest: int) -> None:
        """Those without a bar."""
        if self._rest is None:
            if rest <= 0:
                return
            self._rest = self._bars.add_task("", total=1, completed=0, amount="", remark="")
        self._bars.update(self._rest, description=f"and {wording.count(rest, 'job')} more", visible=rest > 0)

    def close(self) -> None:
        self._bars.stop()


def shortened(label: str, width: int) -> str:
    """``label`` in so many characters: of a long key its beginning, of the rest its end tells jobs apart."""
    if len(label) > width:
        rest, slash, key = label.rpartition("/")
        label = f"{rest}{slash}{key[:_KEY]}…" if slash and len(key) > _KEY + 1 else label
    if len(label) > width:
        verb, space, what = label.partition(" ")
        label = f"{verb}{space}…{what[-max(1, width - len(verb) - 2) :]}"
    return label


class LateView:
    """Makes the view when the first job has taken longer than a moment, and not before."""

    def __init__(self, make: Callable[[], View]) -> None:
        self._make = make
        self._began = time.monotonic()
        self._view: View | None = None

    def show(self, running: list[Followed], *, waiting: int) -> None:
        if self._view is None:
            if time.monotonic() - self._began < MOMENT_S:
                return
            self._view = self._make()
        self._view.show(running, waiting=waiting)

    def close(self) -> None:
        if self._view is not None:
            self._view.close()


def view(write: Callable[[str], None], *, wanted: bool, jobs: int = 1) -> View:
    """The view of so many jobs for this stderr."""
    if not wanted:
        return Nothing()
    if sys.stderr.isatty() and os.environ.get("TERM") not in {None, "", "dumb"}:
        return LateView(Bars)
    return Lines(write, jobs=jobs)
