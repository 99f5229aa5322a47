"""Remotes that refuse, lie, die or hang, seen from the command line: interface section 7."""

import json
import os
import signal

import grpc
import pytest
from harness.commands import read, until
from harness.fleet import Oracle
from harness.lying_server import LyingServer, black_hole, nobody_listening
from harness.scene import KEPT, done, finish, lies, scene_in

from caskeeper.digest import Digest

LIE = "demo/lie/1"


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    with scene_in(tmp_path_factory.mktemp("remotes")) as made:
        yield made


@pytest.fixture(autouse=True)
def _tidy(scene):
    yield
    scene.tidy()


@pytest.fixture(scope="module")
def honest(scene):
    """The url of a real server with a volume of its own."""
    return scene.server()[1]


@pytest.fixture
def liar():
    with LyingServer() as server:
        yield server


def push_to(*urls):
    return [word for url in urls for word in ("--remote", f"url={url},push=true")]


@pytest.mark.parametrize("size", [12, 3_000_000])
@pytest.mark.parametrize("lie", ["wrong_bytes", "cut_bytes", "extra_bytes"])
def test_other_bytes_than_the_digest_says_are_13(scene, liar, lie, size):
    """In a batch and in a stream. The folder arrives as it is, so that the file is asked for."""
    ref, content = f"demo/lie/{lie}-{size}", os.urandom(size)
    liar.refs[ref] = lies(liar, {"file": content})
    folder, distort = liar.blobs[liar.refs[ref].hash], liar.lie
    liar.lie = lambda data: data if data == folder else distort(data)
    setattr(liar, lie, 3)
    document = scene.fails("pull", ref, "--remote", liar.url, error="DigestMismatch", holds=[ref, liar.url])
    assert str(Digest.of(content)) in document["what"]
    # What it lied about is not believed afterwards, and nothing of it stands in the way of the truth.
    setattr(liar, lie, 0)
    done(scene.start("pull", ref, "--remote", liar.url))
    assert ref in scene.refs()


def test_a_folder_with_other_bytes_is_13(scene, liar):
    liar.refs[LIE] = lies(liar, {"file": b"any"})
    liar.wrong_bytes = True
    document = scene.fails("pull", LIE, "--remote", liar.url, error="DigestMismatch", holds=[LIE, liar.url])
    assert str(liar.refs[LIE]) in document["what"]


def test_the_next_remote_is_asked_after_a_lie(scene, liar, honest):
    done(scene.start("push", KEPT, *push_to(honest)))
    done(scene.start("remove", KEPT))
    liar.refs[KEPT] = lies(liar, {"other": b"not what it claims"})
    liar.wrong_bytes = True
    result = json.loads(done(scene.start("--json", "pull", KEPT, "--remote", liar.url, "--remote", honest)))[
        "results"
    ][0]
    assert (result["pulled"], result["remote"]) == (True, honest)
    scene.assert_sound()
    log = read(f"{scene.cachedir}-worker-0.log")
    failed = [line for line in log.splitlines() if "remote failed" in line and liar.url in line]
    assert failed, "the log does not say which remote failed"
    assert "came with other bytes" in failed[0]


def test_a_name_for_what_is_no_tree_is_refused(scene, liar):
    liar.refs[LIE] = liar.add(b"not a Directory message")
    scene.fails("pull", LIE, "--remote", liar.url, error="InvalidRequest", holds=[LIE, liar.url, "Directory"])
    liar.refs[LIE] = Digest("../../../../etc/passwd", 5)
    scene.fails("pull", LIE, "--remote", liar.url, error="RemoteUnavailable", holds="no digest")
    liar.refs[LIE] = Digest("0" * 64, 2**62)
    scene.fails("pull", LIE, "--remote", liar.url, error="InvalidRequest", holds="too large")


@pytest.mark.parametrize("entry", ["..", ".", "", "a/b", "a\0b"])
def test_a_tree_that_leaves_its_folder_is_refused(scene, liar, entry):
    liar.refs[LIE] = lies(liar, {entry: b"somewhere else"})
    scene.fails("pull", LIE, "--remote", liar.url, error="InvalidRequest", holds=[LIE, liar.url])


