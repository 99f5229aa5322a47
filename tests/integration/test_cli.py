"""The command without a queue: how it starts, what it says about wrong input, and its exit codes."""

import json
import os
import socket
import subprocess
import sys

import pytest
from harness.commands import call, environment, write_config
from harness.valkey import ValkeyServer

from caskeeper.contract import LANES

COMMANDS = (
    *(
        "commit",
        "push",
        "pull",
        "pull-tree",
        "push-directory",
        "push-message",
        "extract",
        "link",
        "diff",
        "remove",
        "import",
        "hold",
        "session",
        "pin",
        "unpin",
        "pins",
        "contains",
        "list",
        "show",
        "files",
        "cat",
        "du",
        "status",
    ),
    *("cleanup", "compute-size", "up", "down", "worker", "server", "beat", "flower", "demo"),
)
HEAVY = {"celery", "kombu", "grpc", "redis", "google.protobuf", "rich", "yaml"}


def modules_after(*words, **env):
    """Which heavy libraries one call has loaded."""
    program = (
        "import sys, json\n"
        "from tasks.cli.main import run\n"
        f"code = run({list(words)!r})\n"
        f"print(json.dumps([code, sorted({HEAVY!r} & set(sys.modules))]), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stderr.splitlines()[-1])


def test_help_lists_every_command_and_each_has_its_own():
    root = call("--help")
    assert root.returncode == 0
    for command in COMMANDS:
        assert f"  {command} " in root.stdout
        own = call(command, "--help")
        assert (own.returncode, own.stderr) == (0, ""), command
        assert f"Usage: caskeeper {command} " in own.stdout
    assert "supervise" not in root.stdout


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["pull", "--help"], ["contains", "a/b/c"]])
def test_what_needs_no_queue_loads_no_heavy_library(words, tmp_path):
    code, loaded = modules_after(*words, CASKEEPER_CACHEDIR=str(tmp_path), HOME=str(tmp_path))
    assert (code, loaded) == (11 if words[0] == "contains" else 0, [])


