"""Pull and push through each kind of ref index, against real servers on loopback: ours and others.

One dead, one hanging, one full, one that lies, one read-only, and index and storage on two servers.
"""

from __future__ import annotations

import base64
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
from harness.artifacts import Artifact
from harness.lying_indexes import ARTIFACT as ARTIFACT_URN
from harness.lying_server import LyingServer, black_hole, nobody_listening
from harness.remotes import HURRY, Code
from harness.services import fake_services, make_tree, picture

from caskeeper.artifact import Ref
from caskeeper.config import RemoteSpec
from caskeeper.contract import (
    CommitRequest,
    ExtractRequest,
    PullRequest,
    PushDirectoryRequest,
    PushMessageRequest,
    PushRequest,
)
from caskeeper.errors import (
    ConfigInvalid,
    DeadlineExceeded,
    DigestMismatch,
    PermissionDenied,
    RemoteUnavailable,
)
from worker.protocols import quiet
from worker.remote import RemotePool
from worker.server.app import serve

KEY = "demo/hello/strong"
REF = Ref.parse(KEY)
SERVICES = {
    "reference-storage": ("reference-storage",),
    "remote-asset": ("remote-asset", "remote-asset-push"),
    "action-cache": ("action-cache",),
}
RESOLVING = {
    "reference-storage": "GetReference",
    "remote-asset": "FetchDirectory",
    "action-cache": "GetActionResult",
}
PUBLISHING = {
    "reference-storage": "UpdateReference",
    "remote-asset": "PushDirectory",
    "action-cache": "UpdateActionResult",
}
QUICK = HURRY._replace(probe_s=1.0, call_s=1.0, silence_s=1.0)


@pytest.fixture(params=SERVICES)
def index(request):
    return request.param


@pytest.fixture
def stack():
    with ExitStack() as held:
        yield held


@pytest.fixture
def cache(tmp_path, stack):
    """Makes caches with the remotes it is given, each over a volume of its own."""
    made = []

    def make(*specs, patience=HURRY):
        folder = tmp_path / f"cache{len(made)}"
        folder.mkdir()
        made.append(fake_services(folder, specs=specs, pool=RemotePool(patience)))
        stack.callback(made[-1].close)
        return made[-1]

    return make


@contextmanager
def ours(tmp_path, *indexes, read_only=False):
    """`caskeeper server` in this process, and the services of its volume."""
    folder = tmp_path / "served"
    folder.mkdir(exist_ok=True)
    services = fake_services(folder)
    server = serve(services, listen="127.0.0.1:0", read_only=read_only, indexes=indexes)
    try:
        yield f"http://{server.address}", services
    finally:
        server.stop(grace_s=0)
        services.close()


def commit(services, tree):
    services.run(CommitRequest(path=tree, refs=(KEY,)), quiet())


def push(services):
    return {outcome.url: outcome for outcome in services.run(PushRequest(refs=(KEY,)), quiet()).remotes}


def pull(services, **arguments):
    return services.run(PullRequest(ref=KEY, **arguments), quiet())


def extracted(services):
    return picture(services.run(ExtractRequest(ref=KEY), quiet()).path)


def test_what_is_pushed_to_our_server_comes_back_the_same(tmp_path, stack, cache, index):
    url, served = stack.enter_context(ours(tmp_path, index))
    spec = RemoteSpec(url, push=True)
    sender, receiver = cache(spec), cache(spec)
    tree = make_tree(tmp_path / "cache0" / "src")
    commit(sender, tree)
    assert push(sender)[url].outcome == "pushed"
    assert push(sender)[url].outcome == "already-there"
    assert served.listing.contains(REF)
    assert (pull(receiver).remote, receiver.listing.show(REF).origin) == (url, url)
    assert extracted(receiver) == picture(tree)
    assert sender.remotes.get(spec).probe() == (index, "")


def test_what_is_pushed_to_another_server_comes_back_the_same(tmp_path, stack, cache, index):
    server = stack.enter_context(LyingServer(indexes=SERVICES[index]))
    spec = RemoteSpec(server.url, push=True)
    sender, receiver = cache(spec), cache(spec)
    tree = make_tree(tmp_path / "cache0" / "src")
    commit(sender, tree)
    assert push(sender)[server.url].outcome == "pushed"
    assert push(sender)[server.url].outcome == "already-there"
    assert pull(receiver).pulled
    assert extracted(receiver) == picture(tree)


