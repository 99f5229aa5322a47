"""The quota, the disk and the inodes: what is refused, what is cleaned, and what is said (AC-30 to AC-45)."""

import os
import time
from dataclasses import replace

import pytest
from harness.fleet import Oracle, fleet, quick, settings_for, write_tree
from harness.quotas import KIB, assert_exact, clean, commit, commit_some, lowered, refs_of

from caskeeper import Client
from caskeeper.config import CacheSettings, QuotaExpression, load_settings
from caskeeper.contract import CleanupRequest, CommitRequest, ComputeSizeRequest, RemoveRequest
from caskeeper.digest import Digest
from caskeeper.errors import CacheTooFull, Cancelled, ConfigInvalid, NoSpace, TooLarge
from tasks.app import _rehearsal
from worker.protocols import quiet
from worker.wiring import build


@pytest.fixture
def filled(tmp_path, valkey):
    """A volume with p/e0/k0 to p/e5/k5, about 400 KiB; services of its own afterwards."""
    with fleet(tmp_path, valkey.url) as services:
        commit_some(services, tmp_path, 6)
    return tmp_path, valkey.url


# -- counting and cleaning ---------------------------------------------------------------------------------


def test_ac43_ac45_above_the_high_watermark_a_cleanup_goes_down_to_the_low_one_and_below_it_does_nothing(
    tmp_path, valkey
):
    with fleet(tmp_path, valkey.url, quota="700K", low_watermark=0.3) as services:
        commit_some(services, tmp_path, 6)
        low = services.space.limits().low_bytes
        assert low == 700 * KIB * 3 // 10
        first = clean(services)
        assert first.target_bytes == low
        assert services.space.used_bytes() <= low < services.space.used_bytes() + 100 * KIB
        again = clean(services)
        assert (again.freed_bytes, again.evicted_refs) == (0, 0)
        assert refs_of(services)[-1] == "p/e5/k5"
        assert_exact(services)


