"""A process that forks after its remotes were made (lessons B.1)."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORK = """
import os, sys
from caskeeper.artifact import Ref
from caskeeper.config.remotes import RemoteSpec
from worker.remote import RemotePool

spec, ref = RemoteSpec(sys.argv[1]), Ref.parse("demo/hello/aaaa")
pool = RemotePool()
parents = pool.get(spec)
if sys.argv[2] == "used":
    assert parents.index.resolve(ref) is None
child = os.fork()
if child == 0:
    try:
        assert pool.get(spec).index.resolve(ref) is None
        print("pool works", flush=True)
        parents.close()
        parents.index.resolve(ref)
        print("inherited works", flush=True)
    except RuntimeError as refused:
        print(f"inherited refused: {refused}", flush=True)
    finally:
        os._exit(0)
os.waitpid(child, 0)
assert parents.index.resolve(ref) is None
print("parent works")
"""


@pytest.mark.parametrize("used", ["used", "unused"])
def test_a_forked_child_uses_its_own_connections_only(server, used):
    run = subprocess.run(
        [sys.executable, "-P", "-c", FORK, server.url, used],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0] == "pool works"
    assert lines[-1] == "parent works"
    if used == "used":
        assert "after a fork" in lines[1]