def test_one_set_of_refs_is_behind_all_indexes_of_our_server(tmp_path, stack, cache):
    """Pushed through one, pulled through every other."""
    url, _served = stack.enter_context(ours(tmp_path, *SERVICES))
    sender = cache(RemoteSpec(url, push=True, index="reference-storage"))
    commit(sender, make_tree(tmp_path / "cache0" / "src"))
    push(sender)
    for index in SERVICES:
        receiver = cache(RemoteSpec(url, index=index))
        assert pull(receiver).pulled, index


# Index and storage on two servers.


def halves(stack, index, *, storages=1):
    """One server that only names, and some that only hold."""
    named = stack.enter_context(LyingServer(indexes=SERVICES[index], holds=False))
    held = [stack.enter_context(LyingServer(indexes=())) for _ in range(storages)]
    specs = [RemoteSpec(named.url, push=True, type="index")]
    specs += [RemoteSpec(server.url, push=True, type="storage") for server in held]
    return named, held, specs


def test_content_goes_to_every_storage_and_the_name_to_the_index(tmp_path, stack, cache, index):
    named, held, specs = halves(stack, index, storages=2)
    sender = cache(*reversed(specs))
    tree = make_tree(tmp_path / "cache0" / "src")
    commit(sender, tree)
    assert {url: outcome.outcome for url, outcome in push(sender).items()} == {named.url: "pushed"}
    assert held[0].blobs == held[1].blobs
    assert named.blobs == {}
    receiver = cache(*specs)
    assert pull(receiver).remote == named.url
    assert extracted(receiver) == picture(tree)


def test_what_one_storage_lost_comes_from_the_other(tmp_path, stack, cache, index):
    _named, held, specs = halves(stack, index, storages=2)
    sender = cache(*specs)
    tree = make_tree(tmp_path / "cache0" / "src")
    commit(sender, tree)
    push(sender)
    for number, hash_hex in enumerate(sorted(held[0].blobs)):
        del held[number % 2].blobs[hash_hex]
    receiver = cache(*specs)
    assert pull(receiver).pulled
    assert extracted(receiver) == picture(tree)


def test_a_dead_storage_costs_a_pull_nothing_and_a_push_its_outcome(tmp_path, stack, cache, index):
    _named, held, specs = halves(stack, index)
    sender = cache(*specs)
    commit(sender, make_tree(tmp_path / "cache0" / "src"))
    push(sender)
    dead = RemoteSpec(stack.enter_context(nobody_listening()), push=True, type="storage")
    receiver = cache(specs[0], dead, specs[1])
    assert pull(receiver).pulled
    with pytest.raises(RemoteUnavailable):
        push(receiver)
    assert held[0].count("FindMissingBlobs")


def test_a_storage_that_takes_no_pushes_is_read_from(tmp_path, stack, cache, index):
    named, (held,), specs = halves(stack, index)
    held.answers["BatchUpdateBlobs"] = Code.PERMISSION_DENIED
    sender = cache(*specs)
    commit(sender, make_tree(tmp_path / "cache0" / "src"))
    with pytest.raises(PermissionDenied, match="does not allow push"):
        push(sender)
    assert named.count(PUBLISHING[index]) == 0


@pytest.mark.parametrize("server", ["ours", "another"])
def test_an_index_that_names_only_what_it_holds_is_a_fault_of_the_configuration(
    tmp_path, stack, cache, index, server
):
    named, _held, (spec, storage) = halves(stack, index)
    named.answers[PUBLISHING[index]] = Code.FAILED_PRECONDITION
    if server == "ours":
        spec = RemoteSpec(stack.enter_context(ours(tmp_path, index))[0], push=True, type="index")
    sender = cache(replace(spec, where="c.yaml [line 3 column 4]"), storage)
    commit(sender, make_tree(tmp_path / "cache0" / "src"))
    with pytest.raises(ConfigInvalid, match="names only content that it holds") as caught:
        push(sender)
    assert caught.value.where == f"{KEY}, url {spec.url}, c.yaml [line 3 column 4]"
    assert "`type: all`" in caught.value.way_out


