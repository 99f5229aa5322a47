"""A fleet whose Redis wants TLS and a password: by configuration alone, with a build of fewer rights."""

import base64
import os
import signal
import socket
import urllib.error
import urllib.request

import pytest
from harness.certificates import Authority
from harness.commands import Place, read, start, until
from harness.tls_redis import PASSWORD, SecuredRedis

REF = "demo/hello/1"


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with SecuredRedis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis


class _Url:
    """In the place of a server: only its URL is asked for."""

    def __init__(self, url):
        self.url = url


@pytest.fixture(scope="module")
def place(redis, tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("place"), _Url(redis.url()))
    place.build = place.configure("build", redis=redis.url("build"))
    try:
        place.worker()
        yield place
    finally:
        place.end()


def test_a_build_with_few_rights_uses_the_whole_cache(place):
    tree = place.tree("tree", {"bin/hello": b"echo hello\n"})
    assert place.run("commit", tree, REF, config=place.build).returncode == 0
    opened = place.run("session", "open", config=place.build)
    assert opened.returncode == 0, opened.stderr
    session = opened.stdout.strip()
    assert place.run("session", "require", session, REF, config=place.build).returncode == 0
    done = place.run("extract", REF, "--to", f"{place.folder}/out", config=place.build)
    assert done.returncode == 0, done.stderr
    assert read(f"{place.folder}/out/bin/hello") == "echo hello\n"
    for words in (["status"], ["explain", REF], ["session", "close", session], ["remove", REF]):
        done = place.run(*words, config=place.build)
        assert done.returncode == 0, (words, done.stderr)


def test_the_operators_commands_work_with_the_fleets_rights(place):
    for words in (["compute-size"], ["cleanup", "--dry-run"], ["verify"], ["status"]):
        done = place.run(*words)
        assert done.returncode == 0, (words, done.stderr)


def test_no_password_stands_in_logs_or_command_lines(place):
    written = read(f"{place.folder}/worker-0.log") + place.run("status", "--verbose").stderr
    assert PASSWORD not in written
    assert "correct%3Ahorse" not in written
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = read(f"/proc/{pid}/cmdline")
        except OSError:
            continue
        assert "battery?staple" not in line
        assert "battery%3Fstaple" not in line


def test_an_authority_that_did_not_sign_is_refused_and_so_is_a_wrong_password(place, redis, tmp_path):
    other = Authority(tmp_path, "other")
    untrusted = place.configure("untrusted", redis=redis.url(authority=other))
    done = place.run("status", config=untrusted)
    assert (done.returncode, "certificate verify failed" in done.stderr) == (25, True), done.stderr
    (tmp_path / "wrong").write_text("wrong\n")
    wrong = place.configure("wrong", redis=redis.url(password_file=f"{tmp_path}/wrong"))
    done = place.run("status", config=wrong)
    assert done.returncode == 25, done.stderr
    assert "password" in done.stderr


def test_a_user_without_the_rights_is_told_where_they_stand(place, redis):
    looker = place.configure("looker", redis=redis.url("looker"))
    done = place.run("session", "open", config=looker)
    assert (done.returncode, "docs/operations.md" in done.stderr) == (25, True), done.stderr


def test_without_tls_nobody_is_served(place, redis):
    plain = place.configure(
        "plain", redis=f"redis://fleet@127.0.0.1:{redis.port}/0?password_file={redis.password_file}"
    )
    assert place.run("status", config=plain).returncode == 25


def test_flower_shows_the_lanes_behind_tls_and_changes_nothing(place):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = f"{place.folder}/flower.log"
    with open(log, "w", encoding="utf-8") as file:
        flower = start(
            *("--config", place.config, "flower", "--listen", f"127.0.0.1:{port}"),
            stdout=file,
            stderr=file,
            CASKEEPER_FLOWER_AUTH="user:word",
        )
    word = base64.b64encode(b"user:word").decode()

    def ask(path, data=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", data, headers={"Authorization": f"Basic {word}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code
        except (urllib.error.URLError, ConnectionError):
            return ""

    try:
        until(lambda: "worker-" in str(ask("/workers")))
        lanes = until(lambda: (page := str(ask("/broker"))).count("caskeeper.") >= 4 and page)
        assert "caskeeper.maintenance" in lanes
        assert "Routing Key" in ask("/tasks")
        assert ask("/api/task/async-apply/cache.cleanup", b"{}") == 403
    finally:
        flower.send_signal(signal.SIGTERM)
        assert flower.wait(30) == 0, read(log)
