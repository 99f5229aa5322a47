"""A real worker process whose services do what the name of a ref says, and write down that they did.

Run as ``python -P -m harness.delivery_worker URL JOURNAL CONCURRENCY RETRIES`` with ``tests`` on
PYTHONPATH. The queue, the delivery and the tasks are the real ones; only what a verb does is replaced:
``t/sleep/SECONDS``, ``t/stuck/x`` (until it is begun anew), ``t/crash/x`` (ends its process),
``t/busy/TIMES`` (Busy so often, then fine), ``t/missing/x`` (ArtifactNotFound), ``t/bug/x`` (a
RuntimeError), ``t/report/SECONDS`` (with progress). These are killed once: ``t/unbegun/x`` when it has the
lease, ``t/untold/x`` when its result is stored and noted, ``t/unlooked/x`` when it asks what the cache wants.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

from caskeeper.config import LeaseSettings, Settings
from caskeeper.contract import Progress, PullRequest, PullResult
from caskeeper.coordination import Coordination
from caskeeper.errors import ArtifactNotFound, Busy
from tasks import runner
from tasks.app import serve
from tasks.celery_app import make_application
from tasks.delivery import DeliverySettings, Execution
from tasks.process import Report

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DELIVERY = DeliverySettings(visibility_timeout_s=4.0, lease_ttl_s=2.0, max_starts=3)

#: What every request without a ref does.
MAINTENANCE = "t/sleep/1.5"


def pull(queue, ref):
    """A job for such a worker."""
    return queue.submit(PullRequest(ref=ref), PullResult)


class Services:
    """In the place of the real ones."""

    def __init__(self, journal, coordination=None):
        self._journal = journal
        self._dies = False
        self.coordination = coordination or SimpleNamespace(limits=None)  # nothing waits for a turn then

    def note(self, event, ref):
        line = json.dumps({"event": event, "ref": ref, "pid": os.getpid(), "at": time.time()})
        with open(self._journal, "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def upkeep_wanted(self):
        self.note("look", "")
        if self._dies:
            die()

    def close(self):
        pass

    def run(self, request, context):
        ref = getattr(request, "ref", MAINTENANCE)
        self.note("begin", ref)
        _, what, key = ref.split("/")
        getattr(self, what)(key, ref, context)
        self.note("end", ref)
        return PullResult(pulled=True, cached=False, remote=ref)

    def sleep(self, key, ref, context):
        until = time.monotonic() + float(key)
        while time.monotonic() < until:
            context.check()
            time.sleep(0.02)

    def stuck(self, key, ref, context):
        """For ever, except when it was begun before."""
        while read_journal(self._journal)[("begin", ref)] == 1:
            context.check()
            time.sleep(0.05)

    def report(self, key, ref, context):
        for n in range(int(float(key) * 50)):
            context.progress(Progress(phase="copying", done_bytes=n, total_bytes=int(float(key) * 50)))
            time.sleep(0.02)

    def crash(self, key, ref, context):
        die()

    def unbegun(self, key, ref, context):
        """Its worker was killed before it came here: ``begin`` below."""

    def untold(self, key, ref, context):
        Execution.release = lambda *_: die()  # of this child alone

    def unlooked(self, key, ref, context):
        self._dies = True

    def busy(self, key, ref, context):
        if read_journal(self._journal)[("begin", ref)] <= int(key):
            raise Busy("the test says so", ref)

    def late(self, key, ref, context):
        """The first to begin fails for good when it is told to, without a look; the others end when told."""
        first = read_journal(self._journal)[("begin", ref)] == 1
        while not os.path.exists(f"{self._journal}.{'fail' if first else 'end'}"):
            if not first:
                context.check()
            time.sleep(0.02)
        if first:
            self.note("fails", ref)
            raise ArtifactNotFound("the test says so", ref, "look elsewhere")

    def missing(self, key, ref, context):
        raise ArtifactNotFound("the test says so", ref, "look elsewhere")

    def bug(self, key, ref, context):
        raise RuntimeError("a bug of the test's")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def deadly(keep, services):
    def once(execution):
        ref = execution._begin.subject
        if ref.startswith("t/unbegun/") and not read_journal(services._journal)["taken", ref]:
            services.note("taken", ref)
            die()
        keep(execution)

    return once


def read_journal(path):
    """How often each event was written for each ref."""
    if not os.path.exists(path):
        return Counter()
    with open(path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return Counter((line["event"], line["ref"]) for line in lines)


def read_lines(path):
    """Every line as it was written."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


class WorkerProcess:
    """One such worker in a process group of its own."""

    def __init__(self, url, journal, *, concurrency=2, retries=6):
        ours, theirs = os.pipe()
        self._log = open(f"{journal}.log", "a", encoding="utf-8")  # noqa: SIM115 -- closed by end()
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "harness.delivery_worker",
                url,
                journal,
                str(concurrency),
                str(retries),
            ],
            env={**os.environ, "PYTHONPATH": TESTS, "_CASKEEPER_REPORT_FD": str(theirs)},
            pass_fds=[theirs],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        os.close(theirs)
        with open(ours, encoding="utf-8") as pipe:
            assert json.loads(pipe.readline()) == {}, "the worker did not start"

    @property
    def pid(self):
        return self.process.pid

    def end(self, number=signal.SIGTERM, *, wait_s=30):
        """Its exit code after this signal."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(wait_s)
        self._log.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end(signal.SIGKILL)


def main(url, journal, concurrency, retries):
    runner.PATIENT_RETRIES = int(retries)
    settings = replace(Settings(cachedir="/nonexistent"), leases=LeaseSettings())
    coordination = Coordination.create(
        url, volume_id="delivery-test", epoch="e", used_bytes=0, leases=settings.leases
    )
    Execution.keep = deadly(Execution.keep, Services(journal))
    made = make_application(
        settings,
        url,
        flights=lambda: coordination.flights,
        build=lambda: Services(journal, coordination),
        delivery=DELIVERY,
    )
    return serve(
        made,
        settings,
        lanes=("pull", "local", "maintenance"),
        concurrency=int(concurrency),
        report=Report.inherited(),
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
