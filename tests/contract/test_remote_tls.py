"""worker.remote and TLS: what is wrong with certificates and tokens is said, with the file and the reason."""

from __future__ import annotations

import logging

import grpc
import pytest
from harness.certificates import EARLY, EXPIRED, Authority, read
from harness.lying_server import LyingServer
from harness.remotes import ABSENT, HURRY, SMALL

from caskeeper.config import RemoteSpec
from caskeeper.digest import Digest
from caskeeper.errors import ConfigInvalid, PermissionDenied, RemoteUnavailable
from worker.remote.address import parse_url
from worker.remote.handshake import explain

WHERE = "c.yaml [line 3 column 4]"


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("theirs"), "stranger")


@pytest.fixture(scope="module")
def client(ours):
    key, cert = ours.issue("client", "worker@example.org")
    return {"client_key": key, "client_cert": cert}


def secured(leaf, *, clients=None):
    """A server with this certificate that wants those of ``clients``."""
    server = LyingServer(SMALL)
    key, cert = leaf.private_key_pem.bytes(), b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    server.credentials = grpc.ssl_server_credentials(
        [(key, cert)], read(clients.file) if clients else None, require_client_auth=clients is not None
    )
    return server


def ask(remote):
    return remote.blobs.find_missing([Digest.of(SMALL), ABSENT])


def refused(opened, server, **fields):
    """The error of the first use, after which the remote is left alone for a while."""
    remote = opened(server.url, where=WHERE, **fields)
    with pytest.raises(ConfigInvalid) as caught:
        ask(remote)
    assert caught.value.where == f"url {server.url}, {WHERE}"
    assert caught.value.way_out != ConfigInvalid.default_way_out
    with pytest.raises(ConfigInvalid, match="not asked again for") as remembered:
        ask(remote)
    assert remembered.value.way_out == caught.value.way_out
    assert server.calls == []
    return caught.value


def test_a_server_vouched_for_is_spoken_to(ours, opened):
    with secured(ours.leaf()) as server:
        assert ask(opened(server.url, server_cert=ours.file)) == {ABSENT}
        # 127.0.0.1 is in the certificate too
        assert ask(opened(server.url.replace("localhost", "127.0.0.1"), server_cert=ours.file)) == {ABSENT}


def test_a_server_may_be_known_by_its_own_certificate(ours, opened):
    leaf = ours.leaf()
    _, cert = ours.write("server", leaf)
    with secured(leaf) as server:
        assert ask(opened(server.url, server_cert=cert)) == {ABSENT}


def test_an_unknown_authority_is_named_with_the_file_that_does_not_hold_it(ours, theirs, opened):
    with secured(ours.leaf()) as server:
        error = refused(opened, server, server_cert=theirs.file)
        assert f"not vouched for by server-cert {theirs.file!r}" in error.what
        error = refused(opened, server)
        assert "not vouched for by any authority known here" in error.what
        assert "`server-cert`" in error.way_out


@pytest.mark.parametrize(("validity", "says"), [(EXPIRED, "has expired"), (EARLY, "not yet valid")])
def test_a_server_whose_certificate_is_not_valid_now_is_refused(ours, opened, validity, says):
    with secured(ours.leaf(**validity)) as server:
        assert says in refused(opened, server, server_cert=ours.file).what


def test_a_certificate_for_another_host_is_refused(ours, opened):
    with secured(ours.leaf("cache.example.org")) as server:
        assert "for another host" in refused(opened, server, server_cert=ours.file).what


def test_a_client_that_shows_its_certificate_is_let_in(ours, client, opened):
    with secured(ours.leaf(), clients=ours) as server:
        assert ask(opened(server.url, server_cert=ours.file, **client)) == {ABSENT}


def test_a_client_without_a_certificate_is_told_that_one_is_wanted(ours, opened):
    with secured(ours.leaf(), clients=ours) as server:
        error = refused(opened, server, server_cert=ours.file)
        assert "wants a client certificate" in error.what
        assert "`client-cert`" in error.way_out


