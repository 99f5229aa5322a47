"""Artifacts on a real server with a volume and a Redis of its own, made before a trial begins."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager

from harness.commands import Place
from harness.valkey import ValkeyServer

from caskeeper.config import load_settings
from caskeeper.contract import CommitRequest
from worker.protocols import quiet
from worker.wiring import build


def write_artifact(folder, size_bytes, *, files=4):
    """So many random bytes in so many files; the folder."""
    os.makedirs(folder, exist_ok=True)
    for number in range(files):
        with open(f"{folder}/{number}", "wb") as file:
            file.writelines(
                os.urandom(min(1 << 20, size_bytes // files - at))
                for at in range(0, size_bytes // files, 1 << 20)
            )
    return folder


@contextmanager
def published(folder, sizes, *, files=4):
    """The url of a server that has an artifact of so many bytes for each ref of ``sizes``."""
    os.makedirs(folder)
    with ValkeyServer() as valkey:
        place = Place(folder, valkey)
        config = place.configure("published", cachedir=f"{folder}/published")
        services = build(load_settings(config), redis_url=valkey.url)
        try:
            for ref, size_bytes in sizes.items():
                source = write_artifact(f"{folder}/source", size_bytes, files=files)
                services.run(CommitRequest(path=source, refs=(ref,)), quiet())
                shutil.rmtree(source)
        finally:
            services.close()
        _process, url = place.server(config=config)
        try:
            yield url
        finally:
            place.end()
