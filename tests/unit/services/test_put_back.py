"""What goes back out of a trash folder, and what must be young when something stands in its way."""

import os

import pytest
from harness.volumes import new_volume

from caskeeper.errors import Busy
from worker.store.trash import put_back_or_refresh
from worker.store.volume import Volume

HASH = "ab" + "0" * 62
OLD_NS, NEW_NS = 10**18, 10**18 + 10**9


@pytest.fixture
def volume(tmp_path):
    return new_volume(tmp_path)


def put(path, data, age_ns):
    with open(path, "wb") as file:
        file.write(data)
    os.utime(path, ns=(age_ns, 10**18))
    return path


def places(volume, *, ours_ns, theirs_ns):
    os.mkdir(volume.layout.trash("me"))
    taken = put(f"{volume.layout.trash('me')}/o-{HASH}", b"ours", ours_ns)
    return taken, put(volume.layout.object(HASH), b"theirs", theirs_ns)


def test_an_older_file_in_the_way_is_made_young_before_ours_goes(volume):
    """docs/model m_eexist_unlinks: who relies on ours relies on the name."""
    taken, place = places(volume, ours_ns=NEW_NS, theirs_ns=OLD_NS)
    assert not put_back_or_refresh(volume, taken, place)
    assert os.stat(place).st_atime_ns >= NEW_NS
    with open(place, "rb") as file:
        assert file.read() == b"theirs"


def test_a_younger_file_in_the_way_keeps_its_age(volume):
    taken, place = places(volume, ours_ns=OLD_NS, theirs_ns=NEW_NS)
    assert not put_back_or_refresh(volume, taken, place)
    assert os.stat(place).st_atime_ns == NEW_NS


def test_a_file_that_goes_while_it_is_made_young_gives_ours_its_place(volume):
    taken, place = places(volume, ours_ns=NEW_NS, theirs_ns=OLD_NS)

    class Vanishing(Volume):
        def touch(self, path):
            touched = super().touch(path)
            os.unlink(path)
            return touched

    assert put_back_or_refresh(Vanishing(volume.layout), taken, place)
    with open(place, "rb") as file:
        assert file.read() == b"ours"


def test_what_a_reader_put_back_is_left_alone(volume):
    taken, place = places(volume, ours_ns=NEW_NS, theirs_ns=OLD_NS)
    os.unlink(taken)
    assert not put_back_or_refresh(volume, taken, place)
    assert os.stat(place).st_atime_ns == OLD_NS


def test_a_clock_that_stays_behind_deletes_nothing(volume):
    taken, place = places(volume, ours_ns=2**62, theirs_ns=OLD_NS)
    with pytest.raises(Busy, match="clock went back"):
        put_back_or_refresh(volume, taken, place)
    assert os.path.exists(taken)
