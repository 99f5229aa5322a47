"""Where the embedded server's socket is."""

import os

import pytest

from caskeeper.embedding import RunFiles, socket_of
from caskeeper.errors import ConfigInvalid
from tasks.embedded import socket_path


@pytest.fixture
def elsewhere(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(folder))
    return folder


def test_a_short_plain_path_is_used_as_it_is():
    assert socket_path(RunFiles("/c")) == "/c/run/valkey.sock"


@pytest.mark.parametrize("cachedir", ["/" + "x" * 200, "/a b", "/a?b", "/ä"])
def test_other_paths_get_a_private_folder_elsewhere(cachedir):
    found = socket_path(RunFiles(cachedir))
    folder = os.path.dirname(found)
    try:
        assert len(found) < 108
        assert os.stat(folder).st_mode & 0o777 == 0o700
        assert socket_path(RunFiles(cachedir)) == found, "the same one each time"
    finally:
        os.rmdir(folder)


def test_a_folder_that_others_can_enter_is_refused():
    folder = os.path.dirname(socket_path(RunFiles("/" + "y" * 200)))
    os.chmod(folder, 0o755)
    try:
        with pytest.raises(ConfigInvalid, match="not this user's own"):
            socket_path(RunFiles("/" + "y" * 200))
    finally:
        os.rmdir(folder)


def test_the_socket_of_an_address():
    assert socket_of("unix:///c/run/valkey.sock?db=1") == "/c/run/valkey.sock"
