"""One volume and one Redis that outlive the processes working on them, and what those processes may be asked.

A process is a set of services that dies before one of its steps (``harness.mortal``) or meets a full disk at
one of its changes (``harness.full_disk``). ``VERBS`` is every verb with what has to be there before.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile
import time
from contextlib import contextmanager

import pytest
from harness.assets import small_artifact
from harness.bindings import bind_artifact, bind_result, upload_artifact, upload_result
from harness.fleet import Oracle, write_tree
from harness.mortal import NEVER, expire_leases, mortal_services
from harness.old_cache import OldCache
from harness.services import SMALL_CACHE, MemoryRemote, picture
from harness.tree_messages import tree_message
from harness.volumes import Dead, new_volume

from caskeeper.artifact import Ref
from caskeeper.config.settings import LeaseSettings
from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ComputeSizeRequest,
    DiffRequest,
    ExtractRequest,
    ImportRequest,
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
from worker.store.promises import PREFIX as PROMISE

LEASES = LeaseSettings(clock_margin_s=0.0)
K1, K2, OTHER = "demo/hello/k1", "demo/hello/k2", "demo/other/k3"
ARTIFACT_KEY = "demo/artifact/k1"
OLD = "old/app/aaaa"
WITHOUT = {"excluded_subdirs": ("buildtree",)}
#: CLOCK_REALTIME_COARSE of Linux, which the kernel stamps files with.
_COARSE = 5
#: Each of these has 256 folders, one for each beginning of a name: in a small volume most of them are empty.
_FAN_OUT = ("objects", "executables", "closures")


class Site:
    """The volume, its Redis, a remote, and trees to commit; the next process finds what the last one left."""

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
        #: of whoever ran last
        self.life = None
        #: the step of a cleanup of two artifacts before which one of their objects is in its trash
        self.half_way = None
        self.results = []
        made = {"hello": b"hello\n", "x:bin/run": b"#!/bin/sh\n", "bin/empty": b"", "l:link": b"bin/run"}
        self.source = write_tree(folder / "src", {**made, "buildtree/obj/x.o": b"object code"})
        self.other = write_tree(folder / "other", {**made, "own": b"own"})
        self.remote = MemoryRemote("http://memory")
        self.run(CommitRequest(path=self.source, refs=(K1,)), PushRequest(refs=(K1,)))
        self.root = Digest.parse(self.results[0].root)
        message, parts = small_artifact()
        for blob in [blob for blobs in parts.values() for blob in blobs]:
            self.remote.blobs.add(blob)
        self.remote.index.refs[Ref.parse(ARTIFACT_KEY)] = Published((message,), ARTIFACT)
        self.tree = self.remote.blobs.add(tree_message(self.remote.blobs.data, self.root))
        self.empty()

    def run(self, *requests, at=NEVER, meanwhile=None, disk=None, cache=SMALL_CACHE):
        """The number of steps that a process needs for these; it dies before its step ``at``.

        A request is a verb's, or what a server does with the services. ``meanwhile`` is what others do while
        it stands still there instead. ``disk`` is asked before each change.
        """
        life, services = mortal_services(
            self.layout,
            self.valkey.url,
            "v",
            LEASES,
            remotes=[self.remote],
            roots=[self.folder],
            at=at,
            meanwhile=meanwhile,
            disk=disk,
            cache=cache,
        )
        self.life = life
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

    def make_ready(self):
        """Whatever was lost or held is over: a recovery, if one is needed, and its waiting period too."""
        self.expire()
        self.run(make_ready)
        self.expire()

    def usage(self):
        return self.coordination.usage.snapshot()

    def assert_sound(self):
        """Nothing wrong on the volume, and not less counted than there is, if it is counted at all."""
        assert self.oracle.troubles() == []
        if self.coordination.state().known:
            usage = self.usage()
            assert usage.used_bytes + usage.reserved_bytes >= self.oracle.used_bytes()

    def assert_exact(self):
        self.assert_sound()
        usage = self.usage()
        assert (usage.used_bytes, usage.reserved_bytes) == (self.oracle.used_bytes(), 0)
        assert self.oracle.leavings() == []

    def empty(self):
        """A recount sets the estimate right, and a cleanup takes everything."""
        self.make_ready()
        self.run(ComputeSizeRequest())
        self.assert_exact()
        self.tick()
        self.run(forget_pins, CleanupRequest(target_bytes=0))
        self.assert_exact()
        assert list(self.oracle.refs()) == []
        assert self.usage().used_bytes == 0
        shutil.rmtree(self.folder / "made")
        (self.folder / "made").mkdir()

    def thin_out(self):
        """After a rehearsal: the steps that follow are the same as with all folders."""
        thin_out(self.layout)

    def forget_promises(self):
        """As if the grace of every server that was killed had passed."""
        for name in os.listdir(self.layout.staging):
            if name.startswith(PROMISE):
                os.utime(f"{self.layout.staging}/{name}", (0, 0))

    def tick(self):
        """The volume's clock moves on: what was made before is older than the horizon of what follows."""
        now_ns = time.clock_gettime_ns(_COARSE)
        while time.clock_gettime_ns(_COARSE) == now_ns:
            time.sleep(0.0005)

    def state(self):
        """What a user sees: the refs, the pins, and the trees that were checked out."""
        trees = {}
        for top in (self.layout.extracts, f"{self.folder}/made"):
            if os.path.isdir(top):
                trees |= {(top, path): seen for path, seen in picture(top).items() if seen != ("folder",)}
        return sorted(self.oracle.refs()), sorted(os.listdir(self.layout.pins)), trees


