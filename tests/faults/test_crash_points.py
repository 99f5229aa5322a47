"""A process that dies before any of its steps (safety.md section 8): the volume is sound then (I1 to I3, I5,
I7), the verb run again succeeds (I8), and a recount and a cleanup leave nothing behind.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile
import time

import pytest
from harness.assets import small_artifact
from harness.bindings import bind_artifact, bind_result, upload_artifact, upload_result
from harness.fleet import Oracle, write_tree
from harness.mortal import NEVER, expire_leases, mortal_services
from harness.services import MemoryRemote, picture
from harness.tree_messages import tree_message
from harness.volumes import Dead, new_volume

from caskeeper.artifact import Ref
from caskeeper.config.settings import LeaseSettings
from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ComputeSizeRequest,
    ExtractRequest,
    LinkRequest,
    PullRequest,
    PullTreeRequest,
    PushDirectoryRequest,
    PushRequest,
    RemoveRequest,
)
from caskeeper.coordination import Coordination
from caskeeper.digest import Digest
from worker.protocols import ARTIFACT, Published, quiet
from worker.server.rolling import Rolling
from worker.store.blobs import StoreBlobs
from worker.store.objects import Objects
from worker.store.promises import PREFIX as PROMISE
from worker.store.promises import Promises

LEASES = LeaseSettings(clock_margin_s=0.0)
K1, K2, OTHER = "demo/hello/k1", "demo/hello/k2", "demo/other/k3"
ARTIFACT_KEY = "demo/artifact/k1"
WITHOUT = {"excluded_subdirs": ("buildtree",)}


class Site:
    """One volume and one Redis that outlive the processes working on them."""

    def __init__(self, folder, valkey):
        (folder / "made").mkdir()
        self.folder = folder
        self.valkey = valkey
        self.volume = new_volume(folder)
        self.layout = self.volume.layout
        self.oracle = Oracle(self.layout.root)
        self.coordination = Coordination.create(
            valkey.url, volume_id="v", epoch="e", used_bytes=self.oracle.used_bytes(), leases=LEASES
        )
        tree = {"hello": b"hello\n", "x:bin/run": b"#!/bin/sh\n", "bin/empty": b"", "l:link": b"bin/run"}
        self.source = write_tree(folder / "src", {**tree, "buildtree/obj/x.o": b"object code"})
        self.other = write_tree(folder / "other", {**tree, "own": b"own"})
        self.remote = MemoryRemote("http://memory")
        self.run(CommitRequest(path=self.source, refs=(K1,)), PushRequest(refs=(K1,)))
        self.root = Digest.parse(self.results[0].root)
        message, parts = small_artifact()
        for blob in [blob for blobs in parts.values() for blob in blobs]:
            self.remote.blobs.add(blob)
        self.remote.index.refs[Ref.parse(ARTIFACT_KEY)] = Published((message,), ARTIFACT)
        self.tree = self.remote.blobs.add(tree_message(self.remote.blobs.data, self.root))
        self.empty()

    def run(self, *requests, at=NEVER):
        """The number of steps that a process needs for these; it dies before its step ``at``.

        A request is a verb's, or what a server does with the services.
        """
        life, services = mortal_services(
            self.layout,
            self.valkey.url,
            "v",
            LEASES,
            remotes=[self.remote],
            roots=[self.folder],
            at=at,
        )
        try:
            self.results = [
                request(services) if callable(request) else services.run(request, quiet())
                for request in requests
            ]
            return life.steps
        finally:
            services.desk.close()
            services.coordination.close()

    def expire(self):
        with self.valkey.client() as client:
            expire_leases(client, "v")

    def usage(self):
        return self.coordination.usage.snapshot()

    def assert_sound(self):
        assert self.oracle.troubles() == []
        usage = self.usage()
        assert usage.used_bytes + usage.reserved_bytes >= self.oracle.used_bytes()

    def assert_exact(self):
        self.assert_sound()
        usage = self.usage()
        assert (usage.used_bytes, usage.reserved_bytes) == (self.oracle.used_bytes(), 0)
        assert self.oracle.leavings() == []

    def empty(self):
        """A recount sets the estimate right, and a cleanup takes everything."""
        self.expire()
        self.run(ComputeSizeRequest())
        self.assert_exact()
        self.tick()
        self.run(CleanupRequest(target_bytes=0))
        self.assert_exact()
        assert list(self.oracle.refs()) == []
        assert self.usage().used_bytes == 0
        shutil.rmtree(self.folder / "made")
        (self.folder / "made").mkdir()

    def forget_promises(self):
        """As if the grace of every server that was killed had passed."""
        for name in os.listdir(self.layout.staging):
            if name.startswith(PROMISE):
                os.utime(f"{self.layout.staging}/{name}", (0, 0))

    def tick(self):
        """The volume's clock moves on: what was made before is older than the horizon of what follows."""
        time.sleep(0.011)


