"""Pins against everything that deletes: cleanup, remove, and the room a write asks for."""

import os

import fakeredis
import pytest
from harness.coordination import fake_coordination
from harness.fleet import Oracle
from harness.services import fake_services
from harness.volumes import WatchedVolume, new_volume

from caskeeper.artifact import Ref
from caskeeper.config import LeaseSettings
from caskeeper.contract import CleanupRequest, CommitRequest, RemoveRequest
from caskeeper.errors import ArtifactNotFound, InvalidRequest, LeaseLost, PermissionDenied, VolumeFailed
from worker.protocols import quiet
from worker.store.volume import Volume

REFS = ("p/a/1", "p/b/2", "tools/gcc/3")


@pytest.fixture
def services(tmp_path):
    """Three artifacts; ``p/a/1`` and ``p/other/1`` are one tree."""
    made = services_over(tmp_path, new_volume(tmp_path), fakeredis.FakeServer())
    commit_all(made, tmp_path)
    yield made
    made.close()


def services_over(folder, volume, server):
    coordination = fake_coordination(server, leases=LeaseSettings(clock_margin_s=0.0))
    return fake_services(folder, volume=volume, coordination=coordination)


def commit_all(services, place, refs=REFS):
    for number, ref in enumerate(refs):
        folder = place / f"src{number}"
        folder.mkdir()
        (folder / "file").write_bytes(bytes([number]) * 9000)
        services.run(CommitRequest(path=str(folder), refs=(ref,)), quiet())
    services.run(CommitRequest(path=str(place / "src0"), refs=("p/other/1",)), quiet())


def here(services):
    return sorted(str(entry.ref) for entry in services.maintenance.refs.listing())


def clean(services, **options):
    """Down to nothing, whatever the clock's grain."""
    until_the_clock_ticks(services)
    return services.run(CleanupRequest(target_bytes=0, **options), quiet())


def until_the_clock_ticks(services):
    """What was made before is then older than the next start."""
    probe = f"{services.layout.root}/probe"

    def now():
        with open(probe, "w", encoding="ascii"):
            pass
        made = os.stat(probe).st_mtime_ns
        os.unlink(probe)
        return made

    before = now()
    while now() <= before:
        pass


def test_cleanup_keeps_what_is_pinned_by_ref_or_glob_and_says_by_which(services):
    done = services.pins.pin(("tools/*", "p/a.bst/1"), quiet())
    assert [(one.pattern, one.added, one.here) for one in done] == [("tools/*", True, 1), ("p/a/1", True, 1)]
    planned = clean(services, dry_run=True)
    result = clean(services)
    for outcome in (planned, result):
        assert {tuple(sorted(group.refs)): (group.action, group.reason) for group in outcome.groups} == {
            ("p/b/2",): ("evict", "least recently used"),
            ("p/a/1", "p/other/1"): ("protected", "pinned by p/a/1"),
            ("tools/gcc/3",): ("protected", "pinned by tools/*"),
        }
    assert here(services) == ["p/a/1", "p/other/1", "tools/gcc/3"]
    assert Oracle(services.layout.root).troubles() == []
    assert services.pins.unpin(("tools/*", "p/a/1"), quiet()) == ("tools/*", "p/a/1")
    clean(services)
    assert here(services) == []
    assert services.coordination.usage.snapshot().used_bytes == Oracle(services.layout.root).used_bytes() == 0


def test_a_pin_and_a_session_are_both_named(services):
    services.pins.pin(["p/b/*"], quiet())
    services.coordination.sessions.require("build-7", ["2"])
    reasons = {group.refs: group.reason for group in clean(services, dry_run=True).groups}
    assert reasons["p/b/2",] == "required by session build-7; pinned by p/b/*"


def test_ac29_a_required_key_protects_every_ref_that_carries_it_whatever_its_project(services, tmp_path):
    path = str(tmp_path / "src1")
    services.run(CommitRequest(path=path, refs=("elsewhere/x/3", "elsewhere/x/weak")), quiet())
    services.coordination.sessions.require("build-7", ["3", "weak"])
    clean(services)
    assert here(services) == ["elsewhere/x/3", "elsewhere/x/weak", "p/b/2", "tools/gcc/3"]


def test_what_is_published_after_the_pin_is_protected_as_well(services, tmp_path):
    (one,) = services.pins.pin(["later/*"], quiet())
    assert one.here == 0
    services.run(CommitRequest(path=str(tmp_path / "src1"), refs=("later/b/9",)), quiet())
    clean(services)
    assert here(services) == ["later/b/9", "p/b/2"]


def test_remove_obeys_pins_and_removes_nothing_of_the_same_call(services):
    services.pins.pin(["tools/*"], quiet())
    with pytest.raises(PermissionDenied, match=r"pinned by tools/\*.*tools/gcc/3.*unpin 'tools/\*'"):
        services.run(RemoveRequest(refs=("p/b/2", "tools/gcc/3")), quiet())
    assert len(here(services)) == 4
    services.pins.unpin(["tools/*"], quiet())
    services.run(RemoveRequest(refs=("p/b/2", "tools/gcc/3")), quiet())
    assert here(services) == ["p/a/1", "p/other/1"]


def test_a_name_beside_a_pinned_one_of_the_same_tree_may_go(services):
    services.pins.pin(["p/a/1"], quiet())
    services.run(RemoveRequest(refs=("p/other/1",)), quiet())
    assert "p/a/1" in here(services)
    with pytest.raises(PermissionDenied, match="pinned by p/a/1"):
        services.run(RemoveRequest(refs=("p/a/1",)), quiet())


