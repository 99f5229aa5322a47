"""pull-tree, push-directory, push-message with a real worker and real servers (AC-75 to AC-78)."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from harness.commands import COMMAND, environment, place_in
from harness.fleet import Oracle
from harness.lying_server import LyingServer, nobody_listening
from harness.tree_messages import tree_message

from caskeeper import Client, load_settings
from caskeeper.contract import PullTreeResult, PushDirectoryResult
from caskeeper.digest import Digest
from caskeeper.errors import InvalidRequest

FILES = {"bin/run": b"#!/bin/sh\n", "lib/deep/data": os.urandom(3_000_000), "README": b"readme\n"}
NOWHERE = f"{'0' * 64}/7"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A worker, and projects with good, bad and no remotes. ``other`` is a volume that shares a server."""
    with (
        place_in(tmp_path_factory.mktemp("trees")) as made,
        nobody_listening() as dead,
        LyingServer() as liar,
    ):
        made.first = made.server()[1]
        made.second = made.server(database=2, name="second")[1]
        made.readonly = made.server("--read-only", database=4, name="readonly")[1]
        made.dead, made.liar = dead, liar
        remotes = {
            "demo": [made.first, made.second],
            "half": [dead, made.first],
            "away": [dead],
            "readonly": [made.readonly],
            "lies": [liar.url, made.first],
        }
        projects = {
            name: {"artifacts": [{"url": url, "push": True} for url in urls]}
            for name, urls in remotes.items()
        }
        projects["fetch"] = {"artifacts": {"url": made.first}}
        short = {"clock-margin": "0s"}
        made.config = made.configure(projects=projects, leases=short)
        made.other = made.configure(
            "other",
            cachedir=f"{made.folder}/other",
            redis=f"{made.valkey.url}?db=3",
            projects=projects,
            leases=short,
        )
        made.worker()
        made.worker(made.other)
        made.root = Digest.parse(made.ask("commit", made.tree("src", FILES), "demo/src/1")[1]["root"])
        made.message = tree_message(objects(made.cachedir), made.root)
        made.tree_file = f"{made.folder}/tree.pb"
        with open(made.tree_file, "wb") as file:
            file.write(made.message)
        yield made


def objects(cachedir):
    """Content by hash, read without our code."""
    found = {}
    for folder, _folders, names in os.walk(f"{cachedir}/cas/objects"):
        for name in names:
            with open(f"{folder}/{name}", "rb") as file:
                found[os.path.basename(folder) + name] = file.read()
    return found


def outcomes(document):
    return {one["url"]: one["outcome"] for one in document["remotes"]}


def test_a_tree_goes_round_the_world_without_a_ref(place):
    mine = objects(place.cachedir)
    code, pushed = place.ask("push-directory", place.root, "--project", "demo")
    assert (code, outcomes(pushed)) == (0, {place.first: "pushed", place.second: "pushed"})
    assert pushed["remotes"][0]["blobs"] == len(mine)
    told = place.run("push-directory", place.root, "--project", "demo")
    assert (told.returncode, told.stdout.count("already-there")) == (0, 2)

    told = place.run("push-message", place.tree_file, "--project", "demo")
    tree = Digest.of(place.message)
    assert (told.returncode, told.stdout) == (0, f"{tree}\n")
    assert told.stderr.count("pushed, 1 object") == 2
    assert tree.hash not in objects(place.cachedir)
    for server in ("server", "second"):
        assert {*mine, tree.hash} <= objects(f"{place.folder}/{server}").keys()
        assert list(Oracle(f"{place.folder}/{server}").refs()) == []

    pulled = place.run("pull-tree", tree, "--project", "demo", config=place.other)
    assert (pulled.returncode, pulled.stdout) == (0, f"{place.root}\n")
    assert f"from {place.first}" in pulled.stderr
    assert objects(f"{place.folder}/other") == mine
    with Client(load_settings(place.other)) as cache:
        again = cache.pull_tree("demo", tree).result(timeout_s=30)
        assert again == PullTreeResult(digest=str(place.root), remote=place.first)
        assert cache.push_directory("demo", None).result(timeout_s=30) == PushDirectoryResult()
        with pytest.raises(InvalidRequest, match="no Tree message"):
            cache.pull_tree("demo", cache.push_message("demo", b"text").result(timeout_s=30).digest).result(
                30
            )
    assert place.run("list", config=place.other).stdout == ""

    code, cleaned = place.ask("cleanup", config=place.other)
    assert (code, [group["reason"] for group in cleaned["groups"]]) == (0, ["no ref names it"])
    assert objects(f"{place.folder}/other") == {}
    assert Oracle(f"{place.folder}/other").troubles() == []


