"""What `verify` finds: the kinds, and the collection that a repair works through.

A finding names a thing on the volume by its path, or a ref. Whoever repairs looks again at what a finding
names; whether it is mended is told by that look, never by the attempt.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from caskeeper.contract import Finding
from caskeeper.errors import PermissionDenied, VolumeFailed
from worker.services.verify_content import entries

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from caskeeper.artifact import Ref
    from caskeeper.digest import Digest

DAMAGED = "damaged-object"
DAMAGED_EXECUTABLE = "damaged-executable"
DANGLING = "dangling-ref"
UNREADABLE = "unreadable-ref"
LIST = "closure-list"
ORPHAN = "orphan-object"
ORPHAN_EXECUTABLE = "orphan-executable"
ORPHAN_LIST = "orphan-closure-list"
ORPHAN_EXTRACT = "orphan-extract"
STALE_STAGING = "stale-staging"
STALE_TRASH = "stale-trash"
MODE = "wrong-mode"
TIME = "wrong-time"
KIND = "wrong-kind"
STRANGER = "stranger"
PIN = "damaged-pin"
ESTIMATE = "wrong-estimate"
STATE = "damaged-state"
#: FORMAT or COORDINATOR; a folder that is a link; one that cannot be looked into
IDENTITY = "volume-file"
LINK = "linked-folder"
FOLDER = "unreadable-folder"

#: So many travel through the queue; the counts are of all.
MOST = 2000
REPAIR = "`caskeeper verify --repair` mends it"
AGAIN = "pull it when a remote has it, or commit it again"
_MOVE = "move it out of the cache"
_WAYS = {
    FOLDER: "make it readable for this user (`chmod u+rwx`), then verify again",
    STRANGER: _MOVE,
    PIN: "`caskeeper pin` with its pattern writes it anew, or move it away",
}


@dataclass(eq=False, slots=True)
class Found:
    """One finding while it is worked on. ``hash_hex``: of the object, executable or root it is about."""

    kind: str
    where: str
    what: str
    hash_hex: str = ""
    ref: Ref | None = None
    way_out: str = ""
    done: str = ""
    repaired: bool = False
    #: refs that went with it, and why a remote did not give one of them back
    withdrawn: tuple[str, ...] = ()
    refused: str = ""

    def as_message(self) -> Finding:
        """The printable form."""
        way_out = "" if self.repaired else self.way_out or _WAYS.get(self.kind, REPAIR)
        if self.withdrawn:
            way_out = AGAIN
        return Finding(
            kind=self.kind,
            where=self.where,
            what=self.what,
            way_out=way_out,
            repaired=self.repaired,
            done=self.done if self.repaired or self.withdrawn else "",
            withdrawn=self.withdrawn,
        )


@dataclass
class Findings:
    """All of one look, in the order in which they were found."""

    all: list[Found] = field(default_factory=list)
    #: content that some ref needs and that is not here, with the refs
    missing: dict[Digest, set[Ref]] = field(default_factory=dict)
    #: why something was not looked at, or not mended
    remarks: list[str] = field(default_factory=list)
    #: how often something could not be looked at
    unreached: int = 0

    def add(
        self,
        kind: str,
        where: str,
        what: str,
        *,
        hash_hex: str = "",
        ref: Ref | None = None,
        way_out: str = "",
    ) -> None:
        """One more."""
        self.all.append(Found(kind, where, what, hash_hex, ref, way_out))

    @contextmanager
    def reaching(self, path: str) -> Iterator[None]:
        """What the system does not let us look at is one finding for its folder, and no end of the look.

        ``unreached`` is raised by one.
        """
        try:
            yield
        except (VolumeFailed, PermissionDenied) as trouble:
            self.unreached += 1
            self._told(path, trouble.what)

    def entries(self, folder: str) -> list[os.DirEntry[str]]:
        """What is in a folder, by name; nothing when it is gone or cannot be read, which is a finding."""
        try:
            return entries(folder)
        except (VolumeFailed, PermissionDenied) as trouble:
            self.unreached += 1
            self._told(folder, trouble.what)
            return []

    def out_of_reach(self, trouble: VolumeFailed) -> None:
        """A folder of the volume that is not there, or not its own: what is in it is not missing (I10)."""
        self.unreached += 1
        if not any(found.where == trouble.where for found in self.of(FOLDER, LINK)):
            self.add(FOLDER, trouble.where, trouble.what, way_out=trouble.way_out)

    def _told(self, place: str, what: str) -> None:
        if not any(found.where == place for found in self.of(FOLDER)):
            self.add(FOLDER, place, f"it cannot be looked at: {what}")

    def of(self, *kinds: str) -> Iterator[Found]:
        """Those of some kinds."""
        return (found for found in self.all if found.kind in kinds)

    def remark(self, sentence: str) -> None:
        """Once, however often it comes."""
        if sentence not in self.remarks:
            self.remarks.append(sentence)

    def counts(self) -> dict[str, int]:
        """How many there are of each kind."""
        return dict(sorted(Counter(found.kind for found in self.all).items()))

    def messages(self) -> tuple[Finding, ...]:
        """Of many, some of every kind travel: what is rare is not crowded out by what is frequent."""
        share = max(1, MOST // max(1, len(self.counts())))
        left: Counter[str] = Counter()
        chosen = []
        for found in self.all:
            if len(self.all) <= MOST or left[found.kind] < share:
                left[found.kind] += 1
                chosen.append(found.as_message())
        return tuple(chosen)
