"""`verify`, first part: refs, closure lists, and whether what they name is here.

What is found here decides what counts as an orphan later, so doubt is kept (I9): as long as a ref or a list
cannot be read, nobody knows what it needs. No lease is held. Trouble that a running cleanup or writer could
have made is looked at twice: eviction takes the ref before its content, so a ref that is still the same
after its content was missed is dangling.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from caskeeper.artifact import Ref
from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import (
    BlobMissing,
    CaskeeperError,
    DigestMismatch,
    InvalidRequest,
    PermissionDenied,
    VolumeFailed,
)
from worker.closure import walk
from worker.services import findings as kinds
from worker.services.needs import Listed
from worker.services.verify_content import has_time, look
from worker.store.closures import ClosureList, record_of
from worker.store.whole import refuse_out_of_reach

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from worker.closure import Scope
    from worker.directory import Directory
    from worker.services.findings import Findings
    from worker.services.verify_content import Reader, Sample
    from worker.store.closures import Closures, ListEntry
    from worker.store.objects import Objects
    from worker.store.refs import RefRecord, Refs

FAN_OUT = re.compile(r"[0-9a-f]{2}\Z")
#: So many objects that were looked at are not looked at again; more would be as many as the cache has.
REMEMBERED = 1 << 19
_LIST = re.compile(r"([0-9a-f]{62})\.(whole|[0-9a-f]{16})\Z")


@dataclass
class Tree:
    """One root in one scope, and what of it is not here.

    ``known``: what belongs to it could be told. ``list``: as the tree says it, where the stored one does not;
    the others are read again when they are needed, for together they may be larger than the memory.
    """

    known: bool = False
    list: ClosureList | None = None
    missing: set[Digest] = field(default_factory=set)
    trouble: str = ""


def check_file(findings: Findings, path: str, status: os.stat_result, mode: int) -> bool:
    """Mode and time of a published file. False: one of them is wrong, so somebody was at it."""
    right = True
    if stat.S_IMODE(status.st_mode) != mode:
        findings.add(kinds.MODE, path, f"its mode is {stat.S_IMODE(status.st_mode):04o}, not {mode:04o}")
        right = False
    if not has_time(status):
        findings.add(kinds.TIME, path, "its modification time was changed")
        right = False
    return right


class RefsLook:
    """One look at every ref and every closure list."""

    def __init__(
        self,
        refs: Refs,
        closures: Closures,
        objects: Objects,
        *,
        reader: Reader,
        sample: Sample,
        horizon_ns: int,
        findings: Findings,
    ) -> None:
        self._refs, self._closures, self._objects = refs, closures, objects
        self._layout = refs.volume.layout
        self._reader, self._sample, self._horizon_ns, self._findings = reader, sample, horizon_ns, findings
        #: raw hashes that some closure list holds
        self.listed = Listed()
        #: roots of all refs
        self.roots: set[str] = set()
        #: objects whose size says that they are damaged
        self.damaged: set[str] = set()
        #: why nobody can tell what is needed; '' = everything could be read
        self.doubt = ""
        self.count = 0
        self.trees: dict[tuple[str, str], Tree] = {}
        self._owners: list[tuple[Ref, RefRecord]] = []
        self._checked: set[bytes] = set()

    def run(self) -> None:
        """Refs first, then lists: a list whose ref was published in between is young."""
        self._reader.phase = "looking at refs"
        for ref, path in self._named():
            self._reader.step()
            with self._findings.reaching(os.path.dirname(path)):
                self._look_at_ref(ref, path)
        self._look_at_lists()
        if self._findings.unreached:
            self.doubt = self.doubt or "a folder cannot be looked at"

    def check(self, ref: Ref, record: RefRecord) -> set[Digest]:
        """What of a ref is not here now; asked again after something was restored."""
        missing: set[Digest] = set()
        for root in record.roots:
            self.trees.pop((root.hash, record.scope.id), None)
            missing |= self._tree(ref, root, record.scope).missing
        return missing

    def naming(self, hashes: Collection[str]) -> dict[Digest, set[Ref]]:
        """The digests of these hashes, as the trees say them, and which refs need each."""
        wanted = {bytes.fromhex(hash_hex) for hash_hex in hashes}
        found: dict[Digest, set[Ref]] = {}
        for ref, record in self._owners if wanted else ():
            for root in record.roots:
                if root.hash in hashes:
                    found.setdefault(root, set()).add(ref)
                for raw, size_bytes, _is_directory in self._entries(root, record.scope):
                    if raw in wanted:
                        found.setdefault(Digest(raw.hex(), size_bytes), set()).add(ref)
        return found

    def _entries(self, root: Digest, scope: Scope) -> Iterator[ListEntry]:
        tree = self.trees.get((root.hash, scope.id))
        listed = tree.list if tree is not None else None
        if listed is None:
            listed = self._stored(root.hash, scope.id)
        return iter(()) if listed is None else listed.entries

    def _stored(self, root_hash: str, scope_id: str) -> ClosureList | None:
        """None also where something else stands: that is told where lists are listed."""
        try:
            return self._closures.read(root_hash, scope_id)
        except (VolumeFailed, PermissionDenied):
            return None

    # -- refs --------------------------------------------------------------------------------------------

    def _named(self) -> Iterator[tuple[Ref, str]]:
        """Every file that stands where a ref may; what is none is a stranger, and doubt."""
        for project in self._findings.entries(self._layout.refs):
            if not self._is_folder(project):
                continue
            for element in self._findings.entries(project.path):
                if not self._is_folder(element):
                    continue
                for key in self._findings.entries(element.path):
                    try:
                        ref = Ref.of(project.name, f"{element.name}.bst", key.name)
                    except InvalidRequest:
                        self._stranger(key.path)
                        continue
                    if ref.element != element.name:
                        self._stranger(key.path)
                    elif not key.is_file(follow_symlinks=False):
                        self._findings.add(
                            kinds.KIND, key.path, "a ref belongs here, and this is none", ref=ref
                        )
                        self.doubt = self.doubt or f"{key.path} is no ref"
                    else:
                        yield ref, key.path

    def _is_folder(self, entry: os.DirEntry[str]) -> bool:
        if not entry.is_dir(follow_symlinks=False):
            self._stranger(entry.path)
            return False
        return True

    def _stranger(self, path: str) -> None:
        self._findings.add(kinds.STRANGER, path, "this is no ref, and as long as it is there nothing goes")
        self.doubt = self.doubt or f"{path} is no ref"

    def _look_at_ref(self, ref: Ref, path: str) -> None:
        status = look(path)
        if status is None:
            return
        self.count += 1
        check_file(self._findings, path, status, 0o444)
        try:
            record = self._refs.record_at(path)
            trouble = "its record is damaged"
        except (VolumeFailed, PermissionDenied) as error:
            record, trouble = None, error.what
        if record is None:
            if look(path) is not None:
                self._findings.add(kinds.UNREADABLE, f"ref {ref}", trouble, ref=ref)
                self.doubt = self.doubt or f"ref {ref} cannot be read"
            return
        self._owners.append((ref, record))
        self.roots.update(root.hash for root in record.roots)
        missing: set[Digest] = set()
        for root in record.roots:
            tree = self._tree(ref, root, record.scope)
            missing |= tree.missing
            if tree.trouble and self._is_still(path, record):
                self._findings.add(
                    kinds.UNREADABLE,
                    f"ref {ref}",
                    tree.trouble,
                    ref=ref,
                    way_out=f"`caskeeper remove {ref}`, then pull or commit it again",
                )
            if not tree.known and self._is_still(path, record):
                self.doubt = self.doubt or f"what ref {ref} consists of cannot be read"
        if missing and self._is_still(path, record):
            one = min(missing)
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            self._findings.add(
                kinds.DANGLING, f"ref {ref}", f"it names {one}{more}, which is not here", ref=ref
            )
            for digest in missing:
                self._findings.missing.setdefault(digest, set()).add(ref)

    def _is_still(self, path: str, record: RefRecord) -> bool:
        try:
            return self._refs.record_at(path) == record
        except CaskeeperError:
            return False

    # -- trees and their lists ---------------------------------------------------------------------------

    def _tree(self, ref: Ref, root: Digest, scope: Scope) -> Tree:
        key = root.hash, scope.id
        if key not in self.trees:
            self.trees[key] = tree = Tree()
            self._fill(tree, ref, root, scope)
        return self.trees[key]

    def _fill(self, tree: Tree, ref: Ref, root: Digest, scope: Scope) -> None:
        path = self._layout.closure(root.hash, scope.id)
        stored = listed = self._stored(root.hash, scope.id)
        if stored is None or self._sample.has(root.hash):
            walked = self._walk(tree, root, scope)
            if walked is not None and (stored is None or walked.to_bytes() != stored.to_bytes()):
                tree.list = listed = walked
                there = look(path)
                what = "it is not what the tree says" if stored else "it is damaged"
                self._findings.add(
                    kinds.LIST,
                    path,
                    "there is none" if there is None else what,
                    hash_hex=root.hash,
                    ref=ref,
                )
        if listed is not None:
            tree.known = True
            self.listed.add(listed.records)
            for raw, size_bytes, _is_directory in listed.entries:
                self._need(tree, raw, size_bytes)

    def _walk(self, tree: Tree, root: Digest, scope: Scope) -> ClosureList | None:
        """The list as the tree says it; None = a message of it is missing or damaged."""

        def read(digest: Digest) -> Directory:
            try:
                return self._objects.directory(digest)
            except (BlobMissing, DigestMismatch):
                raw = bytes.fromhex(digest.hash)
                self.listed.add(record_of(raw, digest.size_bytes))
                self._need(tree, raw, digest.size_bytes, suspect=True)
                raise

        try:
            return ClosureList.of(walk(root, scope, read))
        except (BlobMissing, DigestMismatch):
            return None
        except InvalidRequest as error:
            tree.trouble = error.what
        except (VolumeFailed, PermissionDenied) as error:
            tree.trouble = f"a part of it cannot be read: {error.what}"
        return None

    def _need(self, tree: Tree, raw: bytes, size_bytes: int, *, suspect: bool = False) -> None:
        """The content is needed: note whether it is here, and as long as the tree says."""
        digest = Digest(raw.hex(), size_bytes)
        if digest == EMPTY or (raw in self._checked and not suspect):
            return
        path = self._layout.object(digest.hash)
        before = self._findings.unreached
        with self._findings.reaching(os.path.dirname(path)):
            status = look(path)
        if self._findings.unreached > before:
            return  # neither here nor missing: nobody knows
        if status is None or not stat.S_ISREG(status.st_mode):
            try:
                if not self._is_in_trash(digest):
                    if status is None:
                        refuse_out_of_reach(self._layout, path, certain=True)
                    tree.missing.add(digest)
            except VolumeFailed as trouble:
                self._findings.out_of_reach(trouble)
            return
        if suspect or status.st_size != size_bytes:
            stored = self._reader.hash(path, digest.hash)
            if stored is not None and stored.right is False:
                self.damaged.add(digest.hash)
            elif stored is not None and stored.right and stored.status.st_size != size_bytes:
                tree.trouble = f"it claims that {digest.hash} has {size_bytes} bytes"
            return
        self._remember(raw)

    def _remember(self, raw: bytes) -> None:
        if len(self._checked) >= REMEMBERED:
            self._checked.clear()
        self._checked.add(raw)

    def _is_in_trash(self, digest: Digest) -> bool:
        """The second look of a reader (safety.md section 3): a cleanup may hold it and bring it back."""
        return self._objects.find(digest) and os.path.isfile(self._layout.object(digest.hash))

    def _look_at_lists(self) -> None:
        self._reader.phase = "looking at closure lists"
        for folder in self._findings.entries(self._layout.closures):
            if not FAN_OUT.match(folder.name) or not folder.is_dir(follow_symlinks=False):
                self._findings.add(kinds.STRANGER, folder.path, "this is no folder of closure lists")
                self.doubt = self.doubt or f"{folder.path} is no folder of closure lists"
                continue
            for entry in self._findings.entries(folder.path):
                self._reader.step()
                name = _LIST.match(entry.name)
                if name is None:
                    self._findings.add(kinds.STRANGER, entry.path, "this is no closure list")
                    self.doubt = self.doubt or f"{entry.path} is no closure list"
                else:
                    with self._findings.reaching(folder.path):
                        self._look_at_list(entry.path, folder.name + name[1], name[2])

    def _look_at_list(self, path: str, root_hash: str, scope_id: str) -> None:
        status = look(path)
        if status is None:
            return
        if not stat.S_ISREG(status.st_mode):
            self._findings.add(kinds.KIND, path, "a closure list belongs here, and this is none")
            self.doubt = self.doubt or f"{path} is no closure list"
            return
        check_file(self._findings, path, status, 0o444)
        if (root_hash, scope_id) in self.trees:
            return
        found = self._stored(root_hash, scope_id)
        if found is not None:
            self.listed.add(found.records)
        if self.doubt or (found is not None and self._has_young(found)):
            return
        if status.st_atime_ns < self._horizon_ns and look(path) is not None:
            self._findings.add(kinds.ORPHAN_LIST, path, "no ref names its tree", hash_hex=root_hash)

    def _has_young(self, listed: ClosureList) -> bool:
        """Whether it stays for now, whatever its own age: a list goes after its objects (I7)."""
        paths = (self._layout.object(raw.hex()) for raw, _size_bytes, _is_directory in listed.entries)
        return any(
            status is not None and status.st_atime_ns >= self._horizon_ns for status in map(look, paths)
        )
