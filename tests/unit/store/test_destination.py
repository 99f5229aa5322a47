import os
import signal
import subprocess
import sys

import pytest

from caskeeper.errors import Busy, DestinationExists
from worker.store.destination import MARK, Destination


def fill(place):
    fd = place.open("")
    os.mkdir("folder", dir_fd=fd)
    os.close(fd)
    inner = place.open("/folder")
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
    os.symlink("/etc", "link", dir_fd=inner)
    os.close(inner)


def fail_in(path):
    with Destination(path) as place:
        fill(place)
        raise ZeroDivisionError


def test_the_mark_stands_there_only_meanwhile(tmp_path):
    with Destination(f"{tmp_path}/copy") as place:
        assert os.listdir(tmp_path / "copy") == [MARK]
        fill(place)
    assert os.listdir(tmp_path / "copy") == ["folder"]


def test_two_copies_at_once_are_refused(tmp_path):
    with Destination(f"{tmp_path}/copy") as place:
        fill(place)
        with pytest.raises(Busy), Destination(f"{tmp_path}/copy"):
            pass
    assert sorted(os.listdir(tmp_path / "copy" / "folder")) == ["file", "link"]


def test_what_a_killed_attempt_has_left_is_made_anew(tmp_path):
    program = """
import os, sys, time
sys.path.insert(0, ".")
from worker.store.destination import Destination
place = Destination(sys.argv[1]).__enter__()
os.mkdir(f"{sys.argv[1]}/half")
open(f"{sys.argv[1]}/half/file", "w").close()
print("there", flush=True)
time.sleep(1000)
"""
    import worker

    root = os.path.dirname(os.path.dirname(os.path.abspath(worker.__file__)))
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", program, f"{tmp_path}/copy"], stdout=subprocess.PIPE, cwd=root
    )
    with process:
        assert process.stdout.readline() == b"there\n"
        with pytest.raises(Busy), Destination(f"{tmp_path}/copy"):
            pass
        process.send_signal(signal.SIGKILL)
    with Destination(f"{tmp_path}/copy") as place:
        assert os.listdir(tmp_path / "copy") == [MARK]
        fill(place)
    assert os.listdir(tmp_path / "copy") == ["folder"]


def test_a_folder_is_not_opened_through_a_link(tmp_path):
    (tmp_path / "outside").mkdir()
    with Destination(f"{tmp_path}/copy") as place:
        fill(place)
        os.symlink(tmp_path / "outside", tmp_path / "copy" / "folder" / "out")
        for path in ("/folder/out", "/folder/link", "/folder/file", "/folder/none"):
            with pytest.raises(DestinationExists):
                place.open(path)


def test_no_descriptor_is_left_open(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(DestinationExists), Destination(f"{tmp_path}/full"):
        pass
    with pytest.raises(ZeroDivisionError):
        fail_in(f"{tmp_path}/copy")
    assert not os.path.exists(tmp_path / "copy")
    with Destination(f"{tmp_path}/copy") as place:
        fill(place)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_mark_that_came_with_an_artifact_does_not_open_a_folder_to_deletion(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / MARK).write_text("planted")
    (folder / "precious").write_text("my work")
    with pytest.raises(DestinationExists), Destination(str(folder)):
        pass
    assert sorted(os.listdir(folder)) == sorted([MARK, "precious"])
