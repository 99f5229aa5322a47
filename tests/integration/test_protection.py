"""Sessions of several steps and pins with the real command: what they keep, and how they end."""

import json
import os
import signal

import pytest
from harness.commands import call, place_in, until

from caskeeper import Client, Element, Pin, load_settings
from caskeeper.artifact import Ref


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with place_in(tmp_path_factory.mktemp("protection")) as place:
        place.process = place.worker()
        yield place


@pytest.fixture
def commit(fleet, request):
    """``commit(ref, ...)`` a tree of its own; afterwards nothing is left."""
    made = []

    def commit(*refs):
        made.append(refs)
        path = fleet.tree(f"{request.node.name}-{len(made)}", {"own": os.urandom(5000)})
        assert fleet.run("commit", path, *refs).returncode == 0

    yield commit
    everything(fleet)
    assert refs_of(fleet) == []


def everything(fleet):
    """A cleanup that takes whatever it may; what happened to whom, and why."""
    code, document = fleet.ask("cleanup", "--to", "0")
    assert code in {0, 3}  # 3: the target was not reached, for what is left is protected
    return {ref: (group["action"], group["reason"]) for group in document["groups"] for ref in group["refs"]}


def refs_of(fleet):
    return [line["ref"] for line in fleet.ask("list", "--sort", "name")[1]["artifacts"]]


def test_a_session_protects_across_the_steps_of_a_job(fleet, commit):
    """AC-26 to AC-29, D-30: each command is a process of its own, and the cleanup another one."""
    commit("demo/a/strong", "demo/a/weak")
    commit("demo/b/other")
    commit("elsewhere/c/weak")
    opened = fleet.run("session", "open", "--label", "job 7", "--life", "1h")
    assert opened.returncode == 0
    session = opened.stdout.strip()
    done = fleet.run("session", "require", session, "demo/a.bst/weak", "demo/late/k")
    assert (done.returncode, done.stdout) == (11, "demo/a/weak\n")
    assert "demo/late/k" in done.stderr
    code, document = fleet.ask("session", "require", session, "demo/a/weak")
    assert (code, document) == (0, {"session": session, "present": ["demo/a/weak"], "absent": []})
    fate = everything(fleet)
    assert fate["demo/b/other"][0] == "evict"
    assert fate["demo/a/weak"] == ("protected", f"required by session {session}")
    assert refs_of(fleet) == ["demo/a/strong", "demo/a/weak", "elsewhere/c/weak"]
    commit("demo/late/k")
    everything(fleet)
    assert "demo/late/k" in refs_of(fleet)
    assert f"session {session}" in fleet.run("show", "demo/a/weak").stdout
    code, renewed = fleet.ask("session", "renew", session)
    assert code == 0
    assert 3590 < renewed["expires_in_s"] <= 3600
    assert "job 7" in fleet.run("status").stdout
    assert fleet.run("session", "close", session).returncode == 0
    assert fleet.run("session", "close", session).returncode == 0
    everything(fleet)
    assert refs_of(fleet) == []
    for words in (["renew", session], ["require", session, "demo/a/weak"]):
        code, over = fleet.ask("session", *words)
        assert (code, over["error"], over["where"]) == (23, "LeaseLost", f"session {session}")
        assert "open a new one" in over["way_out"]


def test_a_session_that_expired_protects_nothing_and_says_so(fleet, commit):
    commit("demo/a/k")
    session = fleet.run("session", "open", "--life", "1ms").stdout.strip()
    until(lambda: fleet.run("session", "require", session, "demo/a/k").returncode == 23)
    everything(fleet)
    assert refs_of(fleet) == []


