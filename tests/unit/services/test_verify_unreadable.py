"""Refs whose record cannot be read: what a remote has comes back by its name, the rest is told and kept."""

import os
import time

import pytest
from harness.fleet import Oracle
from harness.services import fake_services, make_tree
from harness.volumes import WatchedVolume, new_volume

from caskeeper.artifact import Ref
from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    PullRequest,
    PushRequest,
    RemoveRequest,
    VerifyRequest,
)
from caskeeper.coordination.events import HEALED, PUBLISHED, WITHDRAWN
from caskeeper.digest import Digest
from caskeeper.errors import PermissionDenied, RemoteUnavailable, VolumeFailed
from worker.protocols import quiet
from worker.services import findings as kinds
from worker.store.quarantine import Quarantine

THERE, HERE = "demo/hello/k1", "demo/local/k1"
REPAIR = "`caskeeper verify --repair`"


@pytest.fixture
def services(tmp_path):
    made = fake_services(tmp_path, urls=["http://a", "http://b"], volume=new_volume(tmp_path, WatchedVolume))
    made.run(CommitRequest(path=make_tree(tmp_path / "src"), refs=(THERE,)), quiet())
    made.run(PushRequest(refs=(THERE,)), quiet())
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "only").write_bytes(b"nobody else has it")
    made.run(CommitRequest(path=str(tmp_path / "own"), refs=(HERE,)), quiet())
    time.sleep(0.02)
    yield made
    made.close()


def verify(services, **options):
    return services.run(VerifyRequest(**options), quiet())


def harm(services, ref):
    path = services.layout.ref(Ref.parse(ref))
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.write(b"\xff\xff\xff")
    os.chmod(path, 0o444)
    os.utime(path, ns=(os.stat(path).st_atime_ns, 1_000_000_000 * 10**9))


def record(services, ref):
    return services.maintenance.refs.read(Ref.parse(ref))


def objects(services):
    top = services.layout.objects
    return {f"{folder}/{name}" for folder in os.listdir(top) for name in os.listdir(f"{top}/{folder}")}


def is_sound(services):
    assert Oracle(services.layout.root).troubles() == []
    assert services.coordination.usage.snapshot().used_bytes == Oracle(services.layout.root).used_bytes()


def test_what_a_remote_has_by_its_name_is_bound_again_also_when_it_is_pinned(services):
    root = record(services, THERE).root
    services.pins.pin([THERE], quiet())
    harm(services, THERE)
    result = verify(services, repair=True)
    [found] = [one for one in result.findings if one.kind == kinds.UNREADABLE]
    assert (found.repaired, found.done, result.withdrawn) == (True, "fetched anew from http://a", ())
    assert record(services, THERE).root == root
    events = services.coordination.events.of(THERE)
    assert [event.what for event in events[:2]] == [HEALED, PUBLISHED]
    assert verify(services).counts == {}
    is_sound(services)


def test_what_no_remote_has_is_told_by_name_set_aside_and_its_content_stays_for_now(services):
    before = objects(services)
    harm(services, HERE)
    result = verify(services, repair=True)
    [found] = result.findings
    assert (found.kind, found.repaired, found.withdrawn) == (kinds.UNREADABLE, False, (HERE,))
    assert found.done == "no remote has it"
    assert "commit it again" in found.way_out
    assert (result.repaired, result.withdrawn) == (0, (HERE,))
    assert any("no orphan was taken" in remark and HERE in remark for remark in result.remarks)
    assert objects(services) == before
    [kept] = result.quarantined
    assert os.path.basename(kept) == "ref%demo%local%k1"
    with open(kept, "rb") as file:
        assert file.read(3) == b"\xff\xff\xff"
    assert result.quarantined_bytes == Quarantine(services.volume).listing()[0].size_bytes > 0
    [event, *_] = services.coordination.events.of(HERE)
    assert (event.what, event.why) == (WITHDRAWN, "its record could not be read, and no remote has it")
    is_sound(services)


def test_beside_one_that_is_lost_for_good_the_other_still_comes_back(services):
    before = objects(services)
    harm(services, HERE)
    harm(services, THERE)
    result = verify(services, repair=True)
    assert {one.where: (one.repaired, one.withdrawn) for one in result.findings} == {
        f"ref {THERE}": (True, ()),
        f"ref {HERE}": (False, (HERE,)),
    }
    assert before <= objects(services)
    assert record(services, THERE) is not None


