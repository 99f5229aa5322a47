"""The names a build uses: a ref ``project/element/key``, and the element it belongs to (AC-4 to AC-7)."""

from __future__ import annotations

import re
from typing import NamedTuple

from caskeeper.errors import InvalidRequest

_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9._-]")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,255}\Z")


def normal_element(name: str) -> str:
    """AC-4: a literal ``.bst`` at the end goes, a path is joined by ``-``, other odd characters become ``_``.

    Not injective (AC-7): what is told apart by nothing else is told apart by its key.
    """
    return _NOT_ALLOWED.sub("_", name.removesuffix(".bst").replace("/", "-"))


def _segment(text: str, *, role: str, where: str) -> str:
    if not _SEGMENT.match(text) or text in {".", ".."}:
        raise InvalidRequest(
            f"the {role} {text[:80]!r} is not a name",
            where,
            "use 1 to 255 characters of [A-Za-z0-9._-], not `.` or `..`",
        )
    return text


def project_name(text: str, *, where: str = "project") -> str:
    """A project's name, as it may stand in a ref. Raises InvalidRequest."""
    return _segment(text, role="project", where=where)


class Ref(NamedTuple):
    """One name of one artifact. ``str(ref)`` can be parsed back and is the key on remotes (AC-5)."""

    project: str
    element: str
    key: str

    def __str__(self) -> str:
        return f"{self.project}/{self.element}/{self.key}"

    @classmethod
    def parse(cls, text: str, *, where: str = "REF") -> Ref:
        """``project/element/key`` with exactly three parts. Raises InvalidRequest that names the way out."""
        parts = text.split("/")
        place = f"{where} {text[:200]!r}"
        if len(parts) > 3:
            joined = f"{parts[0]}/{'-'.join(parts[1:-1])}/{parts[-1]}"
            raise InvalidRequest(
                f"a ref has three parts, this has {len(parts)}",
                place,
                f"write a path in the element with `-`: {joined[:200]!r}",
            )
        if len(parts) < 3:
            raise InvalidRequest(
                f"a ref has three parts, this has {len(parts)}", place, "write PROJECT/ELEMENT/KEY"
            )
        return cls.of(*parts, where=place)

    @classmethod
    def of(cls, project: str, element: str, key: str, *, where: str = "REF") -> Ref:
        """The ref of an element's key; the element is normalised, project and key are taken as they are."""
        return cls(
            _segment(project, role="project", where=where),
            _segment(normal_element(element), role="element", where=where),
            _segment(key, role="key", where=where),
        )


class Element(NamedTuple):
    """What a build requires: an element of a project and the keys known so far (AC-26 to AC-29)."""

    project: str
    name: str
    strong_key: str | None = None
    weak_key: str | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The known keys, strong first, each once."""
        return tuple(dict.fromkeys(key for key in (self.strong_key, self.weak_key) if key))

    @property
    def refs(self) -> tuple[Ref, ...]:
        """The refs of the known keys. Raises InvalidRequest for a name that cannot be one."""
        return tuple(Ref.of(self.project, self.name, key, where="element") for key in self.keys)

    @classmethod
    def of(cls, ref: Ref) -> Element:
        """The element a single ref speaks of; its key counts as the strong one."""
        return cls(ref.project, ref.element, ref.key)
