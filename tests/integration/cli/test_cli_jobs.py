"""The command with real workers and servers: every verb, what it prints, and how it exits."""

import os
import subprocess

import pytest
from harness.commands import place_in

from caskeeper import Client, Ref


def test_commit_push_remove_pull_extract_in_turn(fleet, tree):
    path, ref = tree
    other = ref.replace("k1", "k2")
    code, committed = fleet.ask("commit", path, ref, other)
    assert (code, committed["files"], committed["refs"]) == (0, 4, [ref, other])
    assert committed["added_bytes"] > 0
    code, pushed = fleet.ask("push", ref, other)
    assert (code, pushed["pushed"], pushed["remotes"][0]["outcome"]) == (0, True, "pushed")
    assert fleet.ask("push", ref)[1]["remotes"][0]["outcome"] == "already-there"
    code, removed = fleet.ask("remove", ref, other)
    assert (code, set(removed["removed"])) == (0, {ref, other})
    assert removed["freed_bytes"] > 0
    assert fleet.run("contains", ref).returncode == 11
    code, pulled = fleet.ask("pull", ref, other)
    assert code == 0
    assert {one["ref"]: one["pulled"] for one in pulled["results"]} == {ref: True, other: True}
    assert fleet.ask("pull", ref)[1]["results"][0]["cached"] is True
    assert fleet.ask("pull", ref, "--refresh")[1]["results"][0]["pulled"] is True
    extracted = fleet.run("extract", ref)
    assert extracted.returncode == 0
    assert subprocess.run(["diff", "-r", path, extracted.stdout.strip()], check=False).returncode == 0


def test_what_is_printed_and_returned_is_the_ref_that_is_bound(fleet, tree):
    path, _ = tree
    asked, bound, linked = "test/\N{LATIN SMALL LETTER U WITH DIAERESIS}/k1", "test/_/k1", "test/_/k2"
    assert fleet.ask("commit", path, asked, "test/+/k1")[1]["refs"] == [bound]
    assert fleet.run("commit", path, asked).stdout.startswith(f"{bound}: 4 files")
    assert fleet.ask("push", asked)[1]["refs"] == [bound]
    assert fleet.run("push", asked).stdout.startswith(f"{bound} -> ")
    assert fleet.ask("pull", asked, "test/+/k1")[1]["results"][0]["ref"] == bound
    assert fleet.run("pull", asked).stdout == f"{bound}: is here already\n"
    assert fleet.run("contains", asked).stdout == f"{bound}: here\n"
    assert fleet.ask("extract", asked)[1]["ref"] == bound
    assert fleet.run("link", asked, "k2").stdout == f"{linked}: names what {bound} names\n"
    assert fleet.ask("diff", asked, linked)[1]["ref_a"] == bound
    assert fleet.ask("remove", asked)[1]["refs"] == [bound]


def test_commit_with_push_is_one_call(fleet, tree):
    path, ref = tree
    code, document = fleet.ask("commit", path, ref, "--push")
    assert (code, document["push"]["pushed"]) == (0, True)
    told = fleet.run("commit", path, ref, "--push")
    assert "4 files" in told.stdout
    assert f"{ref} -> {fleet.remote}: already-there" in told.stdout


def test_pull_to_a_folder_makes_a_private_copy(fleet, tree, tmp_path):
    path, ref = tree
    fleet.run("commit", path, ref)
    done = fleet.run("pull", ref, "--to", f"{fleet.folder}/private")
    assert (done.returncode, done.stdout) == (0, f"{fleet.folder}/private\n")
    with open(f"{fleet.folder}/private/a", "a", encoding="utf-8") as file:
        file.write("mine")
    again = fleet.run("extract", ref, "--to", f"{fleet.folder}/private")
    assert again.returncode == 16


def test_a_part_is_pulled_and_never_pushed(fleet, tree):
    path, ref = tree
    fleet.run("commit", path, ref, "--push")
    fleet.run("remove", ref)
    assert fleet.run("pull", ref, "--exclude", "sub").returncode == 0
    assert fleet.ask("push", ref)[0] == 12
    assert fleet.run("contains", ref, "--subdir", "sub/deep").returncode == 11
    assert fleet.run("pull", ref, "--subdir", "sub/deep").returncode == 0
    assert fleet.run("contains", ref, "--subdir", "sub/deep").returncode == 0


