"""Trees made to harm: what a peer may send as Directory messages, one case a name.

A case builds its blobs in a ``Lair`` and answers the digest of the root. ``REFUSED`` ones can be no tree of
ours; ``CONTAINED`` ones are odd and legal, and must stay inside the folder they are laid out in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.digest import EMPTY, Digest
from worker._protos import remote_execution_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    Build = Callable[["Lair"], Digest]

REFUSED: dict[str, Build] = {}
CONTAINED: dict[str, Build] = {}
#: In no reading a Directory message.
EVIL = b"#!evil\n"


class Lair:
    """Blobs by hash, right or wrong; ``outside`` is a folder that no tree may reach."""

    def __init__(self, outside: str) -> None:
        self.outside = outside
        self.blobs: dict[str, bytes] = {}
        self.evil = self.add(EVIL)

    @classmethod
    def beside(cls, folder) -> Lair:
        """One with an ``outside`` in ``folder``, where something lies already."""
        outside = folder / "outside"
        outside.mkdir()
        (outside / "mine").write_bytes(b"mine")
        return cls(str(outside))

    def add(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        self.blobs[digest.hash] = data
        return digest

    def lie(self, hash_hex: str, data: bytes) -> Digest:
        """``data`` under a hash that is another content's."""
        self.blobs[hash_hex] = data
        return Digest(hash_hex, len(data))

    def folder(self, *nodes: tuple[str, str, object], more: bytes = b"") -> Digest:
        """Entries in the order given, nothing checked: ("file", name, digest), ("link", name, target) …"""
        return self.add(message(*nodes) + more)


def message(*nodes: tuple[str, str, object]) -> bytes:
    built = pb.Directory()
    for kind, name, value in nodes:
        if kind == "link":
            built.symlinks.add(name=name, target=value)
        else:
            of_kind = built.directories if kind == "folder" else built.files
            of_kind.add(name=name, digest=pb.Digest(hash=value[0], size_bytes=value[1]))
    return built.SerializeToString()


def refused(name: str) -> Callable[[Build], Build]:
    return lambda build: REFUSED.setdefault(name, build)


def contained(name: str) -> Callable[[Build], Build]:
    return lambda build: CONTAINED.setdefault(name, build)


# -- names -------------------------------------------------------------------------------------------------

NAMES = {
    "empty": "",
    "one dot": ".",
    "two dots": "..",
    "a slash": "/",
    "up and out": "../outside/escape",
    "down, up and out": "a/../../outside/escape",
    "a path inside": "a/b",
    "a slash at the end": "a/",
    "an absolute path": "{outside}/escape",
    "a NUL": "escape\0",
    "a NUL after two dots": "..\0",
    "longer than any name": "n" * 256,
    "longer in bytes than any name": "é" * 128,
    "a megabyte": "n" * (1 << 20),
}


def _named(kind: str, text: str) -> Build:
    def build(lair: Lair) -> Digest:
        values = {"file": lair.evil, "folder": lair.folder(("file", "f", lair.evil)), "link": lair.outside}
        return lair.folder((kind, text.replace("{outside}", lair.outside), values[kind]))

    return build


for _kind in ("file", "folder", "link"):
    for _why, _text in NAMES.items():
        REFUSED[f"{_kind} name: {_why}"] = _named(_kind, _text)


def _field(number: int, data: bytes) -> bytes:
    """A length-delimited field, as it stands on the wire."""
    size, head = len(data), bytearray([number << 3 | 2])
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes([*head, size]) + data


def _node(name: bytes, digest: Digest, *, kind: int = 1) -> bytes:
    held = pb.Digest(hash=digest.hash, size_bytes=digest.size_bytes).SerializeToString()
    return _field(kind, _field(1, name) + _field(2, held))


for _why, _bytes in {
    "no UTF-8": b"\xff\xfe",
    "a slash in two bytes": b"..\xc0\xafescape",
    "dots in two bytes each": b"\xc0\xae\xc0\xae",
    "half of a surrogate": b"\xed\xa0\x80",
}.items():
    REFUSED[f"file name: {_why}"] = lambda lair, name=_bytes: lair.add(_node(name, lair.evil))
REFUSED["link target: no UTF-8"] = lambda lair: lair.add(_field(3, _field(1, b"l") + _field(2, b"\xff")))


