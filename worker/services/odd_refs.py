"""What is said of things among the refs that keep everything from being deleted (I9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.store.refs import OddRefs

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What to do about it. A stranger is nobody's to delete.
REMEDY = "`caskeeper verify` names all of them, `--repair` mends what can be mended; move the rest away"


def strangers_told(paths: Sequence[str]) -> str:
    """One line, however many they are; '' when there are none."""
    told = odd_told(OddRefs(tuple(paths), ()))
    return f"{told}: {REMEDY}" if told else ""


def odd_told(odd: OddRefs) -> str:
    """What is odd among the refs, without the remedy; '' when nothing is."""
    parts = []
    if odd.strangers:
        parts.append(f"{_some(odd.strangers)} {'are no refs' if len(odd.strangers) > 1 else 'is no ref'}")
    if odd.unreadable:
        parts.append(f"ref {_some([str(ref) for ref in odd.unreadable])} cannot be read")
    return f"{'; '.join(parts)}, and until that is mended nothing is deleted" if parts else ""


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"{min(names)}{more}"