def test_link_binds_another_key(fleet, tree):
    path, ref = tree
    fleet.run("commit", path, ref)
    linked = ref.replace("k1", "k9")
    assert fleet.ask("link", ref, "k9")[1]["linked"] == linked
    assert fleet.ask("show", linked)[1]["roots"] == fleet.ask("show", ref)[1]["roots"]


def test_list_show_and_status_tell_what_is_here(fleet, tree):
    path, ref = tree
    fleet.run("commit", path, ref)
    code, listed = fleet.ask("list", f"*/{ref.split('/')[1]}/*", "--sort", "name")
    assert (code, [line["ref"] for line in listed["artifacts"]]) == (0, [ref])
    assert ref in fleet.run("list", "--sort", "size").stdout
    assert fleet.ask("list", "nothing/*")[1] == {"artifacts": []}
    shown = fleet.run("show", ref).stdout
    assert "origin     commit" in shown
    assert fleet.run("show", "test/none/k").returncode == 11
    code, status = fleet.ask("status")
    assert (code, status["ready"], len(status["workers"])) == (0, True, 1)
    assert status["used_bytes"] > 0
    assert set(status["queues"]) == {f"caskeeper.{lane}" for lane in ("pull", "local", "push", "maintenance")}
    assert "workers     1: " in fleet.run("status").stdout


def test_looking_goes_on_beside_a_stranger_and_complains_in_one_line_that_names_verify(fleet, tree):
    path, ref = tree
    fleet.run("commit", path, ref)
    stranger = f"{fleet.folder}/cache/cas/refs/heads/{ref.split('/')[0]}/etc"
    os.symlink("/etc", stranger)
    try:
        for words in (["list"], ["show", ref], ["du"]):
            told = fleet.run("-q", *words)
            assert (told.returncode, ref in told.stdout) == (0, True)
            assert told.stderr.count("\n") == 1
            assert stranger in told.stderr
            assert "caskeeper verify" in told.stderr
        code, listed = fleet.ask("list")
        assert (code, listed["strangers"]) == (0, [stranger])
        assert fleet.run("contains", ref).returncode == 0
        assert fleet.run("explain", ref).returncode == 0
        assert fleet.ask("status")[1]["strangers"] == [stranger]
        assert f"{stranger} is no ref" in fleet.run("status").stdout
        assert fleet.ask("cleanup", "--to", "0")[0] == 24
    finally:
        os.unlink(stranger)


def test_status_tells_what_redis_knows_where_the_volume_is_not_mounted(fleet):
    elsewhere = fleet.configure("elsewhere", cachedir=f"{fleet.folder}/elsewhere")
    code, status = fleet.ask("status", config=elsewhere)
    assert (code, status["mounted"]) == (0, False)
    assert "not mounted here" in fleet.run("status", config=elsewhere).stdout


@pytest.mark.parametrize("words", [["list"], ["show", "a/b/c"], ["hold", "a/b/c", "--", "true"], ["worker"]])
def test_a_volume_that_is_not_mounted_is_17(fleet, words):
    elsewhere = fleet.configure("elsewhere", cachedir=f"{fleet.folder}/elsewhere")
    done = fleet.run(*words, config=elsewhere)
    assert done.returncode == 17
    assert f"{fleet.folder}/elsewhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_has_it_is_11_and_no_remote_is_17(fleet):
    done = fleet.run("pull", "test/none/k")
    assert (done.returncode, done.stdout) == (11, "")
    assert "no remote has it" in done.stderr
    code, document = fleet.ask("pull", "test/none/k")
    assert (code, document["error"], document["exit_code"]) == (11, "ArtifactNotFound", 11)


def test_several_refs_tell_each_its_own_and_exit_by_the_worst(fleet, tree):
    path, ref = tree
    fleet.run("commit", path, ref)
    code, document = fleet.ask("pull", ref, "test/none/k")
    assert code == 11
    assert document["results"][0]["cached"] is True
    assert document["results"][1]["error"]["error"] == "ArtifactNotFound"
    done = fleet.run("pull", ref, "test/none/k", "--extract")
    assert done.returncode == 11
    assert done.stdout.count("\n") == 1
    assert "test/none/k" in done.stderr


