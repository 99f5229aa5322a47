"""Healing while there is hardly room: what it has put aside makes way, and what it heals does not."""

import os

import pytest
from harness.damage import EVERY
from harness.fleet import Oracle, fleet, write_tree

from caskeeper.artifact import Ref
from caskeeper.config.remotes import RemoteSpec
from caskeeper.contract import CommitRequest, ComputeSizeRequest, ExtractRequest, PullRequest
from caskeeper.digest import Digest
from worker.protocols import quiet
from worker.server.app import serve
from worker.services.subjects import Subjects
from worker.store.damage import damaged, missing

REF, OTHER = "demo/large/k1", "demo/other/k1"
LARGE, SMALLER = os.urandom(600_000), os.urandom(500_000)
#: Room for one of them, and not for a damaged copy beside it.
QUOTA = "1000K"
ASKED = Subjects((Ref.parse(REF),), ("demo",))


@pytest.fixture
def server(tmp_path, valkey):
    with fleet(tmp_path / "server", f"{valkey.url}?db=1") as services:
        for ref, content in ((REF, LARGE), (OTHER, SMALLER)):
            tree = write_tree(tmp_path / "server" / ref, {"file": content})
            services.run(CommitRequest(path=tree, refs=(ref,)), quiet())
        running = serve(services, listen="127.0.0.1:0")
        yield f"http://{running.address}"
        running.stop(grace_s=0)


@pytest.fixture
def services(tmp_path, valkey, server):
    with fleet(tmp_path / "here", valkey.url, quota=QUOTA, artifacts=(RemoteSpec(server),)) as made:
        made.run(PullRequest(ref=REF), quiet())
        yield made


@pytest.fixture
def others(services, tmp_path, valkey, server):
    """Another process at the same cache."""
    with fleet(tmp_path / "here", valkey.url, quota=QUOTA, artifacts=(RemoteSpec(server),)) as made:
        yield made


def once_it_waits(act):
    """A context whose owner does ``act`` when it begins to wait for room."""
    waits = []

    def progress(seen):
        if seen.phase == "waiting for room" and not waits:
            waits.append(seen)
            act()

    return quiet()._replace(progress=progress), waits


def place(services):
    return services.layout.object(Digest.of(LARGE).hash)


def refs(services):
    return sorted(str(line.ref) for line in services.listing.list())


def is_sound(services):
    assert Oracle(services.layout.root).troubles() == []
    usage = services.coordination.usage.snapshot()
    assert usage.reserved_bytes == 0
    assert usage.used_bytes >= Oracle(services.layout.root).used_bytes()
    assert Oracle(services.layout.root).used_bytes() <= 1000 * 1024


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("harm", ["truncated", "empty", "deleted"])
def test_what_is_healed_is_not_in_its_own_way(services, tmp_path, harm, pinned):
    """Neither what was put aside nor what is still counted and gone costs the artifact its room."""
    if pinned:
        services.pins.pin([REF], quiet())
    EVERY[harm](place(services))
    copy = f"{tmp_path}/here/copy"
    services.run(ExtractRequest(ref=REF, destination=copy), quiet())
    with open(f"{copy}/file", "rb") as file:
        assert file.read() == LARGE
    assert refs(services) == [REF]
    is_sound(services)


def test_all_of_a_damaged_copy_makes_way(services):
    """As long as it is: only the hash says that it is damaged."""
    EVERY["flipped"](place(services))
    assert services.healing.heal(damaged(Digest.of(LARGE), ""), quiet(), subjects=ASKED)
    assert os.listdir(services.layout.damaged) == []
    assert refs(services) == [REF]
    is_sound(services)


@pytest.mark.parametrize("asked", [True, False])
def test_what_is_being_healed_makes_no_room_for_its_own_content(services, asked):
    """It was used least recently, so a cleanup would begin with it."""
    EVERY["deleted"](place(services))
    services.run(ComputeSizeRequest(), quiet())
    services.run(PullRequest(ref=OTHER), quiet())
    assert refs(services) == [REF, OTHER]
    services.healing.heal(missing(Digest.of(LARGE), ""), quiet(), subjects=ASKED if asked else None)
    assert refs(services) == [REF]
    assert os.path.getsize(place(services)) == len(LARGE)
    is_sound(services)


def test_a_server_keeps_what_it_mends(services):
    EVERY["flipped"](place(services))
    services.run(
        CommitRequest(
            path=write_tree(f"{services.layout.root}/../src", {"f": SMALLER[:300_000]}), refs=(OTHER,)
        ),
        quiet(),
    )
    services.healing.mend(Digest.of(LARGE), quiet())
    assert REF in refs(services)
    assert Oracle(services.layout.root).troubles() == []


def test_a_pull_does_not_make_way_for_what_was_healed_while_it_waited(services, others):
    """It has asked for the room of what is here by now; its own cleanup would evict the very artifact."""
    EVERY["deleted"](place(services))
    trouble = missing(Digest.of(LARGE), "")
    context, waits = once_it_waits(lambda: others.healing.heal(trouble, quiet(), subjects=ASKED))
    services.run(PullRequest(ref=REF), context)
    assert waits
    assert refs(services) == [REF]
    assert os.path.getsize(place(services)) == len(LARGE)
    is_sound(services)


def test_a_healing_asks_no_room_for_what_was_pulled_while_it_waited(services, others):
    EVERY["deleted"](place(services))
    services.run(ComputeSizeRequest(), quiet())
    services.run(PullRequest(ref=OTHER), quiet())
    context, waits = once_it_waits(lambda: others.run(PullRequest(ref=REF), quiet()))
    assert services.healing.heal(missing(Digest.of(LARGE), ""), context, subjects=ASKED)
    assert waits
    assert refs(services) == [REF]
    assert os.path.getsize(place(services)) == len(LARGE)
    is_sound(services)
