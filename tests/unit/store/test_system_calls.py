import errno
import os

import pytest

from worker.store import system_calls


def test_a_touch_sets_the_age_and_leaves_the_modification_time(tmp_path):
    path = tmp_path / "f"
    path.touch()
    os.utime(path, (5, 7))
    assert system_calls.touch(str(path)) is True
    assert path.stat().st_mtime == 7
    assert path.stat().st_atime > 1_000_000_000


def test_settled_times_leave_the_age(tmp_path):
    path = tmp_path / "f"
    path.touch()
    os.utime(path, (5, 7))
    system_calls.settle_times(str(path))
    assert (path.stat().st_atime, path.stat().st_mtime) == (5, system_calls.MTIME_S)


def test_a_rename_without_replacing_keeps_what_is_there(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(OSError, match="exists") as raised:
        system_calls.rename_noreplace(str(tmp_path / "a"), str(tmp_path / "b"))
    assert raised.value.errno == errno.EEXIST
    assert (tmp_path / "b").read_text() == "b"


def test_a_missing_path_is_enoent(tmp_path):
    with pytest.raises(FileNotFoundError):
        system_calls.settle_times(str(tmp_path / "gone"))


def test_a_touch_says_that_nothing_is_there_and_raises_other_trouble(tmp_path):
    (tmp_path / "file").touch()
    assert system_calls.touch(str(tmp_path / "gone")) is False
    with pytest.raises(NotADirectoryError):
        system_calls.touch(str(tmp_path / "file" / "below"))


def test_paths_that_are_no_utf_8_are_found(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    os.close(os.open(path, os.O_CREAT))
    assert system_calls.touch(path) is True
    system_calls.rename_noreplace(path, f"{path}2")
    assert os.path.exists(f"{path}2")


def test_a_closed_descriptor_is_an_error(tmp_path):
    with pytest.raises(OSError, match="descriptor"):
        system_calls.stamp(-1, str(tmp_path))
    with pytest.raises(OSError, match="descriptor"):
        system_calls.syncfs(-1, str(tmp_path))
