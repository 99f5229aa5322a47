"""The token file of a server: what is a token in it, and when a changed one counts."""

import logging

import pytest

from caskeeper.config import NamedFile
from caskeeper.errors import ConfigInvalid
from worker.server import tokens
from worker.server.tokens import Tokens, _bearer


@pytest.fixture
def clock(monkeypatch):
    """Seconds since the start, to be advanced."""
    now = [0.0]
    monkeypatch.setattr(tokens.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def file(tmp_path):
    return tmp_path / "tokens"


def opened(file):
    return Tokens(NamedFile(str(file), "argument --token-file"))


def test_each_line_is_a_token_without_the_space_around_it(file):
    file.write_bytes(b"# the laptops\n  one \r\n\n#two\nthree==\n")
    found = opened(file)
    assert [found.accepts(word) for word in (b"one", b"three==")] == [True, True]
    for word in (b"", b"on", b"onee", b"ONE", b"#two", b"two", b"# the laptops", b"one\nthree==", b"\xff"):
        assert not found.accepts(word)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        (b"", "holds no token"),
        (b"\n# none yet\n", "holds no token"),
        (b"good\nsecret word\n", "holds no token in line 2"),
        (b"s\xc3\xa9cret\n", "holds no token in line 1"),
        (b"secret\0\n", "holds no token in line 1"),
        (b"x" * (1024 * 1024 + 1), "is larger than"),
    ],
)
def test_a_file_without_tokens_is_named_with_the_reason_and_shows_nothing(file, content, says):
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigInvalid, match=says) as caught:
        opened(file)
    assert repr(str(file)) in caught.value.what
    assert caught.value.where == "argument --token-file"
    assert "cret" not in str(caught.value)
    assert "good" not in str(caught.value)


def test_a_changed_file_counts_a_second_later_and_old_and_new_may_overlap(file, clock):
    file.write_text("old\n")
    found = opened(file)
    file.write_text("old\nnew\n")
    clock[0] += 0.9
    assert (found.accepts(b"old"), found.accepts(b"new")) == (True, False)
    clock[0] += 0.1
    assert (found.accepts(b"old"), found.accepts(b"new")) == (True, True)
    file.write_text("new\n")
    clock[0] += 1.0
    assert (found.accepts(b"old"), found.accepts(b"new")) == (False, True)


def test_a_file_of_no_use_changes_nothing_and_is_warned_of_once(file, clock, caplog):
    caplog.set_level(logging.INFO, "worker")
    file.write_text("secret\n")
    found = opened(file)
    for content in (b"", b"", b"broken one\n", None):
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
        clock[0] += 1.0
        assert found.accepts(b"secret")
    assert [(one.getMessage(), one.reason.rpartition("'")[2]) for one in caplog.records] == [
        ("tokens are not renewed", " holds no token"),
        ("tokens are not renewed", " holds no token in line 1"),
        ("tokens are not renewed", " cannot be read: No such file or directory"),
    ]
    file.write_text("another\n")
    clock[0] += 1.0
    assert (found.accepts(b"secret"), found.accepts(b"another")) == (False, True)
    assert caplog.records[-1].getMessage() == "tokens renewed"
    assert "secret" not in "".join(str(vars(one)) for one in caplog.records)


def test_tokens_are_not_kept(file):
    file.write_text("a-secret-token\n")
    assert "secret" not in repr(vars(opened(file)))


@pytest.mark.parametrize(
    ("metadata", "token"),
    [
        ((), None),
        (None, None),
        ((("authorization", "Bearer one"),), b"one"),
        ((("authorization", "bearer  one "),), b"one"),
        ((("authorization", b"BEARER one"),), b"one"),
        ((("authorization", "Basic one"),), None),
        ((("authorization", "one"),), None),
        ((("authorization", "Bearer"),), None),
        ((("authorization", "Bearer "),), None),
        ((("x-authorization", "Bearer one"),), None),
        ((("authorization", "Basic x"), ("authorization", "Bearer one")), b"one"),
        ((("authorization", "Bearer \udcff"),), b"\xff"),
    ],
)
def test_the_token_of_a_call(metadata, token):
    assert _bearer(metadata) == token
