"""Several beats are one: one leads, and another takes over when it dies or ends. Real processes."""

import signal
import subprocess
import sys

import pytest
from harness.commands import read, until

from caskeeper.contract import queue_of
from caskeeper.coordination.keys import LEADER
from caskeeper.queue import Queue

PROGRAM = """
import sys
from caskeeper.config import LeaseSettings, Settings
from tasks import schedule
from tasks.beat import run_beat
schedule.entries.__kwdefaults__["recount_every_s"] = 0.3
settings = Settings(cachedir="/nonexistent", leases=LeaseSettings(operation_s=2.0))
sys.exit(run_beat(settings, sys.argv[1]))
"""


class Beat:
    def __init__(self, folder, url, name):
        self.log = f"{folder}/{name}.log"
        with open(self.log, "w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", PROGRAM, url], stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )

    def says(self, words):
        return words in read(self.log)

    @property
    def sends(self):
        return read(self.log).count("Sending due task")

    def end(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def start(tmp_path, valkey):
    started = []

    def start(name):
        started.append(Beat(tmp_path, valkey.url, name))
        return started[-1]

    yield start
    for beat in started:
        beat.end()


def sending(beat):
    sends = beat.sends
    until(lambda: beat.sends > sends + 1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_of_two_beats_one_sends_and_the_other_takes_over_from_it(start, valkey, number):
    first = start("first")
    sending(first)
    second = start("second")
    until(lambda: second.says("standing by"))
    sending(first)
    assert second.sends == 0
    with valkey.client() as client:
        holder = client.hget(LEADER, "holder")
        code = first.end(number)
        if number == signal.SIGTERM:
            assert (code, client.hget(LEADER, "holder") != holder) == (0, True), "it hands over at once"
        sending(second)
        assert client.hget(LEADER, "holder") not in {"", holder}
    queue = Queue(valkey.url)
    assert queue.lengths()[queue_of("maintenance")] >= first.sends + second.sends - 1
    queue.close()


def test_a_leader_that_was_stopped_beyond_its_lease_does_not_go_on_sending(start):
    first = start("first")
    sending(first)
    first.process.send_signal(signal.SIGSTOP)
    second = start("second")
    sending(second)
    first.process.send_signal(signal.SIGCONT)
    until(lambda: first.says("standing by"))
    sends = first.sends
    sending(second)
    assert first.sends == sends


def test_redis_that_forgot_everything_has_a_leader_again(start, valkey):
    first, second = start("first"), start("second")
    until(lambda: first.sends + second.sends > 1)
    with valkey.client() as client:
        client.flushall()
        until(lambda: client.hget(LEADER, "holder"))
    sends = first.sends + second.sends
    until(lambda: first.sends + second.sends > sends + 1)