def test_a_message_may_come_from_standard_input(place):
    done = subprocess.run(
        [*COMMAND, "--config", place.config, "--json", "push-message", "-", "--project", "demo"],
        input=b"from a pipe",
        env=environment(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout)["digest"] == str(Digest.of(b"from a pipe"))


def test_some_remotes_reached_and_others_not_is_3(place):
    for words in (["push-directory", place.root], ["push-message", place.tree_file]):
        code, document = place.ask(*words, "--project", "half")
        assert (code, outcomes(document)[place.dead]) == (3, "failed")
        assert outcomes(document)[place.first] in {"pushed", "already-there"}
    told = place.run("push-message", place.tree_file, "--project", "half")
    assert (told.returncode, told.stdout) == (3, f"{Digest.of(place.message)}\n")
    assert f"{place.dead}: failed" in told.stderr


def test_a_tree_comes_from_the_remote_that_has_it_past_those_that_fail_or_lie(place):
    """D-13, D-17: each is asked for the Tree itself; what one sends wrong is not kept."""
    assert place.run("push-directory", place.root, "--project", "demo").returncode == 0
    tree = place.run("push-message", place.tree_file, "--project", "demo").stdout.strip()
    place.liar.blobs = {Digest.of(place.message).hash: place.message}
    place.liar.wrong_bytes = True
    for project in ("half", "lies"):
        code, document = place.ask("pull-tree", tree, "--project", project, config=place.other)
        assert (code, document["digest"], document["remote"]) == (0, str(place.root), place.first)
    assert any(
        tree in str(request) or Digest.parse(tree).hash in str(request) for _, request in place.liar.calls
    )
    assert Oracle(f"{place.folder}/other").troubles() == []


@pytest.mark.parametrize(
    ("words", "code", "holds"),
    [
        (["pull-tree", NOWHERE, "--project", "demo"], 11, "no remote has it"),
        (["pull-tree", NOWHERE, "--project", "fetch"], 11, "no remote has it"),
        (["pull-tree", NOWHERE, "--project", "half"], 20, "remote unavailable"),
        (["pull-tree", NOWHERE, "--project", "away"], 20, "remote unavailable"),
        (["pull-tree", NOWHERE, "--project", "unknown"], 17, "no remote is configured for project 'unknown'"),
        (["pull-tree", "what", "--project", "demo"], 10, "is not HASH/SIZE"),
        (["pull-tree", NOWHERE, "--project", "a/b"], 10, "is not a name"),
        (["pull-tree", NOWHERE], 2, "--project"),
        (["push-directory", NOWHERE, "--project", "demo"], 12, "content is missing"),
        (["push-directory", NOWHERE, "--project", "fetch"], 17, "no push remote is configured"),
        (["push-message", "{tree}", "--project", "fetch"], 17, "no push remote is configured"),
        (["push-message", "{tree}", "--project", "away"], 20, "remote unavailable"),
        (["push-message", "{tree}", "--project", "readonly"], 14, "does not allow push"),
        (["push-message", "/none", "--project", "demo"], 10, "No such file"),
        (["push-message", "/dev/zero", "--project", "demo"], 10, "commit it as a file"),
    ],
)
def test_what_fails_says_so_with_its_code(place, words, code, holds):
    words = [word.format(tree=place.tree_file) for word in words]
    told = place.run(*words)
    assert (told.returncode, told.stdout) == (code, "")
    assert holds in told.stderr
    assert "Traceback" not in told.stderr


def test_a_push_to_a_server_that_only_reads_is_14_for_a_directory_too(place):
    code, document = place.ask("push-directory", place.root, "--project", "readonly")
    assert (code, document["error"]) == (14, "PermissionDenied")
    assert objects(f"{place.folder}/readonly") == {}


def test_the_job_id_instead_of_waiting(place):
    told = place.run("push-message", place.tree_file, "--project", "demo", "--detach")
    with Client(load_settings(place.config)) as cache:
        assert cache.job(told.stdout.strip()).result(timeout_s=30).digest == str(Digest.of(place.message))
