"""A remote that counts what is done to it, as a process: ``… SEED BYTES_PER_S``.

It has every published tree of the seed: one is made when somebody asks for it. ``RemoteProcess`` is the
other side; ``seen()`` answers what came until then.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack

from harness.commands import environment
from harness.lying_server import LyingServer
from harness.queue_trial_line import Line
from harness.queue_trial_trees import number_of, trial_tree

from caskeeper.digest import Digest

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class _Refs(dict):
    """Names of the published trees appear when they are asked for."""

    def __init__(self, world, seed):
        super().__init__()
        self._world, self._seed = world, seed

    def get(self, key, default=None):
        if key not in self and key.startswith("trial/published-"):
            tree = trial_tree(self._seed, *number_of(key))
            self._world.blobs.update(tree.blobs)
            self[key] = tree.root
        return super().get(key, default)


class CountingServer(LyingServer):
    """Honest; counts uploads and downloads of every blob instead of keeping what was said."""

    def __init__(self, seed):
        super().__init__()
        self.refs = _Refs(self, seed)
        self.uploads, self.downloads, self.bound = Counter(), Counter(), Counter()

    def called(self, method, request, context):
        super().called(method, request, context)
        with self.guard:
            del self.calls[:], self.tokens[:]
            if method == "BatchUpdateBlobs":
                self.uploads.update(entry.digest.hash for entry in request.requests)
            elif method == "BatchReadBlobs":
                self.downloads.update(digest.hash for digest in request.digests)
            elif method == "Read" and not request.read_offset:
                self.downloads[request.resource_name.split("/")[-2]] += 1
            elif method == "UpdateReference":
                self.bound.update(request.keys)

    def seen(self):
        """Uploads and downloads by hash, how often each ref was bound, and to what, and the blobs held."""
        with self.guard:
            uploads = self.uploads + Counter(self.finished)
            return {
                "uploads": dict(uploads),
                "downloads": dict(self.downloads),
                "bound": dict(self.bound),
                "refs": {key: list(root) for key, root in self.refs.items() if key in self.bound},
                "blobs": sorted(self.blobs),
            }


class RemoteProcess:
    """``with RemoteProcess(seed, bytes_per_s=…) as remote``: ``url``, ``seen()``."""

    def __init__(self, seed, *, bytes_per_s=0.0):
        self._words = [str(seed), str(bytes_per_s)]

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.queue_trial_remote", *self._words],
            env=environment(PYTHONPATH=TESTS),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.url = json.loads(self._process.stdout.readline())
        return self

    def __exit__(self, *_):
        self._process.stdin.close()  # the end of its input is its end
        self._process.wait(30)
        self._process.stdout.close()

    def seen(self):
        self._process.stdin.write("seen\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        return told | {"refs": {key: Digest(*root) for key, root in told["refs"].items()}}


def main(seed, bytes_per_s):
    with ExitStack() as stack:
        world = stack.enter_context(CountingServer(seed))
        line = stack.enter_context(Line(world.url, bytes_per_s=float(bytes_per_s)))
        _say(line.url)
        for _ in sys.stdin:
            _say(world.seen())


def _say(what):
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
