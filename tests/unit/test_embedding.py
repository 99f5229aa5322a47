"""Joining an embedded server: the locks that hold it together."""

import os

import pytest

from caskeeper.config import Settings
from caskeeper.embedding import (
    Endpoint,
    FileLock,
    RunFiles,
    announce,
    announced,
    answers,
    end,
    own_command,
    running,
)
from caskeeper.errors import ConfigInvalid


def test_a_lock_is_for_one_or_for_many(tmp_path):
    path = str(tmp_path / "lock")
    with FileLock(path) as one, FileLock(path) as two, FileLock(path) as three:
        assert one.take(shared=True)
        assert two.take(shared=True)
        assert not three.take()
        one.release()
        two.close()
        assert three.take()
        assert not one.take(shared=True)


def test_a_file_that_says_a_server_runs_is_not_believed_when_no_supervisor_lives(tmp_path):
    files = RunFiles(str(tmp_path))
    files.make()
    assert running(str(tmp_path)) is None
    for path, text in ((files.supervisor, ""), (files.endpoint, '{"url": "unix:///x", "pid": 1}')):
        with open(path, "w") as file:
            file.write(text)
    assert running(str(tmp_path)) is None
    with FileLock(files.supervisor) as lock:
        assert lock.take()
        assert running(str(tmp_path)) is None, "nobody answers there"


def test_the_run_folder_is_private(tmp_path):
    files = RunFiles(str(tmp_path / "new" / "cache"))
    files.make()
    assert os.stat(files.folder).st_mode & 0o777 == 0o700


def test_a_cachedir_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigInvalid, match="cannot be made"):
        RunFiles(str(tmp_path / "file" / "cache")).make()


def test_the_command_cannot_be_taken_by_a_file_of_the_current_folder():
    command = own_command(Settings(cachedir="/c", source="/etc/c.yaml"), "worker", "--concurrency", "2")
    assert command[1:4] == ["-P", "-m", "tasks.cli.main"]
    assert command[4:] == ["--config", "/etc/c.yaml", "worker", "--concurrency", "2"]
    assert "--config" not in own_command(Settings(cachedir="/c"), "worker")


def test_what_a_supervisor_announces_is_read_as_it_was_written(tmp_path):
    files = RunFiles(str(tmp_path))
    files.make()
    endpoint = Endpoint("unix:///x", 7, frozenset({"a", "b"}), foreground=True)
    announce(files, endpoint)
    assert announced(files) == endpoint
    with open(files.endpoint, "w") as file:
        file.write('{"url": "unix:///x", "pid": 7}')
    assert announced(files) == Endpoint("unix:///x", 7), "an earlier release says less"


def test_nothing_to_end_is_no_trouble(tmp_path):
    assert not end(str(tmp_path))


def test_nobody_answers_where_nobody_listens(tmp_path):
    assert not answers(str(tmp_path / "no.sock"))
