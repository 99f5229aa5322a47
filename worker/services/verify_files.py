"""`verify`, second part: every file of ours, whoever needs it, and what is no file of ours.

Objects and executables with their bytes, checkouts, what operations and cleanups left behind, pins. Age
decides: what is younger than the horizon may belong to somebody who is at work and is no finding.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from caskeeper.errors import PermissionDenied, VolumeFailed
from caskeeper.pins import read_pins
from worker.services import findings as kinds
from worker.services.verify_content import look
from worker.services.verify_refs import FAN_OUT, check_file
from worker.store.journal import ended_journals

if TYPE_CHECKING:
    from caskeeper.coordination import Coordination
    from worker.services.findings import Findings
    from worker.services.verify_content import Reader, Sample
    from worker.services.verify_refs import RefsLook
    from worker.store.volume import Volume

_REST = re.compile(r"[0-9a-f]{62}\Z")
_HASH = re.compile(r"[0-9a-f]{64}\Z")
#: What stands in ``tmp/`` beside the folders of operations.
_SERVED = re.compile(r"served-[0-9a-f]{32}\Z|uploads-[a-z-]+-[0-9a-f]{32}\.[0-9]+\Z")
#: Left over, once the volume is made.
_STAGED_FORMAT = re.compile(r"FORMAT\.[A-Za-z0-9._-]{1,128}\Z")


class FilesLook:
    """One look at everything but refs and lists; ``refs`` has been looked at before."""

    def __init__(
        self,
        volume: Volume,
        refs: RefsLook,
        *,
        reader: Reader,
        sample: Sample,
        horizon_ns: int,
        findings: Findings,
    ) -> None:
        self._volume, self._layout = volume, volume.layout
        self._refs, self.reader, self._sample = refs, reader, sample
        self._horizon_ns, self._findings = horizon_ns, findings
        self._uploaded: set[bytes] = set()
        self.unread: list[tuple[str, str, str]] = []

    def run(self) -> None:
        """All of it."""
        if self._refs.doubt:
            self._findings.remark(f"orphans cannot be told: {self._refs.doubt}")
        self._look_at_journals()
        self.reader.phase = "hashing objects"
        self._look_at_objects(self._layout.objects, 0o444, kinds.DAMAGED, kinds.ORPHAN)
        self._look_at_objects(
            self._layout.executables, 0o555, kinds.DAMAGED_EXECUTABLE, kinds.ORPHAN_EXECUTABLE
        )
        self.reader.phase = "looking at checkouts"
        self._look_at_extracts()
        self._look_at_pins()
        self._look_for_strangers()

    # -- objects and executables -------------------------------------------------------------------------

    def _look_at_objects(self, top: str, mode: int, damaged: str, orphan: str) -> None:
        for fan in self._findings.entries(top):
            if not FAN_OUT.match(fan.name) or not fan.is_dir(follow_symlinks=False):
                self._findings.add(kinds.STRANGER, fan.path, "this is no folder of objects")
                continue
            for entry in self._findings.entries(fan.path):
                self.reader.step()
                if not _REST.match(entry.name):
                    self._findings.add(kinds.STRANGER, entry.path, "this is no object")
                else:
                    with self._findings.reaching(fan.path):
                        self._look_at_object(entry.path, fan.name + entry.name, mode, damaged, orphan)

    def _look_at_object(self, path: str, hash_hex: str, mode: int, damaged: str, orphan: str) -> None:
        status = look(path)
        if status is None:
            return
        self.reader.objects += 1
        if not stat.S_ISREG(status.st_mode):
            self._findings.add(
                kinds.KIND, path, "an object belongs here, and this is none", hash_hex=hash_hex
            )
            return
        untouched = check_file(self._findings, path, status, mode)
        raw = bytes.fromhex(hash_hex)
        is_needed = self._refs.doubt or raw in self._refs.listed or raw in self._uploaded
        if not is_needed and status.st_atime_ns < self._horizon_ns:
            self._findings.add(orphan, path, "no artifact needs it", hash_hex=hash_hex)
            return
        wanted = self._sample.has(hash_hex) or not untouched
        if wanted or (damaged == kinds.DAMAGED and hash_hex in self._refs.damaged):
            self._hash(path, hash_hex, damaged)

    def hash_unread(self) -> None:
        """Those whose mode kept us out, after it was set right."""
        unread, self.unread = self.unread, []
        for path, hash_hex, damaged in unread:
            self._hash(path, hash_hex, damaged)

    def _hash(self, path: str, hash_hex: str, damaged: str) -> None:
        stored = self.reader.hash(path, hash_hex)
        if stored is not None and stored.right is False:
            self._findings.add(damaged, path, stored.trouble, hash_hex=hash_hex)
        elif stored is not None and stored.right is None:
            self.unread.append((path, hash_hex, damaged))

    def _look_at_journals(self) -> None:
        """What a server took in and nobody named is no orphan: it is known, and the next cleanup takes it."""
        try:
            for journal in ended_journals(self._volume):
                self._uploaded.update(raw for raw, _size_bytes in journal.records())
        except (VolumeFailed, PermissionDenied) as trouble:
            self._findings.remark(f"a journal of uploads cannot be read: {trouble}")

    # -- checkouts ---------------------------------------------------------------------------------------

    def _look_at_extracts(self) -> None:
        for project in self._findings.entries(self._layout.extracts):
            if not self._is_folder(project):
                continue
            for element in self._findings.entries(project.path):
                if not self._is_folder(element):
                    continue
                for root in self._findings.entries(element.path):
                    self.reader.step()
                    if not self._is_folder(root):
                        continue
                    if not _HASH.match(root.name):
                        self._findings.add(kinds.STRANGER, root.path, "this is no checkout of ours")
                    elif root.name not in self._refs.roots and not self._refs.doubt:
                        with self._findings.reaching(element.path):
                            self._look_at_extract(root)

    def _is_folder(self, entry: os.DirEntry[str]) -> bool:
        if entry.is_dir(follow_symlinks=False):
            return True
        self._findings.add(kinds.STRANGER, entry.path, "among the checkouts only folders are ours")
        return False

    def _look_at_extract(self, root: os.DirEntry[str]) -> None:
        """Its folder's own time of change is when it was put here: nobody has moved it since."""
        status = look(root.path)
        if status is not None and status.st_ctime_ns < self._horizon_ns:
            self._findings.add(kinds.ORPHAN_EXTRACT, root.path, "no ref names its tree", hash_hex=root.name)

    # -- the rest ----------------------------------------------------------------------------------------

    def _look_at_pins(self) -> None:
        try:
            read_pins(self._layout)
        except (VolumeFailed, PermissionDenied) as error:
            self._findings.add(kinds.PIN, error.where, error.what, way_out=error.way_out)

    def _look_for_strangers(self) -> None:
        cas = os.path.dirname(self._layout.objects)
        self._findings.entries(self._layout.damaged)
        for entry in self._findings.entries(cas):
            if entry.name not in {"objects", "executables", "refs", "closures", "damaged"}:
                self._findings.add(kinds.STRANGER, entry.path, "this is nothing of ours")