def test_remove_does_not_take_a_damaged_ref_that_is_pinned(services):
    services.pins.pin(["p/b/2"], quiet())
    path = services.layout.ref(Ref.parse("p/b/2"))
    os.chmod(path, 0o644)
    with open(path, "wb") as file:
        file.write(b"\xff")
    with pytest.raises(PermissionDenied, match="pinned"):
        services.run(RemoveRequest(refs=("p/b/2",)), quiet())
    assert os.path.exists(path)


@pytest.mark.parametrize("doubt", ["damaged", "stranger", "no folder"])
def test_i9_while_a_pin_cannot_be_read_nothing_is_deleted(services, doubt):
    services.pins.pin(["p/b/2"], quiet())
    pins = services.layout.pins
    if doubt == "no folder":
        os.rename(pins, f"{pins}-elsewhere")
    else:
        name = os.listdir(pins)[0] if doubt == "damaged" else "stranger"
        if doubt == "damaged":
            os.unlink(f"{pins}/{name}")
        with open(f"{pins}/{name}", "wb"):
            pass
    before = Oracle(services.layout.root).used_bytes()
    for attempt in (
        lambda: clean(services),
        lambda: clean(services, dry_run=True),
        lambda: services.run(RemoveRequest(refs=("p/a/1",)), quiet()),
    ):
        with pytest.raises(VolumeFailed, match="nothing is deleted"):
            attempt()
    assert len(here(services)) == 4
    assert Oracle(services.layout.root).used_bytes() == before
    (protection,) = services.listing.show(Ref.parse("p/a/1")).protected_by
    assert "cannot be read" in protection


def test_a_damaged_pin_is_mended_by_pinning_again(services):
    services.pins.pin(["p/b/2"], quiet())
    path = f"{services.layout.pins}/{os.listdir(services.layout.pins)[0]}"
    os.unlink(path)
    with open(path, "wb"):
        pass
    assert not services.pins.pin(["p/b/2"], quiet())[0].added
    clean(services)
    assert here(services) == ["p/b/2"]


def test_show_names_the_pin(services):
    services.pins.pin(["tools/*"], quiet())
    assert services.listing.show(Ref.parse("tools/gcc/3")).protected_by == ("pin tools/*",)
    assert services.listing.show(Ref.parse("p/b/2")).protected_by == ()


def test_pins_are_checked_before_any_is_made_or_taken_away(services):
    with pytest.raises(InvalidRequest):
        services.pins.pin(["p/*", "not a ref"], quiet())
    assert services.pins.read().pins == ()
    services.pins.pin(["p/*"], quiet())
    with pytest.raises(ArtifactNotFound, match="no such pin"):
        services.pins.unpin(["p/*", "q/*"], quiet())
    assert [pin.pattern for pin in services.pins.read().pins] == ["p/*"]


def test_pinning_again_finds_the_work_done(services):
    """I8."""
    assert services.pins.pin(["p/*", "p/*"], quiet())[0].added
    assert not services.pins.pin(["p/*"], quiet())[0].added


def test_a_pin_is_not_promised_by_who_lost_the_lease_while_making_it(services, monkeypatch):
    """Another cleanup may run by then that has read the pins before."""
    add = services.maintenance.pins.add

    def overtaken(pin):
        add(pin)
        holder = services.coordination.maintenance.holder()
        services.coordination.maintenance.release(holder.holder)
        services.coordination.maintenance.acquire("cleanup-other", purpose="cleanup")

    monkeypatch.setattr(services.maintenance.pins, "add", overtaken)
    with pytest.raises(LeaseLost):
        services.pins.pin(["p/*"], quiet())
    assert services.coordination.maintenance.holder().holder == "cleanup-other"


def test_what_is_here_when_a_pin_answers_stays_wherever_a_cleanup_was_overtaken(tmp_path):
    """The cleanup is paused before its n-th change, its lease runs out, somebody pins, it goes on."""
    step, overtaken = 0, True
    while overtaken:
        step += 1
        overtaken = overtake(tmp_path / str(step), before_change=step)
    assert step > 15


def overtake(folder, *, before_change):
    folder.mkdir()
    server = fakeredis.FakeServer()
    volume = new_volume(folder, WatchedVolume)
    paused = services_over(folder, volume, server)
    other = services_over(folder, Volume(volume.layout), server)
    commit_all(paused, folder, REFS[:1])
    until_the_clock_ticks(paused)
    changes, promised = [], []

    def pause(verb, *paths):
        changes.append(verb)
        if len(changes) == before_change:
            holder = other.coordination.maintenance.holder()
            if holder is not None:
                other.coordination.maintenance.release(holder.holder)
            (one,) = other.pins.pin(["p/*"], quiet())
            promised.extend(ref for ref in here(other) if ref.startswith("p/"))
            assert one.here == len(promised)

    volume.before = pause
    try:
        paused.run(CleanupRequest(target_bytes=0), quiet())
    except LeaseLost:
        assert promised or len(changes) >= before_change
    volume.before = None
    assert set(promised) <= set(here(other))
    assert Oracle(volume.layout.root).troubles() == []
    usage = other.coordination.usage.snapshot()
    assert usage.used_bytes >= Oracle(volume.layout.root).used_bytes()
    clean(other)
    assert here(other) == promised or len(changes) < before_change
    other.close()
    paused.close()
    return len(changes) >= before_change
