"""What becomes free with which group: against the plain way, with dictionaries of everything."""

from __future__ import annotations

import random

import pytest

from worker.services import needs as module
from worker.services.needs import Needs
from worker.store.closures import IS_DIRECTORY, RECORD_BYTES

BLOCK = 4096


def record(raw, size_bytes):
    return raw + size_bytes.to_bytes(8, "big")


def records_of(sizes):
    return b"".join(record(raw, sizes[raw]) for raw in sorted(sizes))


def some_groups(seed, *, groups=12, objects=60):
    """Groups of digests that share a lot; some sizes are those of Directory messages."""
    chance = random.Random(seed)
    sizes = {
        chance.randbytes(32): chance.choice([0, 1, BLOCK, BLOCK + 1, 70_000 | IS_DIRECTORY])
        for _ in range(objects)
    }
    return [dict(chance.sample(sorted(sizes.items()), chance.randrange(objects))) for _ in range(groups)]


def charged(size):
    return -(-(size & ~IS_DIRECTORY) // BLOCK) * BLOCK


def plain(groups, order):
    """For each group that goes: the hashes that no group has that is still there."""
    left = set(range(len(groups)))
    found = []
    for number in order:
        left.discard(number)
        others = {raw for other in left for raw in groups[other]}
        found.append(sorted(set(groups[number]) - others))
    return found


@pytest.mark.parametrize("part", [1 << 19, 40, 7])
@pytest.mark.parametrize("seed", range(5))
def test_what_goes_with_each_group_is_what_no_other_needs(monkeypatch, part, seed):
    monkeypatch.setattr(module, "PART", part)
    groups = some_groups(seed)
    needs = Needs(BLOCK)
    numbers = [needs.add(records_of(sizes)) for sizes in groups]
    for _ in range(3):
        order = random.Random(seed).sample(numbers, 8)
        freed = list(needs.settle(order))
        expected = plain(groups, order)
        for number, (size_bytes, objects), raws in zip(order, freed, expected, strict=True):
            assert needs.free(number, records_of(groups[number])) == raws
            assert objects == len(raws)
            assert size_bytes == sum(charged(groups[number][raw]) for raw in raws)


@pytest.mark.parametrize("part", [1 << 19, 9])
def test_all_that_some_groups_need_is_known(monkeypatch, part):
    monkeypatch.setattr(module, "PART", part)
    groups = some_groups(7)
    needs = Needs(BLOCK)
    numbers = [needs.add(records_of(sizes)) for sizes in groups]
    needed = needs.all_of(numbers[3:6])
    theirs = {raw: size for sizes in groups[3:6] for raw, size in sizes.items()}
    for raw in {raw for sizes in groups for raw in sizes}:
        assert (raw in needed) == (raw in theirs)
    assert "no hash" not in needed
    assert needs.size_bytes(numbers[3:6]) == sum(map(charged, theirs.values()))


def test_a_group_without_content_frees_nothing():
    needs = Needs(BLOCK)
    number = needs.add(b"")
    assert list(needs.settle([number])) == [(0, 0)]
    assert needs.free(number, b"") == []
    assert needs.count(number) == 0


def test_two_objects_with_equal_numbers_stay_as_long_as_one_is_needed():
    raw, other = b"\1" * 32, b"\1" * 8 + b"\2" * 24
    needs = Needs(BLOCK)
    first, second = needs.add(record(raw, 1)), needs.add(record(other, 1))
    assert list(needs.settle([first])) == [(0, 0)]
    assert list(needs.settle([first, second])) == [(0, 0), (BLOCK, 1)]


def test_a_size_that_nobody_has_does_not_end_a_plan():
    needs = Needs(BLOCK)
    number = needs.add(record(b"\3" * 32, IS_DIRECTORY - 1))
    [(size_bytes, objects)] = needs.settle([number])
    assert (size_bytes, objects) == (((1 << 32) - 1) * BLOCK, 1)
    assert len(record(b"\3" * 32, 1)) == RECORD_BYTES
