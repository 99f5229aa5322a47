"""The maintenance lane: requests and results.

Take the types from ``caskeeper.contract``, which loads each when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from caskeeper.message import Message
from caskeeper.request import Request

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
    what is left, when the target was not reached or nothing but a plan was wanted. Of the groups that stay
    only the next to go travel, and ``more_kept`` are left out.
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
    more_kept: int = 0
    holders: tuple[CleanupHolder, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanupRequest(Request):
    """Evict until ``target_bytes`` (None: the low watermark). ``dry_run`` only plans.

    ``if_wanted``: look first, and do nothing unless the cache is above a watermark (D-33, D-34).
    """

    TASK: ClassVar = "cache.cleanup"
    LANE: ClassVar = "maintenance"
    RESULT: ClassVar = CleanupResult

    target_bytes: int | None = None
    dry_run: bool = False
    if_wanted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeSizeResult(Message):
    """``used_bytes`` as recounted, ``estimate_bytes`` as it was believed before."""

    used_bytes: int
    estimate_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeSizeRequest(Request):
    """Recount the volume and set the estimate to the truth."""

    TASK: ClassVar = "cache.compute_size"
    LANE: ClassVar = "maintenance"
    RESULT: ClassVar = ComputeSizeResult


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
class VerifyRequest(Request):
    """Look at everything on the volume; ``repair`` mends what can be mended.

    ``sample``: hash so many percent of the objects, another part every day (docs/decisions/0013); None = all.
    """

    TASK: ClassVar = "cache.verify"
    LANE: ClassVar = "maintenance"
    RESULT: ClassVar = VerifyResult

    repair: bool = False
    sample: float | None = None
