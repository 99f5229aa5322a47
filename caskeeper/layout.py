"""Where things lie on the volume (safety.md section 2). Paths only: nothing here opens a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from caskeeper.errors import InvalidRequest

if TYPE_CHECKING:
    from caskeeper.artifact import Ref

#: The layout that this code reads and writes; another one is refused (I9).
VERSION = 1


class Layout:
    """The paths below one cache folder. All are ``str``: they are built millions of times."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.path.abspath(os.fspath(root))
        self.format = f"{self.root}/FORMAT"
        self.coordinator = f"{self.root}/COORDINATOR"
        self.pins = f"{self.root}/pins"
        self.objects = f"{self.root}/cas/objects"
        self.executables = f"{self.root}/cas/executables"
        self.refs = f"{self.root}/cas/refs/heads"
        self.closures = f"{self.root}/cas/closures"
        self.damaged = f"{self.root}/cas/damaged"
        self.extracts = f"{self.root}/extract"
        self.staging = f"{self.root}/tmp"  # noqa: S108 -- our own folder
        self.trashes = f"{self.root}/trash"
        self.ballast = f"{self.root}/ballast"
        self.run = f"{self.root}/run"
        self._owned = (f"{self.staging}/", f"{self.trashes}/")

    def object(self, hash_hex: str) -> str:
        """The place of a blob."""
        return f"{self.objects}/{hash_hex[:2]}/{hash_hex[2:]}"

    def executable(self, hash_hex: str) -> str:
        """The place of the same content as an executable inode of its own."""
        return f"{self.executables}/{hash_hex[:2]}/{hash_hex[2:]}"

    def closure(self, root_hash: str, scope_id: str) -> str:
        """The place of the closure list of a root in a scope."""
        return f"{self.closures}/{root_hash[:2]}/{root_hash[2:]}.{scope_id}"

    def ref(self, ref: Ref) -> str:
        """The place of a ref record."""
        return f"{self.refs}/{ref.project}/{ref.element}/{ref.key}"

    def extract(self, ref: Ref, root_hash: str) -> str:
        """The place of the shared checkout: content-derived, so both keys of a tree share it (AC-53)."""
        return f"{self.extracts}/{ref.project}/{ref.element}/{root_hash}"

    def operation(self, operation_id: str) -> str:
        """An operation's staging folder: its right to change the volume."""
        return f"{self.staging}/{operation_id}"

    def trash(self, cleanup_id: str) -> str:
        """What one cleanup has taken away and not yet unlinked."""
        return f"{self.trashes}/{cleanup_id}"

    def owner(self, path: str) -> str | None:
        """The ``tmp/<operation>`` or ``trash/<cleanup>`` folder that ``path`` lies in."""
        if not path.startswith(self._owned):
            return None
        above = self.staging if path.startswith(self._owned[0]) else self.trashes
        end = path.find("/", len(above) + 1)
        return path[:end] if end >= 0 else None


def relative_subdir(text: str, *, where: str = "subdir") -> str:
    """A ``/``-separated path inside an artifact, without leading or trailing slashes.

    Raises InvalidRequest when it is empty, absolute, or could leave the tree.
    """
    parts = text.rstrip("/").split("/")
    if text.startswith("/") or any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise InvalidRequest(
            f"{text[:200]!r} is not a path inside an artifact",
            where,
            "give it relative to the artifact's root",
        )
    return "/".join(parts)
