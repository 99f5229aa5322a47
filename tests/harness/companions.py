"""An operation that shares its work with a companion, and what happens to that one meanwhile."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager

from harness.volumes import Account, begin, blobs_of

from worker.protocols import quiet
from worker.store import parallel
from worker.store.capture import capture
from worker.store.checkout_copy import checkout_copy
from worker.store.checkout_links import checkout_links
from worker.store.companion.owner import Companion
from worker.store.companion.session import Session

#: When work goes aside (worker.store.parallel): at once.
WORTH = {"WORTH_S": 0.0, "WORTH_UNITS": 2}
LARGE_BYTES = 5_000_000


class Till(Account):
    """An account that several threads may use; it can be told to refuse."""

    def __init__(self):
        super().__init__()
        self._guard = threading.Lock()
        self.refusal = None

    def spend(self, size_bytes):
        if self.refusal is not None:
            raise self.refusal
        with self._guard:
            super().spend(size_bytes)

    def spend_at_hand(self, size_bytes):
        if self.refusal is not None:
            return False
        with self._guard:
            return super().spend_at_hand(size_bytes)

    def refund(self, size_bytes):
        with self._guard:
            super().refund(size_bytes)


def force(patch):
    """Small trees are worth it, too, whatever machine this is."""
    for name, value in WORTH.items():
        patch.setattr(parallel, name, value)
    patch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})


def write_tree(folder, *, folders=30, files=4, mark=""):
    """Files of all kinds: equal ones, empty ones, executables, symbolic links, large ones, empty folders."""
    for number in range(folders):
        here = f"{folder}/{number % 3}/{number}"
        os.makedirs(f"{here}/empty")
        for name in range(files):
            with open(f"{here}/{name}", "wb") as file:
                file.write(b"%d %d %s" % (number, name, mark.encode()))
            if not name:
                os.chmod(f"{here}/{name}", 0o755)
        os.symlink(f"../{number}", f"{here}/link")
        for name, data in (("nothing", b""), ("equal", b"equal" + mark.encode())):
            with open(f"{here}/{name}", "wb") as file:
                file.write(data)
    for name, size in (("large", LARGE_BYTES), ("0/rather-large", 100_000)):
        with open(f"{folder}/{name}", "wb") as file:
            file.write((mark.encode() or b"x") * (size // max(1, len(mark))))
    return os.fspath(folder)


def pid_of(companion):
    """Of the process that runs now; 0: none does."""
    return companion._process.pid if companion._process else 0


class Verbs:
    """The three of them, each as an operation with an account of its own."""

    def __init__(self, volume, companion):
        self.volume = volume
        self.companion = companion
        self.account = self.staging = None
        self.started = 0

    @contextmanager
    def operation(self):
        self.started += 1
        self.account = Till()
        self.staging = begin(self.volume, f"op{self.started}", self.account)
        try:
            yield blobs_of(self.staging)
        finally:
            self.staging.end()

    def commit(self, source, *, context=None):
        with self.operation() as blobs:
            return capture(os.fspath(source), blobs, context=context or quiet(), companion=self.companion)

    def links(self, root, destination, *, context=None, **arguments):
        with self.operation() as blobs:
            path = self.staging.path()
            checkout_links(
                root,
                path,
                blobs=blobs,
                context=context or quiet(),
                companion=self.companion,
                **arguments,
            )
            os.rename(path, destination)

    def copy(self, root, destination, *, context=None, **arguments):
        with self.operation() as blobs:
            checkout_copy(
                root,
                os.fspath(destination),
                blobs=blobs,
                context=context or quiet(),
                companion=self.companion,
                **arguments,
            )


class Meeting:
    """Calls ``do(companion's pid)`` once: at the n-th ``Spend``, ``Done`` or ``Over`` that the owner hears.

    ``Do``: as soon as so many were sent.
    """

    def __init__(self, patch, companion, kind, number, do):
        self.happened = False
        self.heard = []
        hear, send = Session._hear, Session.send

        def meet(what):
            self.heard.append(what)
            if not self.happened and what == kind and self.heard.count(what) == number:
                self.happened = True
                do(pid_of(companion))

        def heard(session, wait_s):
            answer = hear(session, wait_s)
            if answer is not None:
                meet(type(answer).__name__)
            return answer

        def sent(session, units):
            send(session, units)
            meet("Do")

        patch.setattr(Session, "_hear", heard)
        patch.setattr(Session, "send", sent)


def kill(pid):
    """At once."""
    os.kill(pid, signal.SIGKILL)


def stop(pid):
    """It neither works nor ends."""
    os.kill(pid, signal.SIGSTOP)


def companion_of(volume):
    """To be closed."""
    return Companion(volume)


def files_below(folder):
    return [f"{above}/{name}" for above, _folders, names in os.walk(folder) for name in names]


def objects(volume):
    """Every one, and which file it is."""
    return {path: os.lstat(path).st_ino for path in files_below(volume.layout.objects)}
