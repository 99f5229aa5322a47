"""Everything below a root: which part of a tree is meant (Scope) and what belongs to it (Closure).

Pure: Directory messages come from a function that the caller gives. A tree may be a graph in which one
message stands in many places; each hash is read once.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import InvalidRequest, PartialArtifact
from caskeeper.layout import relative_subdir
from worker.directory import MAX_TREE_BYTES, Directory, is_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Read = Callable[[Digest], Directory]

#: Deeper trees are refused: paths end at 4096 bytes, and what removes a tree holds one descriptor a level.
MAX_DEPTH = 500
#: So are trees whose few messages unfold into more entries than anybody can check out.
MAX_ENTRIES = 100_000_000


class Scope(NamedTuple):
    """A part of a tree: its root, everything but the top-level ``excluded``, and the ``included`` paths.

    Build it with ``of``: equal scopes are then equal values. Matching is at the root only (D-19).
    """

    excluded: tuple[str, ...] = ()
    included: tuple[str, ...] = ()

    @classmethod
    def of(cls, excluded: Iterable[str] = (), included: Iterable[str] = ()) -> Scope:
        """The scope in its shortest form: sorted, nothing twice, nothing without effect.

        Raises InvalidRequest for an excluded name that is no single name and for a path out of the tree.
        """
        names = set(excluded)
        for name in names:
            if not is_name(name):
                raise InvalidRequest(
                    f"{name[:200]!r} is not a name", "excluded", "give names of folders at the root"
                )
        paths = {relative_subdir(path, where="included") for path in included}
        names -= paths
        kept: list[str] = []
        for path in sorted(paths, key=lambda text: text.split("/")):  # what lies above comes first
            if path.partition("/")[0] in names and not (kept and path.startswith(f"{kept[-1]}/")):
                kept.append(path)
        return cls(tuple(sorted(names)), tuple(sorted(kept)))

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return not self.excluded

    @property
    def id(self) -> str:
        """``whole``, or 16 hex characters that stand for exactly this scope."""
        if self.whole:
            return "whole"
        text = "".join([f"-{name}\0" for name in self.excluded] + [f"+{path}\0" for path in self.included])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def with_subdir(self, path: str) -> Scope:
        """This scope and the sub-tree at ``path`` (AC-73)."""
        return Scope.of(self.excluded, (*self.included, path))


WHOLE = Scope()


class Part(NamedTuple):
    """What of one folder is in a scope: ``named`` decides for its names, ``others`` for all the rest."""

    others: bool
    named: dict[str, Part | None]

    @property
    def whole(self) -> bool:
        """Whether nothing of the folder is left out."""
        return self.others and not self.named

    def below(self, name: str) -> Part | None:
        """What of the sub-folder ``name`` is in the scope; None = nothing, not even its message."""
        return self.named.get(name, EVERYTHING if self.others else None)


EVERYTHING = Part(others=True, named={})


def part_of(scope: Scope, subdir: str | None = None, *, where: str = "subdir") -> Part:
    """What of the root, or of the folder at ``subdir``, is in the scope.

    Raises PartialArtifact, at the place ``where``, when nothing of ``subdir`` is.
    """
    here = Part(others=True, named=dict.fromkeys(scope.excluded))
    for path in scope.included:
        above, names = here, path.split("/")
        for name in names[:-1]:
            inner = above.named.get(name)
            if inner is None:
                inner = above.named[name] = Part(others=False, named={})
            above = inner
        above.named[names[-1]] = EVERYTHING
    for name in relative_subdir(subdir).split("/") if subdir else ():
        found = here.below(name)
        if found is None:
            raise PartialArtifact(
                f"{subdir!r} was left out when it was pulled", where, "pull it with --subdir first"
            )
        here = found
    return here


class Closure(NamedTuple):
    """All content of a root in a scope.

    ``directories`` stand children first and end with the root; ``files`` stand once each. A hash may be
    in both, for content is content; the empty blob is listed where the tree names it.
    """

    root: Digest
    scope: Scope
    directories: tuple[Digest, ...]
    files: tuple[Digest, ...]

    @property
    def digests(self) -> tuple[Digest, ...]:
        """Each digest once, in the order in which they may be published: files, then directories (I2)."""
        folders = set(self.directories)
        return (*(digest for digest in self.files if digest not in folders), *self.directories)

    @property
    def size_bytes(self) -> int:
        """The sum of all sizes, each digest once."""
        return sum(digest.size_bytes for digest in self.digests)


def normalise(scope: Scope, root_directory: Directory) -> Scope:
    """The widest scope of the same content: excluding what does not exist, or is empty, excludes nothing."""
    real = {entry.name for entry in root_directory.directories if entry.digest != EMPTY}
    return Scope.of((name for name in scope.excluded if name in real), scope.included)


def descend(root: Digest, path: str, read: Read, *, where: str = "") -> Digest:
    """The digest of the folder at ``path``.

    Raises InvalidRequest naming the part that is no folder, at the place ``where`` or the tree's digest.
    """
    at = root
    for name in relative_subdir(path).split("/"):
        entry = read(at).directory(name)
        if entry is None:
            way = "" if name == path else f" on the way to {path!r}"
            raise InvalidRequest(
                f"there is no folder {name!r}{way}",
                where or f"tree {root}",
                "name one that exists",
            )
        at = entry.digest
    return at


def walk(root: Digest, scope: Scope, read: Read) -> Closure:
    """The closure of ``root``. What stands in many places is read and walked once.

    Raises InvalidRequest when the tree is deeper than ``MAX_DEPTH``, unfolds into more than
    ``MAX_ENTRIES``, has messages of more than ``MAX_TREE_BYTES``, contains itself, gives one hash two
    sizes, or lacks an included path; and whatever ``read`` raises (BlobMissing for a message that is not
    there).
    """
    walker = _Walker(root, read)
    walker.part(part_of(scope))
    return Closure(root, scope, tuple(walker.directories), tuple(walker.files.values()))


class _Frame(NamedTuple):
    """A folder on the way down, with those of its sub-folders that were not looked at yet."""

    digest: Digest
    directory: Directory
    left: Iterator[Digest]


class _Way(NamedTuple):
    """A folder of which only a part is wanted, and the sub-folders that belong to that part."""

    digest: Digest
    wanted: list[Digest]


class _Walker:
    """Collects what is below a root."""

    def __init__(self, root: Digest, read: Read) -> None:
        self.root = root
        self.directories: list[Digest] = []
        self.files: dict[str, Digest] = {}
        self._source = read
        self._seen: set[str] = set()
        self._read_bytes = 0
        self._sizes: dict[str, int] = {}
        #: of every folder that is finished: how deep it is and how many entries it unfolds into
        self._extents: dict[str, tuple[int, int]] = {}
        self._open: set[str] = set()

    def part(self, part: Part) -> None:
        """First the sub-trees that are wanted as a whole, then the folders on the way to them."""
        wholes, ways = self._sort_out(part)
        for digest in wholes:
            self._whole(digest)
        if sum(self._extents[digest.hash][1] for digest in wholes) > MAX_ENTRIES:
            raise self._refuse(f"it unfolds into more than {MAX_ENTRIES} entries")
        for way in ways.values():
            self._finish_way(way, ways)

    def _sort_out(self, part: Part) -> tuple[list[Digest], dict[str, _Way]]:
        wholes: list[Digest] = []
        ways: dict[str, _Way] = {}
        stack = [(self.root, part)]
        while stack:
            digest, here = stack.pop()
            self._check_size(digest)
            if here.whole:
                wholes.append(digest)
                continue
            directory = self._read(digest)
            way = ways.setdefault(digest.hash, _Way(digest, []))
            if here.others:
                self._add_files(directory)
            for name, inner in here.named.items():
                if inner is not None and directory.directory(name) is None:
                    raise InvalidRequest(
                        f"there is no folder {name!r} in it", f"tree {self.root}", "name one that exists"
                    )
            for name, child in directory.directories:
                below = here.below(name)
                if below is not None:
                    way.wanted.append(child)
                    stack.append((child, below))
        return wholes, ways

    def _finish_way(self, start: _Way, ways: dict[str, _Way]) -> None:
        stack = [start]
        while stack:
            digest, wanted = stack[-1]
            waiting = next((child for child in wanted if child.hash not in self._extents), None)
            if waiting is None:
                stack.pop()
                if digest.hash not in self._extents:
                    self._extents[digest.hash] = (0, 0)
                    self.directories.append(digest)
            elif len(stack) > MAX_DEPTH:
                raise self._refuse(f"it is deeper than {MAX_DEPTH} folders")
            else:
                stack.append(ways[waiting.hash])

    def _whole(self, start: Digest) -> None:
        """Everything below ``start``, children first, without recursion."""
        if start.hash in self._extents:
            return
        stack = [self._enter(start)]
        while stack:
            digest, directory, left = stack[-1]
            for child in left:
                self._check_size(child)
                if child.hash in self._extents:
                    continue
                if child.hash in self._open:
                    raise self._refuse("it contains itself")
                if len(stack) >= MAX_DEPTH:
                    raise self._refuse(f"it is deeper than {MAX_DEPTH} folders")
                stack.append(self._enter(child))
                break
            else:
                stack.pop()
                self._leave(digest, directory)

    def _read(self, digest: Digest) -> Directory:
        if digest.hash not in self._seen:
            self._seen.add(digest.hash)
            self._read_bytes += digest.size_bytes
            if self._read_bytes > MAX_TREE_BYTES:
                raise self._refuse(f"its Directory messages have more than {MAX_TREE_BYTES} bytes")
        return self._source(digest)

    def _enter(self, digest: Digest) -> _Frame:
        directory = self._read(digest)
        self._open.add(digest.hash)
        self._add_files(directory)
        return _Frame(digest, directory, iter([entry.digest for entry in directory.directories]))

    def _leave(self, digest: Digest, directory: Directory) -> None:
        below = [self._extents[entry.digest.hash] for entry in directory.directories]
        height = 1 + max((depth for depth, _ in below), default=0)
        entries = len(directory.files) + len(directory.symlinks) + sum(1 + count for _, count in below)
        if height > MAX_DEPTH:
            raise self._refuse(f"it is deeper than {MAX_DEPTH} folders")
        if entries > MAX_ENTRIES:
            raise self._refuse(f"it unfolds into more than {MAX_ENTRIES} entries")
        self._extents[digest.hash] = (height, entries)
        self.directories.append(digest)

    def _add_files(self, directory: Directory) -> None:
        for _, digest, _ in directory.files:
            self._check_size(digest)
            self.files.setdefault(digest.hash, digest)

    def _check_size(self, digest: Digest) -> None:
        if self._sizes.setdefault(digest.hash, digest.size_bytes) != digest.size_bytes:
            raise self._refuse(f"{digest.hash} has two sizes")

    def _refuse(self, what: str) -> InvalidRequest:
        return InvalidRequest(what, f"tree {self.root}", "it is damaged or was made to harm: do not use it")
