"""A server behind TLS, client certificates and tokens, and what happens when their files change."""

import logging
import threading

import grpc
import pytest
from harness.certificates import EXPIRED, Authority, read
from harness.remotes import HURRY, remotes
from harness.serving import refusal, serving, upload_name

from caskeeper.config import NamedFile, RemoteSpec, ServerSettings
from caskeeper.digest import Digest
from caskeeper.errors import ConfigInvalid, PermissionDenied
from worker._protos import remote_execution_pb2 as reapi
from worker._protos.bytestream_pb2 import ReadRequest, WriteRequest
from worker.remote import open_remote
from worker.server import security, tokens
from worker.server.app import serve
from worker.server.security import Security

CODE = grpc.StatusCode
BLOB = b"a blob"


@pytest.fixture
def ours(tmp_path):
    return Authority(tmp_path)


@pytest.fixture(autouse=True)
def _prompt(monkeypatch):
    """Every connection and every call reads the files."""
    monkeypatch.setattr(security, "RELOAD_S", 0.0)
    monkeypatch.setattr(tokens, "RELOAD_S", 0.0)


def named(**files):
    return ServerSettings(
        **{name: NamedFile(str(path), f"argument --{name}") for name, path in files.items() if path}
    )


@pytest.fixture
def secured(services):
    """Runs servers with these files; answers port and url."""
    running = []

    def start(**files):
        running.append(serve(services, listen="127.0.0.1:0", security=Security(named(**files))))
        return f"https://localhost:{running[-1].port}"

    yield start
    for server in running:
        server.stop(grace_s=0)


def ask(url, **fields):
    """What a new client that has nothing yet is told."""
    with remotes() as opened:
        return opened(url, **fields).blobs.find_missing([Digest.of(BLOB)])


# -- certificates --------------------------------------------------------------------------------------


def test_content_travels_over_tls_both_ways(ours, secured):
    key, cert = ours.issue("server")
    url = secured(tls_key=key, tls_cert=cert)
    data = BLOB * 500_000
    with remotes() as opened:
        blobs = opened(url, server_cert=ours.file, push=True).blobs
        blobs.write_stream(Digest.of(data), [data])
        assert b"".join(blobs.read_stream(Digest.of(data))) == data
        assert opened(url, server_cert=ours.file, push=True).probe()[1] == ""


def test_without_tls_or_without_trust_nobody_is_let_in(ours, secured):
    key, cert = ours.issue("server")
    url = secured(tls_key=key, tls_cert=cert)
    with pytest.raises(ConfigInvalid, match="speaks TLS"):
        ask(url.replace("https", "http"))
    with pytest.raises(ConfigInvalid, match="not vouched for"):
        ask(url)


def test_with_an_authority_every_client_shows_a_certificate_by_it(ours, secured, tmp_path):
    key, cert = ours.issue("server")
    url = secured(tls_key=key, tls_cert=cert, client_ca=ours.file)
    mine = ours.issue("client", "worker@example.org")
    assert ask(url, server_cert=ours.file, client_key=mine[0], client_cert=mine[1])
    with pytest.raises(ConfigInvalid, match="wants a client certificate"):
        ask(url, server_cert=ours.file)
    strange = Authority(tmp_path, "stranger").issue("strange", "worker@example.org")
    with pytest.raises(ConfigInvalid, match="does not accept the client-cert"):
        ask(url, server_cert=ours.file, client_key=strange[0], client_cert=strange[1])


def test_single_client_certificates_may_be_listed_as_in_2019(ours, secured, tmp_path):
    """Concatenated PEM of self-signed certificates (wire-protocols section 1)."""
    server, known, other = (Authority(tmp_path, name) for name in ("server", "known", "other"))
    key, cert = server.issue("leaf")
    listed = tmp_path / "clients.pem"
    listed.write_bytes(read(known.file) + read(ours.file))
    url = secured(tls_key=key, tls_cert=cert, client_ca=listed)
    for authority in (known, ours, other):
        (tmp_path / "self.key").write_bytes(authority.ca.private_key_pem.bytes())
        fields = {
            "server_cert": server.file,
            "client_key": f"{tmp_path}/self.key",
            "client_cert": authority.file,
        }
        if authority is other:
            with pytest.raises(ConfigInvalid, match="does not accept the client-cert"):
                ask(url, **fields)
        else:
            assert ask(url, **fields)


