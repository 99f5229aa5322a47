"""What a verb costs, counted and not timed: system calls, questions to Redis, calls over the network.

A regression is then seen by its number, on every machine and under any load.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections import Counter
from contextlib import contextmanager

from caskeeper.coordination import scripts
from caskeeper.coordination.connection import RUN_ID
from worker.server.metered import Metered
from worker.store import system_calls

#: Functions of the module behind ``os`` that do not enter the kernel, or once in a process' life.
_NO_CALLS = frozenset(
    {"fspath", "strerror", "getpid", "_path_normpath", "putenv", "unsetenv", "device_encoding"}
)
#: What ``open`` of Python enters the kernel for.
_OPENERS = frozenset({"open", "open_code"})
#: A script of the queue's library.
OTHER = "other script"
#: A key that nobody has: to be asked for it is the end.
_LAST = "the-last-question"


class Calls:
    """How often the kernel was entered by name, in this thread and those that begin meanwhile.

    Counted where Python calls into C: nothing has to be installed for it, and what the garbage collector or
    the allocator do is not seen.
    """

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def note(self, _frame: object, event: str, function: object) -> None:
        """As ``sys.setprofile`` calls it."""
        if event != "c_call":
            return
        name = getattr(function, "__name__", "")
        home = getattr(function, "__module__", None)
        if home == "posix" and name not in _NO_CALLS:
            self.seen[name] += 1
        elif home == "_io" and name in _OPENERS:
            self.seen["open"] += 1
        elif (
            home is None
            and name == "stat"
            and type(getattr(function, "__self__", None)).__name__ == "DirEntry"
        ):
            self.seen["lstat"] += 1


@contextmanager
def system_calls_counted(monkeypatch):
    """``with … as seen``: a Counter of the system calls inside."""
    calls = Calls()
    with monkeypatch.context() as patched:
        for name, function in vars(system_calls).items():
            if isinstance(function, ctypes._CFuncPtr):
                patched.setattr(system_calls, name, _counting(name.lstrip("_"), function, calls.seen))
        threading.setprofile(calls.note)
        sys.setprofile(calls.note)
        try:
            yield calls.seen
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


def _counting(name, function, seen):
    def call(*arguments):
        seen[name] += 1
        return function(*arguments)

    return call


@contextmanager
def redis_counted(coordination, monkeypatch):
    """``with … as asked``: the names of the scripts and commands inside, one for each round trip, in order.

    What threads ask by the clock, as renewals do, is among them: let the work be shorter than that.
    """
    asked: list[str] = []
    names = script_names()
    connection = coordination._connection
    script, command = connection.script, connection.command

    def run(called, keys, args):
        asked.append(names[called.sha])
        return script(called, keys, args)

    def say(*words):
        asked.append(str(words[0]))
        return command(*words)

    with monkeypatch.context() as patched:
        patched.setattr(connection, "script", run)
        patched.setattr(connection, "command", say)
        yield asked


def script_names():
    """The names of our scripts, by their hashes."""
    names = [name.removesuffix(".lua") for name in os.listdir(scripts._FOLDER)]
    own = [name for name in names if not name.startswith("prelude") and name != "guard"]
    return {scripts.load(name, run_id).sha: name for name in own for run_id in (RUN_ID, "")}


@contextmanager
def server_monitored(client):
    """``with … as seen``: a Counter of what a server was asked inside, once the block has ended.

    By whomever: scripts by their names, what they do themselves not counted, and a transaction as one.
    """
    seen: Counter[str] = Counter()
    names = script_names()
    with client.monitor() as monitor:
        yield seen
        client.get(_LAST)
        inside = False
        for told in monitor.listen():
            words = told["command"].split(" ", 2)
            if words[0] == "GET" and words[1] == _LAST:
                return
            if told["client_type"] == "lua" or (inside and words[0] != "EXEC"):
                continue
            inside = words[0] == "MULTI"
            if words[0] != "EXEC":
                seen[names.get(words[1], OTHER) if words[0] == "EVALSHA" else words[0]] += 1


@contextmanager
def calls_counted(monkeypatch):
    """``with … as asked``: a Counter of what servers of this process were asked inside, by method."""
    asked: Counter[str] = Counter()
    intercept = Metered.intercept_service

    def counting(self, continuation, details):
        asked[details.method.rpartition("/")[2]] += 1
        return intercept(self, continuation, details)

    with monkeypatch.context() as patched:
        patched.setattr(Metered, "intercept_service", counting)
        yield asked
