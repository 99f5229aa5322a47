"""Volumes of known content under a quota, and whether the account of one is exact."""

import os
import time
from contextlib import contextmanager

from harness.fleet import Oracle, fleet, write_tree

from caskeeper.contract import CleanupRequest, CommitRequest
from worker.protocols import quiet

KIB = 1024


def commit(services, folder, ref, *sizes):
    files = {f"f{n}": os.urandom(size) for n, size in enumerate(sizes)}
    source = write_tree(f"{folder}/src-{ref.replace('/', '-')}", files)
    services.run(CommitRequest(path=source, refs=(ref,)), quiet())


def commit_some(services, folder, count, *, size=60 * KIB):
    for n in range(count):
        commit(services, folder, f"p/e{n}/k{n}", size)
    time.sleep(0.02)  # the volume's clock ticks: all that is older than the next start


def clean(services, **options):
    return services.run(CleanupRequest(**options), quiet())


def refs_of(services):
    return sorted(Oracle(services.layout.root).refs())


def assert_exact(services):
    usage = services.coordination.usage.snapshot()
    oracle = Oracle(services.layout.root)
    assert (usage.used_bytes, usage.reserved_bytes) == (oracle.used_bytes(), 0)
    assert oracle.troubles() == []
    assert oracle.leavings() == []


@contextmanager
def lowered(folder, url, *, quota, **options):
    """The fleet again, under a smaller quota."""
    with fleet(folder, url, quota=quota, **options) as services:
        yield services
