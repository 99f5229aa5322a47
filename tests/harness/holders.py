"""A process that holds something and is killed with SIGKILL: what the next one finds.

Run as ``python -P -m harness.holders KIND FOLDER URL`` with ``tests`` on PYTHONPATH; it says ``held`` and
stays.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack

from harness.fleet import settings_for
from harness.impatient import TESTS

from caskeeper.artifact import Ref
from caskeeper.config.settings import LeaseSettings
from caskeeper.coordination.jobs import Begin
from caskeeper.session import Session
from worker.protocols import quiet
from worker.store.format import creation_lock
from worker.store.volume import Volume
from worker.wiring import build

#: Every lease ends this long after its last renewal.
LIFE_S = 1.0
LEASES = LeaseSettings(operation_s=LIFE_S, session_s=LIFE_S, clock_margin_s=0.0)
REF = "p/held/k"


def maintenance(services, ending):
    ending.enter_context(services.maintenance.run("held", check=lambda: None))


def condemnation(services, ending):
    """A cleanup that is about to take REF away."""
    run = ending.enter_context(services.maintenance.run("held", check=lambda: None))
    (root,) = services.maintenance.refs.read(Ref.parse(REF)).roots
    names = {"roots": [root.hash], "refs": [REF], "keys": ["k"]}
    assert services.coordination.maintenance.condemn(run.holder, run.epoch, **names) == ""


def reservation(services, ending):
    """Everything that fits is reserved."""
    operation = ending.enter_context(services.desk.writer("held", "everything", quiet()))
    operation.reserve(services.space.limits().quota_bytes - services.space.used_bytes() - 8192)


def claim(services, ending):
    """A reader of REF."""
    operation = ending.enter_context(services.desk.reader("held", REF, quiet()))
    assert operation.claim(services.maintenance.refs.read(Ref.parse(REF)).roots)


def session(services, ending):
    """A build that requires REF."""
    build_session = ending.enter_context(Session(services.coordination, services.layout, label="held"))
    assert build_session.require(Ref.parse(REF)) == (Ref.parse(REF),)


def execution(services, _ending):
    """A delivery of a job."""
    assert services.coordination.flights.jobs.take(beginning("first", life_s=LIFE_S)).word == "OK"


def beginning(token, *, life_s, job_id="job", **about):
    """What a worker says of an execution that it wants to begin."""
    begin = Begin(
        job_id=job_id,
        flight="artifacts.pull:0",
        token=token,
        life_s=life_s,
        joinable=True,
        task="artifacts.pull",
        lane="pull",
        subject="p/e/k",
        worker="worker-1@here",
        pid=1,
        retries=0,
    )
    return begin._replace(**about)


def creation(services, ending):
    """The right to make the volume, whose folder is there already."""
    ending.enter_context(creation_lock(Volume(services.layout)))


KINDS = {
    kind.__name__: kind
    for kind in (maintenance, condemnation, reservation, claim, session, execution, creation)
}


def open_services(folder, url, *, quota="1M"):
    settings = settings_for(folder, quota=quota, leases=LEASES)
    return build(settings, redis_url=url)


def killed_holder(kind, folder, url):
    """Such a process has held its thing, and is gone."""
    path = os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "harness.holders", kind, str(folder), url],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        said = process.stdout.readline()
        process.kill()
    assert said == "held\n"


def main(kind, folder, url):
    services = open_services(folder, url)
    with ExitStack() as ending:
        KINDS[kind](services, ending)
        sys.stdout.write("held\n")
        sys.stdout.flush()
        time.sleep(600)


if __name__ == "__main__":
    main(*sys.argv[1:])