def commit(site):
    return CommitRequest(path=site.source, refs=(K1, K2))


def two_artifacts(site):
    return [
        commit(site),
        CommitRequest(path=site.other, refs=(OTHER,)),
        ExtractRequest(ref=K1),
        ExtractRequest(ref=OTHER),
    ]


def a_death(site):
    """A commit that died, whose lease is over: half of it is stored, all of it is reserved."""
    with pytest.raises(Dead):
        site.run(CommitRequest(path=site.other, refs=(OTHER,)), at=22)
    site.expire()
    return [commit(site)]


#: verb -> (what is done before, the request that dies)
VERBS = {
    "commit": (lambda _: [], commit),
    "commit of a tree that is here": (
        lambda site: [commit(site)],
        lambda site: CommitRequest(path=site.source, refs=(OTHER,)),
    ),
    "pull": (lambda _: [], lambda _: PullRequest(ref=K1)),
    "pull of what is here": (lambda _: [PullRequest(ref=K1)], lambda _: PullRequest(ref=K1)),
    "pull of the rest": (
        lambda _: [PullRequest(ref=K1, **WITHOUT), ExtractRequest(ref=K1)],
        lambda _: PullRequest(ref=K1),
    ),
    "pull of a sub-directory": (
        lambda _: [PullRequest(ref=K1, **WITHOUT), ExtractRequest(ref=K1)],
        lambda _: PullRequest(ref=K1, subdir="buildtree/obj"),
    ),
    "pull of an artifact": (lambda _: [], lambda _: PullRequest(ref=ARTIFACT_KEY)),
    "extract": (lambda _: [PullRequest(ref=K1)], lambda _: ExtractRequest(ref=K1)),
    "extract of a copy": (
        lambda _: [PullRequest(ref=K1)],
        lambda site: ExtractRequest(ref=K1, destination=f"{site.folder}/made/copy"),
    ),
    "link": (lambda _: [PullRequest(ref=K1)], lambda _: LinkRequest(ref=K1, key="k2")),
    "push": (lambda _: [PullRequest(ref=K1)], lambda _: PushRequest(refs=(K1,))),
    "pull of a tree": (lambda _: [], lambda site: PullTreeRequest(project="demo", digest=str(site.tree))),
    "push of a directory": (
        lambda _: [PullRequest(ref=K1)],
        lambda site: PushDirectoryRequest(project="demo", digest=str(site.root)),
    ),
    "server's push of an artifact": (
        lambda site: [upload_artifact(without={"buildtree"}), commit(site)],
        lambda _: bind_artifact,
    ),
    "server's update of an action": (lambda _: [upload_result], lambda _: bind_result),
    "cleanup": (two_artifacts, lambda _: CleanupRequest(target_bytes=0)),
    "remove": (two_artifacts, lambda _: RemoveRequest(refs=(K1, K2))),
    "remove of one of two names": (two_artifacts, lambda _: RemoveRequest(refs=(K2,))),
    "recount": (two_artifacts, lambda _: ComputeSizeRequest()),
    "recount after a death": (a_death, lambda _: ComputeSizeRequest()),
    "cleanup after a death": (a_death, lambda _: CleanupRequest(target_bytes=0)),
}