def test_it_starts_the_same_as_a_script_and_as_a_module():
    script = os.path.join(os.path.dirname(sys.executable), "caskeeper")
    done = subprocess.run(
        [script, "--version"], env=environment(), capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == call("--version").stdout


def test_files_named_like_our_packages_in_the_current_folder_disturb_nothing(tmp_path):
    for name in ("tasks", "worker", "caskeeper", "click"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    script = os.path.join(os.path.dirname(sys.executable), "caskeeper")
    for command in ([script], [sys.executable, "-P", "-m", "tasks.cli.main"]):
        done = subprocess.run(
            [*command, "contains", "a/b/c"],
            cwd=tmp_path,
            env=environment(CASKEEPER_CACHEDIR=str(tmp_path)),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (11, "")


@pytest.mark.parametrize(
    "words",
    [
        ["frob"],
        ["pull"],
        ["pull", "--frob", "a/b/c"],
        ["pull", "a/b/c", "a/b/d", "--to", "x"],
        ["pull", "a/b/c", "--extract", "--detach"],
        ["commit", "x", "a/b/c", "--push", "--detach"],
        ["pull", "a/b/c", "--timeout", "0"],
        ["hold", "a/b/c"],
        ["hold", "a/b/c", "--"],
        ["hold", "--", "true"],
        ["list", "--sort", "age"],
        ["worker", "--lane", "frob"],
        ["worker", "--concurrency", "0"],
        ["server"],
        ["server", "--listen", "nowhere"],
        ["server", "--listen", "127.0.0.1:0", "--index", "remote-asset,auto"],
        ["flower", "--listen", "nowhere"],
    ],
)
def test_wrong_usage_is_exit_2_and_one_json_document_on_request(words, tmp_path):
    env = {"CASKEEPER_CACHEDIR": str(tmp_path), "CASKEEPER_REDIS_URL": f"unix://{tmp_path}/none"}
    plain = call(*words, **env)
    assert (plain.returncode, plain.stdout) == (2, "")
    assert "Error: " in plain.stderr
    asked = call("--json", *words, **env)
    assert asked.returncode == 2
    assert json.loads(asked.stdout)["exit_code"] == 2


@pytest.mark.parametrize(
    ("words", "code", "way_out"),
    [
        (["contains", "a/b"], 10, "write PROJECT/ELEMENT/KEY"),
        (["contains", "a/b/c/d"], 10, "a/b-c/d"),
        (["contains", "a/b/c", "--subdir", "../x"], 10, "relative to the artifact's root"),
        (["pull", "a b/c/d"], 10, "characters of"),
        (["hold", "a/b", "--", "true"], 10, "PROJECT/ELEMENT/KEY"),
        (["show", "a/b"], 10, "PROJECT/ELEMENT/KEY"),
        (["files", "a/b"], 10, "PROJECT/ELEMENT/KEY"),
        (["cat", "a/b", "x"], 10, "PROJECT/ELEMENT/KEY"),
        (["diff", "a/b/c", "a/b"], 10, "PROJECT/ELEMENT/KEY"),
        (["import", "/etc"], 10, "permitted are"),
        (["cleanup", "--to", "much"], 10, "such as"),
        (["cleanup", "--to", "200%"], 10, "N% of the quota"),
        (["commit", "", "a/b/c"], 10, "name a folder"),
        (["extract", "a/b/c", "--to", ""], 10, "name a folder"),
        (["pull", "a/b/c", "--to", ""], 10, "name a folder"),
    ],
)
def test_a_wrong_argument_is_one_sentence_with_the_way_out(words, code, way_out, tmp_path):
    done = call(*words, CASKEEPER_CACHEDIR=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
    assert done.returncode == code, done.stderr
    assert not (tmp_path / "run").exists(), "a server was started for a request that cannot be one"
    assert done.stderr.startswith("caskeeper: ")
    assert done.stderr.count("\n") == 1
    assert way_out in done.stderr


def test_an_unknown_command_is_told_with_the_nearest():
    assert "Did you mean 'pull'" in call("pul").stderr
    assert "Did you mean" not in call("frobnicate").stderr
    assert "Did you mean" not in call("supervis").stderr, "what is hidden stays so"


def test_a_missing_configuration_file_is_named(tmp_path):
    for words in (
        ["--config", f"{tmp_path}/none.yaml", "list"],
        ["list", "--config", f"{tmp_path}/none.yaml"],
    ):
        done = call(*words)
        assert done.returncode == 17
        assert f"{tmp_path}/none.yaml" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_typo_in_the_configuration_is_named_with_its_place(tmp_path):
    path = tmp_path / "caskeeper.yaml"
    path.write_text("cachedir: x\ncache:\n  qouta: 10G\n")
    done = call("--json", "contains", "a/b/c", CASKEEPER_CONFIG=str(path))
    document = json.loads(done.stdout)
    assert (done.returncode, document["error"]) == (17, "ConfigInvalid")
    assert f"{path} [line 3" in document["where"]
    assert "quota" in document["message"]


def test_a_redis_that_does_not_answer_is_25(tmp_path):
    env = {"CASKEEPER_CACHEDIR": str(tmp_path), "CASKEEPER_REDIS_URL": f"unix://{tmp_path}/none"}
    hold = ["hold", "a/b/c", "--", "true"]
    for words in (["pull", "a/b/c"], ["status"], ["worker"], hold, ["beat"], ["flower"]):
        done = call(*words, **env)
        assert done.returncode == 25, (words, done.stderr)
        assert "Traceback" not in done.stderr


def test_global_options_stand_before_or_after_the_command(tmp_path):
    env = {"CASKEEPER_CACHEDIR": str(tmp_path)}
    before, after = call("--json", "contains", "a/b/c", **env), call("contains", "a/b/c", "--json", **env)
    assert before.stdout == after.stdout
    assert json.loads(after.stdout) == {"results": [{"ref": "a/b/c", "here": False}]}
    assert call("contains", "a/b/c", "-q", **env).stdout == ""


def test_a_bug_is_one_line_and_a_traceback_only_on_request(tmp_path):
    program = (
        "import sys, caskeeper.config\n"
        "caskeeper.config.load_settings = lambda *_: 1 / 0\n"
        "from tasks.cli.main import run\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    for words, lines in ((["contains", "a/b/c"], 1), (["-v", "contains", "a/b/c"], 5)):
        done = subprocess.run(
            [sys.executable, "-P", "-c", program, *words],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert "fault of caskeeper" in done.stderr
        assert "ZeroDivisionError" in done.stderr
        assert done.stderr.count("\n") >= lines
        assert ("Traceback" in done.stderr) == (lines > 1)


def test_what_a_buildstream_configuration_says_beyond_us_is_noted_once(tmp_path):
    config = tmp_path / "buildstream.conf"
    config.write_text(f"cachedir: {tmp_path}/cache\nscheduler: {{builders: 4}}\n")
    done = call("contains", "a/b/c", "--config", config)
    assert done.returncode == 11
    assert done.stderr.count("\n") == 1
    assert "scheduler" in done.stderr
    assert call("-q", "contains", "a/b/c", "--config", config).stderr == ""


def test_every_lane_of_the_queue_can_be_named():
    assert all(lane in call("worker", "--help").stdout for lane in LANES)


def test_a_reader_that_goes_away_is_no_fault(tmp_path):
    config = write_config(tmp_path / "c.yaml", cachedir=str(tmp_path))
    refs = " ".join(f"a/b/{number}" for number in range(3000))
    done = subprocess.run(
        f"{sys.executable} -P -m tasks.cli.main --config {config} contains {refs} | head -1",
        shell=True,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("a/b/0: not here\n", "")


def shell(line, folder):
    """What a shell makes of a line; $CASKEEPER stands for the command."""
    return subprocess.run(
        ["sh", "-c", line.replace("$CASKEEPER", f"{sys.executable} -P -m tasks.cli.main")],
        env=environment(CASKEEPER_CACHEDIR=str(folder)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("words", ["contains a/b/c", "--json contains a/b/c", "contains --help", "--version"])
def test_output_that_cannot_be_written_is_one_sentence(words, tmp_path):
    full, closed = (
        shell(f"$CASKEEPER {words} >/dev/full", tmp_path),
        shell(f"$CASKEEPER {words} >&-", tmp_path),
    )
    said = "caskeeper: standard output cannot be written: "
    assert (full.returncode, full.stderr) == (22, f"{said}No space left on device\n")
    assert (closed.returncode, closed.stderr) == (1, f"{said}Bad file descriptor\n")
    assert shell(f"$CASKEEPER {words} >/dev/full 2>&1", tmp_path).returncode == 22


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["foo", "--json"], "caskeeper"),
        (["commit", "build", "a/b/c", "--foo", "--json"], "caskeeper commit"),
        (["hold", "a/b/c", "--foo", "--json", "--", "true"], "caskeeper hold"),
    ],
)
def test_json_behind_the_mistake_is_heard_too_and_the_document_is_whole(words, where):
    document = json.loads(call(*words).stdout)
    assert set(document) == {"error", "what", "where", "way_out", "message", "exit_code", "retry"}
    assert (document["error"], document["where"], document["retry"]) == ("Usage", where, False)
    assert f"`{where} --help`" in document["way_out"]


def test_json_of_the_command_behind_two_dashes_is_not_ours():
    assert call("hold", "a/b/c", "--foo", "--", "x", "--json").stdout == ""


def test_an_option_of_the_command_that_hold_shall_run_is_told_where_it_goes():
    for words in (["sh", "-c", "true"], ["true"]):
        done = call("hold", "a/b/c", *words)
        assert done.returncode == 2
        assert "hold REF... -- COMMAND..." in done.stderr.splitlines()[-1]


def test_why_a_server_cannot_listen_is_told_once(tmp_path):
    with ValkeyServer() as valkey, socket.create_server(("127.0.0.1", 0)) as taken:
        env = {"CASKEEPER_CACHEDIR": str(tmp_path), "CASKEEPER_REDIS_URL": valkey.url}
        for address, reason in (
            (f"127.0.0.1:{taken.getsockname()[1]}", "Address already in use"),
            ("192.0.2.1:15000", "Cannot assign requested address"),
        ):
            done = call("server", "--listen", address, **env)
            assert done.returncode == 17
            told = done.stderr.splitlines()[-1]
            assert told.startswith(f"caskeeper: configuration: cannot listen on {address}: {reason} [")
            assert "add_port" not in done.stderr
            assert "add_port" in call("-v", "server", "--listen", address, **env).stderr


def test_flower_is_not_opened_to_others_without_a_password_and_says_how_to_set_it(tmp_path):
    with ValkeyServer() as valkey:
        env = {"CASKEEPER_CACHEDIR": str(tmp_path), "CASKEEPER_REDIS_URL": valkey.url}
        done = call("flower", "--listen", "0.0.0.0:15556", **env)
    assert done.returncode == 17
    assert "[argument --listen 0.0.0.0:15556]" in done.stderr
    assert "CASKEEPER_FLOWER_AUTH=" in done.stderr


@pytest.mark.parametrize("moment", ["unwinds", "tells", "ends", "is gone"])
@pytest.mark.parametrize("pause_s", [0.01, 0.1])
def test_a_second_ctrl_c_right_after_the_first_changes_nothing(moment, pause_s):
    # `again` is where the second one comes, in the call itself: no two processes race for the moment.
    program = (
        "import atexit, os, signal, sys, time\n"
        "from tasks.cli import failures, main\n"
        "def ctrl_c(): os.kill(os.getpid(), signal.SIGINT)\n"
        f"def again(*_): time.sleep({pause_s}); ctrl_c()\n"
        "def load(*_):\n"
        "    try: ctrl_c()\n"
        f"    finally: {moment == 'unwinds'} and again()\n"
        "import caskeeper.config\n"
        "caskeeper.config.load_settings = load\n"
        "say = failures._say\n"
        f"if {moment == 'tells'}: failures._say = lambda *a, **k: (again(), say(*a, **k))[1]\n"
        f"if {moment == 'ends'}: atexit.register(again)\n"
        "class Last: __del__ = lambda _, again=again: again()\n"
        f"if {moment == 'is gone'}: _last = Last()\n"
        "sys.argv = ['caskeeper', 'contains', 'a/b/c']\n"
        "main.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "caskeeper: interrupted\n")
