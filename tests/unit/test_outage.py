"""A Redis that does not answer is waited for once by all of a user's processes, not once by each."""

import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
from harness.valkey import ValkeyServer

from caskeeper import job, outage
from caskeeper.contract import PullRequest, PullResult
from caskeeper.errors import CoordinatorUnavailable
from caskeeper.queue import Queue

URL = "redis://:secret@cache:6379/0"


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(outage, "_found", {})
    return tmp_path


def other_process(monkeypatch):
    """What this process found itself is forgotten: it is another one."""
    monkeypatch.setattr(outage, "_found", {})


def age(folder, seconds):
    (mark,) = (folder / f"caskeeper-{os.getuid()}").iterdir()
    then = mark.stat().st_mtime - seconds
    os.utime(mark, (then, then))


def test_the_first_waits_the_next_do_not_and_later_ones_briefly(own_folder, monkeypatch):
    assert outage.patience_s(URL, 60.0) == outage.PATIENCE_S
    assert outage.patience_s(URL, 1.0) == 1.0
    outage.failed(URL, silent=False)
    assert outage.patience_s(URL) == 0.0
    other_process(monkeypatch)
    assert outage.patience_s(URL) == 0.0
    age(own_folder, outage.MEMORY_S)
    assert outage.patience_s(URL) == outage.SHORT_PATIENCE_S
    age(own_folder, 3600.0)
    assert outage.patience_s(URL) == outage.PATIENCE_S


def test_one_that_refuses_is_tried_and_a_silent_one_is_not_even_asked(own_folder, monkeypatch):
    outage.failed(URL, silent=False)
    outage.refuse(URL, "cache")
    outage.failed(URL, silent=True)
    for _ in range(2):
        with pytest.raises(CoordinatorUnavailable, match="not asked again"):
            outage.refuse(URL, "cache")
        other_process(monkeypatch)


def silent_redis():
    """Takes connections and never says a word."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(8)
    return listening, f"redis://127.0.0.1:{listening.getsockname()[1]}/0"


def test_one_that_is_still_silent_later_is_knocked_at_and_one_that_is_back_is_used(own_folder, monkeypatch):
    listening, url = silent_redis()
    outage.failed(url, silent=True)
    for _ in range(2):
        other_process(monkeypatch)
        age(own_folder, outage.MEMORY_S)
        with pytest.raises(CoordinatorUnavailable, match="not asked again for 30 s"):
            outage.refuse(url, "here")
    listening.close()
    other_process(monkeypatch)
    age(own_folder, outage.MEMORY_S)
    outage.refuse(url, "here")


def test_a_timeout_anywhere_behind_an_error_is_silence():
    gone = CoordinatorUnavailable("Redis: gone")
    assert not outage.is_silence(gone)
    gone.__cause__ = ConnectionRefusedError()
    assert not outage.is_silence(gone)
    gone.__cause__.__context__ = TimeoutError()
    assert outage.is_silence(gone)


def test_one_that_answers_again_is_forgotten_by_all(monkeypatch):
    outage.failed(URL, silent=True)
    other_process(monkeypatch)
    outage.over(URL)
    other_process(monkeypatch)
    outage.refuse(URL, "cache")
    assert outage.patience_s(URL) == outage.PATIENCE_S
    outage.over(URL)


def test_another_redis_is_another_matter():
    outage.failed(URL, silent=True)
    outage.refuse("redis://other", "other")
    assert outage.patience_s("redis://other") == outage.PATIENCE_S


def test_no_password_is_written_down(own_folder):
    outage.failed(URL, silent=True)
    (mark,) = (own_folder / f"caskeeper-{os.getuid()}").iterdir()
    assert "secret" not in mark.name + mark.read_text()
    assert mark.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("in_the_way", ["a folder", "a link", "no folder"])
def test_without_the_file_each_process_remembers_for_itself(own_folder, monkeypatch, in_the_way):
    folder = own_folder / f"caskeeper-{os.getuid()}"
    if in_the_way == "no folder":
        folder.write_text("a file")
    else:
        outage.failed(URL, silent=True)
        (mark,) = folder.iterdir()
        other_process(monkeypatch)
        mark.unlink()
        if in_the_way == "a folder":
            mark.mkdir()
        else:
            mark.symlink_to(own_folder / "elsewhere")
    assert outage.patience_s(URL) == outage.PATIENCE_S
    outage.failed(URL, silent=True)
    assert outage.patience_s(URL) == 0.0
    assert not (own_folder / "elsewhere").exists()


def test_a_hundred_processes_wait_once(own_folder):
    script = "from caskeeper import outage as o; print(o.patience_s('u')); o.failed('u', silent=False)"
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(own_folder)}
    said = [
        subprocess.run(
            [sys.executable, "-P", "-c", script], env=environ, check=True, capture_output=True, text=True
        ).stdout
        for _ in range(3)
    ]
    assert said == [f"{outage.PATIENCE_S}\n", "0.0\n", "0.0\n"]


def test_a_redis_that_goes_away_under_a_hundred_jobs_is_waited_for_once(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(outage, "time", SimpleNamespace(monotonic=lambda: now[0]))
    silence = outage.Silence("redis://here", "here")

    def settled(after_s, bears_s=outage.WAITING_S):
        now[0] += after_s
        return silence.goes_on(
            CoordinatorUnavailable("gone"), silent=False, began=now[0], bears_s=bears_s
        ).settled

    assert not any(settled(1.0) for _ in range(61))
    assert settled(1.0), "the one that is waited for"
    assert settled(0.0), "the next one"
    assert settled(3600.0), "one that is asked about an hour later"
    silence.is_over()
    assert not settled(0.0)
    assert not settled(outage.WAITING_S + 1.0), "nobody has asked meanwhile"
    assert not settled(outage.HURRY_S - 0.1, bears_s=outage.HURRY_S)
    assert settled(0.2, bears_s=outage.HURRY_S), "who can go on without it does"
    assert not settled(0.0), "the others are patient still"


def test_one_that_was_silent_for_all_is_not_asked_again_for_each_of_them(monkeypatch):
    monkeypatch.setattr(outage, "WAITING_S", 0.0)
    silence = outage.Silence(URL, "cache")
    silence.refuse()
    gone = CoordinatorUnavailable("gone")
    assert silence.goes_on(gone, silent=True, began=0.0, bears_s=60.0).settled
    with pytest.raises(CoordinatorUnavailable, match="not asked again") as refused:
        silence.refuse()
    assert refused.value.settled
    silence.is_over()
    silence.refuse()


def test_jobs_that_are_waited_for_one_after_the_other_share_their_patience(monkeypatch):
    monkeypatch.setattr(outage, "WAITING_S", 0.3)
    monkeypatch.setattr(job, "PATIENCE_S", 3600.0)
    with ValkeyServer() as valkey:
        queue = Queue(valkey.url)
        jobs = [queue.submit(PullRequest(ref=f"demo/el/{n}"), PullResult) for n in range(3)]
    try:
        for one in jobs:
            with pytest.raises(CoordinatorUnavailable, match="no state could be read"):
                one.result()
    finally:
        queue.close()
