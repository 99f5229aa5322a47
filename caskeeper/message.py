"""Typed values <-> JSON objects: what everything on the wire of the queue is made of."""

from __future__ import annotations

import types
import typing
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from caskeeper.errors import InvalidRequest


def _decode(hint: Any, value: object, *, where: str) -> Any:
    """``value`` from JSON as the type ``hint`` asks for. Raises InvalidRequest."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        if value is None and type(None) in args:
            return None
        return _decode(next(arg for arg in args if arg is not type(None)), value, where=where)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_decode(args[0], item, where=f"{where}[{n}]") for n, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {str(name): _decode(args[1], item, where=f"{where}.{name}") for name, item in value.items()}
    if isinstance(hint, type):
        if issubclass(hint, Message) and isinstance(value, dict):
            return hint.from_json(value, where=where)
        if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if type(value) is hint:
            return value
    if hint is Any:
        return value
    raise InvalidRequest(f"{value!r:.100} has the wrong type", f"argument {where}", f"give {hint}")


#: The types of the arguments of each message; to read the annotations takes longer than all the rest.
_known: dict[type, dict[str, Any]] = {}


def _hints(kind: type[Message]) -> dict[str, Any]:
    hints = _known.get(kind)
    if hints is None:
        found = typing.get_type_hints(kind)
        hints = _known[kind] = {field.name: found[field.name] for field in fields(kind)}
    return hints


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A value that travels as one JSON object."""

    def to_json(self) -> dict[str, Any]:
        """JSON-plain keyword arguments or result."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any], *, where: str = "") -> Self:
        """The value of a JSON object. Raises InvalidRequest with the argument's name."""
        place = f"{where}." if where else ""
        hints = _hints(cls)
        for name in document:
            if name not in hints:
                raise InvalidRequest(
                    f"unknown argument {name!r}", f"{cls.__name__}", f"known are: {', '.join(sorted(hints))}"
                )
        try:
            return cls(
                **{
                    name: _decode(hints[name], value, where=f"{place}{name}")
                    for name, value in document.items()
                }
            )
        except TypeError as missing:
            raise InvalidRequest(str(missing).partition(") ")[2] or str(missing), cls.__name__) from None
