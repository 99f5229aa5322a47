"""The one that does harm: a deck of faults, shuffled by a seed, one after the other.

Every kind comes once in each deck, so a history that is long enough for one has met them all. Runs in the
thread that starts processes. Each fault is noted before it happens.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from contextlib import suppress

from harness.histories_fleet import CLEANERS, LEASE_S, REMOTE, SERVER, WORKERS
from harness.histories_remote import LIES

#: How often each kind is in a deck.
DECK = {
    "kill child": 5,
    "kill companion": 4,
    "kill worker": 2,
    "kill server": 1,
    "kill cleaner": 2,
    "pause worker": 1,
    "pause child": 2,
    "pause server": 1,
    "pause cleaner": 2,
    "redis emptied": 1,
    "redis killed": 1,
    "redis from an old snapshot": 1,
    "disk full": 2,
    "remote lies": 3,
    "remote hangs": 1,
    "remote dies": 1,
}
#: After one of these the fleet has so long before the next of them: else nothing would ever be evicted.
REST_S = 10.0
OLD_SNAPSHOT = "redis from an old snapshot"
_LOSSES = {"redis emptied", "redis killed", OLD_SNAPSHOT}


class Nemesis:
    """``run(until)`` does harm; ``heal()`` makes everything good again."""

    def __init__(self, fleet, journal, *, seed, filler):
        self._fleet, self._journal, self._filler = fleet, journal, filler
        self._chance = random.Random(f"nemesis {seed}")
        self._later = []  # (when, what to do then): pauses end, disks become free
        self._snapshot = f"{fleet.folder}/snapshot"
        self._rested = 0.0
        self._pause_s = (0.4, 1.4)

    def run(self, until):
        deck = []
        while time.monotonic() < until:
            self._do_later()
            self._revive()
            if not deck:
                deck = [kind for kind, times in DECK.items() for _ in range(times)]
                self._chance.shuffle(deck)
            kind = next((one for one in deck if self._may(one)), None)
            if kind is not None:
                deck.remove(kind)
                self._strike(kind)
            self._sleep(self._chance.uniform(*self._pause_s))

    def _may(self, kind):
        if kind in _LOSSES:
            return time.monotonic() > self._rested and (kind != OLD_SNAPSHOT or self._saved)
        if kind == "kill companion":
            return bool(self._fleet.companions())
        return kind != "disk full" or self._filler is not None

    @property
    def _saved(self):
        return os.path.isdir(self._snapshot)

    def _strike(self, kind):
        if kind in _LOSSES:
            self._rested = time.monotonic() + REST_S
        getattr(self, f"_{kind.replace(' ', '_')}")()

    def _note(self, kind, **fields):
        self._journal.note("fault", kind=kind, wall_ms=time.time_ns() // 1_000_000, **fields)

    def _sleep(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._do_later()
            time.sleep(min(left, 0.05))

    def _do_later(self, *, all_of_it=False):
        now = time.monotonic()
        due = [entry for entry in self._later if all_of_it or entry[0] <= now]
        self._later = [entry for entry in self._later if entry not in due]
        for _when, action in due:
            action()

    def _after(self, seconds, action):
        self._later.append((time.monotonic() + seconds, action))

    def heal(self):
        """Nobody is paused, the disk has room, Redis runs, the remote is honest, everything runs."""
        self._do_later(all_of_it=True)
        for name in list(self._fleet.paused):
            self._fleet.go_on(name)
        self._fleet.tell_remote("honest")
        self._revive()

    def _revive(self):
        for name, code in self._fleet.revive().items():
            self._journal.note("ended by itself", process=name, code=code)

    # -- processes ------------------------------------------------------------------------------------

    def _worker(self):
        return f"worker{self._chance.randrange(WORKERS)}"

    def _cleaner(self):
        return f"cleaner{self._chance.randrange(CLEANERS)}"

    def _kill_child(self):
        name = self._worker()
        with self._fleet.guard:
            children = self._fleet.children(name)
            if children:
                pid = self._chance.choice(children)
                self._note("kill child", process=name, pid=pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _kill_companion(self):
        with self._fleet.guard:
            there = self._fleet.companions()
            if there:
                pid = self._chance.choice(there)
                self._note("kill companion", pid=pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _kill(self, kind, name):
        self._note(kind, process=name)
        self._fleet.kill(name)

    def _kill_worker(self):
        self._kill("kill worker", self._worker())

    def _kill_server(self):
        self._kill("kill server", SERVER)

    def _kill_cleaner(self):
        self._kill("kill cleaner", self._cleaner())

    def _pause(self, kind, name, pids=None):
        if name in self._fleet.paused:
            return
        seconds = self._chance.uniform(0.8 * LEASE_S, 2.5 * LEASE_S)
        self._note(kind, process=name, seconds=round(seconds, 2))
        self._fleet.pause(name, pids=pids)
        self._after(seconds, lambda: self._fleet.go_on(name))

    def _pause_worker(self):
        self._pause("pause worker", self._worker())

    def _pause_child(self):
        name = self._worker()
        children = self._fleet.children(name)
        if children:
            self._pause("pause child", name, [self._chance.choice(children)])

    def _pause_server(self):
        self._pause("pause server", SERVER)

    def _pause_cleaner(self):
        self._pause("pause cleaner", self._cleaner())

    # -- Redis ----------------------------------------------------------------------------------------

    def _redis_emptied(self):
        with self._fleet.guard, self._fleet.valkey.client() as client:
            self._note("redis emptied")
            client.flushall()

    def _redis_killed(self):
        valkey = self._fleet.valkey
        self._note("redis killed")
        with self._fleet.guard:
            valkey.kill()
        if not self._saved:
            shutil.copytree(f"{valkey.folder}/appendonlydir", self._snapshot)
        self._sleep(self._chance.uniform(0, 2.0))
        self._begin_redis("redis started")

    def _redis_from_an_old_snapshot(self):
        valkey = self._fleet.valkey
        self._note(OLD_SNAPSHOT)
        with self._fleet.guard:
            valkey.kill()
        state, newer = f"{valkey.folder}/appendonlydir", f"{self._snapshot}.new"
        shutil.move(state, newer)
        shutil.move(self._snapshot, state)
        shutil.move(newer, self._snapshot)  # the next time it is this one that is old
        self._sleep(self._chance.uniform(0, 1.0))
        self._begin_redis("old redis started")

    def _begin_redis(self, event):
        with self._fleet.guard:
            # Before it starts: its new epoch, from which the waiting period counts, is not older than this.
            self._journal.note(event, wall_ms=time.time_ns() // 1_000_000)
            self._fleet.valkey.start()

    # -- the disk -------------------------------------------------------------------------------------

    def _disk_full(self):
        """Somebody else fills it to the brim, for a while."""
        left = self._chance.choice([0, 0, 100_000, 400_000])
        seconds = self._chance.uniform(1.0, 3.0)
        self._note("disk full", left_bytes=left, seconds=round(seconds, 2))
        self._filler.fill(left)
        self._after(seconds, self._filler.empty)

    # -- the remote -----------------------------------------------------------------------------------

    def _remote_lies(self):
        how = self._chance.choice(LIES)
        self._note("remote lies", how=how)
        self._fleet.tell_remote(how)
        self._after(self._chance.uniform(1.0, 3.0), lambda: self._fleet.tell_remote("honest"))

    def _remote_hangs(self):
        self._pause("remote hangs", REMOTE)

    def _remote_dies(self):
        self._kill("remote dies", REMOTE)


class Filler:
    """Takes the room of a small file system away, outside of the cache."""

    def __init__(self, folder):
        self._folder = folder
        self._path = f"{folder}/somebody-elses"

    def fill(self, left_bytes):
        with open(self._path, "wb", buffering=0) as file:
            room = os.statvfs(self._folder)
            wanted = max(0, room.f_bavail * room.f_frsize - left_bytes)
            with suppress(OSError):
                while wanted > 0:
                    wanted -= file.write(bytes(min(wanted, 65536)))

    def empty(self):
        with suppress(FileNotFoundError):
            os.unlink(self._path)
