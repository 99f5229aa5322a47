"""What a configuration file says, every piece with the place where it says it (AC-14).

All scalars are text without surrounding whitespace (AC-11); what they mean is decided by who reads
them. Nothing here knows YAML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_TRUE = frozenset({"True", "true"})
_FALSE = frozenset({"False", "false"})
_NUMBER = re.compile(r"[0-9]{1,9}\Z")
#: No number in a configuration is larger: in milliseconds it still fits what gRPC takes.
_MOST = 1_000_000


class Provenance(NamedTuple):
    """A place in a file: ``line`` counts from 1, ``column`` from 0; line 0 means the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file} [line {self.line} column {self.column}]" if self.line else self.file


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """Text, or ``null``: then ``is_null`` and the text is empty."""

    where: Provenance
    text: str
    is_null: bool = False

    kind = "text"


@dataclass(frozen=True, slots=True)
class ListNode:
    """Items in order."""

    where: Provenance
    items: tuple[Node, ...]

    kind = "a list"


@dataclass(frozen=True, slots=True)
class MappingNode:
    """Members by key, in order."""

    where: Provenance
    members: dict[str, Node]

    kind = "a mapping"


Node = ScalarNode | ListNode | MappingNode


def _wrong_type(node: Node, name: str, expected: str) -> ConfigInvalid:
    found = node.kind
    if isinstance(node, ScalarNode):
        found = "null" if node.is_null else repr(node.text[:80])
    return ConfigInvalid(
        f"`{name}` has the wrong type", str(node.where), f"give {expected} instead of {found}"
    )


def read_text(node: Node | None, name: str) -> str | None:
    """The text of a scalar; None when it is absent or null. Raises ConfigInvalid for a list or mapping."""
    if node is None:
        return None
    if not isinstance(node, ScalarNode):
        raise _wrong_type(node, name, "text")
    return None if node.is_null else node.text


def read_bool(node: Node | None, name: str, *, default: bool) -> bool:
    """True, true, False or false; absent and null take the default (AC-11). Raises ConfigInvalid."""
    if node is None:
        return default
    if isinstance(node, ScalarNode):
        if node.is_null:
            return default
        if node.text in _TRUE:
            return True
        if node.text in _FALSE:
            return False
    raise _wrong_type(node, name, "`true` or `false`")


def read_mapping(node: Node | None, name: str) -> MappingNode | None:
    """A mapping; None when it is absent or null. Raises ConfigInvalid for text or a list."""
    if node is None or (isinstance(node, ScalarNode) and node.is_null):
        return None
    if not isinstance(node, MappingNode):
        raise _wrong_type(node, name, "a mapping")
    return node


def read_choice(node: Node | None, name: str, choices: tuple[str, ...], *, default: str) -> str:
    """One of the words; absent and null take the default. Raises ConfigInvalid."""
    text = read_text(node, name)
    if node is None or text is None:
        return default
    if text not in choices:
        raise ConfigInvalid(
            f"`{name}` cannot be {text[:80]!r}", str(node.where), f"give one of {', '.join(choices)}"
        )
    return text


def read_int(node: Node | None, name: str, *, least: int = 0, unit: str = "") -> int | None:
    """A whole number from ``least`` to a million; None when it is absent or null. Raises ConfigInvalid."""
    text = read_text(node, name)
    if node is None or text is None:
        return None
    if _NUMBER.match(text) and least <= int(text) <= _MOST:
        return int(text)
    raise ConfigInvalid(
        f"`{name}` cannot be {text[:80]!r}",
        str(node.where),
        f"give a whole number of {unit or name} from {least} to {_MOST}",
    )


def refuse_unknown_keys(
    mapping: MappingNode, known: Iterable[str], *, section: str = "", ignored: Iterable[str] = ()
) -> None:
    """Raises ConfigInvalid for the first key that is not known, at its value, with close matches."""
    allowed, others = list(known), sorted(ignored)
    for key, value in mapping.members.items():
        if key not in allowed and key not in others:
            inside = f" in `{section}`" if section else ""
            raise ConfigInvalid(
                f"unknown key `{key[:80]}`{inside}", str(value.where), suggestion(key, allowed, others)
            )


def close_matches(word: str, known: Sequence[str]) -> list[str]:
    """What somebody may have meant, the best guess first."""
    import difflib  # noqa: PLC0415 -- only who mistyped waits for it

    return difflib.get_close_matches(word, known, n=3, cutoff=0.6)


def suggestion(word: str, known: Sequence[str], others: Sequence[str] = ()) -> str:
    """The way out for a word that nobody knows: close matches, else all that is known."""
    close = close_matches(word, [*known, *others])
    if close:
        return f"did you mean {' or '.join(f'`{match}`' for match in close)}?"
    return f"known here: {', '.join(f'`{key}`' for key in sorted(known))}"