def test_no_remote_configured_is_17(tmp_path):
    with place_in(tmp_path) as place:
        place.worker()
        assert place.ask("pull", "test/none/k")[0] == 17
        path = place.tree("tree", {"a": b"one\n"})
        assert place.run("commit", path, "test/tree/k").returncode == 0
        done = place.run("push", "test/tree/k")
        assert done.returncode == 17
        assert "--remote" in done.stderr
        code, document = place.ask("commit", path, "test/tree/k", "--push")
        assert (code, document["push"]["error"]["error"]) == (17, "ConfigInvalid")
        assert document["root"], "what was committed is told all the same"


def test_a_push_that_reached_some_remotes_is_3_and_none_is_20(fleet, tree):
    path, ref = tree
    fleet.run("commit", path, ref)
    dead = "url=http://127.0.0.1:9,push=true"
    code, document = fleet.ask("push", ref, "--remote", fleet.remote, "--remote", dead)
    assert (code, [one["outcome"] for one in document["remotes"]]) == (3, ["pushed", "failed"])
    done = fleet.run("push", ref, "--remote", fleet.remote, "--remote", dead)
    assert done.returncode == 3
    assert "failed" in done.stderr
    code, document = fleet.ask("push", ref, "--remote", dead)
    assert (code, document["message"].count("try again later")) == (20, 1)


def test_a_server_that_only_reads_refuses_with_14_and_still_gives(fleet, tree):
    path, ref = tree
    fleet.run("commit", path, ref, "--push")
    config = fleet.configure("reader", cachedir=f"{fleet.folder}/server", redis=f"{fleet.valkey.url}?db=1")
    _, url = fleet.server("--read-only", config=config, name="reader")
    assert fleet.ask("push", ref, "--remote", f"url={url},push=true")[0] == 14
    fleet.run("remove", ref)
    assert fleet.ask("pull", ref, "--remote", url)[1]["results"][0]["remote"] == url


def test_a_server_that_is_full_is_22(fleet):
    path, ref = fleet.tree("large", {"data": os.urandom(256 * 1024)}), "test/large/k1"
    fleet.run("commit", path, ref)
    config = fleet.configure(
        "tiny",
        cachedir=f"{fleet.folder}/tiny",
        redis=f"{fleet.valkey.url}?db=3",
        cache={"quota": "128K", "headroom": "0", "reserved-disk-space": "0"},
    )
    _, url = fleet.server(config=config, name="tiny")
    code, document = fleet.ask("push", ref, "--remote", f"url={url},push=true")
    assert (code, document["error"]) == (22, "NoSpace")


def test_a_path_outside_the_roots_and_a_ref_that_is_not_here_are_told(fleet):
    assert fleet.ask("commit", "/etc", "test/etc/k")[0] == 10
    assert fleet.ask("remove", "test/none/k")[0] == 11
    assert fleet.ask("extract", "test/none/k")[0] == 11


def test_cleanup_plans_and_does(fleet, tree):
    path, ref = tree
    fleet.run("commit", path, ref)
    code, plan = fleet.ask("cleanup", "--to", "0", "--dry-run")
    assert (code, plan["dry_run"], plan["freed_bytes"]) == (0, True, 0)
    assert any(ref in group["refs"] and group["action"] == "evict" for group in plan["groups"])
    assert ref in fleet.run("cleanup", "--to", "0", "--dry-run").stdout
    assert fleet.run("contains", ref).returncode == 0
    assert fleet.ask("cleanup", "--to", "50%")[1]["target_bytes"] > 0
    assert fleet.ask("cleanup", "--to", "0")[1]["freed_bytes"] > 0
    assert fleet.run("contains", ref).returncode == 11
    assert fleet.run("commit", path, ref).returncode == 0
    with Client(config=fleet.config) as client, client.session() as session:
        session.require(Ref.parse(ref))
        missed = fleet.run("cleanup", "--to", "0")
        assert missed.returncode == 3
        assert "the target 0B was not reached" in missed.stderr
        assert fleet.ask("cleanup", "--to", "0")[0] == 3
        assert fleet.run("cleanup", "--to", "0", "--dry-run").returncode == 0
    code, counted = fleet.ask("compute-size")
    assert (code, counted["used_bytes"]) == (0, counted["estimate_bytes"])
