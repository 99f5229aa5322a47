import errno
import os
import resource
import shutil
import stat

import pytest
from harness.volumes import Dead, DyingVolume, WatchedVolume, bare_volume, begin, fence

from caskeeper.errors import LeaseLost, PermissionDenied, VolumeFailed
from caskeeper.layout import Layout
from worker.store import system_calls
from worker.store.volume import Outcome, Volume


@pytest.fixture
def volume(tmp_path):
    return bare_volume(tmp_path)


def old_file_system(monkeypatch):
    """One that has no RENAME_NOREPLACE, as a network file system."""

    def refuses(source, target):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), source)

    monkeypatch.setattr(system_calls, "rename_noreplace", refuses)


def place_of(volume, name="ab" * 32):
    return volume.layout.object(name)


# -- new files ---------------------------------------------------------------------------------------------


def test_a_staged_file_is_read_only_and_has_the_constant_modification_time(volume):
    staging = begin(volume)
    path = staging.path()
    volume.stage(path, b"bytes")
    there = os.stat(path)
    assert stat.S_IMODE(there.st_mode) == 0o444
    assert there.st_mtime_ns == system_calls.MTIME_S * 10**9
    assert there.st_atime_ns >= staging.start_ns


@pytest.mark.parametrize("mode", [0o444, 0o555])
def test_the_mode_of_a_staged_file_does_not_depend_on_the_umask(tmp_path, mode):
    before = os.umask(0o077)
    try:
        volume = bare_volume(tmp_path)
        assert volume.umask == 0o077
        path = f"{volume.layout.staging}/x"
        volume.stage(path, b"", mode=mode)
        file = volume.stage_stream(f"{path}2", mode=mode)
        file.write(b"piece")
        assert file.finish() == 5
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == mode
    assert stat.S_IMODE(os.stat(f"{path}2").st_mode) == mode


def test_nothing_is_left_of_a_file_that_could_not_be_written_whole(volume):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(VolumeFailed):
            volume.stage(f"{volume.layout.staging}/x", bytes(100_000))
        file = volume.stage_stream(f"{volume.layout.staging}/y")
        file.write(bytes(4096))
        with pytest.raises(VolumeFailed):
            file.write(b"more")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(volume.layout.staging) == []


def test_a_discarded_stream_leaves_nothing_and_may_be_discarded_twice(volume):
    file = volume.stage_stream(f"{volume.layout.staging}/x")
    file.write(b"piece")
    file.discard()
    file.discard()
    assert os.listdir(volume.layout.staging) == []


def test_a_new_file_never_goes_over_another(volume):
    path = f"{volume.layout.staging}/x"
    volume.stage(path, b"first")
    for attempt in (lambda: volume.stage(path, b"2"), lambda: volume.create(path)):
        with pytest.raises(VolumeFailed):
            attempt()
    with open(path, "rb") as file:
        assert file.read() == b"first"


# -- publishing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noreplace", [True, False])
def test_publishing_gives_the_place_and_takes_the_staged_name(volume, monkeypatch, noreplace):
    if not noreplace:
        old_file_system(monkeypatch)
    staging = begin(volume)
    staged = staging.stage(b"bytes")
    inode = os.stat(staged).st_ino
    assert volume.publish(staged, place_of(volume)) is True
    assert os.stat(place_of(volume)).st_ino == inode
    assert os.stat(place_of(volume)).st_nlink == 1
    assert not os.path.exists(staged)


@pytest.mark.parametrize("noreplace", [True, False])
def test_nothing_is_ever_published_over_something(volume, monkeypatch, noreplace):
    if not noreplace:
        old_file_system(monkeypatch)
    staging = begin(volume)
    volume.publish(staging.stage(b"first"), place_of(volume))
    inode = os.stat(place_of(volume)).st_ino
    second = staging.stage(b"second")
    assert volume.publish(second, place_of(volume)) is False
    assert os.stat(place_of(volume)).st_ino == inode
    assert os.path.exists(second)


def test_a_link_that_says_exists_for_our_own_inode_was_ours(volume, monkeypatch):
    old_file_system(monkeypatch)
    staged = begin(volume).stage(b"bytes")
    os.link(staged, place_of(volume))  # the first answer got lost on the way, as a network file system does
    assert volume.publish(staged, place_of(volume)) is True
    assert os.stat(place_of(volume)).st_nlink == 1


@pytest.mark.parametrize("noreplace", [True, False])
def test_a_fenced_operation_can_publish_nothing(volume, monkeypatch, noreplace):
    if not noreplace:
        old_file_system(monkeypatch)
    staging = begin(volume)
    staged = staging.stage(b"bytes")
    reference = staging.stage(b"ref")
    fence(volume)
    with pytest.raises(LeaseLost):
        volume.publish(staged, place_of(volume))
    with pytest.raises(LeaseLost):
        volume.replace(reference, f"{volume.layout.refs}/p/e/k")
    for change in (lambda: staging.stage(b"x"), lambda: volume.make_folder(f"{staging.folder}/x")):
        with pytest.raises(LeaseLost):
            change()
    assert not os.path.exists(place_of(volume))
    assert os.listdir(volume.layout.refs) == []


