"""Pins: the operator's permanent protection, by ref or by glob, as files on the volume (safety.md section 4).

One file a pin, ``pins/<sha256 of the pattern>``, holding the pattern and a newline. Here they are read and
matched, which needs neither Redis nor a worker; making and removing them is the workers' side.
"""

from __future__ import annotations

import hashlib
import os
import re
from fnmatch import translate
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.artifact import Ref
from caskeeper.errors import CaskeeperError, InvalidRequest, PermissionDenied, VolumeFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from caskeeper.layout import Layout

#: Begins the name of a pin that is being written; it protects nothing yet.
UNFINISHED = ".new-"
#: Longer than any ref, and with room for a class of characters or two.
MAX_PATTERN = 2048
_GLOB = re.compile(r"[*?\[]")
_PATTERN = re.compile(r"[A-Za-z0-9._/*?\[\]!-]+\Z")


class Pin(NamedTuple):
    """One pin. In a glob ``*`` and ``?`` also match ``/``, as in `list`."""

    pattern: str

    @classmethod
    def parse(cls, text: str, *, where: str = "PATTERN") -> Pin:
        """A ref, written as refs are stored, or a glob. Raises InvalidRequest for what matches no ref."""
        if not _GLOB.search(text):
            return cls(str(Ref.parse(text, where=where)))
        if len(text) > MAX_PATTERN or not _PATTERN.match(text):
            raise InvalidRequest(
                f"{text[:80]!r} matches no ref",
                where,
                f"use at most {MAX_PATTERN} characters of [A-Za-z0-9._-], `/`, and `*`, `?`, `[...]`",
            )
        return cls(text)

    @property
    def is_glob(self) -> bool:
        """Whether it may match several refs."""
        return _GLOB.search(self.pattern) is not None

    @property
    def name(self) -> str:
        """The name of its file."""
        return hashlib.sha256(self.pattern.encode()).hexdigest()

    def to_bytes(self) -> bytes:
        """The content of its file."""
        return self.pattern.encode() + b"\n"


class PinSet:
    """All pins, for one question about many refs."""

    def __init__(self, pins: Iterable[Pin]) -> None:
        self.pins = tuple(sorted(pins))
        self._refs = {pin.pattern for pin in self.pins if not pin.is_glob}
        globs = [pin.pattern for pin in self.pins if pin.is_glob]
        self._globs = [(glob, re.compile(translate(glob)).match) for glob in globs]

    def holder(self, ref: Ref) -> str:
        """The pattern of a pin that protects ``ref``; '' = none does."""
        name = str(ref)
        if name in self._refs:
            return name
        return next((glob for glob, matches in self._globs if matches(name)), "")

    def holders(self, ref: Ref) -> tuple[str, ...]:
        """The patterns of all pins that protect ``ref``, its own name first."""
        name = str(ref)
        own = (name,) if name in self._refs else ()
        return (*own, *(glob for glob, matches in self._globs if matches(name)))


def read_pins(layout: Layout) -> PinSet:
    """Every pin of the volume.

    Raises VolumeFailed or PermissionDenied when one of them, or the folder, cannot be read, and for a file
    that is no pin: what it protects is unknown, so nothing may be deleted (I9).
    """
    try:
        names = os.listdir(layout.pins)
    except FileNotFoundError as trouble:
        raise VolumeFailed(
            "there is no folder of pins, so what they protected is unknown and nothing is deleted",
            layout.pins,
            "restore it, or make an empty folder there if nothing was pinned",
        ) from trouble
    except OSError as trouble:
        raise _failure(trouble, layout.pins) from trouble
    read = [_read(f"{layout.pins}/{name}", name) for name in names if not name.startswith(UNFINISHED)]
    return PinSet(pin for pin in read if pin is not None)


def _read(path: str, name: str) -> Pin | None:
    """None: it was removed since it was listed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            data = os.read(fd, MAX_PATTERN + 2)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return None
    except OSError as trouble:
        raise _failure(trouble, path) from trouble
    try:
        pin = Pin.parse(data.decode("ascii").removesuffix("\n"))
    except (ValueError, InvalidRequest):
        raise _damaged("a pin is damaged", path) from None
    if pin.name != name or pin.to_bytes() != data:
        raise _damaged("a pin is damaged, or this is none", path)
    return pin


def _failure(trouble: OSError, path: str) -> CaskeeperError:
    if isinstance(trouble, PermissionError):
        return PermissionDenied(trouble.strerror or str(trouble), path)
    return _damaged(f"pins cannot be read ({trouble.strerror or trouble})", path)


def _damaged(what: str, path: str) -> VolumeFailed:
    return VolumeFailed(
        f"{what}, so what it protects is unknown and nothing is deleted",
        path,
        "`caskeeper pin` with its pattern writes it anew; if nobody knows the pattern, move the file away",
    )
