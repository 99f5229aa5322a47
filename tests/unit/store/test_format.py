import os

import pytest
from harness.volumes import Dead, DyingVolume, WatchedVolume, bare_volume, new_volume

from caskeeper.errors import Busy, ConfigInvalid, VolumeFailed
from caskeeper.layout import Layout
from worker.store.format import (
    BALLAST_BYTES,
    Format,
    creation_lock,
    discard_staged,
    drop_ballast,
    find_format,
    make_ballast,
    new_format,
    prepare_folders,
    publish_format,
    stage_format,
    staged_formats,
)
from worker.store.measure import used_bytes
from worker.store.volume import Volume


@pytest.fixture
def volume(tmp_path):
    return bare_volume(tmp_path)


def test_a_format_reads_back_as_written(volume):
    own = new_format(volume)
    assert Format.parse(own.to_bytes(), "here") == own
    assert own.uid == os.geteuid()
    assert own.block_bytes == volume.block_bytes
    assert new_format(volume).volume_id != own.volume_id
    assert new_format(volume).epoch != own.epoch


def test_a_volume_comes_into_being_in_two_steps(volume):
    own = new_format(volume)
    assert find_format(volume.layout) is None
    assert staged_formats(volume.layout) == ()
    staged = stage_format(volume, own)
    assert os.path.basename(staged) == f"FORMAT.{own.volume_id}"
    assert find_format(volume.layout) is None
    assert staged_formats(volume.layout) == (own,)
    assert stage_format(volume, own) == staged
    assert publish_format(volume, own) == own
    assert find_format(volume.layout) == own
    assert staged_formats(volume.layout) == ()
    assert used_bytes(volume) == 0


def test_the_second_of_two_creators_learns_whose_volume_it_is(volume):
    first, second = new_format(volume), new_format(volume)
    stage_format(volume, first)
    stage_format(volume, second)
    assert publish_format(volume, second) == second
    assert publish_format(volume, first) == second
    assert os.listdir(volume.layout.staging) == []


def test_a_staged_format_can_be_given_up(volume):
    own = new_format(volume)
    stage_format(volume, own)
    discard_staged(volume, own)
    assert staged_formats(volume.layout) == ()


def test_a_staged_format_cut_short_does_not_count(volume):
    own = new_format(volume)
    path = stage_format(volume, own)
    for name, content in (
        (path, own.to_bytes()[:20]),
        (f"{volume.layout.staging}/FORMAT.other", own.to_bytes()),
    ):
        if os.path.exists(name):
            os.unlink(name)
        with open(name, "wb") as file:
            file.write(content)
    assert staged_formats(volume.layout) == ()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"version": 1}', b'{"version": "x"}', b"\xff"]
)
def test_i9_a_damaged_format_is_not_no_format(volume, content):
    with open(volume.layout.format, "wb") as file:
        file.write(content)
    with pytest.raises(VolumeFailed) as raised:
        find_format(volume.layout)
    assert raised.value.where == volume.layout.format


def test_i9_another_version_is_refused_and_named(volume):
    own = new_format(volume)._replace(version=7)
    with open(volume.layout.format, "wb") as file:
        file.write(own.to_bytes())
    with pytest.raises(ConfigInvalid, match="version 7"):
        find_format(volume.layout)


def test_a_folder_that_is_not_there_has_no_format(tmp_path):
    assert find_format(Layout(tmp_path / "missing")) is None
    assert staged_formats(Layout(tmp_path / "missing")) == ()


def test_every_folder_is_made_once(tmp_path):
    layout = Layout(tmp_path / "a" / "b")
    Volume.make_root(layout)
    volume = Volume(layout)
    prepare_folders(volume)
    prepare_folders(volume)
    for parent in (layout.objects, layout.executables, layout.closures):
        assert len(os.listdir(parent)) == 256
    for folder in (layout.pins, layout.refs, layout.extracts, layout.staging, layout.trashes):
        assert os.listdir(folder) == []
    assert os.stat(layout.run).st_mode & 0o777 == 0o700


def test_one_process_at_a_time_creates_a_volume(volume):
    with creation_lock(volume), pytest.raises(Busy), creation_lock(volume, wait_s=0):
        pass
    with creation_lock(volume, wait_s=0) as lock:
        assert lock.fd >= 0


def test_ballast_is_made_and_dropped_once_and_is_not_counted(volume):
    assert make_ballast(volume) is True
    assert make_ballast(volume) is False
    assert os.stat(volume.layout.ballast).st_blocks * 512 >= BALLAST_BYTES
    assert used_bytes(volume) == 0
    assert drop_ballast(volume) is True
    assert drop_ballast(volume) is False


def test_two_that_make_the_ballast_at_once_agree(tmp_path):
    volume = bare_volume(tmp_path, WatchedVolume)
    volume.before = lambda verb, *_: make_ballast(Volume(volume.layout)) if verb == "stage" else None
    assert make_ballast(volume) is False
    assert os.stat(volume.layout.ballast).st_size == BALLAST_BYTES


def create(volume):
    """As a worker does at its start, less the part in Redis."""
    with creation_lock(volume):
        found = find_format(volume.layout)
        if found is None:
            prepare_folders(volume)
            own = next(iter(staged_formats(volume.layout)), None) or new_format(volume)
            stage_format(volume, own)
            found = publish_format(volume, own)
        return found


def test_a_creation_that_dies_anywhere_is_completed_by_the_next(tmp_path):
    whole = bare_volume(tmp_path, DyingVolume, at=10**9)
    create(whole)
    # the folders are many and alike: the last steps are where FORMAT is made
    for at in [1, 2, 3, 100, *range(whole.changes - 5, whole.changes + 1)]:
        layout = Layout(tmp_path / str(at))
        Volume.make_root(layout)
        with pytest.raises(Dead):
            create(DyingVolume(layout, at=at))
        found = create(Volume(layout))
        assert find_format(layout) == found
        assert os.listdir(layout.staging) == []


def test_a_new_volume_is_what_the_tests_start_from(tmp_path):
    assert find_format(new_volume(tmp_path).layout) is not None
