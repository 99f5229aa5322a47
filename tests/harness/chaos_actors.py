"""Writers and cleaners as processes of their own, and the one that kills them.

Run as ``python -P -m harness.chaos_actors CONFIG FOLDER SECONDS SEED`` with ``tests`` on PYTHONPATH. It
forks four writers and two cleaners, which work on the volume of CONFIG, kills one of them every moment and
starts it again. What they did and what went wrong stands in FOLDER/journal, a JSON object a line.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback

from harness.delivery_worker import TESTS

from caskeeper.artifact import Ref
from caskeeper.config import load_settings
from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ComputeSizeRequest,
    ExtractRequest,
    LinkRequest,
    PullRequest,
    RemoveRequest,
)
from caskeeper.errors import ArtifactNotFound, Busy, CacheTooFull, Cancelled, LeaseLost, NoSpace
from caskeeper.session import Session
from worker.protocols import quiet
from worker.wiring import build

#: What an honest verb may answer when others clean, require and die around it.
EXPECTED = (ArtifactNotFound, Busy, CacheTooFull, Cancelled, LeaseLost, NoSpace)
#: Few trees: what one evicts, another is just about to need.
ELEMENTS, VARIANTS, WRITERS, CLEANERS = 4, 2, 4, 2


class Actor:
    """One process; ``turn`` is one piece of its work."""

    def __init__(self, folder, config, name, seed):
        self.folder = folder
        self.name = name
        self.chance = random.Random(f"{seed} {name}")
        settings = load_settings(config)
        self.services = build(settings, redis_url=settings.redis)
        self.context = quiet()._replace(check=self.check)
        self.until = time.monotonic()

    def note(self, event, **fields):
        line = json.dumps({"event": event, "actor": self.name, **fields}) + "\n"
        fd = os.open(f"{self.folder}/journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, line.encode())
        os.close(fd)

    def run(self, until):
        self.until = until
        while time.monotonic() < until:
            self.turn()
        self.services.close()

    def check(self):
        if time.monotonic() > self.until:
            raise Cancelled("the time is over")

    def do(self, request):
        """Its result; None when it was refused, which is noted."""
        try:
            result = self.services.run(request, self.context)
        except EXPECTED as refused:
            self.note("refused", verb=request.TASK, why=type(refused).__name__, error=str(refused))
            return None
        self.note("done", verb=request.TASK)
        return result


class Writer(Actor):
    """A build: requires what it is about to make, makes it, and finds it there until its session ends."""

    def turn(self):
        element = f"e{self.chance.randrange(ELEMENTS)}"
        with Session(self.services.coordination, self.services.layout, label=self.name) as session:
            promised = set()
            for number in range(self.chance.randrange(1, 4)):
                ref = Ref.parse(f"chaos/{element}/{self.name}-{number}")
                promised |= set(session.require(ref))
                if self.make(ref):
                    promised.add(ref)
                self.look_around(ref)
                gone = {str(ref) for ref in promised - session.lost if not self.is_whole(ref)}
                if gone:
                    self.note("broken promise", refs=sorted(gone))

    def make(self, ref):
        if self.chance.random() < 0.3:
            published = ref._replace(key="published")
            if self.do(PullRequest(ref=str(published))) is None:
                return False
            return self.do(LinkRequest(ref=str(published), key=ref.key)) is not None
        source = f"{self.folder}/trees/{ref.element}-{self.chance.randrange(VARIANTS)}"
        return self.do(CommitRequest(path=source, refs=(str(ref),))) is not None

    def look_around(self, ref):
        if self.chance.random() < 0.5:
            self.do(ExtractRequest(ref=str(ref)))
        if self.chance.random() < 0.2:
            self.do(RemoveRequest(refs=(str(ref._replace(key="published")),)))

    def is_whole(self, ref):
        """A copy made by reading everything."""
        place = f"{self.folder}/out/{self.name}-{os.getpid()}-{time.monotonic_ns()}"
        try:
            self.services.run(ExtractRequest(ref=str(ref), destination=place), quiet())
        except (Busy, LeaseLost) as refused:
            self.note("refused", verb="look", why=type(refused).__name__, error=str(refused))
        except ArtifactNotFound:
            return False
        return True


class Cleaner(Actor):
    def turn(self):
        if self.chance.random() < 0.15:
            self.do(ComputeSizeRequest())
        else:
            self.do(CleanupRequest(target_bytes=self.chance.choice([None, 0, 1_000_000])))
        time.sleep(self.chance.uniform(0, 0.1))


class Nemesis:
    """Starts the actors, and kills one of them every moment."""

    def __init__(self, config, folder, seconds, seed):
        self.config, self.folder, self.seed = config, folder, seed
        self.chance = random.Random(seed)
        self.until = time.monotonic() + seconds
        self.actors = {}
        self.births = 0

    def start(self, name):
        self.births += 1
        pid = os.fork()
        if pid:
            self.actors[pid] = name
            return
        status = 1
        try:
            kind = Writer if name.startswith("writer") else Cleaner
            actor = kind(self.folder, self.config, name, f"{self.seed} {self.births}")
            try:
                actor.run(self.until)
                status = 0
            except Exception:  # noqa: BLE001 -- whatever it is, the test has to hear of it
                actor.note("bug", text=traceback.format_exc())
        finally:
            os._exit(status)

    def run(self):
        for number in range(WRITERS):
            self.start(f"writer{number}")
        for number in range(CLEANERS):
            self.start(f"cleaner{number}")
        killed = 0
        while time.monotonic() < self.until - 1:
            time.sleep(self.chance.uniform(0.1, 0.8))
            writers = [pid for pid, name in self.actors.items() if name.startswith("writer")]
            # A cleaner now and then: another has to find its lease over first.
            pid = self.chance.choice([*writers, *writers, *self.actors])
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            killed += 1
            self.start(self.actors.pop(pid))
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in self.actors]
        sys.stdout.write(json.dumps({"killed": killed, "codes": codes}))


def start_actors(config, folder, *, seconds, seed):
    """The process of the Nemesis, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "harness.chaos_actors", config, folder, str(seconds), str(seed)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def journal(folder):
    with open(f"{folder}/journal", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


if __name__ == "__main__":
    config, folder, seconds, seed = sys.argv[1:]
    Nemesis(config, folder, float(seconds), seed).run()