def test_a_missing_folder_of_the_target_is_made(volume):
    staging = begin(volume)
    target = f"{volume.layout.refs}/project/element/key"
    volume.replace(staging.stage(b"one"), target)
    volume.replace(staging.stage(b"two"), target)
    with open(target, "rb") as file:
        assert file.read() == b"two"
    assert volume.publish(staging.stage(b"x"), f"{volume.layout.refs}/q/e/k") is True


@pytest.mark.parametrize("moment", ["make_folder", "replace"])
def test_publishing_goes_on_when_others_prune_the_folder_of_the_target(tmp_path, moment):
    """D-32: folders of refs come and go, here between making the upper and the lower one, or both and us."""
    pruned = []

    def prune(verb, *_):
        project = f"{volume.layout.refs}/project"
        if verb == moment and len(pruned) < 3 and os.path.isdir(project):
            shutil.rmtree(project)
            pruned.append(verb)

    volume = bare_volume(tmp_path, WatchedVolume, before=prune)
    target = f"{volume.layout.refs}/project/element/key"
    volume.replace(begin(volume).stage(b"x"), target)
    assert os.path.exists(target)
    assert len(pruned) == 3


# -- links, taking, unlinking ------------------------------------------------------------------------------


def test_a_link_that_is_not_possible_asks_for_a_copy(volume):
    # a folder cannot have a second name: EPERM, as some file systems answer for every file
    assert volume.link(volume.layout.pins, f"{volume.layout.staging}/x") is False


def test_a_link_tells_a_missing_source_from_a_lost_lease(volume):
    staging = begin(volume)
    with pytest.raises(FileNotFoundError):
        volume.link(place_of(volume), staging.path())
    source = staging.stage(b"x")
    volume.publish(source, place_of(volume))
    fence(volume)
    with pytest.raises(LeaseLost):
        volume.link(place_of(volume), staging.path())


def test_taking_tells_a_missing_source_from_a_lost_trash_folder(volume):
    trash = volume.layout.trash("me")
    volume.make_folder(trash)
    volume.publish(begin(volume).stage(b"x"), place_of(volume))
    assert volume.take(place_of(volume), f"{trash}/x") is True
    assert volume.take(place_of(volume), f"{trash}/x") is False
    assert volume.put_back(f"{trash}/x", place_of(volume)) is True
    volume.remove_folder(trash)
    with pytest.raises(LeaseLost):
        volume.take(place_of(volume), f"{trash}/x")
    assert not os.path.exists(trash)
    assert os.path.exists(place_of(volume))


def test_what_a_reader_put_back_itself_is_not_a_lost_lease(volume):
    trash = volume.layout.trash("me")
    volume.make_folder(trash)
    assert volume.put_back(f"{trash}/x", place_of(volume)) is False
    volume.remove_folder(trash)
    with pytest.raises(LeaseLost):
        volume.put_back(f"{trash}/x", place_of(volume))


def test_unlinking_says_what_it_was_and_how_many_names_it_had(volume):
    staging = begin(volume)
    staged = staging.stage(b"bytes")
    os.link(staged, f"{staged}.second")
    assert volume.unlink(staged).st_nlink == 2
    assert volume.unlink(f"{staged}.second").st_nlink == 1
    assert volume.unlink(staged) is None


# -- folders -----------------------------------------------------------------------------------------------


def test_a_moved_folder_is_done_gone_or_theirs(volume):
    one, two = f"{volume.layout.extracts}/one", f"{volume.layout.extracts}/p/e/two"
    volume.make_folder(one)
    assert volume.move_folder(one, two) is Outcome.DONE
    assert volume.move_folder(one, two) is Outcome.GONE
    volume.make_folder(one)
    volume.create(f"{two}/file")
    assert volume.move_folder(one, two) is Outcome.THEIRS
    assert not Outcome.THEIRS
    assert Outcome.DONE


def test_a_folder_is_never_moved_into_a_trash_folder_that_is_gone(volume):
    volume.make_folder(f"{volume.layout.extracts}/one")
    with pytest.raises(LeaseLost):
        volume.move_folder(f"{volume.layout.extracts}/one", f"{volume.layout.trash('me')}/one")
    assert os.listdir(volume.layout.trashes) == []


def test_a_removed_folder_is_done_gone_or_not_empty(volume):
    folder = f"{volume.layout.extracts}/one"
    assert volume.make_folder(folder) is True
    assert volume.make_folder(folder) is False
    volume.create(f"{folder}/file")
    assert volume.remove_folder(folder) is Outcome.NOT_EMPTY
    volume.unlink(f"{folder}/file")
    assert volume.remove_folder(folder) is Outcome.DONE
    assert volume.remove_folder(folder) is Outcome.GONE


