"""Where the trees go, and what the machine is: enough to judge the numbers, nothing that names it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from typing import Any

RAM_DISK = "/dev/shm"
_GIB = 2**30
#: What processes and their heaps need besides the trees.
_SPARE_BYTES = 2 * _GIB


def room(needed_bytes: int, *, disk: bool = False) -> str:
    """The RAM disk; the folder for temporary files where ``disk`` allows to measure that too."""
    needed = needed_bytes + _SPARE_BYTES
    if os.path.isdir(RAM_DISK):
        with open("/proc/meminfo", encoding="ascii") as file:
            memory = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file}
        free = os.statvfs(RAM_DISK)
        if min(free.f_bavail * free.f_frsize, memory["MemAvailable"]) >= needed:
            return RAM_DISK
    if not disk:
        sys.exit(f"there are no {needed / _GIB:.0f} GiB of free memory for a RAM disk")
    folder = tempfile.gettempdir()
    if shutil.disk_usage(folder).free < needed:
        sys.exit(f"there are no {needed / _GIB:.0f} GiB in {folder}")
    return folder


def warm_up(folder: str, size_bytes: int) -> None:
    """Touch the memory once: for a virtual machine its first use is many times slower than later ones."""
    block = bytes(2**24)
    with open(f"{folder}/warm", "wb", buffering=0) as file:
        file.writelines(block for _ in range(size_bytes // len(block)))
    os.unlink(f"{folder}/warm")


def describe(folder: str) -> dict[str, Any]:
    with open("/proc/meminfo", encoding="ascii") as file:
        memory_kib = int(file.readline().split()[1])
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_kib * 1024 / _GIB, 1),
        "file_system": _file_system(folder),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 1),
    }


def _file_system(folder: str) -> str:
    """The kind of the file system that a folder lies on."""
    device = os.stat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            if line.split()[2] == wanted:
                return line.partition(" - ")[2].split()[0]
    return "unknown"