def test_a_remote_that_cannot_be_asked_is_no_remote_that_has_it_not(services, monkeypatch):
    def broken(_ref):
        raise RemoteUnavailable("it is down", "http://a")

    for remote in services.remotes.remotes.values():
        monkeypatch.setattr(remote.index, "resolve", broken)
    harm(services, THERE)
    result = verify(services, repair=True)
    [found] = result.findings
    assert found.withdrawn == (THERE,)
    assert "could not be fetched" in found.done
    assert "pull it" in found.way_out


def test_a_repair_that_dies_leaves_what_the_next_one_brings_back(services):
    class Died(Exception):
        pass

    def before(verb, *paths):
        if verb == "replace" and paths[1].endswith(THERE):
            raise Died

    harm(services, THERE)
    services.volume.before = before
    with pytest.raises(Died):
        verify(services, repair=True)
    services.volume.before = lambda *_: None
    assert verify(services, repair=True).withdrawn == ()
    assert record(services, THERE) is not None


def test_every_word_about_it_names_the_one_way_out(services):
    services.pins.pin([HERE], quiet())
    harm(services, HERE)
    for request in (
        PullRequest(ref=HERE),
        PullRequest(ref=HERE, refresh=True),
        CleanupRequest(target_bytes=0),
    ):
        with pytest.raises(VolumeFailed) as caught:
            services.run(request, quiet())
        assert caught.value.way_out.startswith(REPAIR)
    with pytest.raises(PermissionDenied) as pinned:
        services.run(RemoveRequest(refs=(HERE,)), quiet())
    assert pinned.value.way_out.startswith(REPAIR)
    assert verify(services, repair=True).withdrawn == (HERE,)
    assert verify(services, repair=True).counts.get(kinds.UNREADABLE) is None


def test_a_pull_with_refresh_mends_it_too(services):
    harm(services, THERE)
    assert services.run(PullRequest(ref=THERE, refresh=True), quiet()).pulled
    assert verify(services).counts == {}


def test_a_damaged_object_tells_which_refs_it_cost_and_the_log_says_that_it_was_damaged(services):
    root = record(services, HERE).root
    digest = Digest.of(b"nobody else has it")
    path = services.layout.object(digest.hash)
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.write(b"N")
    os.chmod(path, 0o444)
    os.utime(path, ns=(os.stat(path).st_atime_ns, 1_000_000_000 * 10**9))
    result = verify(services, repair=True)
    assert {one.kind: (one.repaired, one.withdrawn) for one in result.findings}[kinds.DAMAGED] == (
        False,
        (HERE,),
    )
    assert result.withdrawn == (HERE,)
    [event, *_] = services.coordination.events.of(HERE)
    assert (event.what, event.before) == (WITHDRAWN, str(root))
    assert f"{digest.hash} was damaged" in event.why
    assert f"{services.layout.damaged}/{digest.hash}" in event.why
    assert verify(services).counts == {}
    os.utime(result.quarantined[0], (1_500_000_000, 1_500_000_000))  # older than whoever might bring it back
    plan = services.run(CleanupRequest(dry_run=True, target_bytes=0), quiet())
    [group] = [one for one in plan.groups if one.root == "damaged"]
    assert (group.action, group.frees_bytes) == ("evict", result.quarantined_bytes)


def test_what_was_fetched_anew_is_in_the_history(services):
    for digest in (record(services, THERE).root, Digest.of(b"deep code")):
        os.unlink(services.layout.object(digest.hash))
    assert verify(services, repair=True).withdrawn == ()
    assert [event.what for event in services.coordination.events.of(THERE)][:1] == [HEALED]


def test_a_pull_that_fills_a_gap_is_in_the_history(services):
    os.unlink(services.layout.object(Digest.of(b"deep code").hash))
    assert services.run(PullRequest(ref=THERE), quiet()).pulled
    [event, *_] = services.coordination.events.of(THERE)
    assert (event.what, event.why) == (HEALED, "a part of it was missing, and was fetched anew")


def test_a_folder_in_the_place_of_a_ref_is_put_aside_and_the_ref_comes_back(services):
    path = services.layout.ref(Ref.parse(THERE))
    os.unlink(path)
    os.makedirs(f"{path}/precious")
    result = verify(services, repair=True)
    [found] = [one for one in result.findings if one.kind == kinds.KIND]
    assert found.repaired
    assert found.done.startswith("moved to ")
    assert found.done.endswith("; fetched anew from http://a")
    assert record(services, THERE) is not None
