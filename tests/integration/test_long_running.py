"""Beat and Flower as real processes beside a real worker."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from harness.delivery_worker import WorkerProcess
from harness.process_tree import until
from harness.valkey import ValkeyServer

from caskeeper.contract import PullRequest, PullResult
from caskeeper.queue import Queue

BEAT = """
import sys
from caskeeper.config import Settings
from tasks import schedule
from tasks.beat import run_beat
schedule.entries.__kwdefaults__["recount_every_s"] = 0.5
sys.exit(run_beat(Settings(cachedir="/nonexistent"), sys.argv[1]))
"""
#: As when the signal comes in a finaliser, whose exceptions Python ignores.
DEAF = """
from tasks.beat import LeadingScheduler
tick = LeadingScheduler.tick
def deaf(self, *arguments, **options):
    try:
        tick(self, *arguments, **options)
        time.sleep(0.5)
    except SystemExit:
        pass
    return 0.0
LeadingScheduler.tick = deaf
"""
FLOWER = """
import sys
from caskeeper.config import Settings
from tasks.flower import run_flower
sys.exit(run_flower(Settings(cachedir="/nonexistent"), sys.argv[1], port=int(sys.argv[2])))
"""


@pytest.fixture
def server():
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def run(tmp_path):
    started = []

    def start(program, *arguments, **environment):
        # A file that Flower would run, did it look into the current folder.
        (tmp_path / "flowerconfig.py").write_text("raise SystemExit('the wrong file')\n")
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", program, *arguments],
            env={**os.environ, **environment},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_beat_queues_the_upkeep_and_ends_when_told(server, run):
    beat = run(BEAT, server.url)
    queue = Queue(server.url)
    until(lambda: queue.lengths()["caskeeper.maintenance"] >= 2, "two recounts are queued")
    beat.send_signal(signal.SIGTERM)
    assert beat.wait(30) == 0
    queue.close()


def test_beat_ends_also_when_the_word_is_lost_once(server, run):
    beat = run(f"import time\n{DEAF}\n{BEAT}", server.url)
    queue = Queue(server.url)
    until(lambda: queue.lengths()["caskeeper.maintenance"] >= 1, "it works")
    beat.send_signal(signal.SIGTERM)
    assert beat.wait(30) == 0
    queue.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_flower_shows_jobs_by_name_and_asks_for_its_password(server, run, tmp_path):
    port = free_port()
    flower = run(FLOWER, server.url, str(port), FLOWER_BASIC_AUTH="user:word")
    url = f"http://127.0.0.1:{port}"
    word = base64.b64encode(b"user:word").decode()

    def tasks():
        request = urllib.request.Request(f"{url}/api/tasks", headers={"Authorization": f"Basic {word}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            return None

    until(lambda: tasks() is not None, "Flower answers")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{url}/api/tasks", timeout=10)
    queue = Queue(server.url)
    with WorkerProcess(server.url, str(tmp_path / "journal")):
        job = queue.submit(PullRequest(ref="t/sleep/0"), PullResult)
        assert job.result(60).pulled
        shown = until(
            lambda: (tasks() or {}).get(job.id, {}).get("state") == "SUCCESS" and tasks()[job.id],
            "Flower has heard of it",
        )
    queue.close()
    assert shown["name"] == "artifacts.pull"
    assert shown["kwargs"] == "t/sleep/0", "short, and nothing secret"
    flower.send_signal(signal.SIGTERM)
    assert flower.wait(30) == 0
