"""Cleanup, remove, recovery and the quota, on a real volume with a real Valkey."""

import os
import threading
import time

import pytest
from harness.fleet import Oracle, fleet, quick, write_tree

from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ComputeSizeRequest,
    ExtractRequest,
    RemoveRequest,
)
from caskeeper.digest import Digest
from caskeeper.errors import ArtifactNotFound, Busy, CacheTooFull, LeaseLost, TooLarge
from worker.protocols import quiet


def commit(services, folder, ref, files, *more):
    source = write_tree(f"{folder}/src-{ref.replace('/', '-')}", files)
    return services.run(CommitRequest(path=source, refs=(ref, *more)), quiet())


def commit_some(services, folder, count, *, size=20_000):
    for n in range(count):
        own = {"own": bytes([n]) * size, "shared": b"s" * size, "x:run": b"#!" + bytes([n])}
        commit(services, folder, f"p/e{n}/key{n}", own)
    settle_clock()


def settle_clock():
    """Until the volume's clock has ticked: what was made before is then older than the next start."""
    time.sleep(0.02)


def clean(services, target=0, **options):
    return services.run(CleanupRequest(target_bytes=target, **options), quiet())


def refs_of(services):
    return sorted(Oracle(services.layout.root).refs())


def assert_exact(services):
    """The estimate is the truth, nothing is reserved, and an independent count agrees."""
    oracle = Oracle(services.layout.root)
    usage = services.coordination.usage.snapshot()
    assert (usage.used_bytes, usage.reserved_bytes) == (oracle.used_bytes(), 0)
    assert oracle.troubles() == []
    assert oracle.leavings() == []


