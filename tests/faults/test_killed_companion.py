"""The second process of an operation is killed, stopped or left alone, at many moments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from harness.companions import (
    Meeting,
    Verbs,
    companion_of,
    force,
    kill,
    objects,
    pid_of,
    stop,
    write_tree,
)
from harness.services import fake_services
from harness.trees import listing
from harness.volumes import fence, new_volume

from caskeeper.contract import CommitRequest, ExtractRequest, PushRequest
from caskeeper.errors import Cancelled, LeaseLost
from worker.protocols import Context, quiet
from worker.store.checkout_links import checkout_links
from worker.store.companion import owner, session
from worker.store.companion.session import Session
from worker.store.measure import used_bytes

WAIT_S = 60.0
#: (what its owner hears from it, or sends it, and how often): then it is killed.
MOMENTS = [("Do", 1), ("Do", 2), ("Spend", 1), ("Done", 1), ("Done", 2), ("Over", 1)]
#: A private copy spends nothing; a checkout by links does, for executables.
CASES = [
    (verb, moment)
    for verb in ("commit", "links", "copy")
    for moment in MOMENTS
    if (verb, moment[0]) != ("copy", "Spend")
]


@pytest.fixture
def verbs(tmp_path, monkeypatch):
    force(monkeypatch)
    volume = new_volume(tmp_path)
    companion = companion_of(volume)
    yield Verbs(volume, companion)
    companion.close()


@pytest.fixture
def source(tmp_path):
    return write_tree(tmp_path / "source")


def assert_nothing_is_left(verbs, before):
    added = used_bytes(verbs.volume) - before
    assert added <= verbs.staging.added_bytes <= verbs.account.spent
    assert os.listdir(verbs.volume.layout.staging) == []


@pytest.mark.parametrize(("verb", "moment"), CASES, ids=str)
def test_a_killed_one_costs_nothing_but_time(verbs, tmp_path, source, verb, moment, monkeypatch):
    root = Verbs(verbs.volume, None).commit(source).root
    other = write_tree(tmp_path / "other", mark="o")
    before = used_bytes(verbs.volume)
    meeting = Meeting(monkeypatch, verbs.companion, *moment, kill)
    if verb == "commit":
        captured = verbs.commit(other)
        assert_nothing_is_left(verbs, before)
        assert captured.root == Verbs(new_volume(tmp_path / "else"), None).commit(other).root
    else:
        getattr(verbs, verb)(root, tmp_path / "out")
        assert_nothing_is_left(verbs, before)
        assert listing(tmp_path / "out") == listing(source)
    assert meeting.happened


@pytest.mark.parametrize("verb", ["commit", "links", "copy"])
def test_killed_at_any_moment(verbs, tmp_path, source, verb, monkeypatch):
    """By a clock, so that it dies between two system calls of its own."""
    monkeypatch.setattr(owner, "IN_VAIN", 100)
    root = Verbs(verbs.volume, None).commit(source).root
    met = 0
    for number in range(6):
        other = write_tree(tmp_path / f"other{number}", mark=f"o{number}", folders=20)
        before = used_bytes(verbs.volume)
        timers = []
        with monkeypatch.context() as patch:

            def later(pid, timers=timers, delay_s=0.0015 * number):
                timers.append(threading.Timer(delay_s, kill, (pid,)))
                timers[0].start()

            Meeting(patch, verbs.companion, "Spend" if verb == "commit" else "Do", 1, later)
            if verb == "commit":
                captured = verbs.commit(other)
            else:
                getattr(verbs, verb)(root, tmp_path / f"out{number}")
            for timer in timers:
                timer.join()
        met += len(timers)  # none where all was done before it was ready
        assert_nothing_is_left(verbs, before)
        if verb == "commit":
            assert captured.root == Verbs(verbs.volume, None).commit(other).root
        else:
            assert listing(tmp_path / f"out{number}") == listing(source)
    assert met


def test_what_was_copied_instead_of_linked_before_it_was_lost_is_paid_once(
    verbs, tmp_path, source, monkeypatch
):
    root = Verbs(verbs.volume, None).commit(source).root
    monkeypatch.setattr(verbs.volume, "link", lambda _source, _target: False)
    meeting = Meeting(monkeypatch, verbs.companion, "Done", 2, kill)
    with verbs.operation() as blobs:
        path = verbs.staging.path()
        copied = checkout_links(root, path, blobs=blobs, context=quiet(), companion=verbs.companion)
        assert listing(path) == listing(source)
    assert meeting.happened
    assert verbs.account.spent == copied + verbs.staging.added_bytes


@pytest.mark.parametrize("moment", [("Do", 1), ("Done", 1)], ids=["begun", "at work"])
@pytest.mark.parametrize("verb", ["commit", "links", "copy"])
def test_one_that_was_stopped_for_good_is_given_up(verbs, tmp_path, source, verb, moment, monkeypatch):
    monkeypatch.setattr(session, "SILENT_S", 0.2)
    monkeypatch.setattr(session, "STOP_S", 0.2)
    root = Verbs(verbs.volume, None).commit(source).root
    before = used_bytes(verbs.volume)
    stopped = []
    Meeting(monkeypatch, verbs.companion, *moment, lambda pid: stopped.append(pid) or stop(pid))
    if verb == "commit":
        assert verbs.commit(source).root == root
    else:
        getattr(verbs, verb)(root, tmp_path / "out")
        assert listing(tmp_path / "out") == listing(source)
    assert_nothing_is_left(verbs, before)
    assert not os.path.exists(f"/proc/{stopped[0]}")


def test_who_cancels_does_not_wait_for_one_that_was_stopped(verbs, source, monkeypatch):
    monkeypatch.setattr(session, "STOP_S", 0.2)
    before = used_bytes(verbs.volume)
    meeting = Meeting(monkeypatch, verbs.companion, "Do", 1, stop)

    def check():
        if meeting.happened:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        verbs.commit(source, context=Context(check=check, progress=lambda _progress: None))
    assert_nothing_is_left(verbs, before)
    assert not pid_of(verbs.companion)


def test_an_interrupt_while_it_is_told_to_stop_leaves_no_answer_to_the_next(
    verbs, tmp_path, source, monkeypatch
):
    """Else the next operation would take what was meant for this one."""
    root = Verbs(verbs.volume, None).commit(source).root
    before = used_bytes(verbs.volume)

    def fail(_pid):
        raise Cancelled("while it is at work")

    def interrupted(one):
        one._say(session.STOP)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        Meeting(patch, verbs.companion, "Do", 3, fail)
        patch.setattr(Session, "_stop", interrupted)
        with pytest.raises(KeyboardInterrupt):
            verbs.commit(write_tree(tmp_path / "other", mark="o"))
    assert_nothing_is_left(verbs, before)
    verbs.copy(root, tmp_path / "out")
    assert listing(tmp_path / "out") == listing(source)
    assert verbs.account.spent == verbs.staging.added_bytes == 0


def test_damage_that_it_finds_is_healed(tmp_path, monkeypatch):
    force(monkeypatch)
    url = "http://remote.test"
    services = fake_services(tmp_path, urls=(url,))
    try:
        source = write_tree(tmp_path / "source")
        services.run(CommitRequest(path=source, refs=("demo/tree/1",)), quiet())
        services.run(PushRequest(refs=("demo/tree/1",)), quiet())
        send, spoilt = Session.send, []

        def spoil(one, units):
            for unit in units if not spoilt else ():
                for entry in one._objects.directory(unit.digest).files:
                    if entry.name == "2":
                        path = services.layout.object(entry.digest.hash)
                        os.chmod(path, 0o600)
                        os.truncate(path, 1)
                        os.chmod(path, 0o444)
                        spoilt.append(path)
            send(one, units)

        monkeypatch.setattr(Session, "send", spoil)
        services.run(ExtractRequest(ref="demo/tree/1", destination=f"{tmp_path}/out"), quiet())
        assert spoilt
        assert listing(tmp_path / "out") == listing(source)
        assert all(os.path.getsize(path) > 1 for path in spoilt)
        assert os.listdir(services.layout.staging) == []
    finally:
        services.close()
    assert not pid_of(services.companion)


# -- the owner ---------------------------------------------------------------------------------------------


def own(verbs, source, how):
    return subprocess.run(
        [sys.executable, "-P", "-m", "harness.companion_owner", verbs.volume.layout.root, source, how],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdout=subprocess.PIPE,
        timeout=WAIT_S,
        check=False,
    )


def is_there(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", ["dies", "dies forked"])
def test_it_ends_when_its_owner_is_killed(verbs, source, how):
    done = own(verbs, source, how)
    assert done.returncode == -signal.SIGKILL
    pid, heir = map(int, done.stdout.split())
    try:
        end_s = time.monotonic() + WAIT_S
        while is_there(pid):
            assert time.monotonic() < end_s
            time.sleep(0.01)
    finally:
        if heir > 1:
            kill(heir)
    assert os.listdir(verbs.volume.layout.staging) == ["op1"]
    fence(verbs.volume, "op1")
    captured = Verbs(verbs.volume, None).commit(source)
    assert captured.files == 30 * 6 + 2


def test_one_that_slept_while_its_owner_went_changes_nothing_after_the_fence(verbs, source, monkeypatch):
    seen = []

    def sleeps(pid):
        stop(pid)
        fence(verbs.volume, "op1")
        verbs.companion._line.close()
        seen.append(objects(verbs.volume))
        os.kill(pid, signal.SIGCONT)

    Meeting(monkeypatch, verbs.companion, "Do", 1, sleeps)
    monkeypatch.setattr(verbs.companion, "bury", lambda: None)
    with pytest.raises(LeaseLost):
        verbs.commit(source)
    verbs.companion._process.wait(timeout=WAIT_S)  # by itself
    assert seen == [objects(verbs.volume)]


def test_a_forked_process_has_its_own(verbs, source):
    done = own(verbs, source, "forks")
    assert done.stdout.split() == [b"True"] * 3
    assert done.returncode == 0
