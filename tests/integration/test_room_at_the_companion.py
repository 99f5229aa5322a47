"""What an operation handed ahead to its companion is its own: asked back before room is made (I5)."""

import os
import signal
from types import SimpleNamespace

import pytest
from harness.commands import until
from harness.companions import force
from harness.fleet import Oracle, fleet, write_tree

from caskeeper.contract import CommitRequest
from caskeeper.digest import Digest
from caskeeper.errors import Busy
from worker.protocols import quiet
from worker.services import reservation
from worker.services.reservation import SLICE_BYTES
from worker.store.companion.messages import BACK, STOP, Done, Over, Spare, Spend

SMALL = [b"%d" % number for number in range(10)]


class Lent:
    """An operation whose companion wrote a batch, has most of what was reserved, and has nothing to do."""

    def __init__(self, services, operation, monkeypatch):
        force(monkeypatch)
        self.operation = operation
        operation.reserve(5_000_000)
        self.lend(services)
        self.asked = []
        self.room = []
        self._ask = operation._reservation._ask
        operation._reservation._ask = self.ask
        services.desk.room = SimpleNamespace(make=self.make)
        self.refuses = True
        self.at_hand = operation._reservation._allowance
        assert 0 < self.at_hand < 2_000_000

    def lend(self, services):
        assert self.operation.staging.batches.begin()
        with services.volume.turn.taken(1, 0):
            self.operation.blobs.write_batch([(Digest.of(data), data) for data in SMALL])

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


def test_where_somebody_else_has_it_at_work_it_gives_back_and_stays_his(lent, monkeypatch):
    monkeypatch.setattr(reservation, "COMPANION_S", 0.1)
    turn, batches = lent.operation._desk.volume.turn, lent.operation.staging.batches
    assert turn.claim(batches)
    lent.operation.blobs.add(b"x" * 3_000_000)
    turn.free(batches)
    assert lent.room == []
    assert batches._session is not None


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


# -- of a piece of work that it shares with a companion ----------------------------------------------------


class Shared(Lent):
    """An operation whose companion has stored a few files of a folder, and has most of what was reserved."""

    def __init__(self, services, operation, monkeypatch, folder):
        self.folder = folder
        for number in range(20):
            (folder / f"{number}").write_bytes(b"file %d" % number)
        super().__init__(services, operation, monkeypatch)

    def lend(self, services):
        self.session = services.companion.session("capture", self.operation.blobs)
        assert self.session.begin()
        self.store(0, 10)

    def store(self, begin, end):
        """Have it store these files; how many it has."""
        self.session.send([(str(self.folder), [str(number) for number in range(begin, end)])])
        while (results := self.session.receive(1.0)) is None:
            pass
        return len(results[0].files)

    def published(self):
        return self.operation.staging.added_bytes


@pytest.fixture
def shared(tmp_path, valkey, monkeypatch):
    (tmp_path / "src").mkdir()
    with fleet(tmp_path, valkey.url) as services, services.desk.writer("commit", "x", quiet()) as operation:
        one = Shared(services, operation, monkeypatch, tmp_path / "src")
        with one.session:
            yield one


def test_it_gives_back_what_it_has_not_spent_and_goes_on(shared):
    granted = shared.granted()
    shared.operation.blobs.add(b"x" * 3_000_000)
    assert (shared.room, shared.granted()) == ([], granted)
    assert shared.store(10, 20) == 10, "it asks for room again"
    shared.session.__exit__(None, None, None)
    charge = shared.operation._desk.volume.charge
    assert shared.published() == charge(3_000_000) + 20 * charge(1)
    left = granted - shared.published()
    assert shared.operation._reservation._allowance == left, "nothing is lost, nothing comes twice"


def test_what_it_says_meanwhile_is_heard_by_whoever_waits_for_it(shared):
    """Its results are there already when it is asked for the room."""
    shared.session.send([(str(shared.folder), [str(number) for number in range(10, 20)])])
    shared.operation.blobs.add(b"x" * 3_000_000)
    assert shared.room == []
    while (results := shared.session.receive(1.0)) is None:
        pass
    assert len(results[0].files) == 10


def test_one_that_is_stopped_holds_nobody_up_and_gives_back_later(shared, monkeypatch):
    monkeypatch.setattr(reservation, "COMPANION_S", 0.1)
    pid = shared.operation.staging.batches._companion._process.pid
    os.kill(pid, signal.SIGSTOP)

    def made(size_bytes, *, ask, **_rest):
        os.kill(pid, signal.SIGCONT)
        until(ask)
        shared.room.append(size_bytes)

    shared.operation._desk.room.make = made
    try:
        shared.operation.blobs.add(b"x" * 3_000_000)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert len(shared.room) == 1


def test_one_that_is_asked_while_it_waits_for_room_asks_again_for_all_it_needs(shared):
    """Else it would write what nobody has paid for."""
    charge = shared.operation._desk.volume.charge(1)
    for name in ("large", "larger"):
        (shared.folder / name).write_bytes(name.encode() * 2000)  # two or three blocks
    session, line = shared.session, shared.session._line
    session.take_back(5.0)
    session.send([(str(shared.folder), ["large"])])
    assert line.get(5.0) == Spend(3 * charge)
    line.put(4 * charge)
    assert isinstance(line.get(5.0), Done)
    session.send([(str(shared.folder), ["larger"])])
    assert line.get(5.0) == Spend(2 * charge)
    line.put(BACK)
    assert line.get(5.0) == Spare(charge)
    line.put(2 * charge)
    assert line.get(5.0) == Spend(charge)
    line.put(charge)
    assert isinstance(line.get(5.0), Done)
    line.put(STOP)
    assert line.get(5.0) == Over(0, 0)
    session._lost = "its owner in the test has spoken for it"


@pytest.mark.parametrize("reserved", [5_000_000, 4 * 1024 * 1024], ids=["with a rest", "all handed on"])
def test_i5_what_a_killed_one_had_counts_as_written_until_the_recount_that_is_asked_for(
    tmp_path, valkey, monkeypatch, reserved
):
    force(monkeypatch)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "file").write_bytes(b"file")
    with fleet(tmp_path, valkey.url) as services:
        with services.desk.writer("commit", "x", quiet()) as operation:
            operation.reserve(reserved)
            with services.companion.session("capture", operation.blobs) as session:
                assert session.begin()
                session.send([(str(tmp_path / "src"), ["file"])])
                while session.receive(1.0) is None:
                    pass
                os.kill(services.companion._process.pid, signal.SIGKILL)
        there = Oracle(services.layout.root).used_bytes()
        assert services.space.used_bytes() > there
        wanted = services.upkeep_wanted()
        assert wanted is not None
        services.run(wanted, quiet())
        assert services.space.used_bytes() == there
        assert services.upkeep_wanted() is None


def test_a_commit_that_fits_is_not_refused_for_what_lies_at_its_companion(tmp_path, valkey, monkeypatch):
    force(monkeypatch)
    files = 3900
    source = write_tree(f"{tmp_path}/src", {f"d{n % 130}/f{n}": b"%d " % n * 200 for n in range(files)})
    least_bytes = (files + 134) * 4096 + 40 * (files + 131)
    with fleet(tmp_path, valkey.url, quota=str(max(least_bytes, SLICE_BYTES) + 300_000)) as services:
        done = services.run(CommitRequest(path=source, refs=("p/e/k",)), quiet())
        assert services.companion.is_running
    assert done.files == files
