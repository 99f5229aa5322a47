"""`caskeeper remotes`, and pulls past remotes of no use: one read-only, one dead, one silent."""

from __future__ import annotations

import glob
import json
import signal

import pytest
from harness.commands import read
from harness.lying_server import black_hole, nobody_listening
from harness.scene import KEPT, done, finish, scene_in

from caskeeper import Client
from caskeeper.config import load_settings
from caskeeper.contract import RemotesCheckResult

SECRET = "s3cr3t-bearer"


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Servers in both forms: `servers:` for everybody, a list of 2019 for one project."""
    folder = tmp_path_factory.mktemp("remotes")
    with nobody_listening() as dead, black_hole() as silent, scene_in(folder) as made:
        made.dead, made.silent = dead, silent
        made.good = made.server()[1]
        made.readonly = made.server("--read-only", name="readonly", database=2)[1]
        (folder / "token").write_text(f"{SECRET}\n")
        servers = [
            {"url": silent, "push": True},
            {"url": dead},
            {"url": made.readonly, "push": True},
            {"url": made.good, "push": True, "auth": {"access-token": f"{folder}/token"}},
            {"url": made.good, "type": "index", "index": "action-cache"},
        ]
        made.config = made.configure(
            "both",
            artifacts={"servers": servers},
            projects={
                "old": {"artifacts": [{"url": made.good}]},
                "new": {"artifacts": {"servers": [{"url": made.readonly}]}},
            },
        )
        (bare,) = made._running[:1]
        bare.send_signal(signal.SIGTERM)
        bare.wait(30)
        made.worker(made.config)  # the remotes are those of the worker's configuration
        yield made


@pytest.fixture(scope="module")
def checked(scene):
    """One check of everything: the finished command and its document."""
    finished = finish(scene.start("--json", "remotes"))
    return finished, json.loads(finished.stdout)["remotes"]


def states(remotes):
    return [(one["url"], one["usable"], one["fetch"], one["push"]) for one in remotes]


def test_every_remote_is_shown_with_what_it_can_and_why_not(scene, checked):
    finished, remotes = checked
    assert finished.returncode == 3
    # In the order of projects, then of priority in each; a spec that several use stands once.
    assert states(remotes) == [
        (scene.good, True, True, False),
        (scene.silent, False, False, False),
        (scene.dead, False, False, False),
        (scene.readonly, True, True, False),
        (scene.good, True, True, True),
        (scene.good, True, True, False),
        (scene.readonly, True, True, False),
    ]
    by_where = dict(zip(("old", "silent", "dead", "readonly", "good", "index", "new"), remotes, strict=True))
    assert [one["projects"] for one in remotes] == [["old"], *[["old", "*"]] * 5, ["new"]]
    assert "DEADLINE_EXCEEDED" in by_where["silent"]["reason"]
    assert "UNAVAILABLE" in by_where["dead"]["reason"]
    assert by_where["readonly"]["reason"] == "the server does not allow push"
    assert (by_where["index"]["type"], by_where["index"]["protocol"]) == ("index", "action-cache")
    for name in ("old", "good", "new"):
        assert by_where[name]["reason"] == ""
        assert by_where[name]["protocol"] == "remote-asset"
        assert by_where[name]["latency_ms"] > 0


def test_the_worker_warns_once_of_each_and_shows_no_secret(scene, checked):
    log = "".join(map(read, glob.glob(f"{scene.cachedir}-worker-*.log")))
    dropped = [line for line in log.splitlines() if "remote dropped" in line]
    assert len(dropped) == 2
    assert sum(scene.dead in line for line in dropped) == 1
    assert sum("remote is used for fetching only" in line for line in log.splitlines()) == 1
    assert SECRET not in log + checked[0].stdout + checked[0].stderr


def test_a_person_sees_a_table_and_the_reasons_beside_it(scene):
    finished = finish(scene.start("remotes", "--project", "demo"))
    assert finished.returncode == 3
    head, *rows = finished.stdout.splitlines()
    assert head.split() == ["URL", "USABLE", "FETCH", "PUSH", "PROTOCOL", "LATENCY", "PROJECTS"]
    assert [row.split()[:4] for row in rows[:4]] == [
        [scene.silent, "no", "no", "no"],
        [scene.dead, "no", "no", "no"],
        [scene.readonly, "yes", "yes", "no"],
        [scene.good, "yes", "yes", "yes"],
    ]
    assert f"caskeeper: {scene.readonly}: fetch only: the server does not allow push" in finished.stderr
    assert f"caskeeper: {scene.dead}: not usable: remote unavailable" in finished.stderr


def test_one_project_has_its_own_and_all_well_is_exit_0(scene):
    """`servers:` of a project replace the global ones; the token is sent and not asked for."""
    finished = finish(scene.start("--json", "remotes", "--project", "new"))
    assert finished.returncode == 0
    assert states(json.loads(finished.stdout)["remotes"]) == [(scene.readonly, True, True, False)]


def test_the_client_asks_too(scene):
    with Client(load_settings(scene.config)) as client:
        result = client.remotes("old").result(timeout_s=60)
    assert isinstance(result, RemotesCheckResult)
    assert result.has_fetch_remotes("old")
    assert result.has_push_remotes("old")
    assert not result.has_fetch_remotes("unheard")


def test_a_push_reaches_whom_it_can_and_a_pull_gets_past_the_others(scene):
    """D-15, D-17, AC-21: five remotes of which one takes it."""
    finished = finish(scene.start("--json", "push", KEPT))
    assert finished.returncode == 3, finished
    outcomes = {one["url"]: one["outcome"] for one in json.loads(finished.stdout)["remotes"]}
    assert outcomes == {scene.silent: "failed", scene.readonly: "failed", scene.good: "pushed"}
    done(scene.start("remove", KEPT))
    (result,) = json.loads(done(scene.start("--json", "pull", KEPT)))["results"]
    assert (result["pulled"], result["remote"]) == (True, scene.good)
    scene.assert_sound()
