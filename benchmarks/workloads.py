"""The trees that are measured, W1 to W5: the same bytes in every run."""

from __future__ import annotations

import math
import os
import random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_KIB, _MIB = 1024, 2**20
#: A real tree of a distribution, in figures: median and spread of its sizes, its largest file, its kinds.
_MEDIAN_BYTES, _SPREAD, _LARGEST_BYTES = 4 * _KIB, 1.9, 16 * _MIB
_POOL_BYTES = 4 * _MIB
#: One in so many files is executable, holds what another holds, has a symbolic link to it, was changed.
_EXECUTABLE, _DOUBLE, _LINKED, _CHANGED = 20, 33, 30, 50


class Workload(NamedTuple):
    """A tree, and what measuring it needs."""

    name: str
    title: str
    write: Callable[[str], None]
    operations: tuple[str, ...]
    #: about, in blocks on the disk
    size_bytes: int
    #: what is in the cache already: the workload that this one is a change of
    before: Workload | None = None
    #: too much to have in the caches of all contestants at the same time
    one_by_one: bool = False


_ALL = ("commit", "again", "push", "push again", "links", "copy", "pull")


def small(files: int = 20_000, folders: int = 2_000) -> Workload:
    """W1: many small files, 100 B to 16 KiB, small ones far more often than large ones."""

    def write(folder: str) -> None:
        chance = random.Random(20_000)
        for number in range(folders):
            inner = f"{folder}/{number % 40:02}/{number:04}"
            os.makedirs(inner)
            for name in range(files // folders):
                _write(f"{inner}/{name}", chance.randbytes(_small_size(chance)))

    title = f"{files:,} files of 100 B to 16 KiB in {folders:,} folders"
    return Workload("W1", title, write, _ALL, files * 6 * _KIB)


def real(files: int = 18_600, mib: int = 483) -> Workload:
    """W2: what an installed system looks like; text, executables, links, copies, a few large files."""
    return Workload(
        "W2",
        f"{files:,} files as of an installed system, {mib} MB, with links and executables",
        lambda folder: _write_real(folder, files, mib * 10**6, changed=False),
        _ALL,
        mib * _MIB,
    )


def changed(files: int = 18_600, mib: int = 483) -> Workload:
    """W4: W2 with 2 % of its files changed, over W2."""
    return Workload(
        "W4",
        "W2 with 2 % of its files changed, over W2",
        lambda folder: _write_real(folder, files, mib * 10**6, changed=True),
        ("commit", "push", "pull"),
        mib * _MIB,
        before=real(files, mib),
    )


def large(files: int = 4, mib: int = 512) -> Workload:
    """W3: few large files; no MiB of them is like another."""

    def write(folder: str) -> None:
        os.makedirs(folder)
        block = bytearray(random.Random(512).randbytes(_MIB))
        for number in range(files):
            with open(f"{folder}/{number}", "wb", buffering=0) as file:
                for piece in range(mib):
                    block[:8] = (number * mib + piece).to_bytes(8, "big")
                    file.write(block)

    operations = ("commit", "again", "push", "links", "copy", "pull")
    return Workload(
        "W3", f"{files} files of {mib} MiB", write, operations, files * mib * _MIB, one_by_one=True
    )


def many(artifacts: int = 500, own: int = 40, shared: int = 40, name: str = "W5") -> Workload:
    """W5 and the small jobs: a folder for each artifact, of own files and of files that all have."""

    def write(folder: str) -> None:
        chance = random.Random(500)
        everywhere = [chance.randbytes(_small_size(chance)) for _ in range(shared)]
        for number in range(artifacts):
            for kind, contents in (
                ("own", [chance.randbytes(_small_size(chance)) for _ in range(own)]),
                ("shared", everywhere),
            ):
                inner = f"{folder}/{number:04}/{kind}"
                os.makedirs(inner)
                for place, content in enumerate(contents):
                    _write(f"{inner}/{place:02}", content)

    title = f"{artifacts} artifacts of {own} own and {shared} shared files"
    return Workload(
        name, title, write, ("cleanup", "plan one", "evict one"), artifacts * (own + shared) * 6 * _KIB
    )


def _small_size(chance: random.Random) -> int:
    return int(math.exp(chance.uniform(math.log(100), math.log(16 * _KIB))))


def _write_real(folder: str, files: int, size_bytes: int, *, changed: bool) -> None:
    chance = random.Random(483)
    words = [chance.randbytes(chance.randint(1, 6)).hex() for _ in range(4096)]
    pool = " ".join(chance.choices(words, k=_POOL_BYTES // 5)).encode()[:_POOL_BYTES]
    sizes = [chance.lognormvariate(math.log(_MEDIAN_BYTES), _SPREAD) for _ in range(files)]
    sizes = [min(size, _LARGEST_BYTES) for size in sizes]
    scale = size_bytes / sum(sizes)
    folders = _folders(chance, files // 10)
    for path in folders:
        os.makedirs(f"{folder}/{path}", exist_ok=True)
    for number in range(files):
        twin = number - 1 if number % _DOUBLE == _DOUBLE - 1 else number
        seed = f"{twin}.{changed and twin % _CHANGED == 0}"
        path = f"{folder}/{chance.choice(folders)}/file-{number}"
        _write(path, _text(seed, int(sizes[twin] * scale), pool))
        if number % _EXECUTABLE == 0:
            os.chmod(path, 0o755)
        if number % _LINKED == 0:
            os.symlink(f"file-{number}", f"{os.path.dirname(path)}/link-{number}")


def _folders(chance: random.Random, count: int) -> list[str]:
    """Paths of folders, each below one before it, few of them deep."""
    made = ["usr"]
    for number in range(count - 1):
        above = chance.choice(made[: 1 + len(made) // 3])
        made.append(f"{above}/d{number}" if above.count("/") < 7 else f"usr/d{number}")
    return made


def _text(seed: str, size: int, pool: bytes) -> bytes:
    """Compressible, as files of a system are; like no other file."""
    own = random.Random(seed)
    pieces = [f"{seed} {own.random()}\n".encode()]
    left = size - len(pieces[0])
    while left > 0:
        start = own.randrange(len(pool) - 1)
        pieces.append(pool[start : start + min(left, 64 * _KIB)])
        left -= len(pieces[-1])
    return b"".join(pieces)[: max(size, 1)]


def _write(path: str, content: bytes) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(content)


def size_of(folder: str) -> tuple[int, int]:
    """(regular files, their bytes) below a folder."""
    files = size_bytes = 0
    for above, _, names in os.walk(folder):
        for name in names:
            stat = os.lstat(f"{above}/{name}")
            if not os.path.islink(f"{above}/{name}"):
                files, size_bytes = files + 1, size_bytes + stat.st_size
    return files, size_bytes