def test_a_client_certificate_of_a_stranger_is_named(ours, theirs, opened):
    key, cert = theirs.issue("client", "worker@example.org")
    with secured(ours.leaf(), clients=ours) as server:
        error = refused(opened, server, server_cert=ours.file, client_key=key, client_cert=cert)
        assert f"does not accept the client-cert {cert!r}" in error.what


def test_an_expired_client_certificate_is_found_before_anybody_is_asked(ours, opened):
    key, cert = ours.issue("old-client", "worker@example.org", **EXPIRED)
    with secured(ours.leaf(), clients=ours) as server:
        remote = opened(server.url, server_cert=ours.file, client_key=key, client_cert=cert, where=WHERE)
        with pytest.raises(ConfigInvalid, match=r"the client-cert .* expired on") as caught:
            ask(remote)
        assert cert in caught.value.what
        assert caught.value.where == f"url {server.url}, {WHERE}"


def test_a_key_that_belongs_to_another_certificate_is_named(ours, client, opened):
    key, _ = ours.issue("other-client", "worker@example.org")
    with pytest.raises(ConfigInvalid, match="does not belong to") as caught:
        ask(opened("https://localhost:1", client_key=key, client_cert=client["client_cert"]))
    assert key in caught.value.what


def test_http_and_https_are_not_to_be_mixed_up(ours, opened):
    with secured(ours.leaf()) as server:
        server.url = server.url.replace("https", "http")
        assert "speaks TLS at this port" in refused(opened, server).what
    with LyingServer() as server:
        server.url = server.url.replace("http", "https")
        assert "does not speak TLS at this port" in refused(opened, server, server_cert=ours.file).what


def test_what_grpc_says_of_another_address_does_not_hide_it(ours, theirs, client):
    """Of a host with several addresses it tells the last one's trouble alone."""
    said = "failed to connect to all addresses; last error: ipv6:%5B::1%5D:1: Connection refused"

    def reason(server, **fields):
        with server:
            address = parse_url(server.url)
            found = explain(RemoteSpec(server.url, where=WHERE, **fields), address, said)
        return found and found.what

    trusted = {"server_cert": ours.file}
    strange_key, strange = theirs.issue("strange", "worker@example.org")
    assert "not vouched for" in reason(secured(ours.leaf()), server_cert=theirs.file)
    assert "another host" in reason(secured(ours.leaf("cache.example.org")), **trusted)
    assert "has expired" in reason(secured(ours.leaf(**EXPIRED)), **trusted)
    assert "not yet valid" in reason(secured(ours.leaf(**EARLY)), **trusted)
    assert "wants a client certificate" in reason(secured(ours.leaf(), clients=ours), **trusted)
    assert "does not accept the client-cert" in reason(
        secured(ours.leaf(), clients=ours), **trusted, client_key=strange_key, client_cert=strange
    )
    # Nothing is wrong by now, or nobody is there, or the trouble is another: then it stays what gRPC said.
    own = ours.leaf()
    assert reason(secured(own), server_cert=ours.write("own", own)[1]) is None
    assert reason(secured(ours.leaf())) is None
    assert reason(secured(ours.leaf(), clients=ours), **trusted, **client) is None
    assert reason(LyingServer()) is None
    gone = RemoteSpec("https://localhost:1", server_cert=f"{ours.folder}/none")
    assert explain(gone, parse_url(gone.url), said) is None
    assert explain(gone, parse_url(gone.url), "Deadline Exceeded") is None


def test_a_server_that_merely_dies_is_no_matter_of_certificates(ours, opened):
    with secured(ours.leaf()) as server:
        remote = opened(server.url, server_cert=ours.file)
        ask(remote)
    with pytest.raises(RemoteUnavailable):
        ask(remote)


