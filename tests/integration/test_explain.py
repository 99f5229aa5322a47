"""explain as a command and through the client: it needs no worker, and says so when it needs the volume."""

import os
import time

import pytest
from harness.commands import place_in

from caskeeper import Client

A, B = "demo/kept/a", "demo/kept/b"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with place_in(tmp_path_factory.mktemp("explain")) as place:
        place.worker()
        for ref, content in ((A, b"a"), (B, b"b")):
            tree = place.tree(ref, {"file": content * 5000})
            assert place.run("commit", tree, ref).returncode == 0
            time.sleep(0.02)  # a tick of the volume's clock
        yield place


def told(fleet, ref):
    """The lines, as (name, text)."""
    done = fleet.run("explain", ref)
    lines = [tuple(line.split(maxsplit=1)) for line in done.stdout.replace("kept by", "kept-by").splitlines()]
    return done.returncode, lines


def test_why_it_is_kept_is_told_to_people_and_to_programs(fleet):
    code, lines = told(fleet, B)
    assert code == 0
    facts = dict(lines)
    assert (facts["here"], facts["kept-by"]) == ("yes, complete", "nobody")
    assert "number 2 of 2 in the order of eviction, after 1 artifact of " in facts["order"]
    assert facts["order"].endswith(A)
    assert " published " in facts["history"]
    assert " for job " in facts["history"]
    assert fleet.run("pin", "demo/kept/*").returncode == 0
    assert fleet.run("session", "open", "--label", "nightly").returncode == 0
    code, document = fleet.ask("session", "open", "--label", "release")
    assert fleet.run("session", "require", document["session"], B).returncode == 0
    code, document = fleet.ask("explain", B)
    assert (code, document["here"], document["action"]) == (0, True, "protected")
    assert [one["kind"] for one in document["kept_by"]] == ["pin", "session"]
    facts = told(fleet, B)[1]
    assert ("kept-by", "pin demo/kept/*") in facts
    assert any(name == "kept-by" and "(release), ends in " in text for name, text in facts)
    assert fleet.run("unpin", "demo/kept/*").returncode == 0


def test_why_and_when_it_went_is_told(fleet):
    assert fleet.run("cleanup", "--to", "28K").returncode == 0
    code, lines = told(fleet, A)
    assert code == 0
    assert dict(lines)["here"].startswith("no: evicted 2")
    assert "a cleanup down to 28K was asked for; least recently used" in dict(lines)["here"]
    document = fleet.ask("explain", A)[1]
    evicted, published = document["history"]
    assert (evicted["what"], published["what"]) == ("evicted", "published")
    assert evicted["job"], "the cleanup was one"
    with Client(config=fleet.config) as cache:
        found = cache.explain(A).result(60)
    assert (found.here, found.seen, found.history[0].what) == (False, True, "evicted")


def test_what_went_behind_the_caches_back_is_told_as_that(fleet):
    tree = fleet.tree("lost", {"file": b"lost"})
    assert fleet.run("commit", tree, "demo/lost/a").returncode == 0
    os.unlink(f"{fleet.cachedir}/cas/refs/heads/demo/lost/a")
    assert "without an entry in the log" in dict(told(fleet, "demo/lost/a")[1])["here"]


def test_what_was_never_seen_exits_with_11(fleet):
    code, lines = told(fleet, "demo/never/seen")
    assert (code, dict(lines)["here"]) != (0, "")
    assert code == 11
    assert dict(lines)["here"].startswith("no, and the event log, which begins 20")
    assert dict(lines)["here"].endswith(", knows nothing of it")
    code, document = fleet.ask("explain", "demo/never/seen")
    assert (code, document["seen"]) == (11, False)
    assert fleet.run("explain", "no-ref").returncode == 10


def test_without_the_volume_it_says_so(fleet):
    elsewhere = fleet.configure("unmounted", cachedir=f"{fleet.folder}/nowhere")
    refused = fleet.run("explain", A, config=elsewhere)
    assert (refused.returncode, refused.stdout) == (17, "")
    assert "not mounted" in refused.stderr
    assert not os.path.exists(f"{fleet.folder}/nowhere")
