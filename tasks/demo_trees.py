"""The demo's material: a copy of the running Python's own library, changed later, compared at the end.

A copy, so that nobody changes it while it is stored, and so that the comparison has an independent side.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import stat
import sys
import sysconfig
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.errors import CaskeeperError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: At least so many files; when the standard library is short of them, installed packages are taken too.
FILES = 5000
#: Larger files (static libraries) add nothing but time.
LARGEST_BYTES = 64 * 1024 * 1024
_COMMANDS = ("python", "pydoc", "idle", "2to3", "pip", "wheel", "f2py", "celery", "flower")


class Tree(NamedTuple):
    """What is below a folder. ``size_bytes`` of the files' content."""

    path: str
    files: int
    links: int
    executables: int
    size_bytes: int


class Change(NamedTuple):
    """What was done to a tree."""

    edited: int
    added: int
    removed: int
    relinked: int


def measure(path: str) -> Tree:
    """Count a tree."""
    files = links = executables = size_bytes = 0
    for entry in _walk(path):
        if entry.is_symlink():
            links += 1
        elif entry.is_file(follow_symlinks=False):
            status = entry.stat(follow_symlinks=False)
            files += 1
            size_bytes += status.st_size
            executables += bool(status.st_mode & stat.S_IXUSR)
    return Tree(path, files, links, executables, size_bytes)


def copy_library(target: str) -> Tree:
    """The standard library, its commands and, while files are missing, installed packages."""
    library = sysconfig.get_path("stdlib")
    os.makedirs(target)
    _copy(library, f"{target}/lib", leave={"site-packages", "dist-packages"})
    for folder in dict.fromkeys((f"{sys.base_prefix}/bin", sysconfig.get_path("scripts"))):
        _copy_commands(folder, f"{target}/bin")
    for folder in dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))):
        for entry in sorted(_entries(folder), key=lambda entry: entry.name):
            if measure(target).files >= FILES:
                break
            place = f"{target}/packages/{entry.name}"
            if entry.is_dir(follow_symlinks=False) and not os.path.lexists(place):
                _copy(entry.path, place)
    # On systems that link nothing and mark nothing, the demo would prove less than it says.
    if not os.path.lexists(f"{target}/bin/latest"):
        os.makedirs(f"{target}/bin", exist_ok=True)
        os.symlink("../lib/this.py", f"{target}/bin/latest")
    return measure(target)


def copy_packages(library: str, target: str, *, count: int) -> list[Tree]:
    """Small trees: packages of the library, each with a list of its own files beside it."""
    found: list[Tree] = []
    for entry in sorted(_entries(f"{library}/lib"), key=lambda entry: entry.name):
        if len(found) == count:
            break
        if not entry.is_dir(follow_symlinks=False) or entry.name.startswith(("__", "test", "config-")):
            continue
        tree = measure(entry.path)
        if not 4 <= tree.files <= 400 or tree.size_bytes > 8 * 1024 * 1024:
            continue
        place = f"{target}/{entry.name}"
        _copy(entry.path, f"{place}/{entry.name}")
        with open(f"{place}/CONTENTS", "w", encoding="utf-8") as file:
            file.writelines(f"{path}\n" for path in sorted(_relative(place)))
        found.append(measure(place))
    return found