def test_renewed_certificates_count_for_the_next_connection_and_cut_nobody_off(ours, secured, tmp_path):
    key, cert = ours.issue("server")
    url = secured(tls_key=key, tls_cert=cert)
    new = Authority(tmp_path, "new")
    with remotes() as opened:
        blobs = opened(url, server_cert=ours.file).blobs
        blobs.find_missing([Digest.of(BLOB)])
        new.issue("server")
        assert ask(url, server_cert=new.file)
        assert blobs.find_missing([Digest.of(BLOB)])
    with pytest.raises(ConfigInvalid, match="not vouched for"):
        ask(url, server_cert=ours.file)


def test_another_authority_for_clients_counts_for_the_next_connection(ours, secured, tmp_path):
    key, cert = ours.issue("server")
    admitted = tmp_path / "clients.pem"
    admitted.write_bytes(read(ours.file))
    url = secured(tls_key=key, tls_cert=cert, client_ca=admitted)
    mine = ours.issue("client", "worker@example.org")
    fields = {"server_cert": ours.file, "client_key": mine[0], "client_cert": mine[1]}
    assert ask(url, **fields)
    admitted.write_bytes(read(Authority(tmp_path, "new").file))
    with pytest.raises(ConfigInvalid, match="does not accept the client-cert"):
        ask(url, **fields)


