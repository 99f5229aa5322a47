"""How many fields a serialised message has, counted before it is unfolded.

Two bytes on the wire are enough for an empty message in a repeated field, and parsed it takes a hundred
times that. So what comes from outside is counted first, and refused where no honest sender has so many.
"""

from __future__ import annotations

#: Shorter messages do no harm, whatever is in them.
SMALL_BYTES = 64 * 1024
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def has_more_fields(data: bytes, most: int) -> bool:
    """Whether the message has more than ``most`` fields at its top, or groups, which nobody sends.

    Bytes that are no message are left to whoever parses them.
    """
    if len(data) <= SMALL_BYTES:
        return False
    at = found = 0
    try:
        while at < len(data):
            found += 1
            kind = data[at] & 7
            if found > most or kind not in {_VARINT, _FIXED64, _LENGTH, _FIXED32}:
                return True
            at = _behind_varint(data, at)
            if kind == _LENGTH:
                start = at
                at = _behind_varint(data, start)
                at += _varint(data, start, at)
            elif kind == _VARINT:
                at = _behind_varint(data, at)
            else:
                at += 8 if kind == _FIXED64 else 4
    except IndexError:
        pass  # it ends in the middle of a field
    return False


def _behind_varint(data: bytes, at: int) -> int:
    while data[at] & 0x80:
        at += 1
    return at + 1


def _varint(data: bytes, start: int, end: int) -> int:
    value = 0
    for place, byte in enumerate(data[start : min(end, start + 10)]):
        value |= (byte & 0x7F) << (7 * place)
    return value