def change(path: str) -> Change:
    """A new version: a few files differ, one is new, one is gone, one link points elsewhere."""
    sources = [entry for entry in sorted(_walk(f"{path}/lib"), key=lambda one: one.path) if _is_source(entry)]
    edited = sources[:: max(1, len(sources) // 5)][:5]
    for entry in edited:
        with open(entry.path, "a", encoding="utf-8") as file:
            file.write("\n# the next version\n")
    os.unlink(sources[1].path)
    with open(f"{path}/lib/new_in_this_version.py", "w", encoding="utf-8") as file:
        file.write("VERSION = 2\n")
    os.unlink(f"{path}/bin/latest")
    os.symlink("../lib/new_in_this_version.py", f"{path}/bin/latest")
    return Change(edited=len(edited), added=1, removed=1, relinked=1)


def write_filler(path: str, *, size_bytes: int) -> None:
    """A folder with one file that looks like no other."""
    os.makedirs(path)
    with open(f"{path}/data", "wb") as file:
        while size_bytes > 0:
            piece = os.urandom(min(size_bytes, 1024 * 1024))
            file.write(piece)
            size_bytes -= len(piece)


def compare(one: str, other: str) -> Tree:
    """Byte for byte, with link targets, the owner's execute bit and empty folders.

    Answers what was compared. Raises CaskeeperError naming the first difference.
    """
    filecmp.clear_cache()
    todo = [""]
    while todo:
        folder = todo.pop()
        ours, theirs = _listing(one, folder), _listing(other, folder)
        if ours.keys() != theirs.keys():
            name = min(ours.keys() ^ theirs.keys())
            raise _differs(other, f"{folder}/{name}", "it is only on one side")
        for name, entry in ours.items():
            path = f"{folder}/{name}"
            difference = _difference(entry, theirs[name])
            if difference:
                raise _differs(other, path, difference)
            if entry.is_dir(follow_symlinks=False):
                todo.append(path)
    return measure(one)._replace(path=other)


def _difference(entry: os.DirEntry[str], twin: os.DirEntry[str]) -> str:
    """What differs between two entries; nothing when they are the same."""
    mode = entry.stat(follow_symlinks=False).st_mode
    twins = twin.stat(follow_symlinks=False).st_mode
    if stat.S_IFMT(mode) != stat.S_IFMT(twins):
        return "it is of another type"
    if stat.S_ISLNK(mode):
        return "" if os.readlink(entry.path) == os.readlink(twin.path) else "the link differs"
    if not stat.S_ISREG(mode):
        return ""
    if (mode ^ twins) & stat.S_IXUSR:
        return "the execute bit differs"
    return "" if filecmp.cmp(entry.path, twin.path, shallow=False) else "the content differs"


def _differs(tree: str, path: str, what: str) -> CaskeeperError:
    return CaskeeperError(
        f"what came back is not what went in: {what}", f"{tree}{path}", "this is a fault: please report it"
    )


def _listing(tree: str, folder: str) -> dict[str, os.DirEntry[str]]:
    return {entry.name: entry for entry in _entries(f"{tree}{folder}")}


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _walk(path: str) -> Iterator[os.DirEntry[str]]:
    for entry in _entries(path):
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)


def _relative(path: str) -> Iterator[str]:
    for entry in _walk(path):
        yield os.path.relpath(entry.path, path)


def _is_source(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(".py") and entry.is_file(follow_symlinks=False)


def _copy(source: str, target: str, *, leave: set[str] | None = None) -> None:
    """Folders, files and links; what cannot be read, is no such thing or is too large stays behind."""

    def unwanted(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if name in (leave or ()) or not _is_wanted(f"{folder}/{name}")}

    shutil.copytree(source, target, symlinks=True, ignore=unwanted, copy_function=_copy_file)


def _is_wanted(path: str) -> bool:
    try:
        path.encode("utf-8")
        status = os.lstat(path)
    except (OSError, UnicodeEncodeError):
        return False
    if stat.S_ISLNK(status.st_mode):
        return True
    readable = os.access(path, os.R_OK)
    if stat.S_ISDIR(status.st_mode):
        return readable and os.access(path, os.X_OK)
    return readable and stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST_BYTES


def _copy_file(source: str, target: str) -> None:
    shutil.copyfile(source, target, follow_symlinks=False)
    if not os.path.islink(source):
        # Readable and writable for us, whoever owns the original; its execute bits stay.
        os.chmod(target, 0o644 | (os.stat(source).st_mode & 0o111))


def _copy_commands(source: str, target: str) -> None:
    """The commands of Python itself; other programs of the same folder are not ours to show."""
    if not os.path.isdir(source):
        return
    os.makedirs(target, exist_ok=True)
    for entry in _entries(source):
        place = f"{target}/{entry.name}"
        if not entry.name.startswith(_COMMANDS) or os.path.lexists(place) or not _is_wanted(entry.path):
            continue
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), place)
        elif entry.is_file():
            _copy_file(entry.path, place)
