"""The project's compose file, brought up under a name of its own, and a load of clients inside of it.

CASKEEPER_TEST_COMPOSE_UP may name another command than `docker compose … up` that builds and starts it and
waits until all are healthy; it gets `-p`, `-f`, `--env-file` and `--scale` as `docker compose` would.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from harness.commands import environment, until

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "caskeeper-test"
FLOWER = "tester:only-here"
#: Beside what the tests look at, a remote for what is pushed; no settings of the machine's own fleet.
GLOBAL = [
    *("-p", PROJECT, "--env-file", os.devnull),
    *("-f", "docker-compose.yml", "-f", "tests/compose/remote.yml"),
]
SETTINGS = {
    "CASKEEPER_IMAGE": PROJECT,
    "CASKEEPER_ARTIFACTS": '[{url: "http://remote:8980", push: true}]',
    "CASKEEPER_FLOWER_AUTH": FLOWER,
    "CASKEEPER_SERVER_PORT": "0",  # any: a fleet of the machine's own may run
    "CASKEEPER_FLOWER_PORT": "0",
}
CLIENT = ROOT / "tests/compose/client.py"
CLIENTS = 4
#: What takes longer does not happen.
WAIT_S = 480


def run(*words, **options):
    """One command to its end; its output, errors beside it. AssertionError when it fails."""
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=environment(**SETTINGS),
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
        **options,
    )
    assert done.returncode == 0, f"{shlex.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def compose(*words, **options):
    return run("docker", "compose", *GLOBAL, *words, **options)


def up():
    """Build, start with one worker, wait until all are healthy."""
    other = os.environ.get("CASKEEPER_TEST_COMPOSE_UP")
    if other:
        run(*shlex.split(other), *GLOBAL, "--scale", "worker=1")
    else:
        compose("up", "-d", "--build", "--wait", "--scale", "worker=1")


def scale(workers):
    """Start or end workers; back when those that stay are healthy."""
    compose("up", "-d", "--no-build", "--no-recreate", "--wait", "--scale", f"worker={workers}")


def down():
    compose("down", "--volumes", "--timeout", "60")


def inside(service, *words, **options):
    """One command in a container of the service."""
    return compose("exec", "-T", service, *words, **options)


def asked(service, *words):
    """The JSON that `caskeeper` prints in a container of the service."""
    return json.loads(inside(service, "caskeeper", "--json", *words))


def containers(service):
    """Ids of the running containers of one service."""
    return compose("ps", "-q", service).split()


def of_project(kind):
    """What of the project the engine knows: names of its `container`s, `volume`s or `network`s."""
    words = ["-a"] if kind == "container" else []
    return run("docker", kind, "ls", *words, "-q", "--filter", f"label=com.docker.compose.project={PROJECT}")


class Account(NamedTuple):
    """What clients told: ids of jobs that were sent, outcomes by id, clients that broke off and copies that
    differ, how often one was refused, and which refs must be here and at the remote.
    """

    sent: list
    ended: dict
    troubles: list
    refused: int
    kept: list
    pushed: list


class Load:
    """``with Load(folder) as load``: clients inside the fleet that never pause; after it all have ended."""

    def __init__(self, folder):
        self._journals = [Path(folder) / f"{Path(folder).name}-{number}" for number in range(CLIENTS)]
        self.prefix = f"load/{Path(folder).name}-"
        self._processes = []

    def __enter__(self):
        inside("server", "rm", "-f", "/work/stop", "/work/keep")
        for journal in self._journals:
            words = ["exec", "-T", "server", "python", "-P", "-", journal.name]
            with CLIENT.open() as program, journal.open("w") as told:
                self._processes.append(
                    subprocess.Popen(
                        ["docker", "compose", *GLOBAL, *words],
                        cwd=ROOT,
                        env=environment(**SETTINGS),
                        stdin=program,
                        stdout=told,
                        stderr=subprocess.STDOUT,
                    )
                )
        return self

    def __exit__(self, *_):
        inside("server", "touch", "/work/stop")
        for process in self._processes:
            process.wait(WAIT_S)

    def goes_on(self, jobs):
        """Back when so many more jobs have succeeded, some of every client."""
        before = [self._done(journal) for journal in self._journals]
        deadline = time.monotonic() + WAIT_S
        while True:
            more = [self._done(journal) - was for journal, was in zip(self._journals, before, strict=True)]
            if sum(more) >= jobs and all(more):
                return
            ended = [process.returncode for process in self._processes if process.poll() is not None]
            assert not ended, (
                f"clients have ended: {ended}: {[one.read_text()[-500:] for one in self._journals]}"
            )
            assert time.monotonic() < deadline, f"no more than {more} jobs have succeeded in {WAIT_S} s"
            time.sleep(0.2)

    def keep(self):
        """Back when no client removes anything any more."""
        inside("server", "touch", "/work/keep")
        until(lambda: all('"keep": true' in one.read_text() for one in self._journals), wait_s=WAIT_S)

    def _done(self, journal):
        return journal.read_text().count('"outcome": "done"')

    def account(self):
        """What all clients have told, after the block."""
        sent, ended, troubles, refused, kept, pushed = [], {}, [], 0, [], []
        for journal in self._journals:
            lines = [line for line in map(told_in, journal.read_text().splitlines()) if line]
            sent += [line["sent"] for line in lines if "sent" in line]
            refused += sum("refused" in line for line in lines)
            ended |= {line["job"]: line["outcome"] for line in lines if "job" in line}
            troubles += [
                line for line in lines if line.get("verb") == "compare" and line["outcome"] != "done"
            ]
            troubles += [] if lines and "kept" in lines[-1] else [f"{journal.name} broke off: {lines[-3:]}"]
            kept += [ref for line in lines for ref in line.get("kept", ())]
            pushed += [ref for line in lines for ref in line.get("pushed", ())]
        return Account(sent, ended, troubles, refused, kept, pushed)


def told_in(line):
    """A line of a client's; what is none tells of one that failed."""
    try:
        return json.loads(line)
    except ValueError:
        return {"trace": line}