def test_d6_what_a_task_that_failed_has_written_counts_until_it_is_swept(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        source = write_tree(f"{tmp_path}/src", {f"f{n}": os.urandom(9000) for n in range(40)})
        oracle = Oracle(services.layout.root)

        def stop_when_something_is_stored():
            if any(files for _folder, _folders, files in os.walk(services.layout.objects)):
                raise Cancelled("the test's stop")

        with pytest.raises(Cancelled):
            services.run(
                CommitRequest(path=source, refs=("p/e/k",)),
                quiet()._replace(check=stop_when_something_is_stored),
            )
        assert services.space.used_bytes() == oracle.used_bytes() >= 9000
        assert refs_of(services) == []
        assert_exact(services)
        time.sleep(0.02)
        clean(services, target_bytes=0)
        assert services.space.used_bytes() == oracle.used_bytes() == 0


def test_ac31_a_recount_answers_and_sets_the_size_and_finds_the_estimate_exact(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit_some(services, tmp_path, 3)
        found = services.run(ComputeSizeRequest(), quiet())
        assert found.used_bytes == found.estimate_bytes == services.space.used_bytes()
        assert found.used_bytes == Oracle(services.layout.root).used_bytes()


# -- too large ---------------------------------------------------------------------------------------------


def test_a_blob_larger_than_the_quota_is_told_at_once_and_nothing_is_evicted_for_it(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, quota="400K") as services:
        commit_some(services, tmp_path, 4)
        with pytest.raises(TooLarge, match=r"500K do not fit into a quota of 400K.*test\.yaml"):
            commit(services, tmp_path, "p/large/k", 500 * KIB)
        assert len(refs_of(services)) == 4
        assert_exact(services)


def test_an_artifact_larger_than_the_quota_is_told_as_soon_as_it_is_known(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, quota="400K") as services:
        began = time.monotonic()
        with pytest.raises(TooLarge, match="quota of 400K"):
            commit(services, tmp_path, "p/large/k", *[100 * KIB] * 6)
        assert time.monotonic() - began < 20
        assert refs_of(services) == []


def test_what_the_disk_cannot_hold_beside_what_others_have_there_is_told_at_once(filled):
    folder, url = filled
    with fleet(folder, url) as services:
        disk = services.volume.space()
        services.volume.space = lambda: disk._replace(available_bytes=100 * KIB)
        with pytest.raises(
            NoSpace, match=r"the disk has no room for more: 100K are free.*free space on the disk"
        ):
            commit(services, folder, "p/large/k", 2000 * KIB)
        assert len(refs_of(services)) == 6


# -- a quota below what is used ----------------------------------------------------------------------------


def test_d33_a_quota_lowered_below_use_is_noticed_from_the_start_and_cleaned_at_the_next_trigger(filled):
    folder, url = filled
    settings = settings_for(folder, quota="200K")
    assert _rehearsal(lambda: build(settings, redis_url=url))["wanted"] == CleanupRequest.TASK
    with lowered(folder, url, quota="200K") as services:
        assert services.upkeep_wanted() == CleanupRequest()
        assert clean(services, if_wanted=True).evicted_refs >= 4
        assert services.space.used_bytes() <= services.space.limits().low_bytes
        assert services.upkeep_wanted() is None
        assert clean(services, if_wanted=True).freed_bytes == 0
        assert refs_of(services)[-1] == "p/e5/k5"
        assert_exact(services)


def test_a_write_under_a_quota_lowered_below_use_makes_room_and_succeeds(filled):
    folder, url = filled
    with lowered(folder, url, quota="200K") as services:
        commit(services, folder, "p/new/k", 60 * KIB)
        assert "p/new/k" in refs_of(services)
        assert services.space.used_bytes() <= 200 * KIB
        assert_exact(services)


def test_ac44_when_all_is_required_or_pinned_the_numbers_say_by_whom_and_what_helps(filled):
    folder, url = filled
    with lowered(folder, url, quota="200K") as services:
        services.coordination.sessions.open("build-1", label="nightly", life_s=600)
        services.coordination.sessions.require("build-1", [f"k{n}" for n in range(4)])
        services.pins.pin(["p/e[45]/*"], quiet())
        for attempt in (
            lambda: commit(services, folder, "p/new/k", 60 * KIB),
            lambda: clean(services),
        ):
            with pytest.raises(CacheTooFull) as caught:
                attempt()
            said = caught.value
            assert "quota 200K, used " in said.what
            assert "reserved 0B" in said.what
            assert "session build-1 (nightly) requires 4 artifacts of " in said.what
            assert "pin p/e[45]/* keeps 2 artifacts of " in said.what
            assert said.where == services.layout.root
            assert " too much; " in said.what
            assert "raise `cache: quota` in test.yaml, or " in said.way_out
            assert "end session build-1" in said.way_out
            assert "caskeeper unpin 'p/e[45]/*'" in said.way_out
        assert len(refs_of(services)) == 6
        assert_exact(services)


def test_what_goes_when_an_operation_has_ended_is_no_space_for_now_and_names_it(filled):
    folder, url = filled
    with lowered(folder, url, quota="200K") as services:
        roots = [Digest(group.root, 0) for group in clean(services, dry_run=True).groups]
        with services.desk.reader("extract", "p/e0/k0", quiet()) as reader:
            time.sleep(0.02)
            assert reader.claim(roots)
            with pytest.raises(NoSpace) as caught:
                clean(services)
        assert "extract p/e0/k0 on " in caught.value.what
        assert "uses 6 artifacts of " in caught.value.what
        assert "try again when those who work on the cache are done" in caught.value.way_out
        clean(services)
        assert services.space.used_bytes() <= 100 * KIB


def test_a_cleanup_held_up_by_a_server_that_is_used_names_the_servers_operation(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services, services.desk.writer("serve", "127.0.0.1:8980", quiet()):
        commit_some(services, tmp_path, 3)
        held = clean(services, target_bytes=0, dry_run=True).holders
        assert [(one.kind, one.artifacts) for one in held] == [("server", 3)]
        with (
            lowered(tmp_path, valkey.url, quota="100K") as full,
            pytest.raises(
                NoSpace, match=r"3 artifacts of .* too young to go: .*serve 127\.0\.0\.1:8980 on "
            ) as caught,
        ):
            clean(full)
        assert "`leases: upload-grace` (600 s)" in caught.value.what
        assert "try again" in caught.value.way_out
        assert len(refs_of(services)) == 3


def test_what_a_server_that_is_gone_told_its_clients_is_named_too(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        services.volume.create(f"{services.layout.staging}/served-of-one-that-was-killed")
        commit_some(services, tmp_path, 1)
        held = clean(services, target_bytes=0, dry_run=True).holders
        assert [one.kind for one in held] == ["uploads"]
        assert "upload-grace" in held[0].detail


def test_a_write_that_does_not_fit_beside_what_another_has_reserved_names_that_one(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, quota="400K") as services:
        with services.desk.writer("pull", "p/big/k", quiet()) as pull:
            pull.reserve(300 * KIB)
            with (
                services.desk.writer("commit", "p/e/k", quiet(), room_wait_s=0.0) as mine,
                pytest.raises(
                    NoSpace,
                    match=r"200K more do not fit: quota 400K, .*300K by pull p/big/k on .*try again",
                ),
            ):
                mine.reserve(200 * KIB)
        assert_exact(services)


# -- opening -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cache", "place", "says"),
    [
        ("quota: 1G", "[line 2 column 9]", "at least 2G is required"),
        ("quota: 9000000T", "[line 2 column 9]", "there is not enough space in .* for the quota 9000000T: "),
        ("{quota: 50M, headroom: 60M}", "[line 1 column 15]", "at least 60M is required"),
    ],
)
def test_ac2_ac41_a_bad_quota_is_fatal_for_whatever_opens_the_cache(tmp_path, valkey, cache, place, says):
    text = f"cache: {cache}" if cache.startswith("{") else f"cache:\n  {cache}"
    (tmp_path / "c.yaml").write_text(f"{text}\ncachedir: {tmp_path}/cache\n")
    settings = load_settings(str(tmp_path / "c.yaml"), environ={})
    with pytest.raises(ConfigInvalid, match=says) as caught:
        build(settings, redis_url=valkey.url)
    assert caught.value.where == f"{tmp_path}/c.yaml {place}"


def test_a_running_cache_is_not_stopped_by_what_a_start_would_refuse(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit_some(services, tmp_path, 1)
        strict = CacheSettings(quota=QuotaExpression.parse("1G"))
        services.space._settings = replace(services.settings, cache=strict)
        assert services.space.limits().quota_bytes == KIB**3
        assert services.status().quota_bytes == KIB**3


# -- who asks for a recount or a cleanup ------------------------------------------------------------------


def test_after_a_dead_operations_reservation_became_used_a_recount_sets_the_estimate_right(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, leases=quick(operation_s=0.2)) as services:
        commit_some(services, tmp_path, 2)
        dead = services.desk.writer("pull", "p/e/dead", quiet())
        operation = dead.__enter__()
        services.desk._running.discard(operation)  # nobody renews it: its process is gone
        operation.reserve(5_000_000)
        time.sleep(0.3)
        services.run(RemoveRequest(refs=("p/e0/k0",)), quiet())
        assert services.space.used_bytes() >= 5_000_000
        assert services.upkeep_wanted() == ComputeSizeRequest()
        result = services.run(ComputeSizeRequest(), quiet())
        assert result.used_bytes < 5_000_000 <= result.estimate_bytes
        assert services.upkeep_wanted() is None
        assert_exact(services)


def test_d25_a_lost_estimate_is_recounted_when_the_waiting_period_is_over(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, leases=quick(operation_s=0.5, session_s=0.5)) as services:
        commit_some(services, tmp_path, 2)
        valkey.client().hset(f"caskeeper:{{{services.coordination.volume_id}}}:usage", "used", "many")
        services.maintenance.ensure_ready()
        assert not services.status().size_known
        deadline = time.monotonic() + 10
        while services.upkeep_wanted() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert services.upkeep_wanted() == ComputeSizeRequest()
        services.run(ComputeSizeRequest(), quiet())
        assert services.status().size_known
        assert_exact(services)


def test_d33_a_build_that_begins_has_a_worker_look_for_room_once(tmp_path, valkey):
    settings = replace(settings_for(tmp_path), redis=valkey.url)
    with fleet(tmp_path, valkey.url), Client(settings) as client:
        with client.session(label="a build"):
            assert client.status().queues["caskeeper.maintenance"] == 1
        opened = client.detached_session().open()
        opened.close()
        assert client.status().queues["caskeeper.maintenance"] == 1
