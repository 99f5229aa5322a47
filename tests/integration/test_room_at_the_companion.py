"""What an operation handed ahead to its companion is its own: asked back before room is made (I5)."""

from types import SimpleNamespace

import pytest
from harness.companions import force
from harness.fleet import fleet

from caskeeper.digest import Digest
from caskeeper.errors import Busy
from worker.protocols import quiet
from worker.services import reservation
from worker.services.reservation import SLICE_BYTES

SMALL = [b"%d" % number for number in range(10)]


class Lent:
    """An operation whose companion wrote a batch, has most of what was reserved, and has nothing to do."""

    def __init__(self, services, operation, monkeypatch):
        force(monkeypatch)
        self.operation = operation
        operation.reserve(5_000_000)
        assert operation.staging.batches.begin()
        with services.volume.turn.taken(1, 0):
            operation.blobs.write_batch([(Digest.of(data), data) for data in SMALL])
        self.asked = []
        self.room = []
        self._ask = operation._reservation._ask
        operation._reservation._ask = self.ask
        services.desk.room = SimpleNamespace(make=self.make)
        self.refuses = True
        self.at_hand = operation._reservation._allowance
        assert 0 < self.at_hand < 2_000_000

    def ask(self, size_bytes, **_files):
        self.asked.append(size_bytes)
        return not self.refuses and self._ask(size_bytes)

    def make(self, size_bytes, *, ask, **_rest):
        self.room.append(size_bytes)
        self.refuses = False
        if not ask():
            raise Busy("full")

    def granted(self):
        return self.operation._reservation.granted


@pytest.fixture
def lent(tmp_path, valkey, monkeypatch):
    with fleet(tmp_path, valkey.url) as services, services.desk.writer("serve", "x", quiet()) as operation:
        yield Lent(services, operation, monkeypatch)


def test_where_there_is_more_to_be_had_it_stays_there(lent):
    lent.refuses = False
    lent.operation.blobs.add(b"x" * 3_000_000)
    assert lent.operation.staging.batches._session is not None
    assert lent.asked == [SLICE_BYTES]


def test_refused_more_it_is_asked_back_and_no_cleanup_is_made(lent):
    granted = lent.granted()
    lent.operation.blobs.add(b"x" * 3_000_000)
    assert lent.operation.staging.batches._session is None
    assert (lent.room, lent.granted()) == ([], granted)


def test_with_less_than_is_wanted_only_the_difference_is_made_room_for(lent):
    spent = lent.operation._desk.volume.charge(8_000_000)
    owned = lent.granted() - lent.operation._desk.volume.charge(1) * len(SMALL)
    lent.operation.blobs.add(b"x" * 8_000_000)
    assert lent.room == [spent - owned]
    assert lent.operation._reservation._allowance == 0


def test_what_comes_back_only_later_counts_as_soon_as_it_does(lent, monkeypatch):
    """It is at work when it is asked, and ends while room is made."""
    monkeypatch.setattr(reservation, "COMPANION_S", 0.0)
    turn, batches = lent.operation._desk.volume.turn, lent.operation.staging.batches
    assert turn.claim(batches)

    def made(size_bytes, *, ask, **_rest):
        turn.free(batches)
        assert ask(), "Redis would refuse still"
        lent.room.append(size_bytes)

    lent.operation._desk.room.make = made
    lent.operation.blobs.add(b"x" * 3_000_000)
    assert len(lent.room) == 1


@pytest.mark.parametrize("size", [4_500_000, 8_000_000])
def test_a_reservation_counts_it_too(lent, size):
    lent.operation.reserve(size)
    assert lent.operation._reservation._allowance >= size
    assert bool(lent.room) == (size > 5_000_000)


def test_what_was_asked_back_is_not_lost_where_no_room_can_be_made(lent):
    def refuse(*_, **__):
        raise Busy("full")

    lent.operation._desk.room.make = refuse
    with pytest.raises(Busy, match="full"):
        lent.operation.blobs.add(b"x" * 8_000_000)
    assert lent.operation._reservation._allowance == lent.granted() > 4_900_000, (
        "what was published is settled"
    )
