"""A published artifact that is large enough to be in the middle of, and fleets that pull it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from typing import NamedTuple

import pytest
from harness.commands import Place
from harness.processes import Fleet
from harness.valkey import ValkeyServer

from caskeeper.config import load_settings
from caskeeper.contract import CommitRequest
from worker.protocols import quiet
from worker.wiring import build

#: The acceptance run has 1_000_000_000.
PULL_BYTES = int(os.environ.get("CASKEEPER_TEST_PULL_BYTES", "200_000_000"))
BIG = "demo/big/1"


class Served(NamedTuple):
    """What a real server offers."""

    url: str
    source: str
    size_bytes: int


@pytest.fixture(scope="session")
def roomy():
    """A folder for all that; in memory where there is room for it thrice."""
    shared = "/dev/shm"
    room = shutil.disk_usage(shared).free if os.path.isdir(shared) else 0
    folder = tempfile.mkdtemp(prefix="ck-faults-", dir=shared if room > 4 * PULL_BYTES else None)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def served(roomy):
    """A server process with a volume and a Redis of its own, and the large artifact on it."""
    source = f"{roomy}/source"
    os.makedirs(f"{source}/bin/deep")
    size_bytes = 0
    for number in range(300):
        size_bytes += _write(f"{source}/bin/deep/{number}", 2000)
    for number in range(6):
        size_bytes += _write(f"{source}/large-{number}", (PULL_BYTES - 600_000) // 6)
    os.chmod(f"{source}/bin/deep/7", 0o755)
    os.symlink("bin/deep/7", f"{source}/run")
    with ValkeyServer() as valkey:
        place = Place(roomy, valkey)
        config = place.configure("server", cachedir=f"{roomy}/served")
        services = build(load_settings(config), redis_url=valkey.url)
        try:
            services.run(CommitRequest(path=source, refs=(BIG,)), quiet())
        finally:
            services.close()
        _process, url = place.server(config=config)
        try:
            yield Served(url, source, size_bytes)
        finally:
            place.end()


def _write(path, size_bytes):
    with open(path, "wb") as file:
        file.writelines(os.urandom(min(1 << 20, size_bytes - at)) for at in range(0, size_bytes, 1 << 20))
    return size_bytes


@pytest.fixture
def fleet(roomy, served):
    """An empty volume with a Redis that keeps its data; workers are started by the test."""
    folder = tempfile.mkdtemp(prefix="fleet-", dir=roomy)
    with ValkeyServer(appendonly=True) as valkey:
        fleet = Fleet(folder, valkey, remote=served.url)
        try:
            yield fleet
        finally:
            fleet.end()
            shutil.rmtree(folder)


@pytest.fixture
def tell(capsys, request):
    """Print a figure whatever pytest does with output."""

    def tell(line):
        with capsys.disabled():
            sys.stdout.write(f"\n  {request.node.name}: {line}\n")

    return tell
