"""One suite for every ref index of a remote: what a RefIndex promises, against real servers on loopback."""

import contextlib

import pytest
from harness.lying_server import LyingServer
from harness.remotes import ABSENT, HURRY, Code, remotes
from harness.services import fake_services

from caskeeper.artifact import Ref
from caskeeper.digest import Digest
from caskeeper.errors import (
    ConfigInvalid,
    InvalidRequest,
    NoSpace,
    PermissionDenied,
    RemoteUnavailable,
)
from worker._protos import remote_execution_pb2 as reapi
from worker.protocols import ACTION_RESULT, DIRECTORY, Published
from worker.server.app import serve

STRONG, WEAK = Ref.parse("demo/hello/aaaa"), Ref.parse("demo/hello/bbbb")
#: index -> its services, the calls that resolve, and the one that publishes a tree
INDEXES = {
    "reference-storage": (("reference-storage",), ("GetReference",), "UpdateReference"),
    "remote-asset": (
        ("remote-asset", "remote-asset-push"),
        ("FetchDirectory", "FetchBlob"),
        "PushDirectory",
    ),
    "action-cache": (("action-cache",), ("GetActionResult",), "UpdateActionResult"),
}
#: Two trees of one message each: our own server binds no name to what it does not have.
MESSAGES = [
    reapi.Directory(symlinks=[reapi.SymlinkNode(name="a", target=target)]).SerializeToString()
    for target in ("b", "c")
]
ROOT, OTHER = (Published((Digest.of(message),)) for message in MESSAGES)


@pytest.fixture(params=INDEXES)
def index(request):
    return request.param


@pytest.fixture
def server(index):
    with LyingServer(indexes=INDEXES[index][0]) as running:
        yield running


@pytest.fixture
def opened(server):
    with remotes() as make:
        yield lambda patience=HURRY, **fields: make(server.url, patience, **fields)


@pytest.fixture(params=["ours", "another"])
def anyone(request, tmp_path, index):
    """Remotes of a server with this index, our own and another."""
    with contextlib.ExitStack() as stack:
        if request.param == "another":
            url = stack.enter_context(LyingServer(*MESSAGES, indexes=INDEXES[index][0])).url
        else:
            services = fake_services(tmp_path)
            stack.callback(services.close)
            running = serve(services, listen="127.0.0.1:0", indexes=(index,))
            stack.callback(running.stop, 0)
            url = f"http://{running.address}"
        make = stack.enter_context(remotes())
        make(url, push=True).blobs.write_batch([(Digest.of(message), message) for message in MESSAGES])
        yield lambda **fields: make(url, push=True, **fields)


def publish(remote, refs, published):
    message = MESSAGES[published == OTHER]
    tree = reapi.EncodedTree(root=message).SerializeToString()
    remote.index.publish(refs, published, tree=lambda: tree)


def test_auto_finds_it_out_and_naming_it_is_the_same(anyone, index):
    for configured in ("auto", index):
        remote = anyone(index=configured)
        assert remote.probe() == (index, "")
        assert remote.writable


def test_every_published_name_resolves_to_the_root(anyone):
    remote = anyone()
    publish(remote, [STRONG, WEAK], ROOT)
    assert remote.index.resolve(STRONG) == remote.index.resolve(WEAK) == ROOT


def test_what_a_name_was_bound_to_before_is_overwritten(anyone):
    remote = anyone()
    publish(remote, [STRONG, WEAK], ROOT)
    publish(remote, [STRONG], OTHER)
    assert (remote.index.resolve(STRONG), remote.index.resolve(WEAK)) == (OTHER, ROOT)


def test_an_unknown_name_is_a_miss(anyone):
    remote = anyone()
    publish(remote, [STRONG], ROOT)
    assert remote.index.resolve(WEAK) is None


def test_another_index_than_the_one_that_is_there_is_one_clear_error(anyone, index):
    for other in INDEXES.keys() - {index}:
        remote = anyone(index=other, where="c.yaml [line 3 column 4]")
        with pytest.raises(ConfigInvalid, match="cannot name artifacts: it has no") as caught:
            remote.probe()
        assert caught.value.where.endswith("c.yaml [line 3 column 4]")
        with pytest.raises(ConfigInvalid):
            remote.index.resolve(STRONG)
        assert not remote.writable


