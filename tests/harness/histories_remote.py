"""A remote for a history, as a process that can be stopped and killed: ``… PORT SEED``.

It has the published trees of the seed. A line on stdin says how it answers from then on: ``honest``, or one
of LIES. Killed and started again it has forgotten what was pushed to it.
"""

from __future__ import annotations

import sys

import grpc
from harness.histories_trees import make_trees
from harness.lying_server import LyingServer

from caskeeper.digest import Digest

#: What it does to whoever reads or writes.
LIES = ("wrong bytes", "short", "unavailable", "full", "broken off")


def answer(world, how):
    """From now on; everything else is honest again."""
    world.wrong_bytes = how == "wrong bytes"
    world.cut_bytes = 1 if how == "short" else 0
    world.answers = {}
    if how == "unavailable":
        world.answers = dict.fromkeys(("GetReference", "BatchReadBlobs", "Read"), grpc.StatusCode.UNAVAILABLE)
    if how == "full":
        world.answers = dict.fromkeys(("BatchUpdateBlobs", "Write"), grpc.StatusCode.RESOURCE_EXHAUSTED)
    if how == "broken off":
        world.answers = dict.fromkeys(("BatchReadBlobs", "BatchUpdateBlobs"), grpc.StatusCode.UNAVAILABLE)
        world.breaks = [1000] * 40
    else:
        world.breaks = []


def ref_of(tree):
    return f"hist/{tree.name}/published"


def main(port, seed):
    world = LyingServer()
    world.port = int(port)
    for tree in make_trees(seed).published:
        world.blobs.update(tree.blobs)
        world.refs[ref_of(tree)] = Digest(*tree.root)
    with world:
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        for line in sys.stdin:
            answer(world, line.strip())
            del world.calls[:], world.tokens[:]  # they would grow for half an hour


if __name__ == "__main__":
    main(*sys.argv[1:])
