"""BuildStream 1.6 itself, and `caskeeper` as its user starts it."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
from harness.bst1 import ELEMENTS, BuildStream, ensure_installed, write_project
from harness.trees import listing
from harness.valkey import ValkeyServer

_COMMAND = (sys.executable, "-P", "-m", "tasks.cli.main", "--json", "--no-progress")


def environment(folder, **variables):
    """No configuration but what is said here; XDG folders below ``folder``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CASKEEPER_", "XDG_"))}
    return {**kept, "HOME": folder, **variables}


@pytest.fixture(scope="session")
def caskeeper():
    """Runs one command to its end and answers the JSON it printed."""

    def run(folder, *arguments, code=0, **variables):
        done = subprocess.run(
            [*_COMMAND, *arguments],
            cwd=folder,
            env=environment(str(folder), **variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, f"{arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout) if done.stdout else None

    return run


@contextmanager
def _serving(folder, *options):
    """`caskeeper server` over a volume and a Redis of its own, until the block ends; its URL."""
    folder = str(folder)
    os.makedirs(folder, exist_ok=True)
    variables = {"CASKEEPER_CACHEDIR": f"{folder}/cache", "CASKEEPER_CACHE_QUOTA": "1G"}
    with ValkeyServer() as valkey, open(f"{folder}/log", "a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [*_COMMAND, "server", "--listen", "127.0.0.1:0", *options],
            env=environment(folder, CASKEEPER_REDIS_URL=valkey.url, **variables),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            line = process.stdout.readline()
            assert line, f"the server did not start; see {folder}/log"
            yield f"http://{json.loads(line)['address']}"
        finally:
            process.terminate()
            assert process.wait(30) == 0
            process.stdout.close()


@pytest.fixture(scope="session")
def serving():
    """The context manager that runs a server."""
    return _serving


class Built:
    """What BuildStream 1.6 has built and pushed: refs and files as it sees them, and where it pushed."""

    def __init__(self, folder, url):
        self.url = url
        self.project = write_project(f"{folder}/project")
        self.user = BuildStream(f"{folder}/user", self.project, url=url)
        self.said = self.user.run("build", *ELEMENTS)
        self.refs = self.user.refs()
        #: element -> its files as BuildStream checks them out
        self.files = {
            element: listing(self.user.checkout(element, f"{folder}/before/{ELEMENTS[element]}"))
            for element in ELEMENTS
        }
        #: its artifact cache as it lay on the disk now, second names of objects included
        self.old_cache = f"{folder}/old-cache"
        subprocess.run(["cp", "-a", self.user.cache, self.old_cache], check=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A project built by BuildStream 1.6 with `caskeeper server` as its artifact server."""
    ensure_installed()
    folder = tmp_path_factory.mktemp("interop")
    with _serving(folder / "server") as url:
        yield Built(str(folder), url)
