"""Large files are hashed and stored in pieces, and not written where they are most likely here."""

import os
import subprocess
import sys

import pytest
from harness.captures import take
from harness.volumes import new_volume

from caskeeper.digest import Digest
from worker.store import source as module
from worker.store.blobs import StoreBlobs
from worker.store.measure import used_bytes


@pytest.fixture
def volume(tmp_path):
    return new_volume(tmp_path)


@pytest.mark.parametrize(
    "size_bytes",
    [
        module.SMALL_BYTES,
        module.SMALL_BYTES + 1,
        module.WHOLE_BYTES,
        module.WHOLE_BYTES + 1,
        3 * module.WHOLE_BYTES + 7,
    ],
)
def test_large_files_go_through_in_pieces_and_arrive_whole(volume, source, size_bytes):
    content = os.urandom(1000) * (size_bytes // 1000 + 1)
    (source / "large").write_bytes(content[:size_bytes])
    (source / "copy").write_bytes(content[:size_bytes])
    captured, staging = take(volume, source)
    digest = Digest.of(content[:size_bytes])
    assert captured.closure.files == (digest,)
    with open(volume.layout.object(digest.hash), "rb") as file:
        assert file.read() == content[:size_bytes]
    assert captured.files == 2
    assert os.listdir(staging.folder) == ["start"]


def test_a_large_file_that_is_most_likely_here_is_not_written_again(volume, source, monkeypatch):
    for number in range(40):
        (source / f"{number:02}").write_bytes(b"small %d" % number)
    large = source / "large"
    large.write_bytes(os.urandom(module.WHOLE_BYTES + 10))
    first, _ = take(volume, source)
    staged = []
    stage = volume.stage_stream
    monkeypatch.setattr(volume, "stage_stream", lambda path, **how: staged.append(path) or stage(path, **how))
    monkeypatch.setattr(StoreBlobs, "finds_most", True)
    again, staging = take(volume, source, "again")
    assert again.root == first.root
    assert staged == []
    assert staging.added_bytes == 0
    large.write_bytes(os.urandom(module.WHOLE_BYTES + 10))  # and what is not here after all is
    other, staging = take(volume, source, "other")
    assert other.root != first.root
    assert len(staged) == 1
    assert used_bytes(volume) >= staging.added_bytes > module.WHOLE_BYTES


def test_memory_is_bounded_whatever_the_files_are_large(tmp_path, source):
    """Sparse files, so that only this process' memory is used."""
    for number in range(2):
        with open(source / f"large{number}", "wb") as file:
            file.truncate(300 * 1024 * 1024)
    program = """
import resource, sys
sys.path[:0] = ["tests", "."]
from pathlib import Path
from harness.volumes import begin, blobs_of, new_volume
from worker.protocols import quiet
from worker.store.capture import capture
blobs = blobs_of(begin(new_volume(Path(sys.argv[1]))))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
captured = capture(sys.argv[2], blobs, context=quiet())
assert captured.size_bytes == 600 * 1024 * 1024
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(module.__file__))))
    answer = subprocess.run(
        [sys.executable, "-P", "-c", program, os.fspath(tmp_path / "other"), os.fspath(source)],
        capture_output=True,
        check=True,
        text=True,
        cwd=root,
    )
    assert int(answer.stdout) < 30 * 1024