def test_publishing_no_name_asks_nobody(server, opened, index):
    publish(opened(push=True), [], ROOT)
    assert server.count(INDEXES[index][2]) == 0


@pytest.mark.parametrize("published", [ROOT._replace(kind=ACTION_RESULT), Published((ROOT.root, ABSENT))])
def test_what_is_no_artifact_cannot_be_named(server, opened, index, published):
    with pytest.raises(InvalidRequest):
        publish(opened(push=True), [STRONG], published)
    assert server.count(INDEXES[index][2]) == 0


@pytest.mark.parametrize(
    "digest", [Digest("", 0), Digest("x" * 64, 1), Digest("a" * 63, 1), Digest("a" * 64, -1)]
)
def test_an_answer_that_is_no_digest_is_trouble_and_not_a_miss(server, opened, digest):
    remote = opened(push=True)
    publish(remote, [STRONG], Published((digest,)))
    with pytest.raises(RemoteUnavailable, match="no digest"):
        remote.index.resolve(STRONG)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (Code.INTERNAL, RemoteUnavailable),
        (Code.UNKNOWN, RemoteUnavailable),
        (Code.RESOURCE_EXHAUSTED, RemoteUnavailable),
        (Code.DATA_LOSS, RemoteUnavailable),
        (Code.PERMISSION_DENIED, PermissionDenied),
        (Code.UNIMPLEMENTED, ConfigInvalid),
    ],
)
def test_trouble_while_resolving_is_not_a_miss(server, opened, index, code, error):
    """I10."""
    remote = opened()
    assert remote.probe()[0] == index
    server.answers.update(dict.fromkeys(INDEXES[index][1], code))
    with pytest.raises(error):
        remote.index.resolve(STRONG)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (Code.RESOURCE_EXHAUSTED, NoSpace),
        (Code.PERMISSION_DENIED, PermissionDenied),
        (Code.FAILED_PRECONDITION, RemoteUnavailable),
        (Code.NOT_FOUND, RemoteUnavailable),
    ],
)
def test_a_name_that_is_refused_says_why(server, opened, index, code, error):
    remote = opened(push=True)
    server.answers[INDEXES[index][2]] = code
    with pytest.raises(error):
        publish(remote, [STRONG], ROOT)
    del server.answers[INDEXES[index][2]]
    assert remote.index.resolve(STRONG) is None


def test_the_instance_name_is_in_every_request(server, opened):
    remote = opened(instance_name="main", push=True)
    publish(remote, [STRONG], ROOT)
    remote.index.resolve(STRONG)
    names = {getattr(request, "instance_name", "main") for _name, request in server.calls}
    assert names == {"main"}


def test_a_transient_failure_is_tried_again(server, opened, index):
    remote = opened(push=True)
    publish(remote, [STRONG], ROOT)
    method = INDEXES[index][1][0]
    server.answers[method], server.times[method] = Code.UNAVAILABLE, 1
    assert remote.index.resolve(STRONG) == ROOT


def test_a_server_that_takes_no_names_is_still_read(server, opened, index):
    """D-15."""
    writable = opened(push=True)
    publish(writable, [STRONG], ROOT)
    server.allow_updates = False
    server.answers["PushBlob"] = Code.PERMISSION_DENIED
    remote = opened(push=True)
    assert remote.probe() == (index, NO_PUSH)
    assert not remote.writable
    assert remote.index.resolve(STRONG) == ROOT


NO_PUSH = "the server does not allow push"
BOTH_ASSETS = ("remote-asset", "remote-asset-push")


@pytest.mark.parametrize(
    ("services", "updates", "found"),
    [
        ((*BOTH_ASSETS, "reference-storage", "action-cache"), True, ("remote-asset", "")),
        (("reference-storage", "action-cache"), True, ("reference-storage", "")),
        # Fetch without Push is read-only for us only where nothing else is writable.
        (("remote-asset", "reference-storage"), True, ("reference-storage", "")),
        (("remote-asset", "action-cache"), True, ("action-cache", "")),
        (("remote-asset", "reference-storage"), False, ("remote-asset", "it has no Remote Asset Push")),
        (("remote-asset",), True, ("remote-asset", "it has no Remote Asset Push")),
        (("reference-storage", "action-cache"), False, ("reference-storage", NO_PUSH)),
        (("remote-asset-push", "action-cache"), True, ("action-cache", "")),
    ],
)
def test_auto_takes_the_first_that_can_be_written_or_else_read(services, updates, found):
    with LyingServer(indexes=services) as server, remotes() as make:
        server.allow_updates = updates
        assert make(server.url, push=True).probe() == found


