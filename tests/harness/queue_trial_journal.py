"""Every execution of every job in a trial, from real workers: when it began and ended, and in which process.

An operation is its task and its arguments, whatever the id of its job: what must not run twice at once. An
execution ends when it says so, or with its process; when that was killed is noted before the signal, so
that nothing is taken for an overlap that is none.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import NamedTuple

from harness.histories_journal import Journal, read_journal


class Execution(NamedTuple):
    """``end`` is None where it is not known: its process was killed, or it still runs."""

    operation: str
    pid: int
    begin: float
    end: float | None
    outcome: str


class Executions:
    """What a journal says about executions; with ``task`` only of those."""

    def __init__(self, path, task=""):
        found = _executions(read_journal(path) if os.path.exists(path) else [])
        self.all = [execution for execution in found if execution.operation.startswith(task)]

    @property
    def counts(self):
        """How often each operation began."""
        return Counter(execution.operation for execution in self.all)

    @property
    def done(self):
        """How often each operation was carried out to its end."""
        return Counter(execution.operation for execution in self.all if execution.outcome == "done")

    def begun_again(self, argument):
        """What operations that began more than once were about: the values of this argument, in one set."""
        found = set()
        for operation, times in self.counts.items():
            if times > 1:
                value = json.loads(operation.partition(" ")[2]).get(argument) or []
                found.update([value] if isinstance(value, str) else value)
        return found

    @property
    def most_at_once(self):
        """Executions at the same moment, of whatever operations: that there was a load."""
        changes = [(execution.begin, 1) for execution in self.all]
        changes += [(execution.end, -1) for execution in self.all if execution.end is not None]
        most = now = 0
        for _when, step in sorted(changes):
            now += step
            most = max(most, now)
        return most

    def overlaps(self):
        """Pairs of executions of one operation at the same time."""
        found, by_operation = [], {}
        for execution in sorted(self.all, key=lambda one: one.begin):
            before = by_operation.setdefault(execution.operation, [])
            found += [(one, execution) for one in before if one.end is None or one.end > execution.begin]
            before.append(execution)
        return found


def _executions(lines):
    killed = {}
    for line in lines:
        if line["event"] == "killed":
            for pid in line["pids"]:
                killed.setdefault(pid, line["at"])
    begun, found = {}, []
    for line in lines:
        key = (line.get("operation"), line.get("pid"))
        if line["event"] == "begin":
            begun[key] = line["at"]
        elif line["event"] == "end":
            found.append(Execution(*key, begun.pop(key), line["at"], line["outcome"]))
    found += [Execution(*key, at, killed.get(key[1]), "broken off") for key, at in begun.items()]
    return found


__all__ = ["Execution", "Executions", "Journal", "read_journal"]
