"""The trees that are measured, the same bytes in every run."""

from __future__ import annotations

import math
import os
import random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_MIB = 2**20


class Workload(NamedTuple):
    """A tree, how often it is measured, and what of it counts."""

    name: str
    title: str
    files: int
    size_bytes: int  # about
    write: Callable[[str], None]
    repetitions: int
    #: what one repetition needs at its worst: the tree, two volumes with it, a private copy
    copies: int = 4


def small(files: int = 20_000, folders: int = 2_000) -> Workload:
    """Many small files: 100 B to 16 KiB, small ones far more often than large ones."""

    def write(folder: str) -> None:
        chance = random.Random(20_000)
        for number in range(folders):
            inner = f"{folder}/{number % 40:02}/{number:04}"
            os.makedirs(inner)
            for name in range(files // folders):
                size = int(math.exp(chance.uniform(math.log(100), math.log(16 * 1024))))
                with open(f"{inner}/{name}", "wb", buffering=0) as file:
                    file.write(chance.randbytes(size))

    return Workload(
        "small",
        f"{files:,} files of 100 B to 16 KiB in {folders:,} folders",
        files,
        files * 8192,  # in blocks
        write,
        repetitions=5,
    )


def large(files: int = 4, mib: int = 512) -> Workload:
    """Few large files; no MiB of them is like another."""

    def write(folder: str) -> None:
        os.makedirs(folder)
        block = bytearray(random.Random(512).randbytes(_MIB))
        for number in range(files):
            with open(f"{folder}/{number}", "wb", buffering=0) as file:
                for piece in range(mib):
                    block[:8] = (number * mib + piece).to_bytes(8, "big")
                    file.write(block)

    return Workload("large", f"{files} files of {mib} MiB", files, files * mib * _MIB, write, repetitions=3)


def size_of(folder: str) -> int:
    """The bytes of all files below a folder."""
    return sum(
        os.path.getsize(f"{above}/{name}") for above, _folders, names in os.walk(folder) for name in names
    )