def thin_out(layout):
    """Remove the fan-out folders that nothing was put into: every scan would look at all of them."""
    since = os.stat(layout.format).st_ctime_ns
    for kind in _FAN_OUT:
        with os.scandir(f"{layout.root}/cas/{kind}") as entries:
            for entry in list(entries):
                if entry.stat().st_mtime_ns < since:
                    os.rmdir(entry.path)


@contextmanager
def sites(roomy, valkey, monkeypatch):
    """A Site in a folder of its own."""
    # Nothing loses power here.
    monkeypatch.setattr("worker.store.system_calls.syncfs", lambda *_arguments: None)
    # Nobody is just starting when a recount comes.
    monkeypatch.setattr("worker.services.maintenance.REGISTER_S", 0.02)
    with tempfile.TemporaryDirectory(dir=roomy) as folder:
        yield Site(pathlib.Path(folder), valkey)


# -- what is asked of a process ----------------------------------------------------------------------------


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


def a_dead_cleanup(site):
    """A cleanup that died with an object in its trash, half way through what it takes of two artifacts."""
    site.run(*two_artifacts(site))
    site.tick()
    if site.half_way is None:
        site.run(CleanupRequest(target_bytes=0))
        ends = [
            number for number, did in enumerate(site.life.did, 1) if did[0] == "unlink" and "/o-" in did[1]
        ]
        site.half_way = ends[len(ends) // 2]
        site.run(*two_artifacts(site))
        site.tick()
    with pytest.raises(Dead):
        site.run(CleanupRequest(target_bytes=0), at=site.half_way)
    site.expire()
    assert any(files for _folder, _folders, files in os.walk(site.layout.trashes))
    return []


def a_loss(site):
    """Redis is emptied when there is an artifact, its checkout, and the half of another."""
    site.run(*a_death(site), ExtractRequest(ref=K1))
    with site.valkey.client() as client:
        client.flushall()
    return []


def make_ready(services):
    services.maintenance.ensure_ready()


def pin(services):
    services.pins.pin(["demo/hello/*", K2], quiet())


def unpin(services):
    """Away with these, if they are there: the other order of a pin that was half removed."""
    there = {one.pattern for one in services.pins.read().pins}
    services.pins.unpin([pattern for pattern in ("demo/hello/*", K2) if pattern in there], quiet())


def forget_pins(services):
    for name in os.listdir(services.layout.pins):
        os.unlink(f"{services.layout.pins}/{name}")


def old_cache(site):
    """An import of a cache of BuildStream 1.x, which is made when it is asked for first."""
    folder = f"{site.folder}/old"
    if not os.path.isdir(folder):
        made = OldCache(folder)
        tree = {"files": {"run": (b"#!/bin/sh\n", True), "plain": (b"plain", False)}, "logs": {}}
        made.name(OLD, made.add_tree(tree), age_s=10)
        made.name("old/lib/bbbb", made.add_tree({**tree, "more": (b"more", False)}), age_s=20)
    return ImportRequest(path=folder)


def copy(site, **more):
    return ExtractRequest(ref=K1, destination=f"{site.folder}/made/copy", **more)


#: verb -> (what is done before, the request)
VERBS = {
    "commit": (lambda _: [], commit),
    "commit of a tree that is here": (
        lambda site: [commit(site)],
        lambda site: CommitRequest(path=site.source, refs=(OTHER,)),
    ),
    "commit of another tree under the same name": (
        lambda site: [commit(site), ExtractRequest(ref=K1)],
        lambda site: CommitRequest(path=site.other, refs=(K1,)),
    ),
    "pull": (lambda _: [], lambda _: PullRequest(ref=K1)),
    "pull of what is here": (lambda _: [PullRequest(ref=K1)], lambda _: PullRequest(ref=K1)),
    "pull that asks again": (lambda _: [PullRequest(ref=K1)], lambda _: PullRequest(ref=K1, refresh=True)),
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
    "extract of what has come since": (
        lambda _: [PullRequest(ref=K1, **WITHOUT), ExtractRequest(ref=K1), PullRequest(ref=K1)],
        lambda _: ExtractRequest(ref=K1),
    ),
    "extract of a copy": (lambda _: [PullRequest(ref=K1)], copy),
    "extract of a copy of a sub-directory": (
        lambda _: [PullRequest(ref=K1)],
        lambda site: copy(site, subdir="bin"),
    ),
    "link": (lambda _: [PullRequest(ref=K1)], lambda _: LinkRequest(ref=K1, key="k2")),
    "diff": (
        lambda site: [commit(site), CommitRequest(path=site.other, refs=(OTHER,))],
        lambda _: DiffRequest(ref_a=K1, ref_b=OTHER),
    ),
    "push": (lambda _: [PullRequest(ref=K1)], lambda _: PushRequest(refs=(K1,))),
    "pull of a tree": (lambda _: [], lambda site: PullTreeRequest(project="demo", digest=str(site.tree))),
    "push of a directory": (
        lambda _: [PullRequest(ref=K1)],
        lambda site: PushDirectoryRequest(project="demo", digest=str(site.root)),
    ),
    "import": (lambda _: [], old_cache),
    "pin": (lambda site: [commit(site)], lambda _: pin),
    "unpin": (lambda site: [commit(site), pin], lambda _: unpin),
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
    "cleanup after a dead cleanup": (a_dead_cleanup, lambda _: CleanupRequest(target_bytes=0)),
    "commit of what a dead cleanup has taken": (a_dead_cleanup, commit),
    "recovery of lost state": (a_loss, lambda _: make_ready),
    "commit after a loss": (a_loss, lambda site: CommitRequest(path=site.other, refs=(OTHER,))),
}


def prepare(site, verb):
    """Do what has to be there before; the request."""
    before, request_of = VERBS[verb]
    site.run(*before(site))
    site.tick()
    return request_of(site)


def rehearse(site, verb):
    """(steps that the verb takes, what a user sees then), once the volume is as it will be each time."""
    site.run(prepare(site, verb))
    site.empty()
    site.thin_out()
    steps = site.run(prepare(site, verb))
    outcome = site.state()
    site.empty()
    return steps, outcome


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
