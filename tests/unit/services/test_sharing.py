"""Objects that a cleanup's companion takes: the same as alone, whatever becomes of it on the way."""

from __future__ import annotations

import os
import signal
import time

import pytest
from harness.coordination import fake_coordination
from harness.fleet import Oracle
from harness.services import fake_services
from harness.volumes import new_volume

from caskeeper.config import LeaseSettings
from caskeeper.contract import CleanupRequest, CommitRequest, ComputeSizeRequest
from caskeeper.errors import Cancelled, LeaseLost
from worker.protocols import Context, quiet
from worker.services import cleanup, sharing
from worker.services.sharing import Piece, Sharing, cut
from worker.store.companion.owner import Companion
from worker.store.companion.session import Session
from worker.store.taking import Taken, Taker
from worker.store.trash import OBJECT, Trash

OLD_NS, HORIZON_NS, YOUNG_NS = 10**18, 2 * 10**18, 3 * 10**18
COUNT, FILES = 6, 60


@pytest.fixture(autouse=True)
def forced(monkeypatch):
    """Few objects are worth it, too, whatever machine this is; and it is ready before the first is taken."""
    monkeypatch.setattr(sharing, "WORTH_OBJECTS", 1)
    monkeypatch.setattr(sharing, "PIECE_OBJECTS", 4)
    monkeypatch.setattr(cleanup, "WORTH_BLOCKS", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    begin = Sharing.begin

    def ready(self, companion):
        begin(self, companion)
        while self._session is not None and not self._heard:
            self._heard = self._session.receive(0.1) == []
        self._sent.clear()

    monkeypatch.setattr(Sharing, "begin", ready)


@pytest.fixture
def sent(monkeypatch):
    """What the companion was given: for each message the hashes."""
    messages = []
    send = Session.send

    def noted(self, units):
        if units:
            messages.append([raws[at : at + 32].hex() for raws in units for at in range(0, len(raws), 32)])
        send(self, units)

    monkeypatch.setattr(Session, "send", noted)
    return messages


class Site:
    """Old objects in a volume, and one cleanup with its companion."""

    def __init__(self, folder):
        self.volume = new_volume(folder)
        self.trash = Trash(self.volume, "cleanup-1")
        self.trash.begin()
        self.taker = Taker(self.trash, horizon_ns=HORIZON_NS)
        self.companion = Companion(self.volume)
        self.told = []
        self.hashes = [f"{number:02x}" * 32 for number in range(100)]
        for each in self.hashes:
            self.put(self.place(each), OLD_NS)

    def put(self, path, age_ns):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x")
        os.utime(path, ns=(age_ns, OLD_NS))

    def place(self, hash_hex):
        return self.volume.layout.object(hash_hex)

    def taken(self, hash_hex):
        return self.trash.place(OBJECT, hash_hex)

    def here(self):
        return [each for each in self.hashes if os.path.lexists(self.place(each))]

    def take(self, *, still_free=list, check=lambda: None):
        raws = [bytes.fromhex(each) for each in self.hashes]
        with Sharing(self.taker, still_free=still_free) as shared:
            shared.begin(self.companion)
            pieces = [
                Piece(piece, lambda taken, piece=piece: self.told.append((piece, taken)))
                for piece in cut(raws)
            ]
            shared.take(pieces, check=check)
            shared.finish(lambda: len(self.told) == len(pieces), check=check)

    def sums(self):
        return Taken(*map(sum, zip(*(taken for _piece, taken in self.told), strict=True)))

    def pid(self):
        return self.companion._process.pid


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.companion.close()


def test_each_object_is_taken_once_and_told_once(site, sent):
    site.take()
    assert site.here() == []
    given = [each for message in sent for each in message]
    assert given
    assert len(given) < len(site.hashes)
    assert sorted(raw.hex() for piece, _ in site.told for raw in piece) == sorted(site.hashes)
    assert site.sums() == (100 * site.volume.block_bytes, 0, 0, 0)
    site.trash.end()
    assert not os.path.lexists(site.trash.folder)


def test_what_is_young_stays_in_either_process_and_is_counted(site, sent):
    for each in site.hashes[::2]:
        os.utime(site.place(each), ns=(YOUNG_NS, OLD_NS))
    site.take()
    assert sent
    block = site.volume.block_bytes
    assert site.here() == site.hashes[::2]
    assert site.sums() == (50 * block, 50, 50, 50 * block)
    assert (site.taker.kept_young, site.taker.kept_young_bytes) == (50, 50 * block)


def test_what_is_needed_again_is_given_to_nobody(site, sent):
    needed = {bytes.fromhex(each) for each in site.hashes[::3]}
    site.take(still_free=lambda hashes: [raw for raw in hashes if raw not in needed])
    assert sent
    assert site.here() == site.hashes[::3]


def kill(site, monkeypatch, then=lambda _first: None):
    """With its first message of objects, which it has not read then."""
    send = Session.send

    def fatal(self, units):
        if not units or killed:
            send(self, units)
            return
        os.kill(site.pid(), signal.SIGSTOP)
        send(self, units)
        then([raws[:32].hex() for raws in units])
        os.kill(site.pid(), signal.SIGKILL)
        killed.append(units)

    killed = []
    monkeypatch.setattr(Session, "send", fatal)


def test_what_a_killed_companion_was_given_is_taken_by_its_owner(site, monkeypatch):
    kill(site, monkeypatch)
    site.take()
    assert site.here() == []
    assert site.sums().freed_bytes == 100 * site.volume.block_bytes
    site.trash.end()
    assert not os.path.lexists(site.trash.folder)


def test_what_a_killed_companion_had_in_its_hands_is_finished(site, monkeypatch):
    def interrupted(first):
        os.rename(site.place(first[0]), site.taken(first[0]))
        os.unlink(site.place(first[1]))
        os.rename(site.place(first[2]), site.taken(first[2]))
        os.utime(site.taken(first[2]), ns=(YOUNG_NS, OLD_NS))
        young.append(first[2])

    young = []
    kill(site, monkeypatch, interrupted)
    site.take()
    assert site.here() == young
    # One was unlinked, and nobody said so: it stays counted. One is young, and back.
    assert site.sums().freed_bytes == 98 * site.volume.block_bytes
    assert site.sums().kept >= 1
    assert os.listdir(site.trash.folder) == []


def test_what_one_may_still_be_at_whose_end_nobody_saw_is_left_to_the_next_cleanup(site, monkeypatch, sent):
    bury = Companion.bury
    monkeypatch.setattr(Companion, "bury", lambda self: bury(self) and False)
    kill(site, monkeypatch)
    site.take()
    assert len(site.here()) == site.sums().kept > 0
    assert {each for message in sent for each in message} >= set(site.here())


def test_a_companion_of_a_fenced_cleanup_changes_nothing(site, monkeypatch):
    fenced = f"{site.volume.layout.trashes}/other"
    send = Session.send

    def overtaken(self, units):
        if units and not before:
            os.rename(site.trash.folder, fenced)
            before.extend(site.here())
        send(self, units)

    before = []
    monkeypatch.setattr(Session, "send", overtaken)
    monkeypatch.setattr(Taker, "take_objects", lambda _self, _raws: time.sleep(0.01) or Taken(0, 0, 0, 0))
    with pytest.raises(LeaseLost):
        site.take()
    assert site.here() == before
    assert os.listdir(fenced) == []


def test_a_lost_lease_ends_both(site, sent):
    def check():
        if sent:
            raise LeaseLost("another cleanup has taken over", "cleanup-1")

    with pytest.raises(LeaseLost):
        site.take(check=check)
    there = site.here()
    time.sleep(0.05)
    assert site.here() == there


def commit_all(services, folder):
    """Artifacts of files of their own, and of some that all have."""
    folder.mkdir()
    for number in range(COUNT):
        for name in range(FILES):
            (folder / str(name)).write_bytes(b"%d %d" % (number * (name > 2), name))
        services.run(CommitRequest(path=str(folder), refs=(f"p/e{number}/key{number}",)), quiet())
        time.sleep(0.002)
    time.sleep(0.02)  # a tick of every clock


@pytest.mark.parametrize("dies", [False, True])
def test_a_cleanup_with_a_companion_leaves_the_figures_right(tmp_path, monkeypatch, dies):
    coordination = fake_coordination(leases=LeaseSettings(clock_margin_s=0.0))
    services = fake_services(tmp_path, volume=new_volume(tmp_path), coordination=coordination)
    commit_all(services, tmp_path / "src")
    receive, told = Session.receive, []

    def killed(self, wait_s):
        done = receive(self, wait_s)
        if done:
            told.append(done)
            if dies and len(told) == 1:
                os.kill(services.companion._process.pid, signal.SIGKILL)
        return done

    monkeypatch.setattr(Session, "receive", killed)
    result = services.run(CleanupRequest(target_bytes=0), quiet())
    assert told
    assert result.evicted_refs == COUNT
    layout = services.layout
    assert not [names for _folder, _folders, names in os.walk(layout.objects) if names]
    assert os.listdir(layout.trashes) == []
    assert Oracle(layout.root).troubles() == []
    used_bytes = services.space.used_bytes()
    counted = services.run(ComputeSizeRequest(), quiet()).used_bytes
    assert used_bytes >= counted if dies else used_bytes == counted
    services.close()


def test_a_cancelled_cleanup_gives_back_what_the_companion_was_at(tmp_path, sent):
    coordination = fake_coordination(leases=LeaseSettings(clock_margin_s=0.0))
    services = fake_services(tmp_path, volume=new_volume(tmp_path), coordination=coordination)
    commit_all(services, tmp_path / "src")

    def check():
        if sent:
            raise Cancelled("nobody wants it any more", "cleanup")

    with pytest.raises(Cancelled):
        services.run(CleanupRequest(target_bytes=0), Context(progress=lambda _progress: None, check=check))
    assert 0 < len(list(services.maintenance.refs.listing())) < COUNT
    used_bytes = services.space.used_bytes()
    assert services.run(ComputeSizeRequest(), quiet()).used_bytes == used_bytes
    assert Oracle(services.layout.root).troubles() == []
    services.close()
