"""A history: real processes on one small disk, clients that rely on it, a nemesis, and a checker.

    outcome = run_history(folder, seconds=60, seed="1")

runs ``python -P -m harness.histories FOLDER SECONDS SEED`` with ``tests`` on PYTHONPATH; where the kernel
lets us, in namespaces of its own: the disk is a mounted one, and all processes end with the first. FOLDER
keeps the journal and the logs: with the seed they are what is needed to find out what happened.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress

from harness.commands import environment, read, until
from harness.histories_checker import FORGOTTEN, figures, violations
from harness.histories_clients import BUILDERS, Builder
from harness.histories_crowd import Crowd, Operator
from harness.histories_fleet import GRACE_S, SERVER, Fleet
from harness.histories_foreign import FOREIGNERS, Foreigner
from harness.histories_journal import Journal, read_journal
from harness.histories_trees import make_trees
from harness.histories_watch import Watch
from harness.impatient import TESTS
from harness.nemesis import OLD_SNAPSHOT, Filler, Nemesis
from harness.scene import can_mount

from caskeeper.client import Client
from caskeeper.coordination import keys as key_names
from caskeeper.errors import CaskeeperError
from caskeeper.job import FINAL
from caskeeper.queue import QUEUED

DISK = "size=28m"
#: From the last fault on: clients end what they do, leases run out, the last counts are made.
QUIET_S = 240.0


def run_history(folder, *, seconds, seed):
    """The outcome: ``violations`` and ``figures``. Nothing of it runs when this returns."""
    os.makedirs(folder, exist_ok=True)
    # Sockets have short paths only; nothing is left there, however this ends.
    sockets = tempfile.mkdtemp(prefix="ck-h-")
    own = ["unshare", "-rmpf", "--kill-child", "--mount-proc"] if can_mount() else []
    words = [*own, sys.executable, "-P", "-m", "harness.histories", folder, str(seconds), seed]
    path = os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")])
    log = f"{folder}/history.log"
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [*words, "mount" if own else "plain"],
            env=environment(PYTHONPATH=path, TMPDIR=sockets),
            stdin=subprocess.PIPE,  # its end is what tells the other that we are gone
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            process.wait(seconds + QUIET_S + 120)
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            shutil.rmtree(sockets, ignore_errors=True)
    outcome = f"{folder}/outcome.json"
    if not os.path.exists(outcome):
        return {"violations": [f"the history broke off: {read(log)[-3000:]}"], "figures": {}}
    with open(outcome, encoding="utf-8") as file:
        return json.load(file)


class History:
    """What runs in the process of its own."""

    def __init__(self, folder, seconds, seed, *, mount):
        self.folder, self.seconds, self.seed = folder, seconds, seed
        self.journal = Journal(f"{folder}/journal", "history")
        self.disk = f"{folder}/disk"
        os.mkdir(self.disk)
        if mount:
            subprocess.run(["mount", "-t", "tmpfs", "-o", DISK, "none", self.disk], check=True)
        self.filler = Filler(self.disk) if mount else None
        os.mkdir(f"{folder}/out")
        self.trees = make_trees(seed)
        for tree in self.trees.committed:
            tree.write(f"{folder}/sources/{tree.name}")
        self.quota_bytes = self.trees.working_set_bytes // 3
        self.final = {
            "seconds": seconds,
            "seed": seed,
            "quota_bytes": self.quota_bytes,
            "working_set_bytes": self.trees.working_set_bytes,
            "small_disk": mount,
        }

    def run(self):
        self.fleet = Fleet(
            self.folder, self.disk, seed=self.seed, quota_bytes=self.quota_bytes, journal=self.journal
        )
        try:
            self.fleet.begin()
            self.journal.note("begun", seed=self.seed, quota_bytes=self.quota_bytes)
            nemesis = Nemesis(self.fleet, self.journal, seed=self.seed, filler=self.filler)
            actors = self._actors()
            with Watch(self.fleet, self.journal):
                for actor in actors:
                    actor.thread.start()
                nemesis.run(time.monotonic() + self.seconds)
                self.journal.note("quiet from here")
                nemesis.heal()
                self._end_actors(actors, nemesis)
                self._find_out()
        except Exception:  # noqa: BLE001 -- told as the outcome
            self.final["failed"] = traceback.format_exc()
        finally:
            self._keep_evidence()
            self.fleet.end()

    def _actors(self):
        told = {"seed": self.seed}
        sources = f"{self.folder}/sources"
        parts = (self.fleet, self.journal)
        return [
            *(
                Builder(f"builder{n}", *parts, **told, trees=self.trees, sources=sources)
                for n in range(BUILDERS)
            ),
            *(Foreigner(f"foreigner{n}", *parts, **told, trees=self.trees) for n in range(FOREIGNERS)),
            Operator("operator", *parts, **told),
            Crowd("crowd", *parts, **told, trees=self.trees, sources=sources),
        ]

    def _end_actors(self, actors, nemesis):
        for actor in actors:
            actor.over.set()
        deadline = time.monotonic() + QUIET_S
        for actor in actors:
            while actor.thread.is_alive() and time.monotonic() < deadline:
                nemesis.heal()
                actor.thread.join(0.2)
            if actor.thread.is_alive():
                raise AssertionError(f"{actor.name} does not end")

    def _find_out(self):
        """Nothing runs any more: what is on the volume, and what is counted."""
        fleet, final = self.fleet, self.final
        final["codes"] = fleet.stop(SERVER, *(name for name in fleet.processes if "cleaner" in name))
        with Client(fleet.settings) as client:
            self._wait_until_quiet(client)
            _patiently(client.compute_size)
            final["counted"] = {"after the recount": self._count()}
            final["troubles"] = fleet.reader.troubles()
            final["leavings"] = fleet.reader.leavings()
            final["states"] = self._states(client)
            time.sleep(2 * GRACE_S)  # what the server promised is over by then
            _patiently(lambda: client.cleanup(target_bytes=0))
            final["kept"] = list(fleet.reader.refs())
            final["counted"]["after a cleanup of everything"] = self._count()
            self._wait_until_quiet(client)
        final["codes"] |= fleet.stop(*(name for name in fleet.processes if "worker" in name))

    def _wait_until_quiet(self, client):
        """No job waits or runs, no lease of whoever died is open, no session lives, evicting is allowed."""

        def is_quiet():
            try:
                state = self.fleet.coordination.state()
                if client.queue.taken() or any(client.queue.lengths().values()):
                    return False
                if state.lost or not state.ready or state.evict_from_ms > state.now_ms:
                    return False
                open_ones = self.fleet.coordination.operations.list()
                live = self.fleet.coordination.sessions.live()
            except CaskeeperError:
                return False
            return not live and all(one.expires_ms < state.now_ms for one in open_ones)

        until(is_quiet, wait_s=120)

    def _count(self):
        usage = self.fleet.coordination.usage.snapshot()
        return usage.used_bytes, usage.reserved_bytes, self.fleet.reader.used_bytes()

    def _states(self, client):
        """Jobs whose stored state is not a final one.

        Not of those whose clients were told that they are forgotten: a Redis that comes back with older data
        may know such a job again, without its message. Nor of those whose clients were told of their end, and
        then it came back to where the job was announced and not yet sent: nobody sends it any more.
        """
        lines = read_journal(self.journal.path)
        forgotten = {line["job"] for line in lines if FORGOTTEN in line.get("error", "") and "job" in line}
        sent = {line["job"] for line in lines if line["event"] == "sent"}
        ended = {line["job"]: line["at"] for line in lines if line["event"] == "ended"}
        back = max((line["at"] for line in lines if line.get("kind") == OLD_SNAPSHOT), default=0.0)
        states = {job: client.queue.state(job) for job in sent - forgotten}
        left = {
            job: state["status"] for job, state in states.items() if state and state["status"] not in FINAL
        }
        with self.fleet.valkey.client() as redis:
            return {
                job: status
                for job, status in left.items()
                if not (
                    status == QUEUED
                    and ended.get(job, back) < back
                    and redis.hget(key_names.job(job), "sent") != "1"
                )
            }

    def _keep_evidence(self):
        """The disk goes with this process: what it looks like is written down."""
        listing = subprocess.run(
            ["find", self.disk, "-printf", "%A+ %m %s %n %p\n"], capture_output=True, text=True, check=False
        )
        with open(f"{self.folder}/volume.txt", "w", encoding="utf-8") as file:
            file.write(listing.stdout)

    def outcome(self):
        lines = read_journal(self.journal.path)
        names = [name for name in sorted(os.listdir(self.folder)) if name.endswith(".log")]
        logs = {name: read(f"{self.folder}/{name}") for name in names if name != "history.log"}
        found = violations(lines, self.final, logs)
        return {"violations": found, "figures": figures(lines, self.final, found)}


def _patiently(ask, *, wait_s=90):
    """The result of a job that may meet a lease or a waiting period."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return ask().result(wait_s)
        except CaskeeperError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _end_with_stdin():
    """Whoever started us is gone: so is everything that runs here."""
    sys.stdin.read()
    os._exit(1)


def main(folder, seconds, seed, how):
    threading.Thread(target=_end_with_stdin, name="stdin", daemon=True).start()
    history = History(folder, float(seconds), seed, mount=how == "mount")
    history.run()
    with open(f"{folder}/outcome.part", "w", encoding="utf-8") as file:
        json.dump(history.outcome(), file, indent=1)
    os.rename(f"{folder}/outcome.part", f"{folder}/outcome.json")
    with suppress(OSError):
        shutil.rmtree(f"{folder}/sources")


if __name__ == "__main__":
    main(*sys.argv[1:])
