"""--best-effort: never worse than no cache, and never silent about what the caller got wrong."""

import pytest
from harness.lying_server import LyingServer

from caskeeper import Client
from caskeeper.errors import CoordinatorUnavailable, RemoteUnavailable

DEAD = "url=http://127.0.0.1:9,push=true"


def test_a_dead_remote_is_one_remark_and_0(fleet, tree):
    path, ref = tree
    done = fleet.run("commit", path, ref)
    assert done.returncode == 0, done.stderr
    pushed = fleet.run("push", ref, "--remote", DEAD, "--best-effort", "--no-progress")
    assert (pushed.returncode, pushed.stdout, pushed.stderr.count("\n")) == (0, "", 1)
    assert "going on without it: remote unavailable" in pushed.stderr
    code, told = fleet.ask("pull", "test/none/k", ref, "--remote", DEAD, "--best-effort")
    assert code == 0
    assert [one.get("cached") for one in told["results"]] == [None, True]
    assert told["results"][0]["error"]["error"] == "RemoteUnavailable"
    assert len(told["remarks"]) == 1
    code, told = fleet.ask("push", ref, "--remote", DEAD, "--remote", fleet.remote, "--best-effort")
    assert (code, [one["outcome"] for one in told["remotes"]]) == (0, ["failed", "pushed"])


def test_a_push_that_its_remote_refuses_is_one_remark_and_0(fleet, tree):
    path, ref = tree
    assert fleet.run("commit", path, ref).returncode == 0
    with LyingServer() as server:
        server.allow_updates = False
        refused = f"url={server.url},push=true"
        assert fleet.run("push", ref, "--remote", refused, "--no-progress").returncode == 14
        pushed = fleet.run("push", ref, "--remote", refused, "--best-effort", "--no-progress")
        assert (pushed.returncode, pushed.stdout, pushed.stderr.count("\n")) == (0, "", 1)
        assert "does not allow push" in pushed.stderr
    for wrong in ("url=http://127.0.0.1:9/path,push=true", "nonsense"):
        assert fleet.run("push", ref, "--remote", wrong, "--best-effort").returncode in {10, 17}


def test_what_the_caller_got_wrong_is_not_passed_over(fleet):
    assert fleet.run("pull", "test/none/k", "--best-effort").returncode == 11, "a build has to know"
    assert fleet.run("push", "test/none/k", "--best-effort").returncode == 11
    assert fleet.run("pull", "no-ref", "--best-effort").returncode == 10
    assert fleet.run("commit", ".", "test/none/k", "--best-effort").returncode == 2


def test_a_dead_redis_is_one_remark_and_0_and_a_client_goes_on_too(tmp_path, fleet):
    lost = fleet.configure("lost", redis=f"unix://{tmp_path}/nobody.sock")
    done = fleet.run("pull", "test/none/a", "test/none/b", "--best-effort", "--no-progress", config=lost)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (0, "", 1)
    assert "going on without 2 of them: coordinator unavailable" in done.stderr
    code, told = fleet.ask("push", "test/none/a", "--detach", "--best-effort", config=lost)
    assert (code, told["jobs"], len(told["remarks"])) == (0, [], 1)
    lines = []
    with Client(config=lost, say=lines.append) as cache:
        jobs = [cache.pull(f"test/none/{n}", best_effort=True) for n in range(100)]
        assert [job.result().pulled for job in jobs] == [False] * 100
        assert all(isinstance(job.trouble, CoordinatorUnavailable) for job in jobs)
        with pytest.raises(CoordinatorUnavailable):
            cache.push("test/none/a")
    assert len(lines) == 1


def test_a_client_goes_on_without_a_dead_remote(fleet):
    lines = []
    with Client(config=fleet.config, say=lines.append) as cache:
        job = cache.pull("test/none/k", remotes=[DEAD], best_effort=True)
        assert job.result(timeout_s=60).pulled is False
        assert isinstance(job.trouble, RemoteUnavailable)
    assert len(lines) == 1