def test_a_file_where_a_folder_belongs_is_an_error(volume):
    volume.create(f"{volume.layout.extracts}/file")
    with pytest.raises(VolumeFailed):
        volume.make_folders(f"{volume.layout.extracts}/file/below")


# -- ages, size, hook --------------------------------------------------------------------------------------


def test_a_touch_of_what_is_gone_says_so(volume):
    assert volume.touch(place_of(volume)) is False


def test_a_touch_makes_younger_and_leaves_the_modification_time(volume):
    path = begin(volume).stage(b"x")
    os.utime(path, ns=(1, system_calls.MTIME_S * 10**9))
    assert volume.touch(path) is True
    assert os.stat(path).st_atime_ns > 1
    assert os.stat(path).st_mtime_ns == system_calls.MTIME_S * 10**9


def test_sizes_are_charged_in_whole_blocks(volume):
    block = volume.block_bytes
    assert [volume.charge(size) for size in (0, 1, block, block + 1)] == [0, block, block, 2 * block]


def test_the_space_is_the_file_system_s(volume):
    there = os.statvfs(volume.layout.root)
    space = volume.space()
    assert space.total_bytes == there.f_blocks * there.f_frsize
    assert 0 <= space.available_bytes <= space.total_bytes
    assert space.inodes_total == there.f_files


def test_a_volume_that_is_not_there_is_trouble(tmp_path):
    with pytest.raises(VolumeFailed):
        Volume(Layout(tmp_path / "missing"))


def test_a_refusal_of_the_file_system_names_the_path(tmp_path):
    # /proc takes no files from anybody, root included
    volume = bare_volume(tmp_path)
    with pytest.raises((PermissionDenied, VolumeFailed)) as raised:
        volume.create("/proc/self/none")
    assert raised.value.where == "/proc/self/none"


CHANGES = {
    "create": lambda v, f: v.create(f"{f}/new"),
    "stage": lambda v, f: v.stage(f"{f}/new", b"x"),
    "stage_stream": lambda v, f: v.stage_stream(f"{f}/new"),
    "symlink": lambda v, f: v.symlink("t", f"{f}/new"),
    "publish": lambda v, f: v.publish(f"{f}/file", f"{f}/new"),
    "put_back": lambda v, f: v.put_back(f"{f}/file", f"{f}/new"),
    "replace": lambda v, f: v.replace(f"{f}/file", f"{f}/other"),
    "link": lambda v, f: v.link(f"{f}/file", f"{f}/new"),
    "take": lambda v, f: v.take(f"{f}/file", f"{f}/new"),
    "unlink": lambda v, f: v.unlink(f"{f}/file"),
    "make_folder": lambda v, f: v.make_folder(f"{f}/new"),
    "make_folders": lambda v, f: v.make_folders(f"{f}/new/below"),
    "move_folder": lambda v, f: v.move_folder(f"{f}/folder", f"{f}/new"),
    "remove_folder": lambda v, f: v.remove_folder(f"{f}/folder"),
    "touch": lambda v, f: v.touch(f"{f}/file"),
    "chmod": lambda v, f: v.chmod(f"{f}/file", 0o400),
    "settle_times": lambda v, f: v.settle_times(f"{f}/file"),
    "sync": lambda v, _: v.sync(),
}


def picture(folder):
    found = {}
    for name in sorted(os.listdir(folder)):
        there = os.lstat(f"{folder}/{name}")
        found[name] = (there.st_ino, there.st_mode, there.st_mtime_ns, there.st_atime_ns, there.st_nlink)
    return found


@pytest.mark.parametrize("change", CHANGES)
def test_a_volume_that_dies_before_a_change_has_not_made_it(tmp_path, change):
    folder = f"{bare_volume(tmp_path).layout.extracts}/here"
    os.mkdir(folder)
    os.mkdir(f"{folder}/folder")
    for name in ("file", "other"):
        with open(f"{folder}/{name}", "w", encoding="ascii") as file:
            file.write(name)
        os.utime(f"{folder}/{name}", (1, 2))
    before = picture(folder)
    with pytest.raises(Dead):
        CHANGES[change](bare_volume(tmp_path, DyingVolume, at=1), folder)
    assert picture(folder) == before


def test_every_public_method_that_changes_something_is_in_the_list_above():
    looking = {"charge", "space", "make_root"}
    public = {name for name, value in vars(Volume).items() if not name.startswith("_") and callable(value)}
    public |= {name for name, value in vars(Volume).items() if isinstance(value, staticmethod)}
    assert {name for name in public if not name.startswith("_")} - looking == set(CHANGES)


def test_another_actor_s_change_between_two_of_ours_is_seen(tmp_path):
    def rival(verb, *paths):
        if verb == "publish":
            with open(paths[1], "wb") as file:
                file.write(b"theirs")

    volume = bare_volume(tmp_path, WatchedVolume, before=rival)
    staged = begin(volume).stage(b"ours")
    assert volume.publish(staged, place_of(volume)) is False
    with open(place_of(volume), "rb") as file:
        assert file.read() == b"theirs"