@pytest.fixture
def site(roomy, valkey, monkeypatch):
    # Nothing loses power here.
    monkeypatch.setattr("worker.store.system_calls.syncfs", lambda *_arguments: None)
    # Nobody is just starting when a recount comes.
    monkeypatch.setattr("worker.services.maintenance.REGISTER_S", 0.02)
    with tempfile.TemporaryDirectory(dir=roomy) as folder:
        yield Site(pathlib.Path(folder), valkey)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_may_die_before_any_of_its_steps(site, verb):
    before, request_of = VERBS[verb]

    def prepare():
        site.run(*before(site))
        site.tick()
        return request_of(site)

    steps = site.run(prepare())
    outcome = state_of(site)
    site.empty()
    assert steps > 5
    for at in range(1, steps + 1):
        request = prepare()
        with pytest.raises(Dead):
            site.run(request, at=at)
        site.assert_sound()
        site.expire()
        site.run(*what_is_left(site, request))
        site.assert_sound()
        assert state_of(site) == outcome, f"dead before step {at} of {steps}"
        site.empty()


def what_is_left(site, request):
    """The request itself; of a removal only the refs that are still there, for it refuses any other.

    What a removal took without its ref is found by the next cleanup, however full the cache is.
    """
    if not isinstance(request, RemoveRequest):
        return [request]
    site.run(ComputeSizeRequest())  # puts back what was taken and not yet removed
    refs = sorted(set(site.oracle.refs()) & set(request.refs))
    more = [RemoveRequest(refs=tuple(refs))] if refs else []
    return [*more, CleanupRequest(target_bytes=2**40)]


def state_of(site):
    """What a user sees: the refs, and the trees that were checked out."""
    refs = sorted(site.oracle.refs())
    trees = {}
    for top in (site.layout.extracts, f"{site.folder}/made"):
        if os.path.isdir(top):
            trees |= {(top, path): seen for path, seen in picture(top).items() if seen != ("folder",)}
    return refs, trees


BLOBS = [b"one", b"hello\n", b"three" * 1000]


def upload(services):
    """A server that takes in some blobs, one of them in pieces, and is stopped."""
    promises = Promises(services.volume)
    rolling = Rolling(services.desk, promises, subject="here", grace_s=LEASES.upload_grace_s)
    try:
        with rolling.lent(lambda: None) as operation:
            blobs = StoreBlobs(operation.staging, Objects(services.volume))
            blobs.write_batch([(Digest.of(data), data) for data in BLOBS])
            arriving = blobs.receive(Digest.of(b"in pieces"))
            arriving.write(b"in ")
            arriving.pause()
            arriving.resume()
            arriving.write(b"pieces")
            blobs.complete(arriving)
    finally:
        rolling.close()


def unlisted(*_arguments, **_options):
    raise AssertionError("the folder of all objects was listed")


def assert_uploads_go_unlisted(site):
    """Whatever is there that no ref names is taken by a cleanup that reads nothing but journals."""
    site.expire()
    site.forget_promises()
    site.tick()
    site.run(ComputeSizeRequest())
    site.assert_exact()
    site.run(CleanupRequest(target_bytes=2**40))
    site.assert_exact()
    assert os.listdir(site.layout.staging) == []


@pytest.mark.parametrize("named", [False, True], ids=["nothing named", "something named"])
def test_a_server_may_die_at_any_step_and_what_it_took_in_is_found_by_its_journal(site, monkeypatch, named):
    monkeypatch.setattr("worker.services.cleanup.sweep", unlisted)
    if named:
        site.run(upload, commit(site))  # of which one file was uploaded
        assert_uploads_go_unlisted(site)
    kept = sorted(site.oracle.names())
    steps = site.run(upload)
    assert steps > 20
    for at in range(1, steps + 1):
        assert_uploads_go_unlisted(site)
        assert sorted(site.oracle.names()) == kept
        with pytest.raises(Dead):
            site.run(upload, at=at)
        site.assert_sound()
    assert_uploads_go_unlisted(site)
    assert sorted(site.oracle.names()) == kept


def test_a_cleanup_of_uploads_may_die_at_any_step(site, monkeypatch):
    def prepare():
        site.run(upload, commit(site))
        site.forget_promises()
        site.tick()

    prepare()
    steps = site.run(CleanupRequest(target_bytes=2**40))
    kept = sorted(site.oracle.names())
    monkeypatch.setattr("worker.services.cleanup.sweep", unlisted)
    for at in range(1, steps + 1):
        prepare()
        with pytest.raises(Dead):
            site.run(CleanupRequest(target_bytes=2**40), at=at)
        site.assert_sound()
        assert_uploads_go_unlisted(site)
        assert sorted(site.oracle.names()) == kept, f"dead before step {at} of {steps}"
