"""worker.remote does what a server's configuration says: connection-config, tokens, type and index."""

from __future__ import annotations

import logging

import pytest
from harness.remotes import ABSENT, LARGE, SMALL, Code

from caskeeper.config import ConnectionConfig, RemoteSpec
from caskeeper.digest import Digest
from caskeeper.errors import ConfigInvalid, DeadlineExceeded, PermissionDenied, RemoteUnavailable
from worker.remote import Patience, open_remote
from worker.remote.channel import OPTIONS, Connection


@pytest.mark.parametrize("limit", [0, 1, 7])
def test_the_retry_limit_is_the_number_of_retries_after_the_first_attempt(server, opened, limit):
    connection = ConnectionConfig(retry_limit=limit, retry_delay_ms=1)
    blobs = opened(server.url, connection=connection).blobs
    server.answers["FindMissingBlobs"] = Code.UNAVAILABLE
    with pytest.raises(RemoteUnavailable):
        blobs.find_missing([ABSENT])
    assert server.count("FindMissingBlobs") == limit + 1


def test_the_request_timeout_ends_a_call_that_is_not_answered(server, opened):
    server.hangs.add("FindMissingBlobs")
    # Without it this would take as long as HURRY bears it, and be no DeadlineExceeded of one second.
    blobs = opened(server.url, connection=ConnectionConfig(request_timeout_s=1)).blobs
    with pytest.raises(DeadlineExceeded):
        blobs.find_missing([ABSENT])
    assert server.count("FindMissingBlobs") == 1


def test_the_request_timeout_ends_a_stream_that_does_not_move(server, opened):
    server.stalls_after = 1
    blobs = opened(server.url, connection=ConnectionConfig(request_timeout_s=1)).blobs
    with pytest.raises(DeadlineExceeded, match="nothing came for 1 s"):
        b"".join(blobs.read_stream(Digest.of(LARGE)))


@pytest.mark.parametrize(
    ("connection", "changed"),
    [
        (ConnectionConfig(), {}),
        (ConnectionConfig(retry_limit=0), {"attempts": 1}),
        (ConnectionConfig(retry_delay_ms=500), {"first_delay_s": 0.5}),
        (ConnectionConfig(retry_delay_ms=9000), {"first_delay_s": 9.0, "longest_delay_s": 9.0}),
        (ConnectionConfig(request_timeout_s=2), {"call_s": 2.0, "silence_s": 2.0, "probe_s": 2.0}),
        # more patience with a call is no more patience with a dead remote
        (ConnectionConfig(request_timeout_s=900), {"call_s": 900.0, "silence_s": 900.0}),
    ],
)
def test_what_is_not_configured_stays_as_it_was(connection, changed):
    assert Patience().configured(connection) == Patience()._replace(**changed)


def test_keepalive_pings_are_sent_as_often_as_configured():
    asked = Connection(RemoteSpec("http://host", connection=ConnectionConfig(keepalive_time_s=45)))
    assert dict(asked._options())["grpc.keepalive_time_ms"] == 45_000
    assert dict(asked._options())["grpc.http2.max_pings_without_data"] == 0
    assert Connection(RemoteSpec("http://host"))._options() == OPTIONS


@pytest.fixture
def token(tmp_path):
    file = tmp_path / "token"
    file.write_text("  first\n")
    return file


def test_every_call_carries_the_token_of_the_file(server, opened, token):
    server.token = "first"
    blobs = opened(server.url, push=True, access_token=str(token)).blobs
    digest = Digest.of(SMALL)
    assert blobs.find_missing([digest]) == set()
    assert blobs.read_batch([digest]) == [(digest, SMALL)]
    assert b"".join(blobs.read_stream(Digest.of(LARGE))) == LARGE
    blobs.write_stream(Digest.of(b"new" + LARGE), [b"new", LARGE])
    assert {method for method, _token in server.tokens} > {"GetCapabilities", "Read", "Write", "Status"}
    assert {given for _method, given in server.tokens} == {"Bearer first"}


def test_without_a_token_nothing_is_sent(server, opened):
    opened(server.url).blobs.find_missing([ABSENT])
    assert {given for _method, given in server.tokens} == {None}


def test_a_token_is_read_again_after_its_interval_and_never_without_one(server, opened, token, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("worker.remote.token.time.monotonic", lambda: now[0])
    renewing = opened(server.url, access_token=str(token), access_token_reload_minutes=5).blobs
    lasting = opened(server.url, access_token=str(token)).blobs

    def sent(blobs):
        blobs.find_missing([ABSENT])
        return server.tokens[-1][1]

    assert (sent(renewing), sent(lasting)) == ("Bearer first", "Bearer first")
    token.write_text("second")
    now[0] += 299
    assert sent(renewing) == "Bearer first"
    now[0] += 1
    assert (sent(renewing), sent(lasting)) == ("Bearer second", "Bearer first")


def test_a_token_that_can_no_longer_be_read_is_sent_on_with_a_warning(
    server, opened, token, monkeypatch, caplog
):
    now = [1000.0]
    monkeypatch.setattr("worker.remote.token.time.monotonic", lambda: now[0])
    blobs = opened(server.url, access_token=str(token), access_token_reload_minutes=1).blobs
    blobs.find_missing([ABSENT])
    token.unlink()
    now[0] += 60
    blobs.find_missing([ABSENT])
    blobs.find_missing([ABSENT])
    assert server.tokens[-1][1] == "Bearer first"
    (warning,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert (warning.getMessage(), warning.path) == ("the token is not renewed", str(token))
    assert "first" not in str(vars(warning))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"one two", "something else than one token"),
        (b"evil\nx-header: 1", "something else than one token"),
        (b"t\xc3\xa9", "something else than one token"),
        (b"a" * 70_000, "something else than one token"),
    ],
)
def test_a_file_without_a_token_is_named_with_the_reason_and_the_place(
    server, opened, tmp_path, content, says
):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    blobs = opened(server.url, access_token=str(path), where="c.yaml [line 3 column 4]").blobs
    with pytest.raises(ConfigInvalid, match=says) as caught:
        blobs.find_missing([ABSENT])
    assert str(path) in caught.value.what
    assert caught.value.where == f"url {server.url}, c.yaml [line 3 column 4]"
    assert "evil" not in str(caught.value)
    assert server.calls == []


@pytest.mark.parametrize("url", ["http://host", "http://192.0.2.1:1", "http://localhost.example:1"])
def test_a_token_does_not_travel_in_the_clear(url):
    with pytest.raises(ConfigInvalid, match="not sent over a connection without TLS"):
        open_remote(RemoteSpec(url, access_token="/token"))


@pytest.mark.parametrize(
    "url", ["https://host", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"]
)
def test_a_token_may_go_through_tls_or_stay_on_the_machine(url):
    open_remote(RemoteSpec(url, access_token="/token")).close()


def test_a_token_that_is_refused_is_a_denied_permission(server, opened, token):
    server.token = "another"
    with pytest.raises(PermissionDenied, match="UNAUTHENTICATED") as caught:
        opened(server.url, access_token=str(token)).blobs.find_missing([ABSENT])
    assert "first" not in str(caught.value)


def test_certificates_are_named_with_the_place_of_the_spec(tmp_path):
    spec = RemoteSpec(
        "https://localhost:1", server_cert=f"{tmp_path}/none.pem", where="c.yaml [line 3 column 4]"
    )
    with pytest.raises(ConfigInvalid, match=r"none\.pem") as caught:
        open_remote(spec).blobs.find_missing([ABSENT])
    assert caught.value.where.endswith("c.yaml [line 3 column 4]")