def test_content_that_vanished_from_an_index_that_holds_it_may_be_pushed_again(tmp_path, stack, cache, index):
    server = stack.enter_context(LyingServer(indexes=SERVICES[index]))
    server.answers[PUBLISHING[index]] = Code.FAILED_PRECONDITION
    sender = cache(*(RemoteSpec(server.url, push=True, type=half) for half in ("index", "storage")))
    commit(sender, make_tree(tmp_path / "cache0" / "src"))
    with pytest.raises(RemoteUnavailable, match="FAILED_PRECONDITION"):
        push(sender)


def test_content_without_a_name_goes_to_storages_only(tmp_path, stack, cache, index):
    named, held, specs = halves(stack, index, storages=2)
    sender = cache(*specs)
    commit(sender, make_tree(tmp_path / "cache0" / "src"))
    root = sender.listing.show(REF).roots[0]
    result = sender.run(PushDirectoryRequest(project="demo", digest=root), quiet())
    assert {one.url: one.outcome for one in result.remotes} == {one.url: "pushed" for one in held}
    data = base64.b64encode(b"a message").decode()
    digest = sender.run(PushMessageRequest(project="demo", message=data), quiet()).digest
    assert all(digest.partition("/")[0] in server.blobs for server in held)
    assert {name for name, _request in named.calls} <= {"GetCapabilities"}


@pytest.mark.parametrize("half", ["index", "storage"])
def test_one_half_alone_is_a_clear_error(cache, half):
    spec = RemoteSpec("http://localhost:1", push=True, type=half, where="c.yaml [line 3 column 4]")
    other = "storage" if half == "index" else "index"
    for verb in (PullRequest(ref=KEY), PushRequest(refs=(KEY,))):
        services = cache(spec)
        with pytest.raises(ConfigInvalid, match=f"none of `type: {other}`") as caught:
            services.run(verb, quiet())
        assert caught.value.where == "c.yaml [line 3 column 4]"


def test_an_index_with_push_needs_a_storage_with_push(cache):
    services = cache(
        RemoteSpec("http://localhost:1", push=True, type="index"), RemoteSpec("http://b", type="storage")
    )
    with pytest.raises(ConfigInvalid, match="no storage server of project 'demo' takes pushes"):
        services.run(PushRequest(refs=(KEY,)), quiet())


# Servers of no use, before one that is.


def good(tmp_path, stack, cache, index):
    """A server that has the artifact, and its spec."""
    server = stack.enter_context(LyingServer(indexes=SERVICES[index]))
    spec = RemoteSpec(server.url, push=True)
    sender = cache(spec)
    commit(sender, make_tree(tmp_path / "cache0" / "src"))
    push(sender)
    return server, spec


def bad(stack, index, fault, honest):
    """A server with one fault and the same content and names."""
    if fault == "dead":
        return stack.enter_context(nobody_listening())
    if fault == "silent":
        return stack.enter_context(black_hole())
    server = stack.enter_context(LyingServer(indexes=SERVICES[index]))
    server.blobs.update(honest.blobs)
    server.refs.update(honest.refs)
    server.assets.update(honest.assets)
    server.actions.update(honest.actions)
    if fault == "hanging":
        server.hangs.add(RESOLVING[index])
    elif fault == "lying":
        server.wrong_bytes = True
    elif fault == "broken":
        server.answers[RESOLVING[index]] = Code.INTERNAL
    elif fault == "emptied":
        server.blobs.clear()
    return server.url


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("dead", RemoteUnavailable),
        ("silent", DeadlineExceeded),
        ("hanging", DeadlineExceeded),
        ("lying", DigestMismatch),
        ("broken", RemoteUnavailable),
        ("emptied", None),
    ],
)
def test_a_pull_gets_past_a_server_of_no_use(tmp_path, stack, cache, index, fault, error):
    """D-17, I10: it comes from the next, and alone it is an error, never a miss."""
    honest, spec = good(tmp_path, stack, cache, index)
    url = bad(stack, index, fault, honest)
    receiver = cache(RemoteSpec(url, push=True), spec, patience=QUICK)
    assert pull(receiver).remote == honest.url
    alone = cache(RemoteSpec(url), patience=QUICK)
    if error is None:
        assert not pull(alone).pulled
    else:
        with pytest.raises(error):
            pull(alone)
    assert alone.listing.list() == []


