"""up and down: everything on one machine, and nothing left of it."""

import json
import os
import signal

import pytest
from harness.commands import call, processes_naming, start, until, write_config


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path / "c.yaml", cachedir=f"{tmp_path}/cache", roots=[str(tmp_path)])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_serves_other_commands_until_it_is_told_to_end_and_leaves_no_process(tmp_path, config, number):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("content")
    with open(tmp_path / "log", "w", encoding="utf-8") as log:
        up = start("--config", config, "--json", "up", "--workers", "2", stderr=log)
        told = json.loads(up.stdout.readline())
        assert set(told["processes"]) == {"valkey", "worker 1", "worker 2"}
        done = call("--config", config, "commit", tmp_path / "tree", "a/b/c")
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        status = json.loads(call("--config", config, "--json", "status").stdout)
        assert len(status["workers"]) == 2
        second = call("--config", config, "up")
        assert second.returncode == 24
        assert "caskeeper down" in second.stderr
        up.send_signal(number)
        up.communicate(timeout=60)
    assert up.returncode == 0
    until(lambda: not processes_naming(str(tmp_path)))
    assert call("--config", config, "contains", "a/b/c").returncode == 0


def test_down_ends_what_a_command_started_in_the_background(tmp_path, config):
    none = call("--config", config, "down")
    assert (none.returncode, none.stdout) == (0, "none was running\n")
    listed = call("--config", config, "list")
    assert (listed.returncode, listed.stdout) == (0, "")
    assert "in the background" in listed.stderr
    assert processes_naming(str(tmp_path))
    assert json.loads(call("--config", config, "--json", "down").stdout) == {"ended": True}
    until(lambda: not processes_naming(str(tmp_path)))


def test_down_with_a_redis_of_ones_own_says_that_there_is_nothing_embedded(tmp_path, config):
    env = {"CASKEEPER_REDIS_URL": f"unix://:secret@{tmp_path}/none"}
    done = call("--config", config, "down", **env)
    assert done.returncode == 0
    assert "no embedded server in this configuration" in done.stdout
    assert "secret" not in done.stdout
    assert json.loads(call("--config", config, "--json", "down", **env).stdout)["ended"] is False


def test_a_redis_of_ones_own_and_up_exclude_each_other(tmp_path, config):
    done = call("--config", config, "up", CASKEEPER_REDIS_URL=f"unix://{tmp_path}/none")
    assert done.returncode == 17
    assert not os.path.exists(f"{tmp_path}/cache/run")
