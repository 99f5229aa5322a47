"""What `explain` answers: why an artifact is kept, or why and when it went.

Take the types from ``caskeeper.contract``, which loads each when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from caskeeper.message import Message
from caskeeper.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: After these a ref is not here any more.
_GONE = ("evicted", "removed", "withdrawn")


@dataclass(frozen=True, kw_only=True, slots=True)
class Keeper(Message):
    """Somebody because of whom no cleanup takes an artifact. ``kind``: session, pin or operation.

    ``detail``: a session's label, or what the operation does and where; ``expires_in_s`` is None for a pin,
    and negative for an operation whose lease ran out and that is not fenced yet.
    """

    kind: str
    name: str
    detail: str = ""
    expires_in_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Happening(Message):
    """One entry of the event log.

    ``what``: published, bound, healed, evicted, removed, withdrawn or refused.
    ``root`` is what the ref named from then on and ``before`` what until then, as HASH/SIZE; ``by`` the
    operation or the cleanup, ``job`` the one it ran for; times in ms since the epoch of Unix.
    """

    what: str
    at_ms: int
    why: str = ""
    by: str = ""
    job: str = ""
    host: str = ""
    root: str = ""
    before: str = ""
    freed_bytes: int = 0
    used_ms: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation(Message):
    """``here``: there is such a ref now; ``complete``: all that it names is here, else ``missing`` says what.

    ``seen``: here, or in the log. ``action`` (evict, protected, young or kept) with its ``reason`` is what a
    cleanup down to the low watermark would do now; "" = that cannot be told. ``place`` in the order of
    eviction among ``places``, 1 goes first; 0 = protected, or not told. ``before`` it go so many artifacts,
    the first of them named in ``before_refs``, and ``before_bytes`` become free by that. ``history`` of the
    ref, newest first. ``remarks``: what could not be looked at, and why. ``gone``: how it went, in words; ""
    = it is here, or was never seen. ``missing`` is HASH/SIZE where one blob is gone or damaged.
    ``log_from_ms``: the event log knows nothing from before that; 0 = it is empty, None = not known.
    """

    ref: str
    here: bool
    seen: bool
    complete: bool = False
    missing: str = ""
    roots: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    kept_by: tuple[Keeper, ...] = ()
    used_ms: int = 0
    action: str = ""
    reason: str = ""
    place: int = 0
    places: int = 0
    before: int = 0
    before_bytes: int = 0
    before_refs: tuple[str, ...] = ()
    history: tuple[Happening, ...] = ()
    remarks: tuple[str, ...] = ()
    gone: str = ""
    log_from_ms: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainRequest(Request):
    """Why an artifact is kept, or why and when it went. Looks only."""

    TASK: ClassVar = "cache.explain"
    LANE: ClassVar = "local"
    RESULT: ClassVar = Explanation

    ref: str

    def subject(self) -> str:
        return self.ref


def how_it_went(history: Sequence[Happening], *, moment: Callable[[int], str]) -> str:
    """Why what has this history is not here any more; a later refusal does not hide it."""
    last = next((one for one in history if one.what != "refused"), history[0])
    if last.what in _GONE:
        return f"{last.what} {moment(last.at_ms)}, {last.why}"
    if last.what == "refused":
        return f"it was refused {moment(last.at_ms)}, {last.why}"
    return (
        "it went without an entry in the log: a cleanup was killed half-way, "
        "or it was deleted behind the cache's back"
    )
