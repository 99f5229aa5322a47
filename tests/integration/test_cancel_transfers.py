"""A transfer that is cancelled ends within a moment and leaves no lease, staged file or counted byte."""

import os

import pytest
from harness.commands import until
from harness.lying_server import LyingServer
from harness.scene import KEPT, done, lies, scene_in

from caskeeper.contract import PullRequest, PullResult, PushRequest, PushResult
from caskeeper.errors import Cancelled
from caskeeper.queue import Queue

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMPATIENT_SILENCE_S", "600")  # nothing but the cancellation ends a stream here
        with scene_in(tmp_path_factory.mktemp("cancel")) as made:
            yield made


@pytest.fixture
def queue(scene):
    queue = Queue(f"{scene.valkey.url}?db={scene.database}")
    yield queue
    queue.close()


@pytest.fixture
def server():
    with LyingServer() as server:
        server.stalls_after = 100_000
        yield server


def usage(scene):
    coordination = scene.coordination()
    try:
        return coordination.usage.snapshot()
    finally:
        coordination.close()


def cancelled(scene, queue, job, before):
    assert job.cancel().word == "running"
    with pytest.raises(Cancelled):
        job.result(20)
    until(lambda: queue.record(job.id).state == "cancelled")
    until(lambda: queue.taken() == 0)
    scene.assert_sound()
    assert usage(scene).used_bytes == before.used_bytes


def test_a_pull_that_stands_still(scene, queue, server):
    server.refs["demo/still/1"] = lies(server, {"large": os.urandom(5 * MIB)})
    before = usage(scene)
    job = queue.submit(PullRequest(ref="demo/still/1", remotes=(server.url,)), PullResult)
    until(lambda: server.count("Read"))
    cancelled(scene, queue, job, before)
    assert scene.refs() == [KEPT]
    server.stalls_after = None
    assert queue.submit(PullRequest(ref="demo/still/1", remotes=(server.url,)), PullResult).result(30).pulled
    done(scene.start("remove", "demo/still/1"))
    scene.assert_sound()


def test_a_push_that_stands_still(scene, queue, server):
    done(scene.start("commit", scene.tree("big", {"large": os.urandom(5 * MIB)}), "demo/big/1"))
    before = usage(scene)
    remote = f"url={server.url},push=true"
    job = queue.submit(PushRequest(refs=("demo/big/1",), remotes=(remote,)), PushResult)
    until(lambda: server.count("Write"))
    cancelled(scene, queue, job, before)
    assert server.refs == {}, "nothing was published there"
    server.stalls_after = None
    assert queue.submit(PushRequest(refs=("demo/big/1",), remotes=(remote,)), PushResult).result(30).pushed
