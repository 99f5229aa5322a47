"""pull-tree, push-directory, push-message with real workers and servers (AC-75 to AC-78)."""

from __future__ import annotations

import json
import os

import pytest
from harness.commands import place_in
from harness.fleet import Oracle
from harness.lying_server import LyingServer, nobody_listening
from harness.tree_messages import tree_message

from caskeeper import Client, load_settings
from caskeeper.digest import Digest

FILES = {"bin/run": b"#!/bin/sh\n", "lib/deep/data": os.urandom(3_000_000), "README": b"readme\n"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two servers, and a worker whose push remotes they are."""
    with place_in(tmp_path_factory.mktemp("trees")) as made:
        made.first = made.server()[1]
        made.second = made.server(database=2, name="second")[1]
        made.config = made.configure(
            artifacts=[{"url": url, "push": True} for url in (made.first, made.second)],
            leases={"clock-margin": "0s", "upload-grace": "0s"},
        )
        made.worker()
        made.root = Digest.parse(made.ask("commit", made.tree("src", FILES), "demo/src/1")[1]["root"])
        yield made


def objects(cachedir):
    """Content by hash, read without our code."""
    found = {}
    for folder, _folders, names in os.walk(f"{cachedir}/cas/objects"):
        for name in names:
            with open(f"{folder}/{name}", "rb") as file:
                found[os.path.basename(folder) + name] = file.read()
    return found


def with_artifacts(place, name, *urls):
    """A configuration of the same volume with other remotes, and the worker that serves it, on its own Redis."""
    return place.configure(name, artifacts=[{"url": url, "push": True} for url in urls])


def test_a_tree_goes_round_the_world_without_a_ref(place):
    """push-directory, push-message of its Tree, and pull-tree on a volume that has never seen it."""
    mine = objects(place.cachedir)
    code, pushed = place.ask("push-directory", place.root, "--project", "demo")
    assert code == 0
    assert [one["outcome"] for one in pushed["remotes"]] == ["pushed", "pushed"]
    assert pushed["remotes"][0]["blobs"] == len(mine)
    for server in ("server", "second"):
        assert mine.keys() <= objects(f"{place.folder}/{server}").keys()
        assert Oracle(f"{place.folder}/{server}").refs() == {} or not list(
            Oracle(f"{place.folder}/{server}").refs()
        )
    again = place.ask("push-directory", place.root, "--project", "demo")[1]
    assert [one["outcome"] for one in again["remotes"]] == ["already-there", "already-there"]

    message = tree_message(mine, place.root)
    with open(f"{place.folder}/tree.pb", "wb") as file:
        file.write(message)
    told = place.run("push-message", f"{place.folder}/tree.pb", "--project", "demo")
    tree = str(Digest.of(message))
    assert (told.returncode, told.stdout) == (0, f"{tree}\n")
    assert "pushed" in told.stderr
    assert Digest.of(message).hash not in objects(place.cachedir)

    other = place.configure(
        "other",
        cachedir=f"{place.folder}/other",
        redis=f"{place.valkey.url}?db=3",
        artifacts=[{"url": place.first}],
    )
    place.worker(other)
    pulled = place.run("pull-tree", tree, "--project", "demo", config=other)
    assert (pulled.returncode, pulled.stdout) == (0, f"{place.root}\n")
    assert f"from {place.first}" in pulled.stderr
    theirs = objects(f"{place.folder}/other")
    assert theirs == mine
    assert place.run("list", config=other).stdout == ""
    with Client(load_settings(other)) as cache:
        assert cache.pull_tree("demo", tree).result(timeout_s=30).blobs == 0

    code, cleaned = place.ask("cleanup", config=other)
    assert (code, [group["reason"] for group in cleaned["groups"]]) == (0, ["no ref names it"])
    assert objects(f"{place.folder}/other") == {}
    assert Oracle(f"{place.folder}/other").troubles() == []
