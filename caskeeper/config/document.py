"""YAML text -> nodes with their places (AC-14).

Built from the parser's events, not by PyYAML's composer: that one recurses in C without a bound, and
a file of a hundred thousand brackets kills the process. No YAML type is interpreted but null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caskeeper.config.node import ListNode, MappingNode, Provenance, ScalarNode
from caskeeper.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caskeeper.config.node import Node

#: No configuration is larger; what is was named by mistake.
MAX_FILE_BYTES = 4 * 1024 * 1024
#: No configuration is deeper; it also bounds the recursion here.
MAX_DEPTH = 32

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")
)


def read_document(path: str) -> MappingNode | None:
    """The mapping that a file holds (empty when the file is); None when there is no such file.

    Raises ConfigInvalid: unreadable, too large, not UTF-8, malformed, or not a mapping.
    """
    try:
        with open(path, "rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigInvalid(
            f"the file cannot be read ({error.strerror})", path, "name a readable YAML file"
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigInvalid(
            f"the file is larger than {MAX_FILE_BYTES} bytes", path, "name a configuration file"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _place_of(path, data[: error.start].decode("utf-8-sig"))
        raise ConfigInvalid("the file is not UTF-8", str(place), "save it as UTF-8") from error
    node = parse_document(text, path)
    if node is None or (isinstance(node, ScalarNode) and node.is_null):
        return MappingNode(Provenance(path), {})
    if not isinstance(node, MappingNode):
        raise ConfigInvalid(
            f"the file holds {node.kind} at its top", str(node.where), "write `key: value` lines"
        )
    return node


def parse_document(text: str, file: str) -> Node | None:
    """The one document in ``text``; None when it is empty. Raises ConfigInvalid with the place."""
    import yaml  # noqa: PLC0415 -- only who has a file waits for it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Composer(yaml, yaml.parse(text, Loader=loader), file).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Provenance(file, mark.line + 1, mark.column) if mark else Provenance(file)
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise _malformed(problem, place) from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        if loader is not yaml.SafeLoader:  # the C reader counts bytes
            before = text.encode()[: error.position].decode(errors="ignore")
        raise _malformed("a control character is not allowed", _place_of(file, before)) from error
    except UnicodeEncodeError as error:  # from the environment only: a file was decoded
        raise _malformed("not UTF-8", _place_of(file, text[: error.start])) from error


def _place_of(file: str, before: str) -> Provenance:
    """The place after this text."""
    return Provenance(file, before.count("\n") + 1, len(before) - before.rfind("\n") - 1)


def _malformed(problem: str, where: Provenance) -> ConfigInvalid:
    return ConfigInvalid(f"malformed YAML: {problem}", str(where), "correct the YAML there")


class _Composer:
    """Parser events -> nodes. The yaml module is handed in because it is imported late."""

    def __init__(self, yaml: Any, events: Iterator[Any], file: str) -> None:
        self._yaml = yaml
        self._events = events
        self._file = file
        self._anchors: dict[str, Node] = {}

    def document(self) -> Node | None:
        yaml = self._yaml
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        node = self._node(next(self._events), depth=0)
        next(self._events)  # the document's end
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise _malformed("a second document begins", self._place(after))
        return node

    def _place(self, event: Any) -> Provenance:
        return Provenance(self._file, event.start_mark.line + 1, event.start_mark.column)

    def _node(self, event: Any, *, depth: int) -> Node:
        yaml, where = self._yaml, self._place(event)
        if isinstance(event, yaml.AliasEvent):
            # An alias inside of what it names is not known yet: there are no cycles.
            if event.anchor not in self._anchors:
                raise _malformed(f"nothing is anchored as `{event.anchor}` before", where)
            return self._anchors[event.anchor]
        if event.tag is not None and event.tag not in _PLAIN_TAGS:
            raise _malformed(f"the tag `{event.tag}` has no meaning here", where)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            is_null = event.implicit[0] and event.value in _NULLS
            node = ScalarNode(where, "" if is_null else event.value.strip(), is_null)
        elif depth >= MAX_DEPTH:
            raise _malformed(f"nested deeper than {MAX_DEPTH}", where)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._list(where, depth=depth)
        else:
            node = self._mapping(event, where, depth=depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _list(self, where: Provenance, *, depth: int) -> ListNode:
        items: list[Node] = []
        while not isinstance(event := next(self._events), self._yaml.SequenceEndEvent):
            items.append(self._node(event, depth=depth + 1))
        return ListNode(where, tuple(items))

    def _mapping(self, start: Any, where: Provenance, *, depth: int) -> MappingNode:
        members: dict[str, Node] = {}
        while not isinstance(event := next(self._events), self._yaml.MappingEndEvent):
            if not start.flow_style and not members:
                where = self._place(event)  # the first key, also behind an anchor
            key = self._node(event, depth=depth + 1)
            if not isinstance(key, ScalarNode) or key.is_null:
                raise _malformed("a key must be text", self._place(event))
            if key.text in members:
                raise _malformed(f"the key `{key.text[:80]}` stands here a second time", key.where)
            members[key.text] = self._node(next(self._events), depth=depth + 1)
        return MappingNode(where, members)
