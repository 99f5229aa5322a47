"""One of many clients, as a process: says that it is ready, waits for a word, pulls, and says what it got.

    python -P -m harness.queue_trial_client CONFIG REF

``Crowd`` is the other side: all of them are ready before the first one asks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from harness.commands import environment
from harness.queue_trial_fleet import TESTS

from caskeeper.client import Client
from caskeeper.errors import CaskeeperError

WAIT_S = 400.0


class Crowd:
    """``with Crowd(config, ref, count=50) as crowd``: ``go()``, then ``answers()``."""

    def __init__(self, config, ref, *, count):
        self._words = [sys.executable, "-P", "-m", "harness.queue_trial_client", config, ref]
        self._count = count
        self._processes = []

    def __enter__(self):
        for _ in range(self._count):
            process = subprocess.Popen(
                self._words,
                env=environment(PYTHONPATH=TESTS),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            self._processes.append(process)
        for process in self._processes:
            assert process.stdout.readline() == "ready\n"
        return self

    def go(self):
        for process in self._processes:
            process.stdin.write("go\n")
            process.stdin.flush()

    def answers(self):
        """What every client got: ``job``, ``outcome``, ``result``, ``seconds``."""
        return [json.loads(process.stdout.readline()) for process in self._processes]

    def __exit__(self, *_):
        for process in self._processes:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


def main(config, ref):
    with Client(config=config) as client:
        client.queue.taken()  # connected
        _say("ready")
        sys.stdin.readline()
        began = time.monotonic()
        answer = {"job": "", "outcome": "done", "result": None}
        try:
            job = client.pull(ref)
            answer["job"] = job.id
            answer["result"] = job.result(WAIT_S).to_json()
        except CaskeeperError as error:
            answer["outcome"] = f"{type(error).__name__}: {error}"
        _say(json.dumps(answer | {"seconds": round(time.monotonic() - began, 2)}))


def _say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