def look_at_leftovers(
    volume: Volume, coordination: Coordination, findings: Findings, *, now_ns: int, life_s: float
) -> None:
    """What the dead left in ``tmp/`` and ``trash/``; looked for before a lease is taken, which clears it.

    An operation is dead when Redis does not know it or its lease is over, a cleanup when it does not hold
    the maintenance lease: each for a whole life, so that nobody is meant who has just begun or ended.
    """
    state = coordination.state()
    if state.lost or not state.ready:
        findings.add(kinds.STATE, "Redis", "the shared state is lost, or being recovered")
        return
    oldest_ns = now_ns - int(life_s * 1e9)
    live = {record.id for record in coordination.operations.list() if record.expires_ms > state.now_ms}
    _look_at_staging(volume, findings, live=live, oldest_ns=oldest_ns)
    holder = coordination.maintenance.holder()
    _look_at_trash(volume, findings, holder="" if holder is None else holder.holder, oldest_ns=oldest_ns)


def _look_at_staging(volume: Volume, findings: Findings, *, live: set[str], oldest_ns: int) -> None:
    for entry in findings.entries(volume.layout.staging):
        if entry.is_dir(follow_symlinks=False):
            status = look(f"{entry.path}/start") or look(entry.path)
            if entry.name not in live and status is not None and status.st_mtime_ns < oldest_ns:
                findings.add(kinds.STALE_STAGING, entry.path, "its operation is dead")
        elif _STAGED_FORMAT.match(entry.name):
            status = look(entry.path)
            if status is not None and status.st_ctime_ns < oldest_ns:
                findings.add(kinds.STALE_STAGING, entry.path, "it was staged for a volume that is made")
        elif not _SERVED.match(entry.name):
            findings.add(kinds.STRANGER, entry.path, "this is nothing of ours")


def _look_at_trash(volume: Volume, findings: Findings, *, holder: str, oldest_ns: int) -> None:
    for entry in findings.entries(volume.layout.trashes):
        if not entry.is_dir(follow_symlinks=False):
            findings.add(kinds.STRANGER, entry.path, "this is no cleanup's folder")
            continue
        status = look(entry.path)
        is_held = bool(holder) and (entry.name == holder or entry.name.startswith(f"{holder}."))
        if status is not None and not is_held and status.st_mtime_ns < oldest_ns:
            findings.add(kinds.STALE_TRASH, entry.path, "its cleanup is dead; what is in it goes back")
