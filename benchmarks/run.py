"""`make bench` and `make bench-full`: our services beside the peers and the limits, in the same rounds.

Writes benchmarks/results.json and docs/performance.md, unless a part or something else is asked for: with
``--only``, ``--op``, ``--who``, ``--tiny``, ``--rounds``, ``--disk`` or ``--profile``. Until then a whole run
keeps each workload it is done with, and ``--continue`` takes up one that was ended. Times mean little by
themselves: compare ratios.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from functools import partial
from typing import TYPE_CHECKING

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # with -P a script finds no neighbours

import kept
import unfinished
import workloads
from contestants import Contestant, Ours
from kept import Kept
from machine import describe, room, warm_up
from peers import Bst1, Casd, OursIntoBst1, OursIntoCasd, bst1_python, bst2_python
from report import RESULTS, print_tables, write_page
from rounds import ORDER, Measured, measure, remove_trees, write_trees
from small_jobs import Jobs, measure_jobs
from whole_path import ThroughCommand, ThroughQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from workloads import Workload

_FULL = (
    workloads.small(),
    workloads.real(),
    workloads.changed(),
    workloads.large(),
    workloads.many(),
)
_TINY = (
    workloads.small(200, 20),
    workloads.real(200, 5),
    workloads.changed(200, 5),
    workloads.large(mib=8),
    workloads.many(20),
)
_JOBS = "jobs"
_NAMES = [*(workload.name for workload in _FULL), _JOBS]
_QUICK = (Ours.name, Casd.name, Bst1.name, ThroughQueue.name)
_WHO = [one.name for one in (Ours, Casd, OursIntoCasd, Bst1, OursIntoBst1, ThroughQueue, ThroughCommand)]


def main() -> int:
    asked = _arguments()
    if asked.page:
        write_page(kept.read(RESULTS, _FULL))
        return 0
    begun = unfinished.find(_FULL) if asked.go_on else None
    if begun is not None:
        asked.full = begun.command == _command(full=True)
    chosen = [one for one in (_TINY if asked.tiny else _FULL) if one.name in asked.only]
    entrants, left_out = _entrants(asked)
    for ending in (signal.SIGTERM, signal.SIGHUP):  # so that everything is taken away again
        signal.signal(ending, lambda number, _frame: sys.exit(128 + number))
    needed = max((_room_for(one, len(entrants)) for one in chosen), default=0)
    base = tempfile.mkdtemp(prefix="ck-bench-", dir=room(needed, disk=asked.disk))
    try:
        run = Kept(describe(base), _command(full=asked.full), unfinished.code(), left_out)
        if begun is not None:
            unfinished.check(begun, run)
            run = begun
            run.continued.append(f"after {run.results[-1].workload.name}")
            unfinished.keep(run)  # or its next end would be told in place of this one
        elif _is_whole(asked):
            unfinished.forget()  # one that is ended before its first workload is not to continue another
        _measure_all(run, chosen, entrants, asked, base)
        if _JOBS in asked.only:
            run.jobs = _measure_jobs(asked, base)
    finally:
        shutil.rmtree(base)
    print_tables(run.machine, run.results, run.jobs)
    if _is_whole(asked):
        kept.write(RESULTS, run)
        write_page(run)
        unfinished.forget()
    return 0


def _command(*, full: bool) -> str:
    return f"make bench{'-full' if full else ''}"


def _is_whole(asked: argparse.Namespace) -> bool:
    """Everything was measured, and as the page describes it."""
    is_part = set(asked.only) != set(_NAMES) or set(asked.op) != set(ORDER) or asked.who
    return not (is_part or asked.tiny or asked.profile or asked.rounds or asked.disk)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="seven rounds, and what takes long")
    parser.add_argument(
        "--continue", action="store_true", dest="go_on", help="the whole run that was ended in the middle"
    )
    parser.add_argument("--tiny", action="store_true", help="a hundredth, to see that it works")
    parser.add_argument("--page", action="store_true", help="write the page anew from results.json")
    parser.add_argument(
        "--only", type=_list_of(_NAMES), default=_NAMES, metavar="W1,W2", help=", ".join(_NAMES)
    )
    parser.add_argument(
        "--op", type=_list_of(ORDER), default=ORDER, metavar="commit,pull", help=", ".join(ORDER)
    )
    parser.add_argument(
        "--who", type=_list_of(_WHO), default=[], metavar="caskeeper,casd", help=", ".join(_WHO)
    )
    parser.add_argument("--rounds", type=_count, help="without it 2 or 3, and 7 with --full")
    parser.add_argument("--disk", action="store_true", help="without a RAM disk: the disk is measured too")
    parser.add_argument(
        "--profile",
        metavar="PREFIX",
        help="cProfile of our calling thread: PREFIX.W1.OP of the last round, and of what OP needs",
    )
    asked = parser.parse_args()
    if asked.profile and not os.path.isdir(os.path.dirname(os.path.abspath(asked.profile))):
        parser.error(f"argument --profile: there is no folder {os.path.dirname(asked.profile)!r}")
    if asked.go_on and (asked.full or not _is_whole(asked)):
        parser.error("argument --continue: what the run measures was said when it began")
    return asked


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rounds")
    return int(text)


def _list_of(names: list[str] | tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        found = [name.strip() for name in text.split(",")]
        for name in found:
            if name not in names:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(names)}")
        return found

    return parse


def _entrants(asked: argparse.Namespace) -> tuple[list[Callable[[str], Contestant]], list[str]]:
    """Who takes part, and what peers are not installed: those are named and left out."""
    left_out: list[str] = []
    profile = os.path.abspath(asked.profile) if asked.profile else None
    found: dict[str, Callable[[str], Contestant]] = {Ours.name: partial(Ours, profile=profile)}
    for peer, python, into in ((Casd, bst2_python(), OursIntoCasd), (Bst1, bst1_python(), OursIntoBst1)):
        if python is None:
            left_out.append(peer.title)
            _say(f"{peer.title} is not installed and is left out")
            continue
        found[peer.name], found[into.name] = partial(peer, python=python), partial(into, python=python)
    found |= {ThroughQueue.name: ThroughQueue, ThroughCommand.name: ThroughCommand}
    wanted = asked.who or (_WHO if asked.full else _QUICK)
    return [entrant for name, entrant in found.items() if name in wanted], left_out


def _room_for(one: Workload, contestants: int) -> int:
    """The trees, a copy, and for each contestant that is there at the same time two caches."""
    present = 1 if one.one_by_one else contestants
    return one.size_bytes * ((2 if one.before else 1) + 1 + 2 * present)


def _measure_all(
    run: Kept,
    chosen: list[Workload],
    entrants: list[Callable[[str], Contestant]],
    asked: argparse.Namespace,
    base: str,
) -> None:
    """What the run has not measured yet, kept after each workload."""
    trees: dict[str, str] = {}
    done = {measured.workload.name for measured in run.results}
    left = [one for one in chosen if one.name not in done]
    for place, workload in enumerate(left):
        trees.update(write_trees([workload], base, trees, _say))
        warm_up(base, _room_for(workload, len(entrants)) - workload.size_bytes)
        measured = Measured(workload, *workloads.size_of(trees[workload.name]))
        rounds = _rounds(asked, few=2 if workload.one_by_one else 3)
        measure(measured, entrants, asked.op, trees=trees, folder=base, rounds=rounds, say=_say)
        run.results.append(measured)
        if _is_whole(asked):
            unfinished.keep(run)
        later = left[place + 1 :]
        remove_trees(trees, {one.name for two in later for one in (two, two.before) if one is not None})


def _measure_jobs(asked: argparse.Namespace, base: str) -> Jobs:
    """Small artifacts by the thousand, and those of W5 by the hundred."""
    many = 20 if asked.tiny else 2000 if asked.full else 500
    chosen = [
        workloads.many(many, own=5, shared=0, name="J5"),
        workloads.many(many // 20 if asked.tiny else 100, name="J80"),
    ]
    return measure_jobs(chosen, folder=base, rounds=_rounds(asked, few=2), say=_say)


def _rounds(asked: argparse.Namespace, *, few: int) -> int:
    found: int = asked.rounds or (7 if asked.full else few)
    return found


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
