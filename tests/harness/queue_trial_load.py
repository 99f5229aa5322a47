"""Clients that never pause: each commits, pulls or pushes one artifact after the other, and waits for it.

``Load`` keeps what was sent and how it ended. Every job has an artifact of its own, so that each effect
can be looked for afterwards.
"""

from __future__ import annotations

import itertools
import shutil
import threading
import time
import traceback
from typing import NamedTuple

from harness.queue_trial_trees import ref_of, trial_tree

from caskeeper.client import Client
from caskeeper.errors import CaskeeperError

#: A job that takes longer is one that does not end.
JOB_S = 180.0
CLIENTS = 12


class Sent(NamedTuple):
    """One job: ``outcome`` is "done" or the name of an error; "not sent" where the client was refused."""

    verb: str
    kind: str
    number: int
    job_id: str
    outcome: str
    seconds: float
    text: str = ""


class Load:
    """``with Load(fleet, seed=…) as load: …``: runs inside the block; at its end every job is waited for.

    ``jobs`` are all that were asked for, ``bugs`` what else a client met.
    """

    def __init__(self, fleet, *, seed, clients=CLIENTS):
        self._fleet, self._seed = fleet, seed
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._guard = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, name=f"client {n}", daemon=True) for n in range(clients)
        ]
        self.jobs, self.bugs = [], []

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        deadline = time.monotonic() + JOB_S + 60
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self.bugs.append(f"{thread.name} does not end")

    @property
    def done(self):
        """How many jobs have succeeded until now."""
        with self._guard:
            return sum(job.outcome == "done" for job in self.jobs)

    def count(self, outcome, verb=""):
        return sum(job.outcome == outcome and job.verb.startswith(verb) for job in self.jobs)

    @property
    def failed(self):
        """Jobs that were sent and did not succeed."""
        return [job for job in self.jobs if job.outcome not in {"done", "not sent"}]

    def of(self, verb):
        """(kind, number) of what this verb has done, and of what it may have: it was refused or not sent."""
        named = [job for job in self.jobs if job.verb == verb]
        done = {(job.kind, job.number) for job in named if job.outcome == "done"}
        return done, {(job.kind, job.number) for job in named} - done

    def _run(self):
        try:
            with Client(self._fleet.settings) as client:
                while not self._over.is_set():
                    self._turn(client, next(self._numbers))
        except Exception:  # noqa: BLE001 -- told by the thread that waits
            self.bugs.append(traceback.format_exc())

    def _turn(self, client, number):
        if number % 3 == 0:
            self._job("pull", "published", number, client.pull)
            return
        source = trial_tree(self._seed, "committed", number).write(f"{self._fleet.folder}/sources/{number}")
        made = self._job("commit", "committed", number, lambda ref: client.commit(source, ref))
        shutil.rmtree(source)
        if made and number % 3 == 1:
            self._job("push", "committed", number, client.push)

    def _job(self, verb, kind, number, ask):
        """Whether it has succeeded."""
        began = time.monotonic()
        job_id, outcome, text = "", "not sent", ""
        try:
            job = ask(ref_of(kind, number))
            job_id, outcome = job.id, "does not end"
            job.result(JOB_S)
            outcome = "done"
        except CaskeeperError as error:
            text = str(error)
            outcome = type(error).__name__ if job_id else "not sent"
        seconds = time.monotonic() - began
        with self._guard:
            self.jobs.append(Sent(verb, kind, number, job_id, outcome, seconds, text))
        return outcome == "done"


def seconds_at(jobs, share):
    """So many of the jobs took no longer, in seconds."""
    seconds = sorted(job.seconds for job in jobs)
    return round(seconds[min(len(seconds) - 1, int(len(seconds) * share))], 2) if seconds else 0.0
