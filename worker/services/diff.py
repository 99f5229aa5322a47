"""Diff: what changed between two artifacts (AC-60, D-28).

``modified``, ``removed`` and ``added`` are what the reference answers: regular files only, in each folder
before its sub-folders, by name. What it is blind to (links, the executable bit, kinds, folders) stands in
lists of its own. Only Directory messages are read.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.artifact import Ref
from caskeeper.contract import DiffResult, LinkChange, ModeChange, TypeChange
from caskeeper.errors import InvalidRequest, PartialArtifact
from caskeeper.layout import relative_subdir
from worker.closure import Part, descend, part_of
from worker.directory import Directory

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.contract import DiffRequest
    from caskeeper.digest import Digest
    from worker.protocols import Context
    from worker.services.desk import OperationDesk
    from worker.services.naming import Naming
    from worker.store.refs import RefRecord

    Read = Callable[[Digest], Directory]

#: More entries than this are no answer that anybody reads; few messages may unfold into very many.
MAX_LOOKS = 1_000_000
#: How many parsed Directory messages are kept.
_KEPT = 65_536


class Diff:
    """The verb ``artifacts.diff``: a reader of both trees."""

    def __init__(self, desk: OperationDesk, naming: Naming) -> None:
        self._desk = desk
        self._naming = naming

    def __call__(self, request: DiffRequest, context: Context) -> DiffResult:
        """From ``ref_a`` to ``ref_b``; paths are relative to ``subdir`` when it is given.

        Raises ArtifactNotFound, BlobMissing, InvalidRequest when either lacks ``subdir``, PartialArtifact
        when it was left out.
        """
        refs = [Ref.parse(request.ref_a, where="ref_a"), Ref.parse(request.ref_b, where="ref_b")]
        subdir = None if request.subdir is None else relative_subdir(request.subdir)
        with self._desk.reader("diff", " ".join(map(str, refs)), context) as operation:
            records = [self._naming.claim(operation, ref) for ref in refs]
            self._naming.used(refs, touch=True)
            read: Read = lru_cache(_KEPT)(self._desk.objects.directory)
            before, after = (
                _side(ref, record, subdir, read) for ref, record in zip(refs, records, strict=True)
            )
            return compare(before, after, read, check=operation.check)


class Side(NamedTuple):
    """A folder, and what of it is here."""

    digest: Digest
    part: Part

    def below(self, name: str, digest: Digest) -> Side | None:
        """A sub-folder; None = it was left out."""
        part = self.part.below(name)
        return None if part is None else Side(digest, part)


def _side(ref: Ref, record: RefRecord, subdir: str | None, read: Read) -> Side:
    try:
        part = part_of(record.scope, subdir)
        return Side(record.root if subdir is None else descend(record.root, subdir, read), part)
    except (InvalidRequest, PartialArtifact) as error:
        raise type(error)(error.what, f"ref {ref}, argument subdir", error.way_out) from None


def compare(before: Side, after: Side, read: Read, *, check: Callable[[], None]) -> DiffResult:
    """All that is different. Sub-folders with equal digests are not looked into."""
    found = _Found()
    stack: list[tuple[str, Side | None, Side | None]] = [("", before, after)]
    if before.digest == after.digest:
        stack.clear()
    while stack:
        check()
        path, old, new = stack.pop()
        if old is None:
            found.folders_added.append(path[:-1])
        elif new is None:
            found.folders_removed.append(path[:-1])
        a = Directory() if old is None else read(old.digest)
        b = Directory() if new is None else read(new.digest)
        found.look(path, a, b)
        stack += reversed(found.below(path, old, new, a, b))
    return found.result()


class _Found:
    def __init__(self) -> None:
        self.modified: list[str] = []
        self.removed: list[str] = []
        self.added: list[str] = []
        self.symlinks: list[LinkChange] = []
        self.modes: list[ModeChange] = []
        self.types: list[TypeChange] = []
        self.folders_removed: list[str] = []
        self.folders_added: list[str] = []
        self.not_compared: list[str] = []
        self._looks = 0

    def look(self, path: str, a: Directory, b: Directory) -> None:
        """The files and links of one folder; ``path`` ends with a slash or is empty."""
        kinds_a, kinds_b = _kinds(a), _kinds(b)
        self._looks += 1 + len(kinds_a) + len(kinds_b)
        if self._looks > MAX_LOOKS:
            raise InvalidRequest(
                f"there are more than {MAX_LOOKS} entries to compare", f"folder {path}", "give a subdir"
            )
        files_a = {entry.name: entry for entry in a.files}
        files_b = {entry.name: entry for entry in b.files}
        for name in sorted(files_a.keys() | files_b.keys()):
            old, new = files_a.get(name), files_b.get(name)
            if old is None:
                self.added.append(path + name)
            elif new is None:
                self.removed.append(path + name)
            else:
                if old.digest.hash != new.digest.hash:
                    self.modified.append(path + name)
                if old.executable != new.executable:
                    self.modes.append(ModeChange(path=path + name, executable=new.executable))
        links_a, links_b = dict(a.symlinks), dict(b.symlinks)
        self.symlinks += [
            LinkChange(path=path + name, before=links_a.get(name), after=links_b.get(name))
            for name in sorted(links_a.keys() | links_b.keys())
            if links_a.get(name) != links_b.get(name)
        ]
        self.types += [
            TypeChange(path=path + name, before=kinds_a[name], after=kinds_b[name])
            for name in sorted(kinds_a.keys() & kinds_b.keys())
            if kinds_a[name] != kinds_b[name]
        ]

    def below(
        self, path: str, old: Side | None, new: Side | None, a: Directory, b: Directory
    ) -> list[tuple[str, Side | None, Side | None]]:
        """The sub-folders that are to be looked into, by name; those that were left out are noted."""
        folders_a, folders_b = dict(a.directories), dict(b.directories)
        inner: list[tuple[str, Side | None, Side | None]] = []
        for name in sorted(folders_a.keys() | folders_b.keys()):
            digest_a, digest_b = folders_a.get(name), folders_b.get(name)
            if digest_a == digest_b:
                continue
            side_a = old.below(name, digest_a) if old is not None and digest_a is not None else None
            side_b = new.below(name, digest_b) if new is not None and digest_b is not None else None
            if (digest_a is None, digest_b is None) == (side_a is None, side_b is None):
                inner.append((f"{path}{name}/", side_a, side_b))
                continue
            self.not_compared.append(path + name)
            if digest_a is None:
                self.folders_added.append(path + name)
            elif digest_b is None:
                self.folders_removed.append(path + name)
        return inner

    def result(self) -> DiffResult:
        """As it travels."""
        return DiffResult(
            modified=tuple(self.modified),
            removed=tuple(self.removed),
            added=tuple(self.added),
            symlinks=tuple(self.symlinks),
            modes=tuple(self.modes),
            types=tuple(self.types),
            folders_removed=tuple(self.folders_removed),
            folders_added=tuple(self.folders_added),
            not_compared=tuple(self.not_compared),
        )


def _kinds(folder: Directory) -> dict[str, str]:
    return {
        **{entry.name: "file" for entry in folder.files},
        **{entry.name: "symlink" for entry in folder.symlinks},
        **{entry.name: "directory" for entry in folder.directories},
    }
