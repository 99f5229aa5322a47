"""What `stats` says was evicted: all of the fleet's, once each, whoever wanted the room."""

import os
import time

import pytest
from harness.commands import place_in
from harness.costs import redis_counted
from harness.fleet import Oracle, fleet
from harness.quotas import KIB, clean, commit, commit_some, refs_of
from harness.serving import make_old, open_services, serving

from caskeeper.contract import CommitRequest, RemoveRequest
from caskeeper.digest import Digest
from worker.protocols import quiet


def evicted(services):
    """(refs, bytes) as the fleet has counted them."""
    totals = services.coordination.stats.read()
    return totals.get("evicted refs", 0), totals.get("evicted bytes", 0)


def test_a_write_that_finds_no_room_counts_what_it_evicts(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, quota="500K") as services:
        commit_some(services, tmp_path, 6)
        before, used = refs_of(services), services.space.used_bytes()
        assert evicted(services) == (0, 0)
        commit(services, tmp_path, "p/large/k", 250 * KIB)
        gone = set(before) - set(refs_of(services))
        assert gone
        added = Oracle(services.layout.root).used_bytes() - used
        refs, freed = evicted(services)
        assert refs == len(gone)
        assert freed >= 250 * KIB - added


def test_a_cleanup_counts_what_its_answer_says(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit_some(services, tmp_path, 4)
        commit(services, tmp_path, "p/e/k", 9 * KIB)
        clean(services, target_bytes=0, dry_run=True)
        assert evicted(services) == (0, 0)
        first = clean(services, target_bytes=150 * KIB)
        assert evicted(services) == (first.evicted_refs, first.freed_bytes)
        second = clean(services, target_bytes=0)
        assert second.evicted_refs
        assert evicted(services) == (5, first.freed_bytes + second.freed_bytes)


def test_refs_of_one_tree_are_counted_each_and_its_bytes_once(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit_some(services, tmp_path, 1)
        source = f"{tmp_path}/src-p-e0-k0"
        services.run(CommitRequest(path=source, refs=("p/e0/other",)), quiet())
        result = clean(services, target_bytes=0)
        assert result.evicted_refs == 2
        assert evicted(services) == (2, result.freed_bytes)


def test_a_tree_that_has_lost_its_ref_counts_with_its_bytes_alone(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit_some(services, tmp_path, 2)
        os.remove(f"{services.layout.refs}/p/e0/k0")
        result = clean(services, target_bytes=0)
        assert result.freed_bytes > 120 * KIB
        assert evicted(services) == (1, result.freed_bytes)


def test_what_is_kept_for_its_age_counts_when_it_goes_and_not_before(tmp_path, valkey, monkeypatch):
    """It was touched between the plan and its end."""
    with fleet(tmp_path, valkey.url) as services:
        commit(services, tmp_path, "p/e/k", 300 * KIB)
        maintenance = services.coordination.maintenance
        condemn = maintenance.condemn

        def condemned(*arguments, **names):
            for above, _folders, files in os.walk(services.layout.objects):
                for name in files:
                    os.utime(f"{above}/{name}", ns=(time.time_ns(), os.stat(f"{above}/{name}").st_mtime_ns))
            return condemn(*arguments, **names)

        with monkeypatch.context() as patch:
            patch.setattr(maintenance, "condemn", condemned)
            first = clean(services, target_bytes=0)
        assert (first.evicted_refs, first.freed_bytes < 100 * KIB) == (1, True)
        assert evicted(services) == (1, first.freed_bytes)
        time.sleep(0.02)
        second = clean(services, target_bytes=0)
        assert second.freed_bytes >= 300 * KIB
        assert evicted(services) == (1, first.freed_bytes + second.freed_bytes)


def test_what_was_uploaded_and_never_named_counts_with_its_bytes_alone(tmp_path, valkey):
    services = open_services(tmp_path, valkey.url)
    with serving(services) as peer:
        peer.upload(b"x" * 5000)
    make_old(services.layout.object(Digest.of(b"x" * 5000).hash))
    result = services.cleanup.clean(target_bytes=0, dry_run=False, context=quiet())
    assert result.freed_bytes >= 5000
    assert evicted(services) == (0, result.freed_bytes)
    services.close()


def test_a_server_counts_what_an_upload_evicts(tmp_path, valkey):
    services = open_services(tmp_path, valkey.url, quota="500K")
    commit_some(services, tmp_path / "served", 6)
    before = refs_of(services)
    with serving(services) as peer:
        peer.upload(*(bytes([number]) * 60 * KIB for number in range(4)))
        gone = set(before) - set(refs_of(services))
    assert gone
    assert evicted(services)[0] == len(gone)
    assert evicted(services)[1] >= len(gone) * 60 * KIB
    services.close()


def test_what_evicts_nothing_asks_no_more_than_before(tmp_path, valkey, monkeypatch):
    with fleet(tmp_path, valkey.url) as services:
        commit_some(services, tmp_path, 1)
        with redis_counted(services.coordination, monkeypatch) as questions:
            clean(services)
            clean(services, target_bytes=0, dry_run=True)
            services.run(RemoveRequest(refs=("p/e0/k0",)), quiet())
        assert "stats_add" not in questions
        assert evicted(services) == (0, 0), "what was asked for by name was removed"


@pytest.mark.parametrize("asked", [False, True])
def test_a_worker_counts_what_is_gone(tmp_path, asked):
    with place_in(tmp_path) as place:
        config = place.configure(
            "metered",
            cache={"quota": "500K", "reserved-disk-space": "0"},
            metrics={"listen": "127.0.0.1:0"},
        )
        place.worker(config)
        for number in range(3 if asked else 12):
            path = place.tree(f"t{number}", {"f": os.urandom(60_000)})
            assert place.run("commit", path, f"p/e{number}/k", config=config).returncode == 0
        if asked:
            assert place.run("cleanup", "--to", "0", config=config).returncode == 0
        gone = (3 if asked else 12) - len(set(Oracle(place.cachedir).refs()))
        assert gone > 0
        _, told = place.ask("stats", config=config)
        assert told["evicted"]["refs"] == gone
        assert told["evicted"]["bytes"] >= gone * 60_000
