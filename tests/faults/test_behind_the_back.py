"""Files of a volume that are damaged behind the cache's back: the next operations heal, or their error names
one command, and that command works (R-11, R-13).

Every kind of file times every kind of damage. Then everything is done that a build does. Where an error comes
out, the command that it names is run, and then it must succeed; what is nowhere else may be gone, and is made
anew.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
from harness.crash_site import thin_out
from harness.damage import EVERY
from harness.fleet import Oracle, settings_for, write_tree
from harness.holders import LEASES
from harness.memory_blobs import MemoryRemote
from harness.mortal import expire_leases
from harness.plain_user import plain_user
from harness.safety_report import record
from harness.services import MemoryPool, picture
from harness.trees import VECTORS, write_spec_tree

from caskeeper.artifact import Ref
from caskeeper.config.remotes import RemoteSpec
from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ComputeSizeRequest,
    DiffRequest,
    ExtractRequest,
    LinkRequest,
    PullRequest,
    PushRequest,
    RemoveRequest,
    VerifyRequest,
)
from caskeeper.digest import Digest
from caskeeper.errors import ArtifactNotFound, CaskeeperError, PermissionDenied
from worker.protocols import quiet
from worker.server.rolling import Rolling
from worker.store.blobs import StoreBlobs
from worker.store.promises import Promises
from worker.wiring import open_volume, wire

#: One is on a remote too, the other only here.
PUSHED, LOCAL = "demo/pushed/k", "demo/local/k"
PIN = "other/*"
COMMAND = re.compile(r"`caskeeper ([^`]*)`")


def unreadable(path):
    os.chmod(path, 0)


DAMAGE = {**EVERY, "unreadable": unreadable}


class Site:
    """A volume with two artifacts; each process is a set of services."""

    def __init__(self, folder, valkey):
        self.folder = folder
        self.valkey = valkey
        self.remote = MemoryRemote("http://memory")
        self.sources = {PUSHED: write_spec_tree(folder / "pushed"), LOCAL: f"{folder}/local"}
        write_tree(self.sources[LOCAL], {"own": b"own content", "x:bin/tool": b"#!/bin/sh\nlocal\n"})
        made = settings_for(folder, leases=LEASES)
        self.settings = replace(made, artifacts=(RemoteSpec(self.remote.url, push=True),))
        with self.process() as services:
            for ref, source in self.sources.items():
                services.run(CommitRequest(path=str(source), refs=(ref,)), quiet())
            services.run(PushRequest(refs=(PUSHED,)), quiet())
            for ref in self.sources:
                services.run(ExtractRequest(ref=ref), quiet())
            services.pins.pin([PIN], quiet())
            self.layout = services.layout
            self.volume_id = services.coordination.volume_id
            self.roots = {ref: services.maintenance.refs.read(Ref.parse(ref)).root for ref in self.sources}
            self.leave_a_server_dead(services)
        thin_out(self.layout)
        self.pass_time()

    @contextmanager
    def process(self):
        volume, coordination = open_volume(self.settings, redis_url=self.valkey.url)
        pool = MemoryPool()
        pool.remotes[self.remote.url] = self.remote
        services = wire(self.settings, volume, coordination, pool)
        try:
            services.maintenance.ensure_ready()
            yield services
        finally:
            services.close()

    def leave_a_server_dead(self, services):
        """Its operation, its promise and its journal stay, with an upload that was never finished."""
        rolling = Rolling(services.desk, Promises(services.volume), subject="here", grace_s=600)
        with rolling.lent(lambda: None) as operation:
            blobs = StoreBlobs(operation.staging, services.desk.objects)
            blobs.write_batch([(Digest.of(b"uploaded"), b"uploaded")])
            arriving = blobs.receive(Digest.of(b"in pieces"))
            arriving.write(b"in ")
        aside = f"{self.folder}/as-if-it-had-died"
        shutil.copytree(self.layout.staging, aside, symlinks=True)
        rolling.close()
        shutil.copytree(aside, self.layout.staging, symlinks=True, dirs_exist_ok=True)
        self.staged = arriving.path

    def pass_time(self):
        with self.valkey.client() as client:
            expire_leases(client, self.volume_id)
        time.sleep(0.011)

    def staging(self, prefix):
        (name,) = [name for name in os.listdir(self.layout.staging) if name.startswith(prefix)]
        return f"{self.layout.staging}/{name}"


#: What may be damaged: where it is.
FILES = {
    "a file": lambda site: site.layout.object(VECTORS["files/été"].hash),
    "a file that is nowhere else": lambda site: site.layout.object(Digest.of(b"own content").hash),
    "a Directory": lambda site: site.layout.object(VECTORS["files/bin"].hash),
    "a root": lambda site: site.layout.object(site.roots[PUSHED].hash),
    "a root that is nowhere else": lambda site: site.layout.object(site.roots[LOCAL].hash),
    "an executable": lambda site: site.layout.executable(VECTORS["files/bin/hello"].hash),
    "a ref": lambda site: site.layout.ref(Ref.parse(PUSHED)),
    "a ref that is nowhere else": lambda site: site.layout.ref(Ref.parse(LOCAL)),
    "a closure list": lambda site: site.layout.closure(site.roots[PUSHED].hash, "whole"),
    "a pin": lambda site: f"{site.layout.pins}/{os.listdir(site.layout.pins)[0]}",
    "FORMAT": lambda site: site.layout.format,
    "COORDINATOR": lambda site: site.layout.coordinator,
    "the ballast": lambda site: site.layout.ballast,
    "a journal": lambda site: site.staging("uploads-"),
    "a promise": lambda site: site.staging("served-"),
    "a staged file": lambda site: site.staged,
    "the start of an operation": lambda site: f"{os.path.dirname(site.staged)}/start",
}


#: In these there is no bit to be flipped.
EMPTY = {"a promise", "the start of an operation"}
CELLS = [(file, damage) for file in FILES for damage in DAMAGE if file not in EMPTY or damage != "flipped"]


@pytest.mark.parametrize(("file", "damage"), CELLS)
def test_the_next_operations_heal_or_name_one_command_that_works(tmp_path, valkey, monkeypatch, file, damage):
    # Nobody is just starting: the folder of the dead server is not waited for.
    monkeypatch.setattr("worker.services.maintenance.REGISTER_S", 0.02)
    site = Site(tmp_path, valkey)
    path = FILES[file](site)
    DAMAGE[damage](path)
    unseen = damage in {"flipped", "link", "unreadable"} or file == "an executable"
    with plain_user():
        named = Life(site, path, unseen=unseen).go_on()
    oracle = Oracle(site.layout.root)
    assert oracle.troubles() == []
    record("file systems", {f"damaged: {file}": {damage: ", ".join(sorted(named)) or "healed"}})


class Life:
    """What a build does next. ``named``: the commands that errors told it to run.

    ``unseen``: links are made, sizes are compared, and nothing is read that could be hashed, so a checkout
    may be wrong until somebody verifies.
    """

    def __init__(self, site, path, *, unseen):
        self.site = site
        self.path = path
        self.unseen = unseen
        self.ending = ExitStack()
        self.services = None
        self.named = set()

    def go_on(self):
        with self.process():
            self.build()
            self.site.pass_time()
            self.ask(ComputeSizeRequest())
            self.ask(CleanupRequest(target_bytes=2**40))
        with self.process():
            self.upkeep()
        return self.named

    @contextmanager
    def process(self):
        """One at a time; a damaged file may keep it from starting."""
        try:
            self.start()
            yield
        finally:
            self.ending.close()

    def start(self):
        self.ending.close()
        try:
            self.services = self.ending.enter_context(self.site.process())
        except PermissionDenied as refused:
            self.put_right(refused)
            self.services = self.ending.enter_context(self.site.process())

    def build(self):
        for ref in (PUSHED, LOCAL):
            self.get(ref)
        self.ask(PushRequest(refs=(PUSHED,)))
        self.ask(LinkRequest(ref=LOCAL, key="k2"))
        self.ask(DiffRequest(ref_a=PUSHED, ref_b=LOCAL))

    def upkeep(self):
        for ref in (PUSHED, LOCAL):
            self.get(ref)
        self.ask(VerifyRequest(repair=True))
        self.unseen = False
        assert self.ask(VerifyRequest()).counts == {}
        for ref in (PUSHED, LOCAL):
            self.get(ref)
        self.ask(CleanupRequest(target_bytes=0))
        for ref in (PUSHED, LOCAL):
            self.get(ref)

    def get(self, ref):
        """As a build does: from the cache, from a remote, else it is built."""
        pulled = self.ask(PullRequest(ref=ref))
        if not pulled.pulled and not pulled.cached:
            assert ref == LOCAL, "the remote has it"
            self.ask(CommitRequest(path=self.site.sources[ref], refs=(ref,)))
        found = self.ask(ExtractRequest(ref=ref))
        if not self.unseen:
            assert picture(found.path) == picture(self.site.sources[ref])

    def ask(self, request):
        """The answer; a command that an error names is run once, and then it has to come."""
        try:
            return self.run(request)
        except ArtifactNotFound:
            self.get(LOCAL)  # it was withdrawn: what a build does then
        except PermissionDenied as refused:
            self.put_right(refused)
        except CaskeeperError as trouble:
            self.obey(trouble)
        return self.run(request)

    def put_right(self, refused):
        """A mode is the owner's affair: the error says where, and that is all there is to do."""
        assert refused.where == self.path
        assert "owner and mode" in refused.way_out
        os.chmod(self.path, 0o644)

    def obey(self, trouble):
        command = COMMAND.search(trouble.way_out)
        assert command, f"no command in {trouble}"
        self.named.add(command[1])
        self.run(request_of(command[1]))

    def run(self, request):
        return request(self.services) if callable(request) else self.services.run(request, quiet())


def request_of(command):
    """What a command line asks a worker for."""
    match command.split():
        case ["verify", "--repair"]:
            return VerifyRequest(repair=True)
        case ["remove", ref]:
            return RemoveRequest(refs=(ref,))
        case ["pull", "--refresh", ref] | ["pull", ref, "--refresh"]:
            return PullRequest(ref=ref, refresh=True)
        case ["pin", *_]:
            return lambda services: services.pins.pin([PIN], quiet())
    raise AssertionError(f"no command of ours: {command}")