def test_what_was_mended_counts_without_a_new_process(ours, theirs, opened, tmp_path):
    """A worker lives long: files are read again for the connection after one that was refused."""
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(read(theirs.file))
    with secured(ours.leaf()) as server:
        remote = opened(server.url, HURRY._replace(memory_s=0.0), server_cert=str(trusted))
        with pytest.raises(ConfigInvalid, match="not vouched for"):
            ask(remote)
        trusted.write_bytes(read(ours.file))
        assert ask(remote) == {ABSENT}


def test_renewed_certificates_of_a_client_cost_no_failure(ours, theirs, client, opened, tmp_path):
    """The server comes back with another authority; the files say so by then. One call, one answer."""
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(read(ours.file))
    mine = Authority(tmp_path, "mine")
    mine.write("client", ours.leaf("worker@example.org"))
    fields = {"server_cert": str(trusted), "client_key": f"{tmp_path}/client.key"}
    with secured(ours.leaf(), clients=ours) as server:
        remote = opened(server.url, client_cert=f"{tmp_path}/client.crt", **fields)
        assert ask(remote) == {ABSENT}
        port = server.url.rpartition(":")[2]
    trusted.write_bytes(read(theirs.file))
    mine.write("client", theirs.leaf("worker@example.org"))
    again = secured(theirs.leaf(), clients=theirs)
    again.port = port
    with again:
        assert again.url == server.url
        assert ask(remote) == {ABSENT}


@pytest.mark.parametrize("negotiation_life_s", [300.0, 0.0])
def test_a_token_travels_over_tls_and_its_file_is_read_again_when_it_is_refused(
    ours, opened, tmp_path, caplog, negotiation_life_s
):
    """An expired token whose file was renewed meanwhile costs no failure, with or without an interval."""
    token = tmp_path / "token"
    token.write_text("first")
    with secured(ours.leaf()) as server:
        server.token = "first"
        patience = HURRY._replace(negotiation_life_s=negotiation_life_s)
        remote = opened(server.url, patience, server_cert=ours.file, access_token=str(token))
        ask(remote)
        server.token = "second"
        token.write_text("second\n")
        assert ask(remote) == {ABSENT}
        assert b"".join(remote.blobs.read_stream(Digest.of(SMALL))) == SMALL
        server.token = "third"
        token.write_text("third\n")
        assert b"".join(remote.blobs.read_stream(Digest.of(SMALL))) == SMALL
        assert {given for _, given in server.tokens} == {"Bearer first", "Bearer second", "Bearer third"}
        assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_an_expired_token_is_tried_once_and_the_error_says_what_to_look_at(ours, opened, tmp_path):
    token = tmp_path / "token"
    token.write_text("expired-secret")
    with secured(ours.leaf()) as server:
        remote = opened(server.url, server_cert=ours.file, access_token=str(token))
        ask(remote)
        server.token = "another"
        before = server.count("FindMissingBlobs")
        with pytest.raises(PermissionDenied, match="UNAUTHENTICATED") as caught:
            ask(remote)
        assert server.count("FindMissingBlobs") == before + 1
    assert "`access-token`" in caught.value.way_out
    assert "expired-secret" not in str(caught.value)


def test_each_remote_has_its_own_credentials(ours, theirs, opened, tmp_path):
    """Two servers of two authorities with two tokens: neither sees what is for the other."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"token-{name}")
    with secured(ours.leaf()) as one, secured(theirs.leaf(), clients=theirs) as two:
        one.token, two.token = "token-one", "token-two"
        key, cert = theirs.issue("client", "worker@example.org")
        first = opened(one.url, server_cert=ours.file, access_token=f"{tmp_path}/one")
        second = opened(
            two.url,
            server_cert=theirs.file,
            access_token=f"{tmp_path}/two",
            client_key=key,
            client_cert=cert,
        )
        assert ask(first) == ask(second) == {ABSENT}
        assert {given for _, given in one.tokens} == {"Bearer token-one"}
        assert {given for _, given in two.tokens} == {"Bearer token-two"}
