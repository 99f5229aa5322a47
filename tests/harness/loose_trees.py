"""Trees without a ref over services with remotes in memory: what their tests share."""

from __future__ import annotations

import os

from harness.tree_messages import tree_message
from harness.trees import MemoryTree

from caskeeper.contract import (
    ComputeSizeRequest,
    PullTreeRequest,
    PushDirectoryRequest,
    PushMessageRequest,
)
from caskeeper.digest import Digest
from worker.protocols import quiet

A, B = "http://a", "http://b"
K1 = "demo/hello/k1"
OLD = 1_000_000_000

digest = Digest.of


def small_world():
    """A tree in memory: its files, its Directories, ``root`` and its ``tree`` message's digest."""
    memory = MemoryTree()
    deep = memory.folder(x=b"deep content", empty=b"")
    memory.root = memory.folder(_x_run=b"#!/bin/sh\n", sub=memory.folder(deep=deep), also=deep, link="run")
    memory.directories = [deep, memory.folder(deep=deep), memory.root]
    memory.files = [digest(text) for text in (b"deep content", b"#!/bin/sh\n")]
    memory.message = tree_message(memory.data, memory.root)
    memory.tree = Digest.of(memory.message)
    return memory


def fill(remote, world, *, without=()):
    """The remote has the Tree blob and the files, as a build's peer uploads them; no Directory objects."""
    for wanted in world.files:
        if wanted not in without:
            remote.blobs.add(world.data[wanted.hash])
    remote.blobs.add(world.message)
    remote.blobs.add(b"")  # every server has it


def pull_tree(services, wanted, **arguments):
    return services.run(PullTreeRequest(project="demo", digest=str(wanted), **arguments), quiet())


def push_directory(services, wanted):
    return services.run(PushDirectoryRequest(project="demo", digest=wanted and str(wanted)), quiet())


def push_message(services, message):
    return services.run(PushMessageRequest.of("demo", message), quiet())


def stored(services):
    """The hashes of all objects of the volume."""
    found = set()
    for folder, _folders, names in os.walk(services.layout.objects):
        found |= {os.path.basename(folder) + name for name in names}
    return found


def asked_for(remote):
    return {one for _verb, digests in remote.blobs.calls for one in digests}


def assert_account_is_exact(services):
    usage = services.coordination.usage.snapshot()
    assert usage.reserved_bytes == 0
    assert services.run(ComputeSizeRequest(), quiet()).used_bytes == usage.used_bytes
    assert not os.listdir(services.layout.staging)
    assert services.coordination.operations.list() == []


def age_everything(services):
    """As if nobody had used anything for ages."""
    for folder, _folders, names in os.walk(f"{services.layout.root}/cas"):
        for name in names:
            os.utime(f"{folder}/{name}", ns=(OLD, os.stat(f"{folder}/{name}").st_mtime_ns))


def outcomes(result):
    return {outcome.url: outcome.outcome for outcome in result.remotes}