@refused("a name given twice: the harmless one first")
def _(lair):
    held = pb.Digest(hash=lair.evil.hash, size_bytes=len(EVIL)).SerializeToString()
    return lair.add(_field(1, _field(1, b"ok") + _field(1, b"../outside/escape") + _field(2, held)))


@refused("a name below a good folder")
def _(lair):
    return lair.folder(("folder", "good", lair.folder(("file", "../../outside/escape", lair.evil))))


# -- entries of one name, and out of order -----------------------------------------------------------------


@refused("a folder behind a link of its name that leads out")
def _(lair):
    """Whoever makes the link first writes the folder's files outside."""
    inner = lair.folder(("file", "escape", lair.evil))
    return lair.folder(("link", "d", lair.outside), ("folder", "d", inner))


@refused("a file behind a link of its name that leads out")
def _(lair):
    return lair.folder(("link", "f", f"{lair.outside}/escape"), ("file", "f", lair.evil))


@refused("a file and a folder of one name")
def _(lair):
    return lair.folder(("file", "a", lair.evil), ("folder", "a", EMPTY))


@refused("two files of one name")
def _(lair):
    return lair.folder(("file", "a", lair.evil), ("file", "a", EMPTY))


@refused("two folders of one name")
def _(lair):
    return lair.folder(("folder", "a", EMPTY), ("folder", "a", lair.folder(("file", "f", lair.evil))))


@refused("two links of one name")
def _(lair):
    return lair.folder(("link", "a", "x"), ("link", "a", lair.outside))


@refused("files out of order")
def _(lair):
    return lair.folder(("file", "b", lair.evil), ("file", "a", lair.evil))


@refused("folders out of order")
def _(lair):
    return lair.folder(("folder", "b", EMPTY), ("folder", "a", EMPTY))


@refused("links out of order")
def _(lair):
    return lair.folder(("link", "é", "x"), ("link", "z", "x"))


# -- targets -----------------------------------------------------------------------------------------------

for _why, _target in {"empty": "", "a NUL": "a\0b", "longer than any path": "t" * 4096}.items():
    REFUSED[f"link target: {_why}"] = lambda lair, target=_target: lair.folder(("link", "l", target))


# -- digests -----------------------------------------------------------------------------------------------

_HASHES = {
    "none": "",
    "short": "a" * 63,
    "long": "a" * 65,
    "capitals": "AB" * 32,
    "no hex": "g" * 64,
    "a path": "/../../../outside/escape".ljust(64, "/"),
    "a NUL": "a" * 63 + "\0",
    "digits of another script": "٣" * 64,
}


def _hashed(kind: str, hash_hex: str) -> Build:
    return lambda lair: lair.folder((kind, "a", (hash_hex, 5)))


for _kind in ("file", "folder"):
    for _why, _text in _HASHES.items():
        REFUSED[f"{_kind} hash: {_why}"] = _hashed(_kind, _text)
    REFUSED[f"{_kind} size: negative"] = lambda lair, k=_kind: lair.folder((k, "a", (lair.evil.hash, -1)))
    REFUSED[f"{_kind} size: the smallest number"] = lambda lair, k=_kind: lair.folder(
        (k, "a", (lair.evil.hash, -(1 << 63)))
    )


@refused("a file without a digest")
def _(lair):
    return lair.add(_field(1, _field(1, b"a")))


@refused("a folder of more bytes than any message")
def _(lair):
    return lair.folder(("folder", "a", ("ab" * 32, 1 << 62)))


@refused("one hash with two sizes")
def _(lair):
    return lair.folder(("file", "a", lair.evil), ("file", "b", (lair.evil.hash, 6)))


@refused("the empty hash with a size")
def _(lair):
    return lair.folder(("folder", "a", (EMPTY.hash, 5)))


@refused("a folder that is a file's content")
def _(lair):
    return lair.folder(("folder", "a", lair.evil))


# -- bytes -------------------------------------------------------------------------------------------------

for _why, _data in {
    "cut short": message(("link", "l", "t"))[:-1],
    "a length beyond the end": b"\x0a\xff\xff\xff\xff\x07",
    "a length without an end": b"\x0a" + b"\xff" * 11,
    "noise": bytes(range(255, 0, -1)),
    "text": b'{"files": [{"name": "../outside/escape"}]}',
    "the end of a group that never began": b"\x2c",
    "groups in groups": b"\x2b" * 10_000,
    "a name that is a number": _field(1, b"\x08\x01" + _field(2, _field(1, b"ab" * 32))),
}.items():
    REFUSED[f"bytes: {_why}"] = lambda lair, data=_data: lair.add(data)


