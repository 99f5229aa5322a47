"""What goes wrong between processes: room, leases, sessions, Redis, interruptions (interface section 7)."""

import json
import os
import signal
import sys
from contextlib import closing, contextmanager

import pytest
from celery import Celery
from harness.commands import until
from harness.fleet import Oracle
from harness.lying_server import LyingServer
from harness.scene import (
    KEPT,
    assert_failure,
    can_mount,
    disk,
    done,
    finish,
    lies,
    scene_in,
    start_impatient,
    tmpfs,
)
from harness.valkey import ValkeyServer

from caskeeper.broker import broker_settings
from caskeeper.coordination.jobs import Jobs

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    room = {"quota": "8M", "headroom": "0", "reserved-disk-space": "0"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMPATIENT_SILENCE_S", "60")  # a stream outlives the sleep of its reader
        with scene_in(tmp_path_factory.mktemp("fleet"), cache=room) as made:
            yield made


@pytest.fixture(autouse=True)
def _tidy(scene):
    yield
    scene.tidy()


@pytest.fixture
def slow():
    """A server whose streams go on until it is told not to drip any more."""
    with LyingServer() as server:
        server.drips = True
        yield server
        server.drips = False


def serve(server, ref, size_bytes):
    server.refs[ref] = lies(server, {"large": os.urandom(size_bytes)})


@contextmanager
def held(scene, *refs):
    """These refs are required by a session meanwhile."""
    process = scene.start(
        "hold", *refs, "--", sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"
    )
    try:
        assert process.stdout.readline() == "\n"
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        assert finish(process).returncode == 128 + signal.SIGTERM


def operation(scene, verb):
    """The one running operation of a verb, as soon as there is one."""
    coordination = scene.coordination()
    try:
        return until(lambda: [each for each in coordination.operations.list() if each.verb == verb])[0]
    finally:
        coordination.close()


def test_what_does_not_fit_into_an_empty_cache_is_15(scene):
    tree = scene.tree("huge", {"large": os.urandom(9 * MIB)})
    scene.fails("commit", tree, "demo/huge/1", error="TooLarge", holds=["8M", "quota", scene.cachedir])


def test_what_others_require_is_never_taken_15(scene):
    done(scene.start("commit", scene.tree("big", {"large": os.urandom(5 * MIB)}), "demo/big/b"))
    tree = scene.tree("more", {"large": os.urandom(5 * MIB)})
    with held(scene, KEPT):
        with held(scene, "demo/big/b"):
            scene.fails(
                "commit", tree, "demo/more/m", error="CacheTooFull", holds=["quota 8M", scene.cachedir]
            )
            scene.fails("remove", "demo/big/b", error="Busy", holds=["demo/big/b", "required by"])
        done(scene.start("commit", tree, "demo/more/m"))
        assert scene.refs() == [KEPT, "demo/more/m"]
        done(scene.start("remove", "demo/more/m"))
        scene.assert_sound()


def test_what_others_have_reserved_is_not_written_over_22(scene, slow):
    serve(slow, "demo/slow/s", 5 * MIB)
    tree = scene.tree("no-room", {"large": os.urandom(5 * MIB)})
    with held(scene, KEPT):
        pull = scene.start("pull", "demo/slow/s", "--remote", slow.url)
        until(lambda: operation(scene, "pull").reserved_bytes)
        refused = (
            scene.start("--no-progress", "commit", tree, "demo/no-room/n"),
            scene.start("--json", "commit", tree, "demo/no-room/n"),
        )
        assert_failure(*refused, error="NoSpace", holds=["quota 8M", "reserved", scene.cachedir])
        slow.drips = False
        done(pull)
        assert scene.refs() == [KEPT, "demo/slow/s"]
    scene.assert_sound()
    done(scene.start("commit", tree, "demo/no-room/n"))  # it may succeed later
    assert "demo/no-room/n" in scene.refs()
    scene.assert_sound()


def test_a_full_disk_is_22_and_leaves_nothing(scene):
    """By a reserve that the disk cannot satisfy; and on a small disk, where the kernel lets us mount one."""
    tree = scene.tree("much", {str(n): os.urandom(2 * MIB) for n in range(8)})
    found = os.statvfs(scene.folder)
    above = (found.f_bavail + (found.f_blocks - found.f_bavail) // 2) * found.f_frsize
    reserve = {"quota": "infinity", "reserved-disk-space": str(above), "headroom": "0"}
    with disk(scene, "reserve", database=7, cache=reserve) as full:
        fails_for_want_of_disk(full, tree)
    if can_mount():
        plenty = {"quota": "infinity", "reserved-disk-space": "0", "headroom": "0"}
        with disk(scene, "mounted", database=8, cache=plenty, within=tmpfs("size=48m")) as full:
            with open(f"{full.seen}/somebody-elses", "wb") as file:
                file.write(os.urandom(36 * MIB))
            fails_for_want_of_disk(full, tree)
            os.unlink(f"{full.seen}/somebody-elses")
            done(full.start("commit", tree, "demo/much/1"))
            full.assert_sound()


def fails_for_want_of_disk(full, tree):
    assert_failure(
        *full.both("commit", tree, "demo/much/1"),
        error="NoSpace",
        holds=["do not fit", "the disk has no room", full.cachedir],
    )
    assert full.refs() == []
    full.assert_sound()
    with_little = done(full.start("--json", "compute-size"))
    assert json.loads(with_little)["used_bytes"] == full.oracle.used_bytes()


def test_an_operation_that_slept_too_long_is_23_and_damages_nothing(scene, slow):
    serve(slow, "demo/asleep/1", 3 * MIB)
    asked = scene.start("--json", "pull", "demo/asleep/1", "--remote", slow.url)
    until(lambda: slow.count("Read"))
    running = operation(scene, "pull")
    sleeper = int(running.host.rpartition(":")[2])
    os.kill(sleeper, signal.SIGSTOP)
    coordination = scene.coordination()
    try:
        until(lambda: coordination.now_ms() > running.expires_ms + 3000)
        done(scene.start("cleanup", "--to", "8M"))  # takes its folder away, with the right to write
        assert running.id not in [each.id for each in coordination.operations.list()]
    finally:
        os.kill(sleeper, signal.SIGCONT)
        coordination.close()
    document = json.loads(finish(asked).stdout)
    assert (document["error"], document["exit_code"], document["retry"]) == ("LeaseLost", 23, True), document
    assert asked.returncode == 23
    assert "demo/asleep/1" in document["where"]
    assert "demo/asleep/1" not in scene.refs()
    done(scene.start("cleanup", "--to", "8M"))
    scene.assert_sound()
    slow.drips = False
    done(scene.start("pull", "demo/asleep/1", "--remote", slow.url))


def test_a_withdrawn_job_is_26(scene, slow):
    """As Flower does it: while the job, which two wait for, waits behind others."""
    refs = [f"demo/queue/{n}" for n in range(3)]
    for ref in refs:
        serve(slow, ref, MIB)
    ahead = [scene.start("pull", ref, "--remote", slow.url) for ref in refs[:2]]
    until(lambda: slow.count("Read") >= 2)
    waiting = [
        scene.start(word, "pull", refs[2], "--remote", slow.url) for word in ("--no-progress", "--json")
    ]
    app = Celery("flower", set_as_current=False)
    url = f"{scene.valkey.url}?db={scene.database}"
    app.conf.update(broker_settings(url))
    with scene.valkey.client() as client:
        (queued,) = until(lambda: client.lrange("caskeeper.pull", 0, -1))
    job_id = json.loads(queued)["headers"]["id"]
    with closing(Jobs.connect(url)) as jobs:
        until(lambda: jobs.read(job_id).waiters == 2)
    assert app.control.revoke([job_id], reply=True, timeout=10, limit=1)
    app.close()
    slow.drips = False
    for process in ahead:
        done(process)
    assert_failure(*waiting, error="Cancelled", holds="withdrawn")
    assert refs[2] not in scene.refs()
    scene.assert_sound()


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "exit 25"], 25),
        (["sh", "-c", "kill -9 $$"], 137),
        (["no-such-command-anywhere"], 127),
        (["/"], 126),
    ],
)
def test_hold_ends_with_the_exit_code_of_its_command(scene, command, code):
    finished = finish(scene.start("hold", KEPT, "--", *command))
    assert finished.returncode == code, finished
    coordination = scene.coordination()
    assert coordination.sessions.live() == []
    coordination.close()


