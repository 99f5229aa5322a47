"""A part of an object that is made when it is first asked for, and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Made = TypeVar("Made")


class Part(Generic[Made]):
    """Decorator of the method that makes it.

    Without the lock of ``functools.cached_property``: a child that is forked while a thread of its parent
    makes a part would inherit that lock held, and wait for it for ever. Two threads may both make it.
    """

    def __init__(self, make: Callable[[Any], Made]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, whole: Any, owner: type | None = None) -> Made:
        made = vars(whole)[self._name] = self._make(whole)
        return made
