"""The command with real processes: who waits, who is told to end, and what is shown meanwhile."""

import json
import os
import pty
import re
import signal
import subprocess
import time

from harness.commands import COMMAND, environment, place_in, start, until

from tasks.cli.invocation import Invocation


def test_hold_protects_while_its_command_runs_and_exits_as_it_does(fleet, tree):
    path, ref = tree
    key = f"held-{os.getpid()}"
    ref = ref.replace("k1", key)
    fleet.run("commit", path, ref)
    inner = " ".join([*COMMAND, "--config", fleet.config, "cleanup", "--to", "0"])
    done = fleet.run("hold", ref, "--", "sh", "-c", f"{inner}; exit 7")
    assert done.returncode == 7, done.stderr
    assert fleet.run("contains", ref).returncode == 0
    assert fleet.run("hold", ref, "--", "true").returncode == 0
    assert fleet.run("hold", ref, "--", "sh", "-c", "kill -9 $$").returncode == 137
    assert fleet.run("hold", ref, "--", "no-such-command").returncode == 127
    assert fleet.run("hold", ref, "--", "/dev/null").returncode == 126
    absent = fleet.run("hold", "test/none/k", "--", "sh", "-c", 'echo "$0"', "--version")
    assert (absent.returncode, absent.stdout) == (0, "--version\n")
    assert "not here" in absent.stderr
    fleet.run("cleanup", "--to", "0")
    assert fleet.run("contains", ref).returncode == 11


def test_hold_passes_a_signal_on_and_ends_its_session(fleet):
    script = "trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done"
    process = start("--config", fleet.config, "hold", "a/b/c", "--", "sh", "-c", script)
    assert process.stdout.readline() == "up\n"
    assert len(fleet.ask("status")[1]["sessions"]) == 1
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 9
    assert fleet.ask("status")[1]["sessions"] == []


def test_what_waits_can_be_detached_timed_out_and_interrupted(tmp_path):
    with place_in(tmp_path) as place:
        place.worker().send_signal(signal.SIGTERM)
        until(lambda: place.ask("status")[1]["workers"] == [])
        detached = place.run("pull", "a/b/c", "a/b/d", "--detach")
        assert detached.returncode == 0
        assert len(re.findall(r"^[0-9a-f-]{36}$", detached.stdout, re.MULTILINE)) == 2
        assert [one["subject"] for one in place.ask("pull", "a/b/c", "--detach")[1]["jobs"]] == ["a/b/c"]
        late = place.run("pull", "a/b/c", "--timeout", "0.5")
        assert late.returncode == 21
        assert "it goes on, for 2 others wait for it" in late.stderr

        process = start("--config", place.config, "pull", "a/b/c")
        line = process.stderr.readline()
        assert line.startswith("caskeeper: pull a/b/c: queued")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert f"others wait, so it goes on: {detached.stdout.split()[0]}" in err
        assert "Traceback" not in err
        assert place.ask("status")[1]["queues"]["caskeeper.pull"] == 2, "one for each operation"


def test_on_a_terminal_there_are_bars_and_only_there(fleet):
    """The job waits behind a worker that is stopped, so that there is something to show."""
    os.kill(fleet.process.pid, signal.SIGSTOP)
    try:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*COMMAND, "--config", fleet.config, "pull", "test/none/k", "--timeout", "5"],
            env=environment(TERM="xterm", COLUMNS="120"),
            stdout=subprocess.DEVNULL,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        while b"\x1b[" not in shown or b"test/none/k" not in shown:
            shown += os.read(ours, 4096)
        try:
            while shown:
                shown = os.read(ours, 4096)
        except OSError:  # what a terminal answers when the last writer is gone
            pass
        assert process.wait(30) == 21
        os.close(ours)
        silent = fleet.run("pull", "test/none/k", "--timeout", "4", "--no-progress")
        assert (silent.returncode, silent.stderr.count("\n")) == (21, 1)
    finally:
        os.kill(fleet.process.pid, signal.SIGCONT)


def test_server_and_worker_end_with_0_when_told_to(tmp_path):
    with place_in(tmp_path) as place:
        server, _ = place.server()
        worker, interrupted = place.worker(), place.worker()
        for process in (server, worker):
            process.send_signal(signal.SIGTERM)
        interrupted.send_signal(signal.SIGINT)
        assert (server.wait(30), worker.wait(30), interrupted.wait(30)) == (0, 0, 0)


def test_a_queue_that_nobody_serves_is_told_and_status_knows_of_it(tmp_path):
    with place_in(tmp_path) as place:
        code, status = place.ask("status")
        assert (code, status["workers"], status["mounted"]) == (0, [], False)
        assert "no worker has used this Redis" in status["remark"]
        asked = Invocation(config=place.config)
        with asked:
            queue = asked.client.queue
            state = queue.state(asked.client.pull("a/b/c").id)
            told = "no worker takes jobs from the queue caskeeper.pull: start one with `caskeeper worker`"
            assert queue.why_waiting(state) == told
            assert [queue.why_waiting(other) for other in ({}, {**state, "status": "STARTED"})] == ["", ""]
            late = place.run("pull", "a/b/c", "--timeout", "3")
            assert late.returncode == 21
            assert f"{told}; it goes on, for 1 other waits for it" in late.stderr
            worker = start("--config", place.config, "worker", "--lane", "local")
            until(lambda: any("caskeeper.local" in queues for queues in queue.serving().values()))
            until(lambda: queue.why_waiting({**state, "name": "artifacts.commit"}) == "")
            assert queue.why_waiting(state) == told
            worker.send_signal(signal.SIGTERM)
            worker.communicate(timeout=30)


def test_a_port_that_is_taken_is_17(fleet):
    address = fleet.remote.removeprefix("http://")
    config = fleet.configure("second", cachedir=f"{fleet.folder}/second", redis=f"{fleet.valkey.url}?db=4")
    done = fleet.run("server", "--listen", address, config=config)
    assert done.returncode == 17
    assert address in done.stderr


def test_beat_and_flower_run_until_they_are_told_to_end(fleet):
    beat = start("--config", fleet.config, "beat")
    flower = start("--config", fleet.config, "flower", "--listen", "127.0.0.1:0")
    time.sleep(2)
    assert (beat.poll(), flower.poll()) == (None, None)
    for process in (beat, flower):
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
        assert "Traceback" not in err
    open_to_all = fleet.run("flower", "--listen", "0.0.0.0:0")
    assert open_to_all.returncode == 17
    assert "PASSWORD" in open_to_all.stderr


def test_json_is_one_document_on_stdout_whatever_happens(fleet):
    calls = (["pull", "test/none/k"], ["status"], ["list"], ["contains", "a/b/c"], ["pull", "x"], ["frob"])
    for words in calls:
        json.loads(fleet.run("--json", *words).stdout)
