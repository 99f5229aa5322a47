"""BuildStream 1.6 and 2.8 themselves, and `caskeeper` as their users start it."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
from harness import bst1, bst2
from harness.buildstream import ELEMENTS, below
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
    variables = {"CASKEEPER_CACHEDIR": f"{folder}/cache"}
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
            assert '"address"' in line, f"the server did not start: {line}; see {folder}/log"
            yield f"http://{json.loads(line)['address']}"
        finally:
            process.terminate()
            process.stdout.close()
            code = process.wait(30)
        assert code == 0, f"the server ended with {code}; see {folder}/log"


@pytest.fixture(scope="session")
def serving():
    """The context manager that runs a server."""
    return _serving


class Built:
    """What BuildStream 1.6 has built and pushed: refs and files as it sees them, and where it pushed."""

    def __init__(self, folder, url, index):
        self.url = url
        #: the only index that the server offers
        self.index = index
        self.project = bst1.write_project(f"{folder}/project")
        self.user = bst1.BuildStream(f"{folder}/user", self.project, url=url)
        self.said = self.user.run("build", *ELEMENTS)
        self.refs = self.user.refs()
        self.files = _files(self.user, f"{folder}/before")
        #: its artifact cache as it lay on the disk now, second names of objects included
        self.old_cache = f"{folder}/old-cache"
        subprocess.run(["cp", "-a", self.user.cache, self.old_cache], check=True)


def _files(user, folder):
    """element -> its files as BuildStream checks them out"""
    os.mkdir(folder)
    return {
        element: listing(user.checkout(element, f"{folder}/{name}")) for element, name in ELEMENTS.items()
    }


@pytest.fixture(scope="session")
def bst1_installed():
    """BuildStream 1.6 is there."""
    bst1.ensure_installed()


@pytest.fixture(scope="module", params=["reference-storage", "remote-asset"])
def built(request, tmp_path_factory, bst1_installed):
    """A project built by BuildStream 1.6, and the `caskeeper server` with one index that it was pushed to."""
    folder = tmp_path_factory.mktemp("interop")
    with _serving(folder / "server", "--index", request.param) as url:
        yield Built(str(folder), url, request.param)


class Built2:
    """What BuildStream 2.8 has built and pushed."""

    def __init__(self, folder, url):
        self.url = url
        self.project = bst2.write_project(f"{folder}/project")
        self.user = bst2.BuildStream(f"{folder}/user", self.project, {"url": url, "push": True})
        self.said = self.user.run("build", *ELEMENTS)
        self.refs = self.user.refs()
        #: ref -> the Artifact message it names; each artifact has two refs, for its strong and its weak key
        self.messages = self.user.messages()
        self.files = _files(self.user, f"{folder}/before")
        #: a project without elements and sources: whoever works there has content only from remotes
        self.empty = bst2.write_empty_project(f"{folder}/empty")

    def push(self, url):
        """Push everything to another server, too."""
        said = self.user.run("artifact", "push", "--artifact-remote", url, *ELEMENTS)
        assert self.user.queue("Push", said) == (3, 0, 0)

    def check_pulled_by(self, user, folder):
        """A user in the empty project gets each artifact by its ref, and the files are the same."""
        os.mkdir(folder)
        for element, ref in self.refs.items():
            user.run("artifact", "pull", ref)
            assert listing(user.checkout(ref, f"{folder}/{ELEMENTS[element]}")) == self.files[element]

    def check_extract(self, ref, folder):
        """An extracted artifact is what the message that ``ref`` names says, files and all."""
        tree = listing(folder)
        element = next(name for name, other in ELEMENTS.items() if ref.split("/")[1] == other)
        assert below(tree, "files") == self.files[element]
        assert tree["message"] == (self.messages[ref], False)
        assert set(below(tree, "meta")) == {"public-data.yaml", "low-diversity.yaml", "high-diversity.yaml"}
        (log,) = below(tree, "logs").values()
        assert b"Caching artifact" in log[0]
        return tree


@pytest.fixture(scope="session")
def built2(tmp_path_factory):
    """A project built by BuildStream 2.8 with `caskeeper server` as its only artifact server."""
    bst2.ensure_installed()
    folder = tmp_path_factory.mktemp("interop2")
    with _serving(folder / "server") as url:
        yield Built2(str(folder), url)