@pytest.mark.parametrize("damage", ["other key", "no key", "expired", "garbage"])
def test_a_renewal_of_no_use_changes_nothing_and_is_warned_of_once(ours, secured, caplog, damage):
    key, cert = ours.issue("server")
    url = secured(tls_key=key, tls_cert=cert)
    if damage == "other key":
        ours.write("other", ours.leaf())
        with open(key, "wb") as file:
            file.write(read(key.replace("server", "other")))
    elif damage == "expired":
        ours.issue("server", **EXPIRED)
    else:
        with open(key if damage == "no key" else cert, "wb") as file:
            file.write(b"secret")
    for _ in range(2):
        assert ask(url, server_cert=ours.file)
    (warning,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert warning.getMessage() == "certificates are not renewed"
    assert key in warning.reason or cert in warning.reason
    assert "secret" not in warning.reason
    ours.issue("server")
    assert ask(url, server_cert=ours.file)


def test_files_are_not_read_for_every_connection(ours, secured, monkeypatch):
    key, cert = ours.issue("server")
    url = secured(tls_key=key, tls_cert=cert)
    monkeypatch.setattr(security, "RELOAD_S", 3600.0)
    Authority(ours.folder, "new").issue("server")
    assert ask(url, server_cert=ours.file)


@pytest.mark.parametrize(
    ("names", "says", "where"),
    [
        ({"tls_key"}, "`tls-key` is given without `tls-cert`", "tls_key"),
        ({"tls_cert"}, "`tls-cert` is given without `tls-key`", "tls_cert"),
        ({"client_ca"}, "`client-ca` is given without `tls-key` and `tls-cert`", "client_ca"),
        ({"client_ca", "token_file"}, "`client-ca` is given without", "client_ca"),
    ],
)
def test_files_that_need_others_are_refused_alone(ours, names, says, where):
    key, cert = ours.issue("server")
    files = {"tls_key": key, "tls_cert": cert, "client_ca": ours.file, "token_file": key}
    with pytest.raises(ConfigInvalid, match=says) as caught:
        Security(named(**{name: files[name] for name in names}))
    assert caught.value.where == f"argument --{where}"


def test_files_of_no_use_are_refused_at_the_start_with_name_and_place(ours, tmp_path):
    key, cert = ours.issue("server")
    old_key, old_cert = ours.issue("old", **EXPIRED)
    for files, says, where in (
        ({"tls_key": f"{tmp_path}/none", "tls_cert": cert}, "none' cannot be read", "tls_key"),
        ({"tls_key": cert, "tls_cert": cert}, "not a usable pair", "tls_key"),
        ({"tls_key": key, "tls_cert": key}, "holds no certificate", "tls_cert"),
        ({"tls_key": old_key, "tls_cert": old_cert}, "expired on", "tls_cert"),
        ({"tls_key": key, "tls_cert": cert, "client_ca": key}, "holds no certificate", "client_ca"),
    ):
        with pytest.raises(ConfigInvalid, match=says) as caught:
            Security(named(**files))
        assert caught.value.where == f"argument --{where}"


def test_a_port_that_is_taken_is_told_as_such_with_tls_too(ours, services, secured):
    key, cert = ours.issue("server")
    url = secured(tls_key=key, tls_cert=cert)
    with pytest.raises(ConfigInvalid, match=r"cannot listen on .*: Address already in use"):
        serve(
            services,
            listen=f"127.0.0.1:{url.rpartition(':')[2]}",
            security=Security(named(tls_key=key, tls_cert=cert)),
        )


# -- tokens --------------------------------------------------------------------------------------------


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "tokens"
    file.write_text("right-token\n")
    return file


@pytest.fixture
def guarded(services, token_file):
    """A peer of a server on loopback that wants tokens; it sends none by itself."""
    with serving(services, security=Security(named(token_file=token_file))) as peer:
        yield peer


def bearing(word):
    return (("authorization", f"Bearer {word}"),)


def every_call(peer, metadata=None):
    """One call of each shape and service, whether it would succeed or not."""
    read = ReadRequest(resource_name=f"blobs/{Digest.of(b'x')}")
    yield lambda: peer.capabilities.GetCapabilities(reapi.GetCapabilitiesRequest(), metadata=metadata)
    yield lambda: peer.cas.BatchUpdateBlobs(reapi.BatchUpdateBlobsRequest(), metadata=metadata)
    yield lambda: list(peer.bytestream.Read(read, metadata=metadata))
    write = WriteRequest(resource_name=upload_name(Digest.of(b"x")), data=b"y", finish_write=True)
    yield lambda: peer.bytestream.Write(iter([write]), metadata=metadata)
    yield lambda: peer.channel.unary_unary("/no.such.Service/Method")(b"", metadata=metadata)


@pytest.mark.parametrize("metadata", [None, bearing("wrong-token"), bearing("right-token2"), bearing("")])
def test_no_call_of_any_kind_passes_without_a_token(guarded, metadata):
    for call in every_call(guarded, metadata):
        with pytest.raises(grpc.RpcError) as refused:
            call()
        assert refused.value.code() is CODE.UNAUTHENTICATED
        assert "token" in refused.value.details()
        for word in ("right", "wrong", "token2"):
            assert word not in refused.value.details()


def test_with_a_token_every_call_is_answered_as_ever(guarded):
    codes = []
    for call in every_call(guarded, bearing("right-token")):
        try:
            call()
        except grpc.RpcError as error:
            codes.append(error.code())
        else:
            codes.append(CODE.OK)
    assert codes == [CODE.OK, CODE.OK, CODE.NOT_FOUND, CODE.FAILED_PRECONDITION, CODE.UNIMPLEMENTED]


def test_refused_calls_hold_no_thread(guarded):
    """More of them than there are threads, none of which ever sends its message."""

    over = threading.Event()

    def nothing():
        over.wait(60)
        yield from ()

    calls = [guarded.bytestream.Write.future(nothing()) for _ in range(60)]
    assert {call.code() for call in calls} == {CODE.UNAUTHENTICATED}
    answer = guarded.capabilities.GetCapabilities(
        reapi.GetCapabilitiesRequest(), metadata=bearing("right-token")
    )
    assert answer.cache_capabilities.digest_functions
    over.set()


def test_whether_the_server_is_well_may_be_asked_without_a_token_and_nothing_else(guarded):
    """What asks that, an orchestrator, has no way to show one. Watching would hold a thread."""

    def code(method):
        call = guarded.channel.unary_unary(f"/grpc.health.v1.Health/{method}")
        try:
            call(b"")
        except grpc.RpcError as error:
            return error.code()
        return CODE.OK

    assert code("Check") is not CODE.UNAUTHENTICATED
    assert code("Watch") is CODE.UNAUTHENTICATED


def test_a_renewed_token_counts_while_old_and_new_overlap(guarded, token_file):
    def missing(word):
        request = reapi.FindMissingBlobsRequest()
        return guarded.cas.FindMissingBlobs(request, metadata=bearing(word))

    assert refusal(missing, "new-token") is CODE.UNAUTHENTICATED
    token_file.write_text("right-token\nnew-token\n")
    missing("right-token")
    missing("new-token")
    token_file.write_text("new-token\n")
    missing("new-token")
    assert refusal(missing, "right-token") is CODE.UNAUTHENTICATED


def test_refused_calls_are_logged_without_what_they_showed(guarded, caplog):
    refusal(guarded.cas.FindMissingBlobs, reapi.FindMissingBlobsRequest(), metadata=bearing("wrong-token"))
    (line,) = caplog.records
    assert (line.levelname, line.getMessage(), line.calls) == ("WARNING", "calls without a valid token", 1)
    assert "127.0.0.1" in line.last
    assert "wrong" not in str(vars(line))


def test_many_refused_calls_are_one_line(guarded, caplog, monkeypatch):
    monkeypatch.setattr(tokens, "QUIET_S", 3600.0)
    for _ in range(20):
        refusal(guarded.cas.FindMissingBlobs, reapi.FindMissingBlobsRequest())
    assert len(caplog.records) == 1


def test_our_client_with_the_token_is_let_in_and_renews_it_by_itself(
    ours, secured, tmp_path, token_file, caplog
):
    """Both sides read their files again while a connection stands; no call fails."""
    key, cert = ours.issue("server")
    url = secured(tls_key=key, tls_cert=cert, token_file=token_file)
    mine = tmp_path / "mine"
    mine.write_text("right-token")
    remote = open_remote(RemoteSpec(url, True, ours.file, access_token=str(mine)), HURRY)
    try:
        remote.blobs.write_batch([(Digest.of(BLOB), BLOB)])
        token_file.write_text("next-token\n")
        mine.write_text("next-token\n")
        assert remote.blobs.find_missing([Digest.of(BLOB)]) == set()
        token_file.write_text("last-token\n")
        with pytest.raises(PermissionDenied, match="UNAUTHENTICATED") as caught:
            remote.blobs.find_missing([Digest.of(BLOB)])
    finally:
        remote.close()
    told = str(caught.value) + "".join(str(vars(one)) for one in caplog.records)
    assert "-token" not in told.replace("access-token", "")


def test_tokens_are_not_taken_where_anybody_can_read_them(services, token_file):
    wanted = Security(named(token_file=token_file))
    with pytest.raises(ConfigInvalid, match="without TLS") as caught:
        serve(services, listen="0.0.0.0:0", security=wanted)
    assert caught.value.where == "argument --token_file"


def test_with_certificates_and_tokens_both_are_wanted(ours, secured, tmp_path, token_file):
    key, cert = ours.issue("server")
    url = secured(tls_key=key, tls_cert=cert, client_ca=ours.file, token_file=token_file)
    mine = ours.issue("client", "worker@example.org")
    fields = {"server_cert": ours.file, "client_key": mine[0], "client_cert": mine[1]}
    with pytest.raises(PermissionDenied, match="wants a bearer token"):
        ask(url, **fields)
    with pytest.raises(ConfigInvalid, match="wants a client certificate"):
        ask(url, server_cert=ours.file, access_token=str(token_file))
    assert ask(url, **fields, access_token=str(token_file))


def test_a_server_names_what_it_asks_for(ours, token_file):
    key, cert = ours.issue("server")
    assert Security(ServerSettings()).words == ()
    assert Security(named(tls_key=key, tls_cert=cert)).words == ("TLS",)
    everything = named(tls_key=key, tls_cert=cert, client_ca=ours.file, token_file=token_file)
    assert Security(everything).words == ("TLS", "client certificates", "tokens")


def test_an_open_server_stays_open(services):
    with serving(services) as peer:
        assert peer.missing(Digest.of(b"absent"))
