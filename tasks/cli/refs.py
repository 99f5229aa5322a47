"""The refs of a command as they are bound: what a user writes is normalised before it is shown (AC-4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.artifact import Ref

if TYPE_CHECKING:
    from collections.abc import Iterable


def bound(text: str) -> str:
    """The name behind ``text``. Raises InvalidRequest."""
    return str(Ref.parse(text))


def every_bound(texts: Iterable[str]) -> tuple[str, ...]:
    """Each name once, in the order of ``texts``. Raises InvalidRequest."""
    return tuple(dict.fromkeys(map(bound, texts)))
