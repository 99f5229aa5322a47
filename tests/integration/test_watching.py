"""Workers and servers as an operator sees them: real processes, asked over HTTP, and ended when they hang."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import redis
from celery import Celery
from harness.commands import Place, environment, read, start, until
from harness.delivery_worker import TESTS, pull
from harness.processes import children_of
from harness.valkey import ValkeyServer

from caskeeper.broker import broker_settings
from caskeeper.contract import queue_of


@pytest.fixture
def server():
    with ValkeyServer(appendonly=True) as server:
        yield server


def ask(address, path):
    """(status, text)."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def number(address, series):
    """The value of one series; None: it is not on the page."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", ask(address, "/metrics")[1], re.MULTILINE)
    return None if found is None else float(found[1])


def address_in(log):
    return until(lambda: re.search(r"metrics address=(\S+)", read(log)))[1]


class Watched:
    """One harness/watched_worker.py."""

    def __init__(self, url, folder, *, looks=6):
        self.log = f"{folder}/worker.log"
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "harness.watched_worker",
                    url,
                    f"{folder}/j",
                    "127.0.0.1:0",
                    str(looks),
                ],
                env=environment(PYTHONPATH=TESTS),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(lambda: "taking jobs" in read(self.log) or self.process.poll() is not None)
        self.address = address_in(self.log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def watched(server, tmp_path):
    with Watched(server.url, tmp_path) as made:
        yield made


def test_the_numbers_of_all_children_are_on_one_page_also_of_those_that_died(watched, queue):
    for key in range(6):
        pull(queue, f"t/sleep/0.{key}").result(timeout_s=60)
    (_watcher, *pool) = children_of(watched.process.pid)
    for child in pool:
        os.kill(child, signal.SIGKILL)
    pull(queue, "t/sleep/0.7").result(timeout_s=60)
    done = 'caskeeper_task_seconds_count{outcome="done",task="artifacts.pull"}'
    until(lambda: number(watched.address, done) == 7)
    assert number(watched.address, 'caskeeper_hits_total{source="remote"}') == 7
    assert number(watched.address, "caskeeper_worker_children") == 2
    assert number(watched.address, 'caskeeper_queue_queued{lane="pull"}') == 0
    with pytest.raises(Exception, match="bug"):
        pull(queue, "t/bug/x").result(timeout_s=60)
    bug = 'caskeeper_errors_total{error="bug",task="artifacts.pull"}'
    until(lambda: number(watched.address, bug) == 1)


def test_a_healthy_worker_without_a_volume_is_not_ready_and_says_why(watched):
    assert ask(watched.address, "/healthz") == (200, "ok\n")
    until(lambda: "the test has none" in ask(watched.address, "/readyz")[1])
    assert ask(watched.address, "/readyz")[0] == 503
    assert ask(watched.address, "/elsewhere")[0] == 404


def test_a_worker_whose_consumer_hangs_is_ended_and_its_exit_code_says_so(watched):
    os.kill(watched.process.pid, signal.SIGSTOP)
    assert watched.process.wait(60) < 0
    assert "gives no sign of life" in read(watched.log)


def test_a_worker_that_takes_nothing_of_what_waits_is_ended_and_says_what_it_did(watched, queue, server):
    app = Celery(set_as_current=False)
    app.conf.update(broker_settings(server.url))
    (answer,) = app.control.cancel_consumer(queue_of("pull"), reply=True, timeout=20, limit=1)
    assert "ok" in str(answer)
    job = pull(queue, "t/sleep/0.1")
    assert watched.process.wait(60) == -signal.SIGABRT
    assert "takes none" in read(watched.log)
    assert "Current thread" in read(watched.log), "where it hung"
    app.close()
    assert queue.state(job.id)["status"] == "QUEUED"


def test_a_redis_that_is_away_is_no_fault_of_a_worker_that_waits_for_it(server, queue, tmp_path):
    with Watched(server.url, tmp_path, looks=60) as watched:
        age = "caskeeper_worker_heartbeat_age_seconds"
        server.kill()
        until(lambda: number(watched.address, "caskeeper_redis_up") == 0)
        until(lambda: number(watched.address, age) > 3)
        assert ask(watched.address, "/healthz")[0] == 200
        assert ask(watched.address, "/readyz")[0] == 503
        server.restart()
        pull(queue, "t/sleep/0.1").result(timeout_s=60)
        until(lambda: number(watched.address, "caskeeper_redis_up") == 1)
        assert watched.process.poll() is None


def test_a_redis_that_refuses_what_workers_write_is_no_fault_of_theirs(server, queue, tmp_path):
    with Watched(server.url, tmp_path) as watched:
        job = pull(queue, "t/sleep/60")
        until(lambda: (queue.state(job.id) or {}).get("status") == "STARTED")
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory", 1)
            until(lambda: "errorstat_OOM" in client.info("errorstats"))
        looked = time.monotonic()
        until(lambda: time.monotonic() - looked > 6)  # twice as long as a silent one is given
        assert watched.process.poll() is None, read(watched.log)
        assert ask(watched.address, "/healthz")[0] == 200
        assert number(watched.address, "caskeeper_worker_renewed_age_seconds") > 5
        assert number(watched.address, "caskeeper_worker_heartbeat_age_seconds") < 5


def test_a_worker_says_so_when_nobody_watches_it_any_more_and_works_on(watched, queue):
    (watcher, *_) = children_of(watched.process.pid)
    os.kill(watcher, signal.SIGKILL)
    until(lambda: "nobody watches this worker" in read(watched.log))
    pull(queue, "t/sleep/0.1").result(timeout_s=60)
    watched.process.terminate()
    assert watched.process.wait(60) == 0


def test_the_watcher_ends_with_its_worker(watched):
    (watcher, *_) = children_of(watched.process.pid)
    watched.process.kill()
    watched.process.wait()
    until(lambda: not os.path.exists(f"/proc/{watcher}"))


def test_a_fleet_is_seen_whole_and_stats_says_the_same(tmp_path):
    with ValkeyServer() as server:
        place = Place(tmp_path, server)
        logs = {name: f"{tmp_path}/{name}.log" for name in ("worker", "server")}
        words = {"worker": [], "server": ["--listen", "127.0.0.1:0"]}
        running = []
        try:
            for name, log in logs.items():
                with open(log, "w", encoding="utf-8") as file:
                    options = ["--metrics", "127.0.0.1:0", *words[name]]
                    running.append(start("--config", place.config, name, *options, stdout=file, stderr=file))
            worker, served = address_in(logs["worker"]), address_in(logs["server"])
            until(lambda: "taking jobs" in read(logs["worker"]))
            os.makedirs(f"{tmp_path}/tree")
            with open(f"{tmp_path}/tree/a", "w", encoding="utf-8") as file:
                file.write("x" * 100_000)
            assert place.run("commit", f"{tmp_path}/tree", "demo/a/1").returncode == 0
            listening = until(lambda: re.search(r"listening on (\S+)", read(logs["server"])))[1]
            assert place.run("pull", "demo/no/1", "--remote", f"http://{listening}").returncode == 11
            until(lambda: number(worker, "caskeeper_misses_total") == 1)
            for address in (worker, served):
                until(lambda at=address: ask(at, "/readyz") == (200, "ok\n"))
                until(lambda at=address: (number(at, "caskeeper_used_bytes") or 0) > 100_000)
                assert number(address, "caskeeper_quota_bytes") > 0
            asked = 'caskeeper_server_calls_total{code="OK",method="Capabilities/GetCapabilities"}'
            assert number(served, asked) >= 1
            _, told = place.ask("stats")
            assert told["misses"] == 1
            assert told["jobs"]["artifacts.commit"]["done"] == 1
            assert told["moved"]["committed"][""]["bytes"] == number(
                worker, 'caskeeper_bytes_total{direction="committed",remote=""}'
            )
            taken = place.run("worker", "--metrics", worker)
            assert taken.returncode == 17
            assert "metrics cannot be told" in taken.stderr
            place.run("stats", "--reset")
            assert place.run("stats").stdout == "no job has ended yet\n"
        finally:
            for process in running:
                process.send_signal(signal.SIGTERM)
            codes = [process.wait(60) for process in running]
        assert codes == [0, 0]
