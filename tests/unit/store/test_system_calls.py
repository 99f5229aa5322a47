import errno
import os

import pytest

from worker.store import system_calls


def test_a_touch_sets_the_age_and_leaves_the_modification_time(tmp_path):
    path = tmp_path / "f"
    path.touch()
    os.utime(path, (5, 7))
    system_calls.touch(str(path))
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


@pytest.mark.parametrize("call", [system_calls.touch, system_calls.settle_times])
def test_a_missing_path_is_enoent(call, tmp_path):
    with pytest.raises(FileNotFoundError):
        call(str(tmp_path / "gone"))


def test_a_closed_descriptor_is_an_error(tmp_path):
    with pytest.raises(OSError, match="descriptor"):
        system_calls.stamp(-1, str(tmp_path))
    with pytest.raises(OSError, match="descriptor"):
        system_calls.syncfs(-1, str(tmp_path))
