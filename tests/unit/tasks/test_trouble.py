"""Why a worker cannot start is told to whoever waits for it, also on a full disk."""

import os
import sys
import time

import pytest

from caskeeper.embedding import RunFiles
from caskeeper.errors import NoSpace
from caskeeper.trouble import Trouble, trouble_of
from tasks.children import Child

FAILS = """
import os, sys
from caskeeper.errors import NoSpace
from tasks.process import Report
Report.inherited().send(NoSpace("not a byte", "/there").to_json())
"""


@pytest.fixture
def files(tmp_path):
    made = RunFiles(str(tmp_path))
    made.make()
    return made


def test_what_is_told_is_read_and_its_file_needs_no_more_room_for_it(tmp_path, files):
    assert trouble_of(str(tmp_path)) == ""
    trouble = Trouble(files)
    size = os.path.getsize(files.trouble)
    assert trouble_of(str(tmp_path)) == ""
    trouble.tell("no room \N{SNOWMAN}" * 1000)
    assert trouble_of(str(tmp_path)).startswith("no room \N{SNOWMAN}")
    assert os.path.getsize(files.trouble) == size
    trouble.tell("")
    assert trouble_of(str(tmp_path)) == ""
    trouble.close()
    assert not os.path.exists(files.trouble)


@pytest.mark.parametrize("junk", [b"", b"{", b"[1]", b"\xff" * 9000])
def test_junk_says_nothing(tmp_path, files, junk):
    with open(files.trouble, "wb") as file:
        file.write(junk)
    assert trouble_of(str(tmp_path)) == ""


@pytest.mark.parametrize(
    ("program", "told"),
    [(FAILS, str(NoSpace("not a byte", "/there"))), ("", "it ended while it started: look at its log")],
)
def test_a_child_that_ends_while_it_starts_says_why(program, told):
    child = Child("worker 1", [sys.executable, "-c", program], dict(os.environ))
    child.start()
    try:
        deadline = time.monotonic() + 30
        # Not the first trouble: to fork this process, where gRPC has threads, may kill the child on its way.
        while child.trouble != told and time.monotonic() < deadline:
            child.watch()
            time.sleep(0.02)
        assert child.trouble == told
    finally:
        child.stop()
