"""What jobs answer with, and how far they are, as typed values (interface section 2).

Each is one JSON object on the wire. Take them from ``caskeeper.contract``, which pairs them with requests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from caskeeper.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress(Message):
    """How far a job is. Totals are 0 while they are unknown; ``present`` was already there."""

    phase: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    done_objects: int = 0
    total_objects: int = 0
    present_bytes: int = 0
    present_objects: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PullResult(Message):
    """``pulled``: something was fetched (AC-69). ``cached``: it was complete here already."""

    pulled: bool
    cached: bool
    remote: str | None = None
    blobs: int = 0
    bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class CommitResult(Message):
    """``root`` is HASH/SIZE; ``size_bytes`` and ``files`` of the tree, ``added_bytes`` on the disk."""

    root: str
    size_bytes: int
    files: int
    added_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractResult(Message):
    """``path`` is the artifact's folder, never the sub-directory (AC-55)."""

    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkResult(Message):
    """Nothing to say beyond success."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoveResult(Message):
    """``freed_bytes`` on the disk; ``removed`` are the refs that are gone now."""

    freed_bytes: int
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PushOutcome(Message):
    """One remote's part of a push. ``outcome``: pushed, already-there, full or failed."""

    url: str
    outcome: str
    blobs: int = 0
    bytes: int = 0
    reason: str = ""
    retry: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PushResult(Message):
    """``pushed``: at least one remote was updated (AC-62)."""

    pushed: bool
    remotes: tuple[PushOutcome, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PullTreeResult(Message):
    """``digest`` of the root Directory as HASH/SIZE; None = every remote answered, none has the Tree."""

    digest: str | None
    remote: str | None = None
    blobs: int = 0
    bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PushDirectoryResult(Message):
    """What became of it at every push remote."""

    remotes: tuple[PushOutcome, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PushMessageResult(Message):
    """``digest`` of the message as HASH/SIZE, and what became of it at every push remote."""

    digest: str
    remotes: tuple[PushOutcome, ...] = ()


#: Stands for a root in a plan: all that was uploaded to a server and has no name.
UPLOADS = "uploads"
#: What repairs took away and keep for a look, as a group of a cleanup's plan.
DAMAGED = "damaged"


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanupGroup(Message):
    """All refs of one tree: what happens to them and why. ``action``: evict, protected, young, kept.

    Without refs, and with UPLOADS as its ``root``: what clients of a server uploaded and never named; with
    DAMAGED: what was found damaged and kept for a look.
    """

    root: str
    refs: tuple[str, ...]
    action: str
    reason: str = ""
    frees_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanupHolder(Message):
    """Somebody whose doing keeps content from being evicted.

    ``kind``: session, pin, operation (it uses it now); running, server, uploads, margin (what was used
    since they began is too young to go). ``detail`` says more about ``name``. Two may hold the same.
    """

    kind: str
    name: str
    detail: str = ""
    artifacts: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanupResult(Message):
    """The plan and what was done of it. Sizes in bytes on the disk.

    ``young_objects`` were to go and stay: an operation that may still run has touched them; ``young_bytes``
    of what is too young has no ref. ``holders`` of
    what is left, when the target was not reached or nothing but a plan was wanted.
    """

    dry_run: bool
    used_before_bytes: int
    used_after_bytes: int
    target_bytes: int
    freed_bytes: int = 0
    evicted_refs: int = 0
    recovered_objects: int = 0
    reaped_operations: int = 0
    young_objects: int = 0
    young_bytes: int = 0
    groups: tuple[CleanupGroup, ...] = ()
    holders: tuple[CleanupHolder, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeSizeResult(Message):
    """``used_bytes`` as recounted, ``estimate_bytes`` as it was believed before."""

    used_bytes: int
    estimate_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding(Message):
    """One thing that is not as it must be: which ``kind``, ``where``, ``what`` is wrong, and the ``way_out``.

    ``done`` says what a repair made of it; ``repaired``: it is not there any more, and nothing was lost.
    ``withdrawn``: the refs that are not here any more because nobody has what they need.
    """

    kind: str
    where: str
    what: str
    way_out: str = ""
    repaired: bool = False
    done: str = ""
    withdrawn: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyResult(Message):
    """What a look at the whole volume found. ``findings`` may be cut short, ``counts`` by kind are whole.

    ``sampled_percent`` of the objects were hashed: ``hashed_objects`` of ``objects``. ``used_bytes`` was
    scanned, ``estimate_bytes`` believed; they may differ while others write. ``quarantined``: what repairs
    took away, kept for a while for whoever wants to know why, ``quarantined_bytes`` in all. ``withdrawn``:
    every ref that this repair withdrew. ``remarks``: what was not looked at or not repaired, and why.
    """

    repair: bool
    sampled_percent: float
    refs: int = 0
    objects: int = 0
    hashed_objects: int = 0
    hashed_bytes: int = 0
    used_bytes: int = 0
    estimate_bytes: int = 0
    findings: tuple[Finding, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    repaired: int = 0
    quarantined: tuple[str, ...] = ()
    quarantined_bytes: int = 0
    withdrawn: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkChange(Message):
    """A symbolic link and its targets; None = no link is there."""

    path: str
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModeChange(Message):
    """A file of both sides; whether it is executable on the second."""

    path: str
    executable: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TypeChange(Message):
    """A path of both sides that is another kind of thing: file, symlink or directory."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffResult(Message):
    """AC-60: regular files in ``modified``, ``removed``, ``added``; D-28: the rest in lists of its own.

    ``not_compared``: folders that differ, or are on one side only, and were left out when they were pulled.
    """

    modified: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    symlinks: tuple[LinkChange, ...] = ()
    modes: tuple[ModeChange, ...] = ()
    types: tuple[TypeChange, ...] = ()
    folders_removed: tuple[str, ...] = ()
    folders_added: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedRef(Message):
    """One ref of an import. ``outcome``: imported, present, kept (names another tree here) or damaged."""

    ref: str
    outcome: str
    reason: str = ""
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportResult(Message):
    """What an import took over, or would; ``blobs`` and ``bytes`` of content that was not here."""

    dry_run: bool
    artifacts: tuple[ImportedRef, ...] = ()
    blobs: int = 0
    bytes: int = 0


#: In `RemoteHealth.projects`: every project that no remote names.
OTHER_PROJECTS = "*"


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteHealth(Message):
    """One configured remote as it answered. ``reason``: why it is not usable, or takes no pushes.

    ``protocol`` is how it is asked for names; ``latency_ms`` what the first contact took, from nothing to
    all its answers. ``push_configured``: it is meant to be pushed to. ``projects`` use it; OTHER_PROJECTS
    stands for all that have no remotes of their own. ``where`` it is configured.
    """

    url: str
    usable: bool
    fetch: bool
    push: bool
    reason: str = ""
    protocol: str = ""
    latency_ms: float | None = None
    type: str = "all"
    push_configured: bool = False
    projects: tuple[str, ...] = ()
    where: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemotesCheckResult(Message):
    """Every distinct remote once, in order of priority."""

    remotes: tuple[RemoteHealth, ...] = ()

    def has_fetch_remotes(self, project: str | None = None) -> bool:
        """Some remote can be pulled from, or some of this project's (AC-23): an index and a storage."""
        return _both_halves(remote.type for remote in self._of(project) if remote.fetch)

    def has_push_remotes(self, project: str | None = None) -> bool:
        """Some remote takes pushes, or some of this project's (AC-24): an index and a storage."""
        return _both_halves(remote.type for remote in self._of(project) if remote.push)

    def _of(self, project: str | None) -> tuple[RemoteHealth, ...]:
        if project is None:
            return self.remotes
        named = {name for remote in self.remotes for name in remote.projects}
        user = project if project in named else OTHER_PROJECTS
        return tuple(remote for remote in self.remotes if user in remote.projects)


def _both_halves(types: Iterable[str]) -> bool:
    """Servers of these types can be asked for names and for content."""
    found = set(types)
    return "all" in found or {"index", "storage"} <= found