@pytest.mark.parametrize(
    ("before", "now"), [("reference-storage", "remote-asset"), ("remote-asset", "action-cache")]
)
def test_a_server_that_came_back_with_another_index_is_asked_in_its_way(tmp_path, before, now):
    services = fake_services(tmp_path)
    running = serve(services, listen="127.0.0.1:0", indexes=(before,))
    with remotes() as make:
        remote = make(f"http://{running.address}", push=True)
        remote.blobs.write_batch([(Digest.of(message), message) for message in MESSAGES])
        publish(remote, [STRONG], ROOT)
        running.stop(0)
        running = serve(services, listen=running.address, indexes=(now,))
        try:
            publish(remote, [WEAK], OTHER)
            assert remote.index.resolve(STRONG) == ROOT
            assert remote.index.name() == now
        finally:
            running.stop(0)
            services.close()


def test_a_server_without_any_index_is_named_so():
    with LyingServer(indexes=()) as server, remotes() as make:
        remote = make(server.url, push=True)
        with pytest.raises(ConfigInvalid, match="none of Remote Asset, ReferenceStorage, ActionCache"):
            remote.probe()
        assert remote.blobs.find_missing([ABSENT]) == {ABSENT}
        assert not remote.writable


def test_an_index_in_trouble_is_not_passed_over_for_another():
    """What was pushed through one index would be looked for in another (I10)."""
    with LyingServer(indexes=(*BOTH_ASSETS, "reference-storage")) as server, remotes() as make:
        server.answers["FetchBlob"] = Code.UNAVAILABLE
        with pytest.raises(RemoteUnavailable):
            make(server.url).probe()


def test_an_index_that_refuses_us_is_passed_over_for_another():
    with LyingServer(indexes=(*BOTH_ASSETS, "reference-storage")) as server, remotes() as make:
        server.answers["FetchBlob"] = Code.PERMISSION_DENIED
        assert make(server.url).probe() == ("reference-storage", "")
        with pytest.raises(PermissionDenied):
            make(server.url, index="remote-asset").probe()


def test_the_trouble_of_an_index_that_is_not_used_does_not_matter():
    with LyingServer(indexes=(*BOTH_ASSETS, "reference-storage")) as server, remotes() as make:
        server.answers.update(Status=Code.INTERNAL, GetActionResult=Code.UNKNOWN)
        assert make(server.url, push=True).probe() == ("remote-asset", "")


@pytest.mark.parametrize("role", ["index", "storage"])
def test_a_server_is_asked_only_for_what_it_is_configured_for(role):
    with LyingServer(holds=role == "storage", indexes=BOTH_ASSETS if role == "index" else ()) as server:
        with remotes() as make:
            remote = make(server.url, type=role, push=True)
            assert remote.probe() == ("remote-asset" if role == "index" else "storage", "")
        asked = {name for name, _request in server.calls}
        assert ("FetchBlob" in asked, "BatchReadBlobs" in asked) == (role == "index", role == "storage")


@pytest.mark.parametrize("role", ["storage", "all"])
def test_a_server_that_holds_nothing_is_no_storage(role):
    refused = pytest.raises(ConfigInvalid, match="no ContentAddressableStorage")
    with LyingServer(holds=False, indexes=BOTH_ASSETS) as server, remotes() as make, refused:
        make(server.url, type=role).probe()


def test_a_storage_names_nothing():
    refused = pytest.raises(ConfigInvalid, match="type: storage")
    with LyingServer() as server, remotes() as make, refused:
        make(server.url, type="storage").index.resolve(STRONG)


def test_plain_trees_are_all_that_old_indexes_can_name():
    kinds = {}
    for index, (services, _resolving, _publishing) in INDEXES.items():
        with LyingServer(indexes=services) as server, remotes() as make:
            kinds[index] = DIRECTORY in (found := make(server.url).index.kinds) and len(found)
    assert kinds == {"reference-storage": 1, "remote-asset": 2, "action-cache": 1}
