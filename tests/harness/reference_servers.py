"""The artifact servers inside BuildStream 1.6 and 2.8, each run by the Python it is installed for."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness import bst2

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Says its port, and serves until its input ends.
_SERVE = """
def serve(server):
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(None)
"""
_OLD = f"""
import sys
from buildstream._artifactcache.casserver import create_server
{_SERVE}
folder, push = sys.argv[1:]
serve(create_server(folder, enable_push=push == "push", max_head_size=2, min_head_size=1))
"""
_NEW = f"""
import sys
from buildstream._cas.casserver import create_server
{_SERVE}
folder, push, index_only = sys.argv[1:]
with create_server(
    folder, enable_push=push == "push", quota=None, index_only=index_only == "index-only"
) as server:
    serve(server)
"""


@contextmanager
def old_server(folder: str, *, push: bool = True) -> Iterator[str]:
    """The server of 1.6, with ReferenceStorage, over ``folder`` until the block ends; its URL."""
    with open(shutil.which("bst"), encoding="utf-8") as file:
        python = file.readline().removeprefix("#!").strip()
    with _running(python, "-c", _OLD, folder, "push" if push else "") as url:
        yield url


@contextmanager
def new_server(folder: str, *, push: bool = True, index_only: bool = False) -> Iterator[str]:
    """The server of 2.8, with Remote Asset; ``index_only`` holds no content."""
    words = ("push" if push else "", "index-only" if index_only else "")
    with _running(bst2.PYTHON, "-c", _NEW, folder, *words) as url:
        yield url


@contextmanager
def _running(*command: str) -> Iterator[str]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        port = process.stdout.readline().strip()
        assert port, "the server did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.communicate(timeout=60)
