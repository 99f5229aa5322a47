"""What does not belong into ``trash/`` and ``cas/`` neither stops a cleanup nor becomes part of the cache."""

from __future__ import annotations

import os

import pytest
from harness.fleet import Oracle, fleet
from harness.services import make_tree

from caskeeper.contract import CleanupRequest, CommitRequest
from worker.protocols import quiet

HASH = "cd" * 32


def plant(path, content=b"x"):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def folder_with_a_file(path):
    plant(os.fsencode(path) + b"/inside")


STRANGE = {
    "a file": lambda root: plant(f"{root}/trash/stray"),
    "a folder with a ref's name": lambda root: folder_with_a_file(f"{root}/trash/old/r-a%b%c"),
    "a folder with an object's name": lambda root: folder_with_a_file(f"{root}/trash/old/o-{HASH}"),
    "a folder with an executable's name": lambda root: folder_with_a_file(f"{root}/trash/old/x-{HASH}"),
    "a folder with a list's name": lambda root: folder_with_a_file(f"{root}/trash/old/c-{HASH}.whole"),
    "a short object's name": lambda root: plant(f"{root}/trash/old/o-ab"),
    "an object's name that leads away": lambda root: folder_with_a_file(f"{root}/trash/old/o-.."),
    "an empty object's name": lambda root: plant(f"{root}/trash/old/o-"),
    "a list's name of two parts": lambda root: plant(f"{root}/trash/old/c-a.b"),
    "a list's name of nothing": lambda root: plant(f"{root}/trash/old/c-."),
    "a folder's name that is no text": lambda root: folder_with_a_file(
        os.fsencode(f"{root}/trash/") + b"\xff\xfe"
    ),
    "a file's name that is no text": lambda root: plant(os.fsencode(f"{root}/trash/old/") + b"o-\xff\xfe"),
    "a ref's name that is no text": lambda root: plant(os.fsencode(f"{root}/trash/old/") + b"r-\xff%b%c"),
    "a ref that is none": lambda root: plant(f"{root}/trash/old/r-a%b%c", b"\xff\xff\xff"),
    "a file among the objects' folders": lambda root: plant(f"{root}/cas/objects/README"),
    "a file in an objects' folder": lambda root: plant(f"{root}/cas/objects/ab/zz"),
    "a folder in an objects' folder": lambda root: folder_with_a_file(f"{root}/cas/objects/ab/{HASH[2:]}"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_it_stops_no_cleanup_and_is_not_put_back(tmp_path, valkey, name):
    with fleet(tmp_path, valkey.url) as services:
        root = services.layout.root
        services.run(CommitRequest(path=make_tree(tmp_path / "src"), refs=("p/e/k",)), quiet())
        before = set(Oracle(root).names())
        STRANGE[name](root)
        planted = set(Oracle(root).names()) - before
        services.run(CleanupRequest(target_bytes=10**12), quiet())
        assert set(Oracle(root).names()) == before | planted
        services.run(CleanupRequest(target_bytes=0), quiet())
        assert set(Oracle(root).names()) <= before | planted
        assert list(Oracle(root).refs()) == []
        assert [name for name in os.listdir(f"{root}/trash") if name != "stray"] == []
