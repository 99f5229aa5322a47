"""The first commands of a new user: no Redis configured, every call a process of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest
from harness.commands import environment, until
from harness.fleet import Oracle, write_tree
from harness.lying_server import LyingServer
from harness.scene import lies
from harness.trees import listing

SCRIPT = os.path.join(os.path.dirname(sys.executable), "caskeeper")
FILES = {
    "README": b"hello\n",
    "x:bin/run": b"#!/bin/sh\n",
    "l:start": b"bin/run",
    "deep/er/data": b"0" * 100_000,
}


class Home:
    """A user's folders. Everything that runs for him is found by the HOME in its environment."""

    def __init__(self, folder, url):
        self.folder = f"{folder}/home"
        self.cachedir = f"{self.folder}/.cache/caskeeper"
        self.run_folder = f"{self.cachedir}/run"
        self.temporary = tempfile.mkdtemp(prefix="ck-", dir="/tmp")
        os.makedirs(f"{self.folder}/.config")
        config = {
            "artifacts": {"url": url},
            "embedded": {"idle": "10s"},  # also between two commands on a loaded machine
            "cache": {"reserved-disk-space": "0"},
        }
        with open(f"{self.folder}/.config/caskeeper.yaml", "w", encoding="utf-8") as file:
            json.dump(config, file)
        kept = {name: value for name, value in environment().items() if not name.startswith("XDG_")}
        self.environment = {**kept, "HOME": self.folder, "TMPDIR": self.temporary}

    def start(self, *words):
        return subprocess.Popen(
            [SCRIPT, *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def processes(self):
        """The pids of all that runs in this home."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    own = file.read().split(b"\0")
            except OSError:
                continue
            if f"HOME={self.folder}".encode() in own:
                found.append(int(pid))
        return found

    def socket_folder(self):
        """Where the server's socket is: in the run folder, or elsewhere when that path is too long."""
        with open(f"{self.run_folder}/endpoint.json", encoding="utf-8") as file:
            return os.path.dirname(json.load(file)["url"].removeprefix("unix://"))

    def supervisor(self):
        with open(f"{self.run_folder}/endpoint.json", encoding="utf-8") as file:
            return json.load(file)["pid"]


@pytest.fixture
def home(tmp_path):
    with LyingServer() as server:  # an honest one
        server.refs["demo/remote/1"] = lies(server, {"from-afar": b"1" * 1000})
        home = Home(tmp_path, server.url)
        yield home
        subprocess.run([SCRIPT, "down"], env=home.environment, capture_output=True, check=True, timeout=60)
        shutil.rmtree(home.temporary)


def finish(process):
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    return stdout, stderr


def test_commands_on_a_fresh_home_share_one_server_that_goes_by_itself(home):
    write_tree(f"{home.folder}/tree", FILES)

    _, said = finish(home.start("commit", "tree", "demo/own/1"))
    assert said.count("started an embedded server") == 1
    socket_folder = home.socket_folder()
    assert os.path.isdir(socket_folder)

    began = time.monotonic()
    pulled, said = finish(home.start("pull", "demo/remote/1"))
    print(f"the second command took {time.monotonic() - began:.2f} s")  # noqa: T201 -- shown, never judged: other tests may run beside
    assert "2 objects" in pulled
    assert "started an embedded server" not in said

    both = [home.start("extract", "demo/own/1") for _ in range(2)]
    (path,) = {finish(process)[0].strip() for process in both}
    assert listing(path) == listing(f"{home.folder}/tree")

    until(lambda: not home.processes())
    assert os.listdir(home.temporary) == []
    assert socket_folder == home.run_folder or not os.path.exists(socket_folder)
    assert not any(name.endswith(".sock") for name in os.listdir(home.run_folder))
    assert os.path.exists(f"{home.run_folder}/clean-stop.json")
    oracle = Oracle(home.cachedir)
    assert (oracle.troubles(), oracle.leavings()) == ([], [])
    assert sorted(oracle.refs()) == ["demo/own/1", "demo/remote/1"]

    finish(home.start("contains", "demo/own/1", "demo/remote/1"))  # looking starts nothing
    assert home.processes() == []


def test_after_a_kill_of_the_supervisor_the_next_command_works(home):
    write_tree(f"{home.folder}/tree", FILES)
    finish(home.start("commit", "tree", "demo/own/1"))
    killed = home.supervisor()
    os.kill(killed, signal.SIGKILL)
    path, _ = finish(home.start("extract", "demo/own/1"))
    assert listing(path.strip()) == listing(f"{home.folder}/tree")
    assert home.supervisor() != killed
    until(lambda: not home.processes())
    assert Oracle(home.cachedir).troubles() == []