def test_a_pin_by_ref_or_glob_protects_until_it_is_taken_away(fleet, commit):
    commit("demo/a/k1", "demo/a/k2")
    commit("tools/gcc/k")
    commit("demo/b/k")
    done = fleet.run("pin", "tools/*", "demo/a.bst/k1")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "tools/*: pinned, 1 artifact of it here\ndemo/a/k1: pinned, 1 artifact of it here\n"
    )
    assert "was pinned" in fleet.run("pin", "tools/*").stdout
    assert fleet.run("pins").stdout == "demo/a/k1\ntools/*\n"
    assert fleet.ask("pins") == (0, {"pins": ["demo/a/k1", "tools/*"]})
    fate = everything(fleet)
    assert fate["tools/gcc/k"] == ("protected", "pinned by tools/*")
    assert refs_of(fleet) == ["demo/a/k1", "demo/a/k2", "tools/gcc/k"]
    refused = fleet.run("remove", "tools/gcc/k")
    assert refused.returncode == 14
    assert "pinned by tools/*" in refused.stderr
    assert "unpin 'tools/*'" in refused.stderr
    assert "pin tools/*" in fleet.run("show", "tools/gcc/k").stdout
    assert fleet.run("unpin", "tools/*", "demo/a/k1").returncode == 0
    assert fleet.run("pins").stdout == ""
    assert fleet.run("unpin", "tools/*").returncode == 11


def test_the_client_requires_keys_that_become_known_and_lists_pins(fleet, commit):
    """Interface section 3, against a cleanup of a real worker."""
    commit("demo/a/weak")
    with Client(load_settings(fleet.config, environ={})) as cache, cache.session(label="build") as session:
        element = Element("demo", "a.bst")
        assert session.require(element) == ()
        weak = element._replace(weak_key="weak")
        assert session.require(weak) == (Ref("demo", "a", "weak"),)
        commit("demo/a/strong")
        assert session.require(weak._replace(strong_key="strong")) == (
            Ref("demo", "a", "strong"),
            Ref("demo", "a", "weak"),
        )
        everything(fleet)
        assert refs_of(fleet) == ["demo/a/strong", "demo/a/weak"]
        fleet.run("pin", "demo/*")
        assert cache.pins() == (Pin("demo/*"),)
        fleet.run("unpin", "demo/*")
        assert cache.pins() == ()


def test_sessions_and_pins_need_no_worker(tmp_path):
    with place_in(tmp_path) as place:
        worker = place.worker()
        path = place.tree("tree", {"f": b"content"})
        assert place.run("commit", path, "demo/a/k").returncode == 0
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
        session = place.ask("session", "open")[1]
        assert session["life_s"] == 120.0
        assert place.run("session", "require", session["session"], "demo/a/k").returncode == 0
        assert place.run("session", "renew", session["session"]).returncode == 0
        assert place.run("session", "close", session["session"]).returncode == 0
        assert place.run("pin", "demo/*").returncode == 0
        assert place.run("pins").stdout == "demo/*\n"
        assert place.run("unpin", "demo/*").returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["session", "frob"], 2, "frob"),
        (["session", "open", "--life", "long"], 10, "60, 90s, 10min or 6h"),
        (["session", "require", "x"], 2, "REF"),
        (["session", "require", "x", "a/b"], 10, "PROJECT/ELEMENT/KEY"),
        (["pin"], 2, "REF|GLOB"),
        (["pin", "a/b"], 10, "PROJECT/ELEMENT/KEY"),
        (["unpin", "a b*"], 10, "matches no ref"),
    ],
)
def test_a_wrong_argument_is_told_before_anything_is_started(words, code, says, tmp_path):
    done = call("--json", *words, CASKEEPER_CACHEDIR=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit_code"]) == (code, code)
    assert says in document["message"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("life", ["8d", "0"])
def test_a_life_that_is_none_or_has_no_end_is_refused(fleet, life):
    done = fleet.run("session", "open", "--life", life)
    assert done.returncode == 10
    assert "at most 7 days" in done.stderr


def test_global_options_stand_anywhere(fleet):
    for place in range(3):
        words = ["session", "open"]
        words.insert(place, "--json")
        session = json.loads(fleet.run(*words).stdout)["session"]
        assert fleet.run("--quiet", "session", "close", session).stdout == ""
    usage = fleet.run("session", "--help").stdout
    assert all(name in usage for name in ("open", "require", "renew", "close"))
