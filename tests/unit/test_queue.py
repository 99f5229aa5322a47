"""The queue's door, as far as it needs no Redis."""

import os
import re

from caskeeper import queue as queue_module
from caskeeper.queue import Queue


def test_the_trouble_of_embedded_workers_is_told_whatever_state_a_job_is_in_and_once():
    troubles, lines = ["the disk is full"], []
    queue = Queue("unix:///nobody", trouble=lambda: troubles[0], say=lines.append)
    told = queue.why_waiting({"status": "STARTED"})
    assert told == "the embedded workers are in trouble: the disk is full"
    queue.say(told)
    queue.say(told)
    assert lines == [told]
    troubles[0] = ""
    assert queue.why_waiting({"status": "QUEUED", "name": "cache.cleanup"}) == ""
    queue.close()


def test_without_anybody_to_tell_nothing_is_said():
    queue = Queue("unix:///nobody")
    queue.say("nobody hears it")
    queue.close()


def test_who_asks_is_told_also_where_the_user_has_no_name(monkeypatch):
    assert re.fullmatch(r"[^@]+@[^@]+", queue_module.who_asks())

    def nameless():
        raise KeyError("getpwuid(): uid not found: 1000")

    monkeypatch.setattr(queue_module.getpass, "getuser", nameless)
    assert queue_module.who_asks().startswith(f"{os.getuid()}@")
