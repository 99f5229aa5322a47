"""`caskeeper verify` as a person runs it: what is said, and the exit code."""

import json
import os

import pytest
from harness.commands import place_in

from caskeeper.digest import Digest

REF = "demo/hello/k1"
CONTENT = b"hello" * 1000


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with place_in(tmp_path_factory.mktemp("verify")) as place:
        place.worker()
        assert place.run("commit", place.tree("src", {"hello": CONTENT, "other": b"x"}), REF).returncode == 0
        yield place


def object_of(place):
    hash_hex = Digest.of(CONTENT).hash
    return f"{place.cachedir}/cas/objects/{hash_hex[:2]}/{hash_hex[2:]}"


def test_nothing_found_is_0_and_something_found_is_3_also_when_it_was_repaired(place):
    clean = place.run("verify")
    assert clean.returncode == 0, clean
    assert clean.stdout.startswith("nothing found: 1 ref, 3 objects, 3 hashed")
    os.chmod(object_of(place), 0o600)
    told = place.run("verify")
    assert told.returncode == 3
    line, summary = told.stdout.splitlines()
    assert line == (
        f"wrong-mode  {object_of(place)}: its mode is 0600, not 0444 (`caskeeper verify --repair` mends it)"
    )
    assert summary.startswith("1 finding: 1 wrong-mode; 1 ref")
    code, document = place.ask("verify", "--repair", "--sample", "50%")
    assert (code, document["counts"], document["repaired"]) == (3, {"wrong-mode": 1}, 1)
    assert document["findings"][0]["done"] == "set right"
    assert document["sampled_percent"] == 50
    assert place.run("verify", "--quiet").returncode == 0


def test_what_was_withdrawn_is_said_in_a_line(place):
    with open(object_of(place), "r+b") as file:
        file.write(b"J")
    repaired = place.run("verify", "--repair")
    assert repaired.returncode == 3, repaired
    assert any(line.startswith("damaged-object  ") for line in repaired.stdout.splitlines())
    assert f"(withdrawn: {REF}; it was quarantined, and no remote gave it: pull it" in repaired.stdout
    assert f", withdrawn: {REF}: " in repaired.stdout
    assert place.run("contains", REF).returncode == 11
    after = place.run("verify")
    assert after.returncode == 0, after
    found, kept = after.stdout.splitlines()
    assert found.startswith("nothing found: ")
    assert kept.startswith("remark: 1 damaged file of ")
    assert " kept aside in " in kept


@pytest.mark.parametrize("share", ["0%", "101%", "many", "-3", "nan"])
def test_a_sample_of_nothing_is_10(place, share):
    done = place.run("--json", "verify", f"--sample={share}")
    assert done.returncode == 10
    assert json.loads(done.stdout)["where"] == "argument --sample"


def test_detached_it_prints_its_job(place):
    done = place.run("verify", "--detach")
    assert done.returncode == 0
    assert len(done.stdout.strip()) == 36