# -- shapes ------------------------------------------------------------------------------------------------


@refused("more levels than any path")
def _(lair):
    at = lair.folder(("file", "f", lair.evil))
    for _level in range(600):
        at = lair.folder(("folder", "d", at))
    return at


@refused("few messages that unfold into more files than there are atoms")
def _(lair):
    at = lair.folder(("file", "f", lair.evil))
    for _level in range(300):
        at = lair.folder(("folder", "a", at), ("folder", "b", at))
    return at


def _own_size(names: list[str], hashes: list[str]) -> int:
    """The size of a message that names sizes as large as its own."""
    size = 0
    while True:
        found = len(message(*(("folder", n, (h, size)) for n, h in zip(names, hashes, strict=True))))
        if found == size:
            return size
        size = found


@refused("a folder that contains itself, by a lying digest")
def _(lair):
    own = "c1" * 32
    size = _own_size(["again"], [own])
    return lair.lie(own, message(("folder", "again", (own, size))))


@refused("two folders that contain each other, by lying digests")
def _(lair):
    one, other = "c2" * 32, "c3" * 32
    size = _own_size(["d"], [other])
    lair.lie(other, message(("folder", "d", (one, size))))
    return lair.lie(one, message(("folder", "d", (other, size))))


@refused("a way back to the root far below, by a lying digest")
def _(lair):
    own, size = "c4" * 32, 0
    while True:
        at = lair.folder(("folder", "up", (own, size)))
        for _level in range(20):
            at = lair.folder(("folder", "d", at))
        data = message(("folder", "d", at))
        if len(data) == size:
            return lair.lie(own, data)
        size = len(data)


# -- odd and legal -----------------------------------------------------------------------------------------

for _why, _text in {
    "case": ("README", "Readme", "readme"),
    "one letter composed and decomposed": ("e\u0301", "\u00e9"),
    "dots that only look like dots": ("\u2024\u2024", "\uff0e\uff0e"),
    "three dots": ("...", "....."),
    "a slash that only looks like one": ("..\u2215outside", "..\u29f8outside"),
    "backslashes": ("..\\..\\outside\\escape", "C:\\escape"),
    "lines and escapes": ("a\nb", "\x1b[31mred", "\r", "\x7f"),
    "options": ("-rf", "--help"),
    "a home": ("$HOME", "~"),
    "wild cards": ("*", "?", "[a]"),
    "spaces": (" ", " a", "a "),
    "directions": ("\u202egpj.exe", "\ufeffa"),
    "as long as may be": ("n" * 255, "é" * 127),
    "device names": ("CON", "nul"),
}.items():
    CONTAINED[f"names: {_why}"] = lambda lair, names=_text: lair.folder(
        *(("file", name, lair.evil) for name in sorted(names))
    )


@contained("links that lead out, up, home, to themselves and nowhere")
def _(lair):
    return lair.folder(
        ("link", "absolute", lair.outside),
        ("link", "etc", "/etc/passwd"),
        ("link", "file", f"{lair.outside}/escape"),
        ("link", "itself", "itself"),
        ("link", "nowhere", "../" * 100 + "nowhere"),
        ("link", "proc", "/proc/self/fd/0"),
        ("link", "up", ".."),
    )


@contained("a folder beside a link that leads to its place")
def _(lair):
    inner = lair.folder(("file", "escape", lair.evil))
    return lair.folder(("link", "d", lair.outside), ("folder", "e", inner))


@contained("a link below a folder of the same name")
def _(lair):
    return lair.folder(("folder", "d", lair.folder(("link", "d", "../../outside"))))


@contained("fields that nobody knows")
def _(lair):
    return lair.folder(("file", "a", lair.evil), more=_field(15, bytes(1 << 20)))


@contained("fields of the right numbers and wrong types")
def _(lair):
    return lair.folder(("file", "a", lair.evil), more=b"\x08\x01\x15\x00\x00\x00\x00")


@contained("one content as file, as executable and as a folder")
def _(lair):
    built = pb.Directory.FromString(message(("file", "a", lair.evil), ("file", "b", lair.evil)))
    built.files[1].is_executable = True
    inner = lair.add(built.SerializeToString())
    return lair.folder(("file", "as-file", inner), ("folder", "as-folder", inner))