def test_more_answers_than_questions_are_a_fault_of_the_remote(scene, liar):
    liar.refs[LIE] = lies(liar, {"a": b"1"})
    liar.unasked_entry = True
    scene.fails("pull", LIE, "--remote", liar.url, error="RemoteUnavailable", holds=[LIE, liar.url])


def test_nobody_has_it_is_11_and_no_remote_that_answers_is_not(scene, liar, honest):
    scene.fails("pull", "demo/none/1", "--remote", honest, error="ArtifactNotFound", holds="demo/none/1")
    liar.refs[LIE] = Digest.of(b"was there once")  # AC-71: its content expired there
    scene.fails("pull", LIE, "--remote", liar.url, error="ArtifactNotFound", holds=LIE)
    liar.answers["GetReference"] = grpc.StatusCode.INTERNAL
    scene.fails(
        "pull",
        LIE,
        "--remote",
        honest,
        "--remote",
        liar.url,
        error="RemoteUnavailable",
        holds=[LIE, liar.url],
    )


def test_a_dead_server_is_20(scene):
    with nobody_listening() as url:
        scene.fails("pull", "demo/none/1", "--remote", url, error="RemoteUnavailable", holds=["none/1", url])
        scene.fails("push", KEPT, *push_to(url), error="RemoteUnavailable", holds=[KEPT, url])


def test_a_server_that_is_killed_meanwhile_is_20(scene, honest):
    process, url = scene.server(database=3, name="mortal")
    done(scene.start("push", KEPT, *push_to(url)))
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    done(scene.start("remove", KEPT))
    scene.fails("pull", KEPT, "--remote", url, error="RemoteUnavailable", holds=url)
    done(scene.start("pull", KEPT, "--remote", honest))


def test_a_server_that_never_answers_is_21(scene, liar):
    with black_hole() as url:
        scene.fails("pull", "demo/none/1", "--remote", url, error="DeadlineExceeded", holds=["none/1", url])
    liar.refs[LIE] = lies(liar, {"large": os.urandom(3_000_000)})
    liar.stalls_after = 0
    scene.fails("pull", LIE, "--remote", liar.url, error="DeadlineExceeded", holds=[LIE, liar.url])


def test_a_server_that_breaks_off_is_20_or_goes_on(scene, liar):
    ref = "demo/broken/1"
    liar.refs[ref] = lies(liar, {"large": os.urandom(3_000_000)})
    liar.breaks = [1_000_000] + [0] * 40
    scene.fails("pull", ref, "--remote", liar.url, error="RemoteUnavailable", holds=[ref, "broke off"])
    liar.breaks = [1_000_000]
    done(scene.start("pull", ref, "--remote", liar.url))
    scene.assert_sound()


def test_a_server_that_only_serves_is_14(scene):
    _process, url = scene.server("--read-only", database=4, name="readonly")
    holds = [KEPT, url, "does not allow push", "push to another one"]
    scene.fails("push", KEPT, *push_to(url), error="PermissionDenied", holds=holds)
    served = Oracle(f"{scene.folder}/readonly")
    assert list(served.refs()) == []
    assert served.used_bytes() == 0


def test_a_full_server_is_22_and_keeps_no_part(scene):
    _process, url = scene.server(
        config=scene.configure(
            "small",
            cachedir=f"{scene.folder}/small",
            redis=f"{scene.valkey.url}?db=6",
            cache={"quota": "1M", "reserved-disk-space": "0", "headroom": "0"},
        ),
        name="small",
    )
    done(scene.start("commit", scene.tree("two", {"large": os.urandom(3_000_000)}), "demo/two/1"))
    document = scene.fails("push", "demo/two/1", *push_to(url), error="NoSpace", holds=["demo/two/1", url])
    assert "do not fit into a quota of 1M" in document["what"]
    small = Oracle(f"{scene.folder}/small")
    assert list(small.refs()) == []
    assert small.troubles() == []
    assert small.used_bytes() <= 1_048_576
    done(scene.start("push", KEPT, *push_to(url)))  # what fits is still taken