@pytest.mark.parametrize("where", ["content", "name"])
def test_a_full_server_is_an_outcome_of_its_own(tmp_path, stack, cache, index, where):
    honest, spec = good(tmp_path, stack, cache, index)
    full = stack.enter_context(LyingServer(indexes=SERVICES[index]))
    sender = cache(spec, RemoteSpec(full.url, push=True))
    assert pull(sender).pulled
    sender.remotes.get(RemoteSpec(full.url, push=True)).probe()
    for method in ("BatchUpdateBlobs", "Write") if where == "content" else (PUBLISHING[index],):
        full.answers[method] = Code.RESOURCE_EXHAUSTED
    outcomes = push(sender)
    assert (outcomes[honest.url].outcome, outcomes[full.url].outcome) == ("already-there", "full")


def test_a_read_only_server_of_ours_is_pulled_from(tmp_path, stack, cache, index):
    with ours(tmp_path, index) as (url, _served):
        sender = cache(RemoteSpec(url, push=True))
        commit(sender, make_tree(tmp_path / "cache0" / "src"))
        push(sender)
    url, _served = stack.enter_context(ours(tmp_path, index, read_only=True))
    receiver = cache(RemoteSpec(url, push=True))
    assert pull(receiver).pulled
    with pytest.raises(PermissionDenied):
        push(receiver)


def test_a_server_without_asset_push_is_pulled_from(tmp_path, stack, cache):
    honest, _spec = good(tmp_path, stack, cache, "remote-asset")
    server = stack.enter_context(LyingServer(indexes=("remote-asset",)))
    server.blobs, server.assets = honest.blobs, honest.assets
    receiver = cache(RemoteSpec(server.url, push=True))
    assert pull(receiver).pulled
    with pytest.raises(PermissionDenied, match="does not allow push"):
        push(receiver)


# Artifacts of BuildStream 2.


def test_an_artifact_goes_through_our_server_in_part_and_whole(tmp_path, stack, cache):
    """Pulled without its build tree, served on by whoever has it whole, completed there and here."""
    origin = stack.enter_context(LyingServer(indexes=SERVICES["remote-asset"]))
    artifact = Artifact(origin.add)
    origin.assets["Blob", f"{ARTIFACT_URN}{REF}"] = artifact.message
    url, served = stack.enter_context(ours(tmp_path, "remote-asset"))
    middle = cache(RemoteSpec(origin.url), RemoteSpec(url, push=True))
    assert pull(middle).remote == origin.url
    assert push(middle)[url].outcome == "pushed"
    assert push(middle)[url].outcome == "already-there"
    shown = served.listing.show(REF)
    assert (shown.kind, shown.complete, shown.excluded) == ("artifact", True, ())
    receiver = cache(RemoteSpec(url))
    assert pull(receiver, excluded_subdirs=("buildtree",)).pulled
    assert receiver.listing.show(REF).excluded == ("buildtree",)
    assert pull(receiver).pulled
    assert extracted(receiver) == extracted(middle)
    assert receiver.listing.show(REF).roots == shown.roots


def test_the_same_through_an_index_and_a_storage(tmp_path, stack, cache):
    named, (held, other), specs = halves(stack, "remote-asset", storages=2)
    artifact = Artifact(held.add)
    named.assets["Blob", f"{ARTIFACT_URN}{REF}"] = artifact.message
    # What one of them has is there, though the other one is pushed to as well.
    other.blobs[artifact.parts["buildroot"].hash] = held.blobs.pop(artifact.parts["buildroot"].hash)
    del held.blobs[artifact.parts["sources"].hash]
    receiver = cache(*specs)
    assert pull(receiver).remote == named.url
    assert receiver.listing.show(REF).excluded == ("sources",)
