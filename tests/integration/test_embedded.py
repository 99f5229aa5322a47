"""No Redis configured: one embedded server per cachedir, shared, found again, and gone when it is idle."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from harness.process_tree import alive, descendants, until

from caskeeper import Client, Settings
from caskeeper.config import EmbeddedSettings
from caskeeper.coordination import Coordination
from caskeeper.embedding import FileLock, RunFiles, running
from caskeeper.embedding import end as down
from caskeeper.errors import Busy, CaskeeperError, InvalidRequest
from tasks.supervisor import Fleet

WAIT_S = 60
LONG = EmbeddedSettings(600.0)


@pytest.fixture
def cachedir(tmp_path, monkeypatch):
    folder = tmp_path / "c"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CASKEEPER_EMBEDDED_IDLE", "600s")
    monkeypatch.delenv("CASKEEPER_REDIS_URL", raising=False)
    monkeypatch.setenv("CASKEEPER_CONFIG", os.devnull)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("hello")
    yield str(folder)
    down(str(folder))


def client(cachedir, said=None):
    return Client(Settings(cachedir=cachedir, embedded=LONG), say=(said if said is not None else []).append)


def no_supervisor(cachedir):
    with FileLock(RunFiles(cachedir).supervisor) as lock:
        return lock.take()


def test_the_first_client_starts_it_and_the_next_joins(cachedir):
    said = []
    with client(cachedir, said) as first:
        assert first.commit("tree", "p/e/k").result(WAIT_S).files == 1
        pid = running(cachedir).pid
        assert said == [line for line in said if "started an embedded server in the background" in line]
        assert len(said) == 1
        with client(cachedir, said) as second:
            assert second.extract("p/e/k").result(WAIT_S).path.startswith(cachedir)
    with client(cachedir, said) as third:
        assert third.extract("p/e/k").result(WAIT_S).path
        assert third.contains("p/e/k")
        assert not third.contains("p/e/other")
    assert running(cachedir).pid == pid
    assert len(said) == 1


def test_the_folder_and_the_socket_are_the_users_own(cachedir):
    with client(cachedir) as cache:
        cache.compute_size().result(WAIT_S)
        assert os.stat(RunFiles(cachedir).folder).st_mode & 0o777 == 0o700
        assert os.stat(RunFiles(cachedir).socket).st_mode & 0o077 == 0


def test_two_at_once_share_one(cachedir):
    program = "from caskeeper import Client\nwith Client() as c:\n    c.compute_size().result(60)\n"
    environment = {**os.environ, "CASKEEPER_CACHEDIR": cachedir}
    starters = [
        subprocess.Popen([sys.executable, "-P", "-c", program], env=environment, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    said = [starter.communicate(timeout=WAIT_S)[1] for starter in starters]
    assert [starter.returncode for starter in starters] == [0, 0, 0], said
    assert sum(b"started an embedded server" in text for text in said) == 1, said


def test_it_ends_when_nobody_needs_it_and_goes_on_with_its_state(cachedir, monkeypatch):
    monkeypatch.setenv("CASKEEPER_EMBEDDED_IDLE", "1s")
    with client(cachedir) as cache:
        cache.commit("tree", "p/e/k").result(WAIT_S)
        before = cache.coordination.state()
        used = cache.status().usage
        processes = descendants(running(cachedir).pid)
        assert len(processes) >= 4, "supervisor, server, worker and its children"
    until(lambda: not alive(processes), "everything ends")
    assert no_supervisor(cachedir)
    with open(RunFiles(cachedir).mark) as file:
        assert set(json.load(file)) == {"volume", "epoch", "nonce"}
    with client(cachedir) as cache:
        after = cache.coordination.state()
        assert not os.path.exists(RunFiles(cachedir).mark), "a mark holds for one start"
        assert (after.epoch, after.lost, after.ready) == (before.epoch, False, True)
        assert cache.status().usage == used


def test_a_connected_client_keeps_it(cachedir, monkeypatch):
    monkeypatch.setenv("CASKEEPER_EMBEDDED_IDLE", "0s")
    with client(cachedir) as cache:
        cache.compute_size().result(WAIT_S)
        pid = running(cachedir).pid
        started = os.stat(RunFiles(cachedir).endpoint).st_mtime
        until(lambda: time.time() > started + 3, "three looks of the supervisor")
        assert running(cachedir).pid == pid
    until(lambda: no_supervisor(cachedir), "it ends")


def test_a_queued_job_keeps_it(cachedir, monkeypatch):
    monkeypatch.setenv("CASKEEPER_EMBEDDED_IDLE", "0s")
    for n in range(200):
        os.makedirs(f"trees/{n}")
        with open(f"trees/{n}/file", "w") as file:
            file.write(str(n))
    with client(cachedir) as cache:
        jobs = [cache.commit(f"trees/{n}", f"p/e/{n}").id for n in range(200)]
    until(lambda: no_supervisor(cachedir), "it ends")
    with client(cachedir) as cache:
        missing = [n for n in range(200) if not cache.contains(f"p/e/{n}")]
        assert missing == []
        assert all(cache.job(job_id).done for job_id in jobs)


def test_after_a_kill_of_the_supervisor_the_next_command_works(cachedir):
    with client(cachedir) as cache:
        cache.commit("tree", "p/e/k").result(WAIT_S)
        pid = running(cachedir).pid
        processes = descendants(pid)
        os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(processes), "its children end with it")
    scratch = os.path.join(RunFiles(cachedir).folder, "scratch")
    left = set(os.listdir(scratch))
    assert left, "what a killed worker had in its temporary folder"
    with client(cachedir) as cache:
        assert cache.extract("p/e/k").result(WAIT_S).path
        assert not left & set(os.listdir(scratch))
        assert running(cachedir).pid != pid


def test_a_killed_server_is_started_again(cachedir):
    with client(cachedir) as cache:
        cache.commit("tree", "p/e/k").result(WAIT_S)
        children = descendants(running(cachedir).pid)
        server = next(pid for pid in children if "valkey" in os.readlink(f"/proc/{pid}/exe"))
        os.kill(server, signal.SIGKILL)
        until(lambda: running(cachedir), "it answers again")
        assert cache.extract("p/e/k").result(WAIT_S).path


def test_down_ends_it(cachedir):
    with client(cachedir) as cache:
        cache.compute_size().result(WAIT_S)
        processes = descendants(running(cachedir).pid)
    assert down(cachedir)
    assert not alive(processes), "everything has ended when it says so"
    assert not down(cachedir)


def test_a_changed_configuration_starts_it_anew_when_nobody_uses_it(cachedir, monkeypatch):
    monkeypatch.setenv("CASKEEPER_CACHEDIR", cachedir)
    monkeypatch.setenv("CASKEEPER_CACHE_QUOTA", "3G")
    said = []
    with Client(say=said.append) as cache:
        cache.commit("tree", "p/e/k").result(WAIT_S)
        before = running(cachedir).pid
        with Client(say=said.append) as other:
            assert other.status()
        monkeypatch.setenv("CASKEEPER_CACHE_QUOTA", "4G")
        with Client(say=said.append) as changed:
            assert changed.extract("p/e/k").result(WAIT_S).path, "who is connected is not thrown out"
    assert running(cachedir).pid == before
    assert len(said) == 2
    assert "another configuration: others use it" in said[1]
    with Client(say=said.append) as changed:
        assert changed.extract("p/e/k").result(WAIT_S).path
        assert running(cachedir).pid != before
    with Client(say=said.append) as changed:
        assert changed.status()
    assert len(said) == 3
    assert said[2].startswith("the configuration has changed: started an embedded server")


def test_settings_that_only_their_maker_knows_end_nothing_twice(cachedir):
    made = Settings(cachedir=cachedir, embedded=EmbeddedSettings(599.0))
    for _ in range(2):
        said = []
        with Client(made, say=said.append) as cache:
            cache.compute_size().result(WAIT_S)
    assert said == []


def test_a_fleet_that_somebody_watches_is_never_ended_for_another_configuration(cachedir):
    with Fleet(Settings(cachedir=cachedir, embedded=EmbeddedSettings(599.0))) as fleet:
        said = []
        with client(cachedir, said) as cache:
            assert cache.compute_size().result(WAIT_S).used_bytes >= 0
            assert cache.redis_url == fleet.url
        assert len(said) == 1
        assert "another configuration: end it where it was started" in said[0]


def test_a_long_path_gets_its_socket_elsewhere(cachedir, tmp_path):
    long = str(tmp_path / ("l" * 120) / "with space")
    try:
        with client(long) as cache:
            assert cache.commit("tree", "p/e/k").result(WAIT_S).files == 1
            elsewhere = os.path.dirname(cache.redis_url.removeprefix("unix://"))
            assert not elsewhere.startswith(long)
            assert os.stat(elsewhere).st_mode & 0o777 == 0o700
    finally:
        assert down(long)
    assert not os.path.exists(elsewhere)


def test_a_script_beside_a_tasks_and_a_worker_module_of_its_own(cachedir, tmp_path):
    for name in ("tasks", "worker"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    (tmp_path / "build.py").write_text(
        "from caskeeper import Client\n"
        "with Client() as cache:\n"
        "    print(cache.commit('tree', 'p/e/k').result(60).files)\n"
    )
    environment = {**os.environ, "CASKEEPER_CACHEDIR": cachedir}
    done = subprocess.run(
        [sys.executable, "build.py"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_paths_outside_the_roots_and_the_current_folder_are_refused(cachedir, tmp_path, monkeypatch):
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    with client(cachedir) as cache, pytest.raises(InvalidRequest, match="not below a permitted folder"):
        cache.commit(tmp_path / "tree", "p/e/k")
    assert not os.path.exists(cachedir), "nothing was started for it"


def test_what_keeps_it_from_starting_is_told(cachedir):
    os.makedirs(cachedir)
    with open(f"{cachedir}/FORMAT", "w") as file:
        file.write("something else\n")
    with client(cachedir) as cache, pytest.raises(CaskeeperError) as told:
        cache.compute_size()
    assert told.value.exit_code != 1
    assert "FORMAT" in str(told.value)
    assert no_supervisor(cachedir)


def test_in_the_foreground_it_leaves_nothing(cachedir):
    settings = Settings(cachedir=cachedir, embedded=LONG)
    with Fleet(settings, workers=2) as fleet:
        names = [name for name, _ in fleet.processes()]
        assert names == ["valkey", "worker 1", "worker 2"]
        processes = {pid for _, top in fleet.processes() for pid in descendants(top)}
        with pytest.raises(Busy, match="runs already"), Fleet(settings):
            pass
        with client(cachedir) as cache:
            assert cache.commit("tree", "p/e/k").result(WAIT_S).files == 1
            assert cache.redis_url == fleet.url
    assert not alive(processes)
    assert no_supervisor(cachedir)


def test_a_killed_worker_of_a_fleet_is_started_again(cachedir):
    with Fleet(Settings(cachedir=cachedir, embedded=LONG)) as fleet:
        before = dict(fleet.processes())["worker 1"]
        os.kill(before, signal.SIGKILL)
        until(
            lambda: fleet.watch() or dict(fleet.processes()).get("worker 1", before) != before, "another one"
        )
        with client(cachedir) as cache:
            assert cache.compute_size().result(WAIT_S).used_bytes >= 0


def test_a_mark_of_another_state_is_not_believed(cachedir):
    with Fleet(Settings(cachedir=cachedir, embedded=LONG)):
        pass
    files = RunFiles(cachedir)
    with open(files.mark) as file:
        mark = json.load(file)
    with open(files.mark, "w") as file:
        json.dump({**mark, "nonce": "of another stop"}, file)
    settings = Settings(cachedir=cachedir, embedded=LONG)
    with Fleet(settings) as fleet:
        coordination = Coordination.connect(fleet.url, volume_id=None, leases=settings.leases)
        assert coordination.state().epoch != mark["epoch"], "recovered, in a new epoch"
        coordination.close()
