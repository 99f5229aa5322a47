"""Looking into an artifact without checking it out: its entries, and the bytes of one file.

Nothing is claimed: what is evicted meanwhile ends a look with BlobMissing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from caskeeper.contract import Message
from caskeeper.errors import InvalidRequest, PartialArtifact
from caskeeper.layout import relative_subdir
from worker.closure import EVERYTHING, descend, part_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caskeeper.artifact import Ref
    from caskeeper.digest import Digest
    from worker.closure import Part
    from worker.services.naming import Naming
    from worker.store.objects import Objects


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeEntry(Message):
    """One entry. ``kind``: file, directory or symlink; ``mode`` as a private copy has it under umask 022.

    ``here``: False for what was left out when it was pulled; what is below such a folder is not known.
    """

    path: str
    kind: str
    mode: str
    size_bytes: int = 0
    digest: str = ""
    target: str = ""
    here: bool = True


class Browse:
    """``files`` and ``cat``."""

    def __init__(self, naming: Naming, objects: Objects) -> None:
        self._naming = naming
        self._objects = objects

    def files(self, ref: Ref, subdir: str | None = None) -> Iterator[TreeEntry]:
        """Every entry, a folder before what is in it, by name; paths are relative to ``subdir`` if given.

        Raises ArtifactNotFound, InvalidRequest without such a folder, PartialArtifact when it was left out.
        """
        record = self._naming.find(ref)
        path = None if subdir is None else relative_subdir(subdir)
        where, read = f"ref {ref}", self._objects.directory
        part = part_of(record.scope, path, where=where)
        top = record.root if path is None else descend(record.root, path, read, where=where)
        stack: list[tuple[TreeEntry, Digest, Part | None]] = []
        self._push(stack, "", top, part)
        while stack:
            entry, digest, inner = stack.pop()
            yield entry
            if entry.kind == "directory" and inner is not None:
                self._push(stack, f"{entry.path}/", digest, inner)

    def cat(self, ref: Ref, path: str) -> Iterator[bytes]:
        """The bytes of one file, in pieces; the last one comes only after all of it was verified.

        Raises ArtifactNotFound, PartialArtifact, and InvalidRequest for what is no file of the artifact.
        """
        record = self._naming.find(ref)
        clean = relative_subdir(path, where="PATH")
        above, _slash, name = clean.rpartition("/")
        where, read = f"ref {ref}", self._objects.directory
        part = part_of(record.scope, above or None, where=where)
        folder = read(descend(record.root, above, read, where=where) if above else record.root)
        for file in folder.files:
            if file.name == name:
                if not part.others:
                    raise PartialArtifact(
                        f"{clean!r} was left out when it was pulled", where, "pull it first"
                    )
                return self._objects.stream(file.digest)
        for link in folder.symlinks:
            if link.name == name:
                raise InvalidRequest(
                    f"{clean!r} is a symbolic link to {link.target[:200]!r}", where, "name what it points to"
                )
        kind = "is a folder" if folder.directory(name) is not None else "is not in it"
        raise InvalidRequest(f"{clean!r} {kind}", where, f"`caskeeper files {ref}` lists its files")

    def _push(
        self, stack: list[tuple[TreeEntry, Digest, Part | None]], above: str, digest: Digest, part: Part
    ) -> None:
        """What is in a folder, the last name first: the stack gives it back in order."""
        folder = self._objects.directory(digest)
        found: list[tuple[TreeEntry, Digest, Part | None]] = []
        for file in folder.files:
            entry = TreeEntry(
                path=above + file.name,
                kind="file",
                mode="0755" if file.executable else "0644",
                size_bytes=file.digest.size_bytes,
                digest=str(file.digest),
                here=part.others,
            )
            found.append((entry, file.digest, EVERYTHING))
        for link in folder.symlinks:
            entry = TreeEntry(
                path=above + link.name, kind="symlink", mode="0777", target=link.target, here=part.others
            )
            found.append((entry, digest, EVERYTHING))
        for name, inner in folder.directories:
            below = part.below(name)
            entry = TreeEntry(
                path=above + name, kind="directory", mode="0755", digest=str(inner), here=below is not None
            )
            found.append((entry, inner, below))
        found.sort(key=lambda one: one[0].path, reverse=True)
        stack += found
