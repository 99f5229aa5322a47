"""What the long trials of the queue judge by: their journal, their line, their comparison, their page."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter
from types import SimpleNamespace

import pytest
from harness.fleet import write_tree
from harness.queue_trial_effects import at_the_remote, moved_again, on_the_volume, wanted
from harness.queue_trial_journal import Executions, Journal
from harness.queue_trial_line import PREFACE, Frames, Line
from harness.queue_trial_load import Load, Sent, seconds_at
from harness.queue_trial_memory import Sample, family_bytes, growth, table
from harness.queue_trial_nemesis import REDIS, SIGTERM, QueueNemesis
from harness.queue_trial_report import FOLDER, record, render
from harness.queue_trial_run import TRIALS, chosen
from harness.queue_trial_trees import number_of, ref_of, trial_tree
from harness.queue_trial_worker import keep_journal, operation_of
from harness.safety_run import ROOT

from caskeeper.contract import PullRequest, PushRequest
from caskeeper.digest import Digest
from caskeeper.errors import Busy
from worker.wiring import Services

# -- the journal ------------------------------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path):
    return Journal(f"{tmp_path}/journal", "test")


def begin(journal, pid, operation="artifacts.pull {}"):
    journal.note("begin", operation=operation, pid=pid)
    time.sleep(0.001)


def end(journal, pid, operation="artifacts.pull {}", outcome="done"):
    journal.note("end", operation=operation, pid=pid, outcome=outcome)
    time.sleep(0.001)


def test_executions_one_after_the_other_do_not_overlap(journal):
    for pid, outcome in ((1, "Cancelled"), (2, "done")):
        begin(journal, pid)
        end(journal, pid, outcome=outcome)
    found = Executions(journal.path)
    assert found.overlaps() == []
    assert (found.counts.total(), found.done.total(), found.most_at_once) == (2, 1, 1)


def test_two_at_once_are_an_overlap_and_two_operations_are_none(journal):
    begin(journal, 1)
    begin(journal, 2, "artifacts.push {}")
    begin(journal, 3)
    for pid in (1, 3):
        end(journal, pid)
    end(journal, 2, "artifacts.push {}")
    found = Executions(journal.path)
    assert [(one.pid, other.pid) for one, other in found.overlaps()] == [(1, 3)]
    assert found.most_at_once == 3
    assert Executions(journal.path, "artifacts.push").counts == {"artifacts.push {}": 1}


def test_an_execution_ends_with_its_killed_process_and_never_when_nobody_says_so(journal):
    begin(journal, 1)
    journal.note("killed", pids=[1, 7])
    begin(journal, 2)
    assert Executions(journal.path).overlaps() == []
    begin(journal, 3)
    (pair,) = Executions(journal.path).overlaps()
    assert [one.pid for one in pair] == [2, 3]


def test_a_process_may_run_the_same_operation_again(journal):
    for _ in range(2):
        begin(journal, 1)
        end(journal, 1)
    assert [one.outcome for one in Executions(journal.path).all] == ["done", "done"]
    assert Executions(journal.path).overlaps() == []


def test_what_began_again_is_known_by_its_refs(journal):
    pull, push = PullRequest(ref="t/e/1"), PushRequest(refs=("t/e/2", "t/e/3"))
    for request in (pull, pull, push, push, PullRequest(ref="t/e/4")):
        begin(journal, 1, operation_of(request))
        end(journal, 1, operation_of(request))
    assert Executions(journal.path, "artifacts.pull").begun_again("ref") == {"t/e/1"}
    assert Executions(journal.path, "artifacts.push").begun_again("refs") == {"t/e/2", "t/e/3"}


def test_a_journal_that_nobody_wrote_is_empty(tmp_path):
    assert Executions(f"{tmp_path}/none").all == []


def test_an_operation_is_its_task_and_arguments_without_the_version():
    assert operation_of(PullRequest(ref="t/e/1")) == operation_of(PullRequest(ref="t/e/1"))
    assert operation_of(PullRequest(ref="t/e/1")) != operation_of(PullRequest(ref="t/e/1", subdir="a"))
    assert '"version"' not in operation_of(PullRequest(ref="t/e/1"))


def test_the_services_of_a_trial_write_down_what_they_run_and_how_it_ended(journal, monkeypatch):
    def run(_self, request, _context):
        if request.ref == "t/e/2":
            raise Busy("the test says so")
        return request.ref

    monkeypatch.setattr(Services, "run", run)
    keep_journal(journal.path)
    assert Services.run(None, PullRequest(ref="t/e/1"), None) == "t/e/1"
    with pytest.raises(Busy):
        Services.run(None, PullRequest(ref="t/e/2"), None)
    found = Executions(journal.path).all
    assert [(one.pid, one.outcome) for one in found] == [(os.getpid(), "done"), (os.getpid(), "Busy")]


# -- the line ---------------------------------------------------------------------------------------------


def frame(kind, body=b"", flags=0):
    return len(body).to_bytes(3) + bytes([kind, flags]) + bytes(4) + body


GOODBYE = frame(7, (0).to_bytes(4) + (11).to_bytes(4) + b"too_many_pings")
TALK = (
    frame(4) + frame(0, bytes(9000)) + frame(6, bytes(8)) + frame(6, bytes(8), flags=1) + GOODBYE + frame(99)
)


@pytest.mark.parametrize("piece", [1, 7, 9, 100, 1_000_000])
def test_frames_are_counted_however_they_are_cut(piece):
    for talk, from_client in ((TALK, False), (PREFACE + TALK, True)):
        counts, goodbyes = Counter(), []
        frames = Frames(counts, goodbyes, from_client=from_client)
        for at in range(0, len(talk), piece):
            frames.feed(talk[at : at + piece])
        assert counts == {"SETTINGS": 1, "DATA": 1, "PING": 1, "PING answer": 1, "GOAWAY": 1, "other": 1}
        assert goodbyes == ["11 too_many_pings"]


def test_a_line_carries_both_ways_counts_and_is_as_slow_as_it_is_told():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_answer, args=(listener,), daemon=True).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Line(address, bytes_per_s=100_000) as line:
            host, _, port = line.url.removeprefix("http://").partition(":")
            with socket.create_connection((host, int(port))) as client:
                began = time.monotonic()
                client.sendall(PREFACE + frame(6, bytes(8)))
                answer = b""
                while len(answer) < len(TALK):
                    answer += client.recv(65536)
                assert time.monotonic() - began >= len(TALK) / 100_000
            assert answer == TALK
            assert line.bytes == {"up": len(PREFACE) + 17, "down": len(TALK)}
            assert line.frames["up"] == {"PING": 1}
            assert line.frames["down"]["GOAWAY"] == 1
            assert line.goodbyes == ["11 too_many_pings"]
            assert line.opened == 1
            for _ in range(500):
                if not line.open:
                    break
                time.sleep(0.01)
            assert line.open == 0


def _answer(listener):
    server, _ = listener.accept()
    with server:
        server.recv(65536)
        server.sendall(TALK)
        server.recv(65536)


# -- what was asked for and what is there -----------------------------------------------------------------


class Jobs:
    """A load that is over."""

    def __init__(self, *jobs):
        self.jobs = [Sent(*job, "id", outcome, 0.1) for *job, outcome in jobs]

    of = Load.of


@pytest.fixture
def volume(tmp_path):
    """A cache with published tree 1, by its documented layout."""
    tree = trial_tree("s", "published", 1)
    put(tmp_path, tree)
    (tmp_path / "trash").mkdir()
    return str(tmp_path)


def put(folder, tree):
    record = b"\x0a\x40" + tree.root.hash.encode() + b"\x10" + bytes([tree.root.size_bytes % 128 | 128, 1])
    assert 128 <= tree.root.size_bytes < 256, "two bytes of a varint"
    blobs = {f"cas/objects/{name[:2]}/{name[2:]}": data for name, data in tree.blobs.items()}
    write_tree(str(folder), {**blobs, f"cas/refs/heads/{tree.ref}": record})


def test_a_volume_with_what_was_asked_for_has_nothing_wrong(volume):
    want = wanted(Jobs(("pull", "published", 1, "done")), "s")
    assert on_the_volume(volume, want) == []


def test_what_is_missing_too_many_or_not_whole_is_told(volume, tmp_path):
    want = wanted(Jobs(("pull", "published", 1, "done"), ("commit", "committed", 2, "done")), "s")
    assert "missing: trial/committed-2/2" in on_the_volume(volume, want)
    put(tmp_path, trial_tree("s", "published", 3))
    found = on_the_volume(volume, wanted(Jobs(("pull", "published", 1, "done")), "s"))
    assert "nobody made trial/published-3/3" in found
    assert any("objects of nobody" in sentence for sentence in found)
    lost = next(iter(trial_tree("s", "published", 1).blobs))
    os.unlink(f"{volume}/cas/objects/{lost[:2]}/{lost[2:]}")
    found = on_the_volume(volume, wanted(Jobs(("pull", "published", 1, "done")), "s"))
    assert any(sentence.startswith("trial/published-1/1: missing") for sentence in found)


def test_a_job_that_failed_may_have_left_its_effect_or_not(volume, tmp_path):
    jobs = Jobs(("pull", "published", 1, "done"), ("pull", "published", 3, "Busy"))
    assert on_the_volume(volume, wanted(jobs, "s")) == []
    put(tmp_path, trial_tree("s", "published", 3))
    assert on_the_volume(volume, wanted(jobs, "s")) == []


def test_the_remote_holds_what_was_pushed():
    tree = trial_tree("s", "committed", 1)
    want = wanted(Jobs(("push", "committed", 1, "done")), "s")
    seen = {"refs": {tree.ref: tree.root}, "blobs": list(tree.blobs)}
    assert at_the_remote(seen, want) == []
    assert at_the_remote({"refs": {}, "blobs": []}, want) == [
        f"not pushed: {tree.ref}",
        f"{len(tree.blobs)} blobs are missing at the remote",
    ]
    other = {"refs": {tree.ref: Digest.of(b""), "a/b/c": tree.root}, "blobs": list(tree.blobs)}
    assert at_the_remote(other, want) == [
        "nobody pushed a/b/c",
        f"{tree.ref} names {Digest.of(b'')}",
    ]


def test_a_blob_comes_again_only_with_an_operation_that_began_again():
    trees = {tree.ref: tree for tree in (trial_tree("s", "committed", n) for n in (1, 2))}
    one, two = (next(iter(tree.blobs)) for tree in trees.values())
    counts = {one: 2, two: 3, "another": 1}
    assert moved_again(counts, trees, set()) == ({one, two}, {one, two})
    assert moved_again(counts, trees, {ref_of("committed", 1)}) == ({one, two}, {two})


def test_trees_are_the_same_for_everybody_and_all_different():
    assert trial_tree("s", "published", 5) == trial_tree("s", "published", 5)
    names = [
        name
        for n in range(4)
        for kind in ("published", "committed")
        for name in trial_tree("s", kind, n).blobs
    ]
    assert len(set(names)) == len(names)
    assert number_of(ref_of("published", 123)) == ("published", 123)


# -- figures ----------------------------------------------------------------------------------------------


def test_growth_counts_from_when_it_was_warm():
    samples = [Sample(jobs, jobs * 10, 0, 0, 5, 1) for jobs in (100, 200, 300, 400)]
    assert growth(samples, "workers_bytes", since=200) == (2000, 10.0)
    assert list(table(samples)) == [f"after {jobs} jobs" for jobs in (100, 200, 300, 400)]


def test_memory_of_a_family_is_that_of_its_processes():
    assert family_bytes(os.getpid()) > 1_000_000
    assert family_bytes(2**22 + 1) == 0


def test_the_share_of_jobs_that_took_no_longer():
    jobs = [Sent("pull", "published", n, "id", "done", float(n)) for n in range(10)]
    assert (seconds_at(jobs, 0.5), seconds_at(jobs, 1.0), seconds_at([], 0.5)) == (5.0, 9.0, 0.0)


def test_the_nemesis_deals_every_card_and_starts_workers_anew(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    done = []
    fleet = SimpleNamespace(
        workers=["one"],
        lost_workers=list,
        begin_worker=lambda **_: done.append("begin"),
        end_worker=lambda _worker: (0 if len(done) < 3 else 1, 2.5),
        valkey=SimpleNamespace(kill=lambda: done.append("kill"), start=lambda: done.append("start")),
    )
    nemesis = QueueNemesis(fleet, seed="s")
    nemesis.strike({REDIS: 2, SIGTERM: 3})
    assert nemesis.faults == {REDIS: 2, SIGTERM: 3}
    assert nemesis.ended.total() == 3
    assert nemesis.ended_badly.keys() <= {1}
    assert (done.count("begin"), done.count("kill"), done.count("start")) == (3, 2, 2)
    assert nemesis.slowest_end_s == 2.5


# -- the page and the run ---------------------------------------------------------------------------------


def test_the_page_shows_what_was_recorded_and_what_was_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER, str(tmp_path))
    record("single flight", {"nobody is killed": {"clients": 50, "executions": 1}})
    page = render(str(tmp_path))
    assert "| nobody is killed | 50 | 1 |" in page
    assert page.count("Not run.") == 8
    with pytest.raises(ValueError, match="no section 'soaking'"):
        record("soaking", {})


def test_every_trial_is_a_file_that_is_there_and_may_be_chosen_by_a_word():
    files = sorted(os.path.basename(stage.words[0]) for stage in TRIALS.values())
    there = sorted(name for name in os.listdir(ROOT / "tests/faults_long") if name.startswith("test_queue_"))
    assert files == there
    assert [stage.name for stage in chosen(["soak", "idle"])] == ["idle", "soak"]
    assert len(chosen([])) == len(TRIALS)
    with pytest.raises(SystemExit, match="no trial 'nap'"):
        chosen(["nap"])
