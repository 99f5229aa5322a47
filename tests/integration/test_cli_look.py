"""diff, files, cat, du and import as commands, with a real worker."""

import base64
import json
import os
import subprocess

import pytest
from harness.commands import COMMAND, environment, place_in
from harness.old_cache import OldCache, artifact

A, B = "demo/look/a", "demo/look/b"
ODD = "odd\n\x1b[31m"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with place_in(tmp_path_factory.mktemp("look")) as place:
        place.worker()
        tree = place.tree("tree", {"same": b"1" * 5000, "sub/changed": b"old", "sub/gone": b"1", ODD: b"1"})
        os.symlink("same", f"{tree}/link")
        assert place.run("commit", tree, A).returncode == 0
        os.unlink(f"{tree}/link")
        os.symlink("sub", f"{tree}/link")
        os.unlink(f"{tree}/sub/gone")
        os.chmod(f"{tree}/same", 0o755)
        place.tree("tree", {"sub/changed": b"new", "sub/more": b"\x00\xff", "extra/file": b"2"})
        assert place.run("commit", tree, B).returncode == 0
        yield place


def test_diff_prints_a_line_for_each_change_and_one_document_on_request(fleet):
    told = fleet.run("diff", A, B)
    assert told.returncode == 0
    assert [line.split(maxsplit=1) for line in told.stdout.splitlines()] == [
        ["modified", "sub/changed"],
        ["removed", "sub/gone"],
        ["added", "extra/file"],
        ["added", "sub/more"],
        ["added", "extra/"],
        ["link", "link: same -> sub"],
        ["mode", "same: executable now"],
    ]
    code, document = fleet.ask("diff", A, B, "--subdir", "sub")
    assert code == 0
    assert (document["modified"], document["removed"], document["added"]) == (["changed"], ["gone"], ["more"])
    assert fleet.run("diff", A, A).stdout == "no difference\n"
    missing = fleet.run("diff", A, "demo/look/none")
    assert (missing.returncode, missing.stdout) == (11, "")
    assert "demo/look/none" in missing.stderr
    assert fleet.run("diff", A, B, "--subdir", "none").returncode == 10


def test_files_lists_a_tree_and_no_name_can_write_on_the_terminal(fleet):
    told = fleet.run("files", B)
    assert told.returncode == 0
    lines = told.stdout.splitlines()
    assert "file       0755     4.9K  same" in lines
    assert any(line.endswith("  link -> sub") and line.startswith("symlink") for line in lines)
    assert "\x1b" not in told.stdout
    assert any(line.endswith("odd\\n\\x1b[31m") for line in lines)
    code, document = fleet.ask("files", B)
    assert code == 0
    paths = {one["path"]: one for one in document["files"]}
    assert paths[ODD]["size_bytes"] == 1
    assert (paths["same"]["kind"], paths["same"]["mode"]) == ("file", "0755")
    assert fleet.run("files", "demo/look/none").returncode == 11


def test_cat_gives_exactly_the_bytes(fleet):
    done = subprocess.run(
        [*COMMAND, "--config", fleet.config, "cat", B, "sub/more"],
        env=environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\x00\xff", b"")
    code, document = fleet.ask("cat", B, "sub/more")
    assert (code, base64.b64decode(document["content_base64"])) == (0, b"\x00\xff")
    refused = fleet.run("cat", B, "link")
    assert (refused.returncode, refused.stdout) == (10, "")
    assert "symbolic link to 'sub'" in refused.stderr


def test_du_tells_each_ref_and_all_together(fleet):
    code, document = fleet.ask("du", "demo/look/*")
    assert code == 0
    lines = {one["ref"]: one for one in document["refs"]}
    assert lines[A]["logical_bytes"] == 5000 + 3 + 1 + 1
    assert lines[A]["unique_bytes"] < lines[A]["physical_bytes"]
    assert document["physical_bytes"] < lines[A]["physical_bytes"] + lines[B]["physical_bytes"]
    told = fleet.run("du", "demo/look/*").stdout.splitlines()
    assert [line.split()[-1] for line in told][-1] == "refs"
    assert {line.split()[-1] for line in told[:-1]} == {A, B}


def test_import_takes_over_another_cache_and_says_what_it_left(fleet):
    cache = OldCache(f"{fleet.folder}/artifacts")
    cache.name("interop/app/1", cache.add_tree(artifact("app")), age_s=10)
    broken = cache.add_tree({"file": (b"broken", False)})
    cache.name("interop/broken/1", broken, age_s=20)
    os.unlink(cache.path(broken.hash))
    would = fleet.run("import", cache.root, "--dry-run")
    assert would.returncode == 3
    assert "1 imported" in would.stdout
    assert fleet.run("contains", "interop/app/1").returncode == 11
    code, document = fleet.ask("import", cache.root)
    assert code == 3
    assert {one["ref"]: one["outcome"] for one in document["artifacts"]} == {
        "interop/app/1": "imported",
        "interop/broken/1": "damaged",
    }
    os.unlink(f"{cache.root}/cas/refs/heads/interop/broken/1")
    again = fleet.run("import", cache.root)
    assert (again.returncode, again.stdout) == (0, "refs: 1 here already; 0 objects, 0B copied\n")
    extracted = fleet.run("extract", "interop/app/1").stdout.strip()
    with open(f"{extracted}/files/name", "rb") as file:
        assert file.read() == b"app"
    refused = fleet.run("--json", "import", fleet.cachedir)
    assert json.loads(refused.stdout)["error"] == "InvalidRequest"
    detached = fleet.run("import", cache.root, "--detach")
    assert (detached.returncode, detached.stdout.count("\n")) == (0, 1)
