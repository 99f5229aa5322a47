"""The compose file with real containers: healthy, scaled and its Redis restarted under load, watched, ended.

Not collected by `make test`: it needs docker with its compose plugin. `make test-compose`.
"""

import base64
import json
import shutil
import subprocess
import urllib.error
import urllib.request

import pytest
from harness import compose
from harness.compose import Load

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module", autouse=True)
def fleet():
    """Up with one worker; whatever happens, nothing of it stays."""
    if not shutil.which("docker"):
        pytest.exit(
            "make test-compose needs docker, with its compose plugin: there is no `docker` on PATH", 1
        )
    answer = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    if answer.returncode:
        pytest.exit(f"make test-compose needs a running docker engine: {answer.stderr.strip()}", 1)
    try:
        compose.up()
        yield
    finally:
        compose.down()


def states():
    told = compose.compose("ps", "-a", "--format", "{{.Service}} {{.State}} {{.Health}}")
    return sorted(" ".join(line.split()) for line in told.splitlines())


def check(load):
    """Submitted is succeeded, for the clients and in the log of jobs; every effect is there and no other."""
    account = load.account()
    assert account.troubles == []
    assert {job: text for job, text in account.ended.items() if text != "done"} == {}
    assert set(account.sent) == set(account.ended)
    logged = {job["id"]: job["state"] for job in compose.asked("server", "jobs", "--limit", "10000")["jobs"]}
    assert {logged.get(job, "not there") for job in account.sent} == {"done"}
    here, there = refs("server"), refs("remote")
    assert {ref for ref in here if ref.startswith(load.prefix)} == set(account.kept)
    assert {ref for ref in there if ref.startswith(load.prefix)} == set(account.pushed)
    # What is removed while others work is garbage until the next cleanup; nothing else may be wrong.
    told = compose.inside("server", "sh", "-c", "caskeeper --json verify || test $? = 3")
    assert json.loads(told)["counts"].keys() <= {"orphan-object", "orphan-executable", "orphan-closure-list"}
    return len(account.sent)


def refs(service):
    return {artifact["ref"] for artifact in compose.asked(service, "list")["artifacts"]}


def test_every_container_is_healthy():
    healthy = [
        f"{name} running healthy"
        for name in ("flower", "redis", "remote", "remote-redis", "server", "worker")
    ]
    assert states() == sorted(["beat running", *healthy])


def test_nobody_is_root_and_nobody_writes_into_the_image():
    for service in ("server", "worker", "beat", "flower"):
        assert compose.inside(service, "id", "-u").strip() == "10001"
        with pytest.raises(AssertionError, match="Read-only file system"):
            compose.inside(service, "touch", "/opt/caskeeper/new")


def test_no_job_is_lost_while_workers_come_and_go(tmp_path):
    with Load(tmp_path) as load:
        load.goes_on(20)
        compose.scale(4)
        load.goes_on(60)
        compose.scale(2)
        load.goes_on(40)
    assert len(compose.containers("worker")) == 2
    assert check(load) >= 120


def test_a_worker_that_dies_loses_no_job_and_is_started_again(tmp_path):
    dying = compose.containers("worker")[0]
    with Load(tmp_path) as load:
        load.goes_on(100)
        load.keep()  # what it was at stays claimed until its lease ends, and is not removed before
        compose.run("docker", "exec", dying, "sh", "-c", "kill -9 -1")  # all but who says so
        load.goes_on(60)
    assert compose.run("docker", "inspect", dying, "--format", "{{.RestartCount}}").strip() == "1"
    assert check(load) >= 160


def test_no_job_is_lost_when_redis_is_restarted_and_when_it_is_killed(tmp_path):
    with Load(tmp_path) as load:
        load.goes_on(100)
        load.keep()  # after a loss of Redis nothing may be removed for one session life (safety.md section 7)
        compose.compose("restart", "redis")
        load.goes_on(60)
        compose.compose("kill", "redis")
        compose.compose("up", "-d", "--no-build", "--no-recreate", "--wait", "redis")
        load.goes_on(60)
    assert check(load) >= 220


def page(path, password=""):
    """(status, text) of a page of Flower, through its published port."""
    address = compose.compose("port", "flower", "5555").strip()
    request = urllib.request.Request(f"http://{address}{path}")
    if password:
        request.add_header("Authorization", "Basic " + base64.b64encode(password.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, ""


def test_flower_shows_the_jobs_to_who_has_the_password():
    for path in ("/", "/workers", "/tasks", "/api/tasks", "/api/workers"):
        assert page(path)[0] == page(path, "tester:wrong")[0] == 401
    status, told = page("/api/tasks?limit=500", compose.FLOWER)
    tasks = json.loads(told).values()
    assert status == 200
    assert {"artifacts.commit", "artifacts.pull", "artifacts.push"} <= {task["name"] for task in tasks}
    assert {task["routing_key"] for task in tasks} >= {"caskeeper.pull", "caskeeper.local", "caskeeper.push"}
    assert page("/tasks", compose.FLOWER)[0] == 200


FETCH = """
import sys, socket, urllib.request
for address in socket.gethostbyname_ex(sys.argv[1])[2]:
    print(address, urllib.request.urlopen(f"http://{address}:9464/metrics", timeout=20).read().decode())
"""


@pytest.mark.parametrize("service", ["worker", "server"])
def test_every_worker_and_server_is_found_by_name_and_measured(service):
    told = compose.inside("beat", "python", "-ISc", FETCH, service)
    assert told.count("# TYPE caskeeper_used_bytes ") == len(compose.containers(service))


def test_down_leaves_nothing():
    compose.down()
    assert [compose.of_project(kind) for kind in ("container", "volume", "network")] == ["", "", ""]
