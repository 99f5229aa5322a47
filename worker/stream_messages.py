"""The two messages of ByteStream that carry content, read and written without protobuf.

As messages of protobuf each piece of a blob would be copied twice more on either side. What stands here is
the same on the wire: what is encoded protobuf reads as the same, and what is not encoded in the way that
everybody does is left to protobuf to read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from worker._protos import bytestream_pb2 as wire

if TYPE_CHECKING:
    from worker.protocols import Piece

#: Field numbers and wire types of google.bytestream, as the bytes in front of each field.
_NAME, _OFFSET, _FINISH, _DATA = 0x0A, 0x10, 0x18, 0x52
#: What is longer than this is no length of ours, and its sign would matter.
_VARINT_BYTES = 9
_ONE_BYTE = [bytes((value,)) for value in range(0x80)]


class ReadResponse(NamedTuple):
    """``google.bytestream.ReadResponse``."""

    data: Piece = b""

    def SerializeToString(self) -> bytes:  # noqa: N802 -- as protobuf's messages call it
        """The message on the wire."""
        return b"".join(_content(self.data))

    @classmethod
    def FromString(cls, message: bytes) -> ReadResponse:  # noqa: N802 -- as protobuf's messages call it
        """What stands on the wire. DecodeError for what is no such message."""
        data = _only_content(message, 0)
        return cls(wire.ReadResponse.FromString(message).data if data is None else data)


class WriteRequest(NamedTuple):
    """``google.bytestream.WriteRequest``; ``write_offset`` is not negative."""

    resource_name: str = ""
    write_offset: int = 0
    finish_write: bool = False
    data: Piece = b""

    def SerializeToString(self) -> bytes:  # noqa: N802 -- as protobuf's messages call it
        """The message on the wire."""
        name = self.resource_name.encode()
        parts = [b"\x0a", varint(len(name)), name] if name else []
        if self.write_offset:
            parts += [b"\x10", varint(self.write_offset)]
        if self.finish_write:
            parts.append(b"\x18\x01")
        return b"".join((*parts, *_content(self.data)))

    @classmethod
    def FromString(cls, message: bytes) -> WriteRequest:  # noqa: N802 -- as protobuf's messages call it
        """What stands on the wire. DecodeError for what is no such message."""
        return _plain_write(message) or _any_write(message)


def _plain_write(message: bytes) -> WriteRequest | None:
    """The content last, and each field once at most, in order; None: it may be one in another form."""
    name, offset, finish = b"", 0, False
    at = before = 0
    try:
        while at < len(message) and before < message[at] < _DATA:
            before = message[at]
            value, at = number(message, at + 1)
            if before == _NAME:
                name, at = message[at : at + value], at + value
            elif before == _OFFSET:
                offset = value
            elif before == _FINISH:
                finish = bool(value)
            else:
                return None
        data = _only_content(message, at)
        return None if data is None else WriteRequest(name.decode(), offset, finish, data)
    except (IndexError, ValueError):
        return None  # it ends within a field, a number is too long, or the name is no text


def _any_write(message: bytes) -> WriteRequest:
    found = wire.WriteRequest.FromString(message)
    return WriteRequest(found.resource_name, found.write_offset, found.finish_write, found.data)


def _only_content(message: bytes, at: int) -> Piece | None:
    """The content, when it is all that follows, or nothing does. None: something else, or another form."""
    if at == len(message):
        return b""
    if message[at] != _DATA:
        return None
    try:
        size_bytes, start = number(message, at + 1)
    except (IndexError, ValueError):
        return None
    return memoryview(message)[start:] if start + size_bytes == len(message) else None


def _content(data: Piece) -> tuple[Piece, ...]:
    return (b"\x52", varint(len(data)), data) if data else ()


def number(message: bytes, at: int) -> tuple[int, int]:
    """A varint and what follows it. IndexError when it ends too soon, ValueError when it is too long."""
    value = 0
    for place in range(_VARINT_BYTES):
        byte = message[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("longer than any length")


def varint(value: int) -> bytes:
    """A number that is not negative, as protobuf writes it."""
    if value < 0x80:
        return _ONE_BYTE[value]
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