def test_cleanup_evicts_the_least_recently_used_until_the_target_and_counts_exactly(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit_some(services, tmp_path, 6)
        used = services.coordination.usage.snapshot().used_bytes
        result = clean(services, used * 6 // 10)
        assert refs_of(services)[-1] == "p/e5/key5"
        assert "p/e0/key0" not in refs_of(services)
        assert 0 < len(refs_of(services)) < 6
        assert result.used_after_bytes <= used * 6 // 10
        assert_exact(services)


def test_a_dry_run_says_what_would_go_and_changes_nothing(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit_some(services, tmp_path, 3)
        before = services.coordination.usage.snapshot().used_bytes
        planned = clean(services, 0, dry_run=True)
        assert [group.action for group in planned.groups] == ["evict"] * 3
        assert planned.used_after_bytes == before
        done = clean(services, 0)
        assert [group.refs for group in done.groups] == [group.refs for group in planned.groups]
        assert refs_of(services) == []
        assert_exact(services)


def test_what_one_group_shares_with_another_goes_with_the_last_of_them(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit_some(services, tmp_path, 2)
        services.run(RemoveRequest(refs=("p/e0/key0",)), quiet())
        assert Oracle(services.layout.root).troubles() == []
        services.run(RemoveRequest(refs=("p/e1/key1",)), quiet())
        assert Oracle(services.layout.root).used_bytes() == 0
        assert_exact(services)


def test_two_refs_of_one_tree_go_as_one_group(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit(services, tmp_path, "p/e/strong", {"f": b"1" * 9000}, "p/e/weak")
        settle_clock()
        groups = clean(services, 0, dry_run=True).groups
        assert [sorted(group.refs) for group in groups] == [["p/e/strong", "p/e/weak"]]
        first = services.run(RemoveRequest(refs=("p/e/strong",)), quiet())
        assert first.freed_bytes == services.volume.block_bytes  # the record only (AC-52)
        second = services.run(RemoveRequest(refs=("p/e/weak",)), quiet())
        assert second.freed_bytes > 9000
        assert_exact(services)


def test_an_extract_goes_with_the_last_ref_of_its_element_and_not_before(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit(services, tmp_path, "p/e/a", {"f": b"1" * 9000, "l:link": b"f"}, "p/e/b")
        path = services.run(ExtractRequest(ref="p/e/a"), quiet()).path
        settle_clock()
        services.run(RemoveRequest(refs=("p/e/a",)), quiet())
        assert os.path.isdir(path)
        services.run(RemoveRequest(refs=("p/e/b",)), quiet())
        assert not os.path.exists(path)
        assert os.listdir(services.layout.extracts) == []
        assert_exact(services)


def test_a_required_artifact_is_never_evicted_and_is_named_with_its_session(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit_some(services, tmp_path, 3)
        services.coordination.sessions.open("build-1", life_s=600)
        services.coordination.sessions.require("build-1", ["key1"])
        result = clean(services, 0)
        assert refs_of(services) == ["p/e1/key1"]
        kept = [group for group in result.groups if group.action == "protected"]
        assert [group.refs for group in kept] == [("p/e1/key1",)]
        assert "build-1" in kept[0].reason
        with pytest.raises(Busy, match="build-1"):
            services.run(RemoveRequest(refs=("p/e1/key1",)), quiet())
        services.coordination.sessions.close("build-1")
        clean(services, 0)
        assert refs_of(services) == []


def test_remove_of_several_refs_removes_none_when_one_is_required(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit_some(services, tmp_path, 3)
        services.coordination.sessions.open("build-1", life_s=600)
        services.coordination.sessions.require("build-1", ["key2"])
        with pytest.raises(Busy, match="p/e2/key2"):
            services.run(RemoveRequest(refs=("p/e0/key0", "p/e2/key2")), quiet())
        assert refs_of(services) == ["p/e0/key0", "p/e1/key1", "p/e2/key2"]


def test_a_claimed_artifact_stays(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, 2) as (reader, cleaner):
        commit_some(reader, tmp_path, 2)
        root = next(
            group.root for group in clean(cleaner, 0, dry_run=True).groups if group.refs == ("p/e0/key0",)
        )
        with reader.desk.reader("extract", "p/e0/key0", quiet()) as operation:
            settle_clock()
            assert operation.claim([Digest(root, 0)])
            result = clean(cleaner, 0)
            reasons = {group.refs: group.reason for group in result.groups}
            assert "claimed by operation" in reasons["p/e0/key0",]
        assert refs_of(reader) == ["p/e0/key0"]


def test_remove_of_a_ref_that_is_not_here_says_so_and_removes_nothing(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit_some(services, tmp_path, 1)
        with pytest.raises(ArtifactNotFound, match="p/e/none"):
            services.run(RemoveRequest(refs=("p/e0/key0", "p/e/none")), quiet())
        assert refs_of(services) == ["p/e0/key0"]


def test_a_write_that_does_not_fit_waits_for_a_cleanup_of_its_own(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, quota="400K") as services:
        for n in range(12):
            commit(services, tmp_path, f"p/e{n}/k{n}", {"f": bytes([n]) * 60_000})
            usage = services.coordination.usage.snapshot()
            assert Oracle(services.layout.root).used_bytes() <= usage.used_bytes <= 400 * 1024
        assert "p/e11/k11" in refs_of(services)
        assert_exact(services)


def test_a_blob_larger_than_the_quota_is_too_large(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, quota="200K") as services:
        with pytest.raises(TooLarge, match="200K"):
            commit(services, tmp_path, "p/e/k", {"f": b"x" * 300_000})
        assert refs_of(services) == []
        assert_exact(services)


def test_when_everything_is_required_the_write_fails_with_the_numbers_and_nothing_is_lost(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, quota="300K") as services:
        services.coordination.sessions.open("build-1", life_s=600)
        services.coordination.sessions.require("build-1", ["k0", "k1"])
        for n in range(2):
            commit(services, tmp_path, f"p/e{n}/k{n}", {"f": bytes([n]) * 100_000})
        settle_clock()
        with pytest.raises(CacheTooFull, match="300K"):
            commit(services, tmp_path, "p/e2/k2", {"f": b"x" * 120_000})
        assert refs_of(services) == ["p/e0/k0", "p/e1/k1"]
        assert_exact(services)


def test_a_dead_operation_is_fenced_and_its_reservation_converted_then_recounted(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, leases=quick(operation_s=0.3)) as services:
        dead = services.desk.writer("commit", "p/e/dead", quiet())
        operation = dead.__enter__()
        services.desk._running.discard(operation)  # nobody renews it: its process is gone
        operation.blobs.add(b"garbage of a crash" * 1000)
        reserved = services.coordination.usage.snapshot().reserved_bytes
        assert reserved > 0
        time.sleep(0.5)
        result = clean(services, 10**12)
        assert result.reaped_operations == 1
        assert services.coordination.usage.snapshot().reserved_bytes == 0
        assert services.coordination.usage.snapshot().used_bytes == Oracle(services.layout.root).used_bytes()
        with pytest.raises(LeaseLost):
            operation.blobs.add(b"too late")


def test_a_cleanup_that_counts_spares_no_folder_whose_owner_nobody_knows(tmp_path, valkey):
    """safety.md section 6: whoever registers after the count goes on from what it did not see."""
    with fleet(tmp_path, valkey.url) as services:
        commit(services, tmp_path, "demo/kept/1", {"a": b"a"})
        folder = services.layout.operation("commit-of-nobody")
        os.mkdir(folder)
        with open(f"{folder}/1", "wb") as file:
            file.write(bytes(100_000))
        clean(services, target=10**9)
        assert os.path.isdir(folder), "it is young, and nothing is counted"
        with valkey.client() as raw:
            raw.hset(f"caskeeper:{{{services.coordination.volume_id}}}:state", "known", "0")
        clean(services, target=10**9)
        assert not os.path.exists(folder)
        assert_exact(services)


def test_garbage_without_a_name_is_swept_when_the_lists_do_not_suffice(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        with services.desk.writer("commit", "p/e/never", quiet()) as operation:
            operation.blobs.add(b"never published" * 1000)
        settle_clock()
        assert Oracle(services.layout.root).used_bytes() > 0
        clean(services, 0)
        assert Oracle(services.layout.root).used_bytes() == 0
        assert_exact(services)


def test_what_a_dead_cleanup_took_is_put_back(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit_some(services, tmp_path, 2)
        trash = services.layout.trash("cleanup-dead")
        os.mkdir(trash)
        taken = next(
            (folder, name) for folder, _folders, files in os.walk(services.layout.objects) for name in files
        )
        os.rename(f"{taken[0]}/{taken[1]}", f"{trash}/o-{os.path.basename(taken[0])}{taken[1]}")
        os.rename(f"{services.layout.refs}/p/e0/key0", f"{trash}/r-p%e0%key0")
        result = clean(services, 10**12)
        assert result.recovered_objects == 2
        assert refs_of(services) == ["p/e0/key0", "p/e1/key1"]
        assert_exact(services)


def test_a_reader_finds_an_object_in_the_trash_of_a_cleanup(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit(services, tmp_path, "p/e/k", {"f": b"content" * 100})
        trash = services.layout.trash("cleanup-running")
        os.mkdir(trash)
        for folder, _folders, files in list(os.walk(services.layout.objects)):
            for name in files:
                os.rename(f"{folder}/{name}", f"{trash}/o-{os.path.basename(folder)}{name}")
        path = services.run(ExtractRequest(ref="p/e/k"), quiet()).path
        with open(f"{path}/f", "rb") as file:
            assert file.read() == b"content" * 100


def test_after_flushall_nothing_is_evicted_before_the_waiting_period_is_over(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, leases=quick(operation_s=1.0, session_s=1.0)) as services:
        commit_some(services, tmp_path, 2)
        valkey.client().flushall()
        services.maintenance.ensure_ready()
        with pytest.raises(Busy, match="Redis lost its state"):
            clean(services, 0)
        assert len(refs_of(services)) == 2
        deadline = time.monotonic() + 20
        while refs_of(services) and time.monotonic() < deadline:
            try:
                clean(services, 0)
            except Busy:
                time.sleep(0.1)
        assert refs_of(services) == []
        assert_exact(services)


def test_an_operation_that_runs_while_redis_is_emptied_comes_back_and_publishes(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, leases=quick(operation_s=1.0)) as services:
        source = write_tree(f"{tmp_path}/src", {f"f{n}": bytes([n]) * 5000 for n in range(20)})
        emptied = []

        def check():
            if not emptied:
                emptied.append(True)
                valkey.client().flushall()

        context = quiet()._replace(check=check)
        services.run(CommitRequest(path=source, refs=("p/e/k",)), context)
        assert emptied
        assert refs_of(services) == ["p/e/k"]
        assert Oracle(services.layout.root).troubles() == []
        usage = services.coordination.usage.snapshot()
        assert usage.used_bytes + usage.reserved_bytes >= Oracle(services.layout.root).used_bytes()


def test_a_recount_while_others_write_never_understates(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, 2) as (writer, counter):
        stop = threading.Event()
        seen = []

        def write():
            n = 0
            while not stop.is_set() and n < 40:
                commit(writer, tmp_path, f"p/w{n}/k", {"f": os.urandom(9000)})
                n += 1

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(5):
                try:
                    counter.run(ComputeSizeRequest(), quiet())
                except Busy:
                    continue
                seen.append(True)
        finally:
            stop.set()
            thread.join()
        assert seen
        usage = writer.coordination.usage.snapshot()
        assert usage.used_bytes + usage.reserved_bytes >= Oracle(writer.layout.root).used_bytes()
        counter.run(ComputeSizeRequest(), quiet())
        assert_exact(writer)


def test_a_cleanup_that_was_fenced_stops_without_touching_anything_more(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, 2) as (paused, other):
        commit_some(paused, tmp_path, 4)
        cut = []

        def progress(_progress):
            if not cut:
                cut.append(True)
                trash = os.listdir(paused.layout.trashes)
                os.rename(paused.layout.trash(trash[0]), paused.layout.trash("stolen"))

        with pytest.raises(LeaseLost):
            paused.run(CleanupRequest(target_bytes=0), quiet()._replace(progress=progress))
        assert Oracle(other.layout.root).troubles() == []
        clean(other, 10**12)
        assert Oracle(other.layout.root).troubles() == []
        assert len(refs_of(other)) == 4