def test_without_redis_it_is_25_and_afterwards_all_is_there(tmp_path, slow):
    """I6, also for a call that waits for its job."""
    with ValkeyServer() as valkey, scene_in(tmp_path, valkey=valkey) as scene:
        serve(slow, "demo/slow/s", 3 * MIB)
        waiting = [
            scene.start(word, "pull", "demo/slow/s", "--remote", slow.url) for word in ("-q", "--json")
        ]
        until(lambda: slow.count("Read"))
        valkey.kill()
        refs = scene.refs()
        assert_failure(*waiting, error="CoordinatorUnavailable", holds=[valkey.socket])
        for words in (["extract", KEPT], ["status"], ["list"], ["hold", KEPT, "--", "true"]):
            again = [start_impatient("--config", scene.config, word, *words) for word in ("-q", "--json")]
            assert_failure(*again, error="CoordinatorUnavailable", holds=[valkey.socket, "Redis"])
        done(scene.start("contains", KEPT))
        assert scene.refs() == refs
        assert Oracle(scene.cachedir).troubles() == []
        slow.drips = False
        valkey.start()
        path = done(scene.start("extract", KEPT)).strip()
        assert sorted(os.listdir(path)) == ["bin", "hello"]
        until(lambda: not scene.oracle.leavings())
        scene.assert_sound()
