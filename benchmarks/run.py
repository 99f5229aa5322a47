"""`make bench`: every verb by real processes, beside `cp` of the same tree in the same run.

Writes benchmarks/results.json and docs/performance.md. Times mean little by themselves: compare ratios.
``--quick`` runs a hundredth of it and writes nothing, to see that it works.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, TypeVar

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # with -P a script finds no neighbours

from processes import Fleet
from report import Measured, Sample, describe_machine, print_table, write_results
from trees import Workload, large, size_of, small

from caskeeper.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.contract import Message
    from caskeeper.job import Job

R = TypeVar("R", bound="Message")

RAM_DISK = "/dev/shm"
_GIB = 2**30
_LOOK_S = 0.002
#: How long everything may take to start.
_START_S = 120.0
#: What processes and their heaps need besides the trees.
_SPARE_BYTES = 2 * _GIB


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    workloads = [small(200, 20), large(mib=8)] if quick else [small(), large()]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is taken away again
    base = tempfile.mkdtemp(prefix="caskeeper-bench-", dir=_room(workloads))
    try:
        machine = describe_machine(base)
        measured = [_measure(workload, base) for workload in workloads]
    finally:
        shutil.rmtree(base)
    print_table(measured)
    if not quick:
        write_results(machine, measured)
    return 0 if all(one.memory_is_bounded for one in measured) else 1


def _room(workloads: list[Workload]) -> str:
    """The RAM disk if everything fits there, else the folder for temporary files."""
    needed = max(workload.copies * workload.size_bytes for workload in workloads) + _SPARE_BYTES
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file}
    if os.path.isdir(RAM_DISK):
        disk = os.statvfs(RAM_DISK)
        if min(disk.f_bavail * disk.f_frsize, memory["MemAvailable"]) >= needed:
            return RAM_DISK
    print(f"no RAM disk with {needed / _GIB:.0f} GiB: this measures the disk", file=sys.stderr)
    folder = tempfile.gettempdir()
    if shutil.disk_usage(folder).free < needed:
        sys.exit(f"there are no {needed / _GIB:.0f} GiB in {folder} either")
    return folder


def _measure(workload: Workload, base: str) -> Measured:
    tree = f"{base}/tree"
    _say(f"{workload.title}: writing")
    workload.write(tree)
    size_bytes = size_of(tree)
    _warm_up(base, (workload.copies - 1) * size_bytes)
    measured = Measured(workload.name, workload.title, workload.files, size_bytes)
    for number in range(workload.repetitions):
        _say(f"{workload.title}: {number + 1} of {workload.repetitions}")
        _repeat(tree, base, measured)
    shutil.rmtree(tree)
    return measured


def _warm_up(base: str, size_bytes: int) -> None:
    """Touch the memory once: for a virtual machine its first use is many times slower than later ones."""
    block = bytes(2**24)
    with open(f"{base}/warm", "wb", buffering=0) as file:
        file.writelines(block for _ in range(size_bytes // len(block)))
    os.unlink(f"{base}/warm")


def _repeat(tree: str, base: str, measured: Measured) -> None:
    """One round with new processes and empty volumes."""
    copy = f"{base}/copy"
    for name, options in (("cp -a", "-a"), ("cp -al", "-al")):
        measured.add(name, _time_copy(options, tree, copy))
        shutil.rmtree(copy)
    ref, folder = "bench/tree/key", f"{base}/fleet"
    with Fleet(folder) as fleet, Client(fleet.settings) as client:
        _wake(client, base)

        def timed(name: str, send: Callable[[], Job[R]]) -> R:
            sample, result = _time_job(fleet, send)
            measured.add(name, sample)
            return result

        committed = timed("commit", lambda: client.commit(tree, ref))
        assert (committed.files, committed.size_bytes) == (measured.files, measured.size_bytes)
        assert timed("push", lambda: client.push(ref)).pushed
        time.sleep(0.2)  # longer than the clock margin: nothing is young now
        assert _result(client.remove(ref)).freed_bytes >= measured.size_bytes
        assert timed("pull", lambda: client.pull(ref)).bytes >= measured.size_bytes
        shared = timed("extract, shared", lambda: client.extract(ref)).path
        _compare(tree, shared)
        timed("extract, private copy", lambda: client.extract(ref, destination=copy))
        _compare(tree, copy)
        measured.memory.append(fleet.memory())
    shutil.rmtree(copy)
    shutil.rmtree(folder)


def _wake(client: Client, base: str) -> None:
    """Every child has loaded its code and has its connections when this returns."""
    folder = f"{base}/wake"
    os.makedirs(folder)
    refs = [f"bench/wake/{number}" for number in range(8)]
    for ref in refs:
        with open(f"{folder}/{ref.rpartition('/')[2]}", "w", encoding="ascii") as file:
            file.write(ref)
    for jobs in ([client.commit(folder, ref) for ref in refs], [client.push(ref) for ref in refs]):
        for job in jobs:
            job.result(timeout_s=_START_S)
    client.remove(*refs).result(timeout_s=_START_S)
    shutil.rmtree(folder)


def _time_job(fleet: Fleet, send: Callable[[], Job[R]]) -> tuple[Sample, R]:
    cpu_s, began = fleet.cpu_s(), time.perf_counter()
    result = _result(send())
    return Sample(time.perf_counter() - began, fleet.cpu_s() - cpu_s), result


def _result(job: Job[R]) -> R:
    while not job.done:  # looked at more often than its own waiting does
        time.sleep(_LOOK_S)
    return job.result()


def _time_copy(options: str, source: str, target: str) -> Sample:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(["cp", options, source, target], check=True)
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Sample(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def _compare(tree: str, copy: str) -> None:
    subprocess.run(["diff", "-rq", "--no-dereference", tree, copy], check=True)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