def test_a_damaged_object_is_not_pushed_and_what_nobody_has_is_a_miss_11(scene, liar):
    content = b"will be damaged" * 1000
    done(scene.start("commit", scene.tree("sick", {"file": content}), "demo/sick/1"))
    hash_hex = Digest.of(content).hash
    path = f"{scene.oracle.objects}/{hash_hex[:2]}/{hash_hex[2:]}"
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.write(b"W")
    finished = finish(scene.start("--json", "push", "demo/sick/1", *push_to(liar.url)))
    document = json.loads(finished.stdout)
    assert (finished.returncode, document["error"]) == (11, "ArtifactNotFound"), finished
    assert f"{hash_hex}/{len(content)} was damaged" in document["what"]
    assert "demo/sick/1" not in {*liar.refs, *scene.refs()}
    done(scene.start("commit", f"{scene.folder}/sick", "demo/sick/1"))
    done(scene.start("push", "demo/sick/1", *push_to(liar.url)))
    assert "demo/sick/1" in liar.refs
    scene.assert_sound()


def test_a_server_that_loses_uploads_is_told_of(scene, liar):
    done(scene.start("commit", scene.tree("lost", {"large": os.urandom(3_000_000)}), "demo/lost/1"))
    liar.commits_bytes = 5
    finished = finish(scene.start("--json", "push", "demo/lost/1", *push_to(liar.url)))
    error = json.loads(finished.stdout)
    assert (finished.returncode, error["error"]) == (20, "RemoteUnavailable"), finished
    assert (liar.url in error["where"], error["message"].count(liar.url)) == (True, 1)
    assert "demo/lost/1" not in liar.refs


def test_a_partial_artifact_is_not_pushed_12(scene, honest):
    done(scene.start("push", KEPT, *push_to(honest)))
    done(scene.start("remove", KEPT))
    done(scene.start("pull", KEPT, "--exclude", "bin", "--remote", honest))
    scene.fails("push", KEPT, *push_to(honest), error="PartialArtifact", holds=[KEPT, "bin"])
    scene.fails(
        "extract", KEPT, "--subdir", "bin", "--to", f"{scene.folder}/b", error="PartialArtifact", holds="bin"
    )
    done(scene.start("pull", KEPT, "--remote", honest))
    done(scene.start("push", KEPT, *push_to(honest)))


def test_a_push_that_reached_some_is_3_and_one_that_reached_none_is_not(scene, honest):
    with nobody_listening() as dead:
        finished = finish(scene.start("--json", "push", KEPT, *push_to(honest, dead)))
        assert finished.returncode == 3, finished
        document = json.loads(finished.stdout)
        outcomes = {each["url"]: each for each in document["remotes"]}
        assert outcomes[honest]["outcome"] in {"pushed", "already-there"}
        assert (outcomes[dead]["outcome"], outcomes[dead]["retry"]) == ("failed", True)
        plain = finish(scene.start("push", KEPT, *push_to(honest, dead)))
        assert plain.returncode == 3
        assert dead in plain.stderr
        assert honest in plain.stdout


def test_a_timeout_is_21_an_interruption_is_130_and_the_job_goes_on_for_who_still_waits(scene, liar):
    ref = "demo/goes-on/1"
    liar.refs[ref] = lies(liar, {"large": os.urandom(8_000_000)})
    liar.drips = True
    words = ("pull", ref, "--remote", liar.url)
    waiting = scene.start("--no-progress", *words)
    asked = scene.start("--json", *words)
    staying = scene.start("--json", *words)
    until(lambda: liar.count("Read"))
    finished = finish(scene.start("--json", *words, "--timeout", "0.2"))
    document = json.loads(finished.stdout)
    assert (finished.returncode, document["error"], document["exit_code"]) == (21, "DeadlineExceeded", 21)
    assert document["where"].startswith("job ")
    assert "it goes on" in document["way_out"]
    for process in (waiting, asked):
        process.send_signal(signal.SIGINT)
    said, documents = finish(waiting), finish(asked)
    assert (said.returncode, documents.returncode) == (130, 130)
    assert "no longer waiting; others wait, so it goes on: " in said.stderr
    assert "Traceback" not in said.stderr + documents.stderr
    assert json.loads(documents.stdout) == {
        "error": "Interrupted",
        "what": "interrupted",
        "where": "",
        "way_out": "",
        "message": "interrupted",
        "exit_code": 130,
        "retry": True,
    }
    liar.drips = False
    got = finish(staying)
    assert (got.returncode, json.loads(got.stdout)["results"][0]["pulled"]) == (0, True)
    assert ref in scene.refs()
    scene.assert_sound()
