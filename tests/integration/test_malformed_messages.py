"""Whatever is written into a queue: the worker drops what is no job, and goes on (queue.md 2.2)."""

import base64
import json
import uuid

import pytest
from harness.delivery_worker import WorkerProcess, read_journal
from harness.process_tree import until
from harness.valkey import ValkeyServer

from caskeeper.contract import PullRequest, PullResult
from caskeeper.queue import Queue

WAIT_S = 60
QUEUE = "caskeeper.pull"


@pytest.fixture
def server():
    with ValkeyServer(appendonly=True) as server:
        yield server


def encoded(value):
    return base64.b64encode(json.dumps(value).encode()).decode()


def message(*, without="", **changes):
    """A proper job in the queue's form, but for what is said; its id."""
    name = str(uuid.uuid4())
    embedded = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    headers = {
        "lang": "py",
        "task": PullRequest.TASK,
        "id": name,
        "root_id": name,
        "parent_id": None,
        "group": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": "()",
        "kwargsrepr": "{}",
        "ignore_result": False,
        "eta": None,
        "expires": None,
        **changes.pop("headers", {}),
    }
    properties = {
        "correlation_id": name,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": QUEUE},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": name,
        **changes.pop("properties", {}),
    }
    document = {
        "body": encoded([[], PullRequest(ref="t/sleep/0").to_json(), embedded]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
        **changes,
    }
    for part in (document, headers, properties):
        part.pop(without, None)
    return json.dumps(document)


MALFORMED = {
    "no JSON": b"garbage",
    "a number": b"5",
    "a list": b"[]",
    "an empty object": b"{}",
    "empty": b"",
    "binary": b"\xff\xfe\x00",
    "nested too deeply": b"[" * 100_000,
    "body empty": message(body=""),
    "body no base64": message(body="!!!"),
    "body of one letter": message(body="x"),
    "body no JSON": message(body=base64.b64encode(b"no json").decode()),
    "body no text": message(body=base64.b64encode(b"\xff\xfe").decode()),
    "body an object": message(body=encoded({})),
    "body a number": message(body=encoded(5)),
    "body with followers": message(body=encoded([[], {}, {"callbacks": [{"task": "x"}]}])),
    "body no string": message(body={}),
    "no body": message(without="body"),
    "no id": message(without="id"),
    "id no text": message(headers={"id": []}),
    "no task": message(without="task"),
    "task no text": message(headers={"task": ["x"]}),
    "unknown task": message(headers={"task": "os.system"}),
    "no headers": message(without="headers"),
    "headers a list": message(headers={}).replace('"headers": {', '"headers": [], "other": {'),
    "no properties": message(without="properties"),
    "no delivery tag": message(without="delivery_tag"),
    "delivery tag no text": message(properties={"delivery_tag": {}}),
    "no delivery info": message(without="delivery_info"),
    "unknown encoding": message(properties={"body_encoding": "rot13"}),
    "encoding no text": message(properties={"body_encoding": []}),
    "compressed": message(headers={"compression": "zlib"}),
    "a program": message(**{"content-type": "application/x-python-serialize"}),
    "eta no time": message(headers={"eta": "garbage"}),
    "eta a list": message(headers={"eta": []}),
    "expires no time": message(headers={"expires": "garbage"}),
    "expires an object": message(headers={"expires": {"a": 1}}),
    "retries no number": message(headers={"retries": "many"}),
}


def test_what_is_no_job_is_dropped_and_the_same_worker_does_the_next_job(server, tmp_path):
    journal = str(tmp_path / "journal")
    queue = Queue(server.url)
    client = server.client()
    with WorkerProcess(server.url, journal, concurrency=1) as worker:
        for number, (name, item) in enumerate(MALFORMED.items()):
            client.lpush(QUEUE, item)
            ref = f"t/sleep/{number}e-9"
            assert queue.submit(PullRequest(ref=ref), PullResult).result(WAIT_S).pulled, name
            assert worker.process.poll() is None, name
        until(lambda: client.hlen("unacked") == 0, "all is acknowledged")
        assert client.llen(QUEUE) == 0
        begun = [ref for event, ref in read_journal(journal) if event == "begin"]
        assert len(begun) == len(MALFORMED)
    client.close()
    queue.close()


def test_time_limits_of_a_message_are_not_listened_to(server, tmp_path):
    journal = str(tmp_path / "journal")
    queue = Queue(server.url)
    client = server.client()
    with WorkerProcess(server.url, journal, concurrency=1):
        for limits in (["a", "b"], [0.001, 0.001], 5, {}, [1]):
            client.lpush(QUEUE, message(headers={"timelimit": limits}))
        until(lambda: read_journal(journal)["end", "t/sleep/0"] == 5, "all five are done")
        assert queue.submit(PullRequest(ref="t/sleep/1"), PullResult).result(WAIT_S).pulled
    client.close()
    queue.close()
