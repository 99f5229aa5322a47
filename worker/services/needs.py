"""Who is the last to need each object: what becomes free when groups go one after the other.

A digest becomes free with the last of the groups that need it, provided that all of those go. So one pass
over the closure lists tells it for a whole order of eviction, with one number for each record: eight bytes of
its hash. Two objects whose numbers are equal (one chance in a million for ten million objects) count as one,
and so stay longer than they must; nothing goes too early for it.

Costs 13 bytes a record, and beside that no more than ``PART`` records at a time, however large the cache is.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left
from itertools import compress
from typing import TYPE_CHECKING

from worker.store.closures import IS_DIRECTORY, RECORD_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: So many records are sorted out at a time.
PART = 1 << 19
_WORDS = RECORD_BYTES // 8
_MOST_BLOCKS = (1 << 32) - 1
_FIRST = struct.Struct(">Q")
_STAYS = -1


class Needs:
    """The records of many groups, by the number of the group."""

    def __init__(self, block_bytes: int) -> None:
        self._block_bytes = block_bytes
        self._keys = array("Q")
        self._blocks = array("I")
        self._starts = [0]
        self._goes = bytearray()  # for each record: its group is the last to need it, and goes

    def add(self, records: bytes) -> int:
        """The records of one more group, sorted by hash; the group's number."""
        words = array("Q", records)
        keys, sizes = words[::_WORDS], words[_WORDS - 1 :: _WORDS]
        if sys.byteorder == "little":
            keys.byteswap()
            sizes.byteswap()
        self._keys += keys
        block_bytes, more, mask = self._block_bytes, self._block_bytes - 1, ~IS_DIRECTORY
        blocks = [((size & mask) + more) // block_bytes for size in sizes]
        if blocks and max(blocks) > _MOST_BLOCKS:
            blocks = [min(each, _MOST_BLOCKS) for each in blocks]
        self._blocks += array("I", blocks)
        self._starts.append(len(self._keys))
        return len(self._starts) - 2

    def count(self, number: int) -> int:
        """How many records a group has."""
        return self._starts[number + 1] - self._starts[number]

    def settle(self, order: Sequence[int]) -> Iterator[tuple[int, int]]:
        """For each group of ``order``: bytes and objects that become free with it.

        When it goes after those before it, and all groups that are not in ``order`` stay.
        """
        going = set(order)
        stays = [number for number in range(len(self._starts) - 1) if number not in going]
        goes = bytearray(len(self._keys) + 1)  # the last byte is for what stays
        for part in self._parts():
            last: dict[int, int] = {}  # where the last one to need it has it
            for number in order:
                start, end = part.of(number)
                last.update(zip(self._keys[start:end], range(start, end), strict=True))
            for number in stays:
                start, end = part.of(number)
                last.update(dict.fromkeys(self._keys[start:end], _STAYS))
            for place in last.values():
                goes[place] = 1
        self._goes = goes
        return map(self._freed, order)

    def free(self, number: int, records: bytes) -> list[bytes]:
        """The hashes of those of a group's ``records`` that become free with it."""
        start, end = self._starts[number], self._starts[number + 1]
        ends = range(0, len(records), RECORD_BYTES)
        return [records[at : at + 32] for at in compress(ends, self._goes[start:end])]

    def keys(self, number: int) -> array[int]:
        """The numbers of a group's records."""
        return self._keys[self._starts[number] : self._starts[number + 1]]

    def size_bytes(self, numbers: Iterable[int]) -> int:
        """What all these groups have, each object once."""
        chosen, blocks = list(numbers), 0
        for part in self._parts():
            found: dict[int, int] = {}
            for number in chosen:
                start, end = part.of(number)
                found.update(zip(self._keys[start:end], self._blocks[start:end], strict=True))
            blocks += sum(found.values())
        return blocks * self._block_bytes

    def all_of(self, numbers: Iterable[int]) -> Needed:
        """What these groups need, to be asked for single objects."""
        chosen, found = list(numbers), array("Q")
        for part in self._parts():
            keys: set[int] = set()
            for number in chosen:
                start, end = part.of(number)
                keys.update(self._keys[start:end])
            found += array("Q", sorted(keys))
        return Needed(found)

    def _freed(self, number: int) -> tuple[int, int]:
        start, end = self._starts[number], self._starts[number + 1]
        goes = self._goes[start:end]
        objects = goes.count(1)
        blocks = sum(compress(self._blocks[start:end], goes)) if objects else 0
        return blocks * self._block_bytes, objects

    def _parts(self) -> Iterator[_Part]:
        """Ranges of numbers, one after the other; hashes are as good as random, so each has about as many."""
        parts = 1 + len(self._keys) // PART
        starts = array("Q", self._starts[:-1])
        for part in range(1, parts + 1):
            yield _Part(self._keys, self._starts, starts, (part << 64) // parts)


class _Part:
    """The records below ``bound`` that were not in an earlier part. Each group is asked for once."""

    def __init__(self, keys: array[int], ends: Sequence[int], starts: array[int], bound: int) -> None:
        self._keys, self._ends, self._starts, self._bound = keys, ends, starts, bound

    def of(self, number: int) -> tuple[int, int]:
        """Where those of a group begin and end."""
        start, end = self._starts[number], self._ends[number + 1]
        if self._bound < 1 << 64:
            end = bisect_left(self._keys, self._bound, start, end)
        self._starts[number] = end
        return start, end


class Listed:
    """All objects that some list names; lists may come while it is asked."""

    def __init__(self) -> None:
        self._needs = Needs(block_bytes=1)
        self._lists = 0
        self._found: Needed | None = None

    def add(self, records: bytes) -> None:
        """The records of a list, sorted by hash."""
        self._needs.add(records)
        self._lists += 1
        self._found = None

    def __contains__(self, raw: object) -> bool:
        if self._found is None:
            self._found = self._needs.all_of(range(self._lists))
        return raw in self._found


class Needed:
    """A set of objects, eight bytes each: ``raw in needed``."""

    def __init__(self, keys: array[int]) -> None:
        self._keys = keys

    def __contains__(self, raw: object) -> bool:
        if not isinstance(raw, bytes):
            return False
        key = key_of(raw)
        at = bisect_left(self._keys, key)
        return at < len(self._keys) and self._keys[at] == key


def key_of(raw: bytes) -> int:
    """The number of a hash."""
    return int(_FIRST.unpack_from(raw)[0])
