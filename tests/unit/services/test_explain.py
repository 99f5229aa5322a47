"""Why an artifact is kept, or why and when it went: every answer after the thing really happened."""

import os
import time
from dataclasses import replace

import pytest
from harness.coordination import fake_coordination
from harness.services import SMALL_CACHE, fake_services
from harness.volumes import new_volume

from caskeeper.artifact import Ref
from caskeeper.config import LeaseSettings, QuotaExpression
from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ExplainRequest,
    Explanation,
    ExtractRequest,
    LinkRequest,
    RemoveRequest,
)
from caskeeper.coordination import StateLost
from caskeeper.coordination.events import on_behalf_of
from caskeeper.errors import ArtifactNotFound, Busy, CoordinatorUnavailable, PermissionDenied, TooLarge
from worker.protocols import quiet

A, B, C = "p/a/1", "p/b/2", "tools/gcc/3"


@pytest.fixture
def services(tmp_path):
    """Three artifacts of 9000 bytes, ``A`` used longest ago."""
    coordination = fake_coordination(leases=LeaseSettings(clock_margin_s=0.0))
    made = fake_services(tmp_path, volume=new_volume(tmp_path), coordination=coordination)
    for number, ref in enumerate((A, B, C)):
        commit(made, tmp_path / f"src{number}", ref, bytes([number]) * 9000)
        time.sleep(0.01)  # a tick of every clock
    yield made
    made.close()


def commit(services, folder, ref, content):
    folder.mkdir(exist_ok=True)
    (folder / "file").write_bytes(content)
    return services.run(CommitRequest(path=str(folder), refs=(ref,)), quiet())


def explain(services, ref):
    found = services.run(ExplainRequest(ref=ref), quiet())
    assert Explanation.from_json(found.to_json()) == found, "it travels"
    return found


def whats(found):
    return [one.what for one in found.history]


def keepers(found):
    return [(one.kind, one.name) for one in found.kept_by]


def test_what_nobody_keeps_has_its_place_in_the_order_of_eviction(services):
    first, last = explain(services, A), explain(services, C)
    assert (first.here, first.complete, first.kept_by, first.remarks) == (True, True, (), ())
    assert (first.place, first.places, first.before, first.before_refs) == (1, 3, 0, ())
    assert (last.place, last.before, last.before_refs) == (3, 2, (A, B))
    plan = services.run(CleanupRequest(target_bytes=0, dry_run=True), quiet())
    assert last.before_bytes == sum(group.frees_bytes for group in plan.groups[:2])
    assert first.action == "kept", "the cache is below its low watermark"
    services.run(ExtractRequest(ref=A), quiet())
    assert explain(services, A).place == 3
    assert first.used_ms < explain(services, A).used_ms


def test_explaining_makes_nothing_young_and_changes_nothing(services):
    before = {path: os.lstat(path).st_atime_ns for path in every_file(services)}
    used = services.coordination.recency.scores([A])
    explain(services, A)
    assert {path: os.lstat(path).st_atime_ns for path in every_file(services)} == before
    assert services.coordination.recency.scores([A]) == used


def every_file(services):
    root = services.layout.root
    return [f"{above}/{name}" for above, _folders, files in os.walk(root) for name in files]


def test_all_who_keep_it_are_named_and_not_only_the_first(services):
    sessions = services.coordination.sessions
    sessions.open("build-7", label="nightly")
    sessions.open("build-8")
    sessions.require("build-7", ["1"])
    sessions.require("build-8", ["1"])
    services.pins.pin(["p/*", A], quiet())
    with services.desk.reader("extract", A, quiet()) as operation:
        operation.claim(services.maintenance.refs.read(Ref.parse(A)).roots)
        found = explain(services, A)
        assert keepers(found) == [
            ("pin", A),
            ("pin", "p/*"),
            ("session", "build-7"),
            ("session", "build-8"),
            ("operation", operation.id),
        ]
        pin, _glob, nightly, _other, claim = found.kept_by
        assert (pin.expires_in_s, nightly.detail) == (None, "nightly")
        assert 0 < nightly.expires_in_s <= 120
        assert claim.detail.startswith(f"extract {A} on ")
        shown = services.listing.show(Ref.parse(A)).protected_by
        assert shown == (
            f"pin {A}",
            "pin p/*",
            "session build-7",
            "session build-8",
            f"operation {operation.id} (extract)",
        )
    assert (found.action, found.place) == ("protected", 0)
    assert "build-7, build-8" in found.reason
    assert (explain(services, B).place, explain(services, C).place) == (0, 1), "what is kept has no place"
    assert keepers(explain(services, C)) == []


def test_what_an_operation_may_rely_on_is_too_young_to_go(services, tmp_path):
    services = with_quota(services, tmp_path, bytes_=100_000)
    with services.desk.writer("commit", "p/new/1", quiet()):
        assert explain(services, A).action == "evict"
        for ref in (A, B, C):
            services.run(LinkRequest(ref=ref, key="again"), quiet())
        assert explain(services, A).action == "young", "though it would go first"


def with_quota(services, tmp_path, *, bytes_):
    small = replace(SMALL_CACHE, quota=QuotaExpression(str(bytes_)))
    return fake_services(tmp_path, volume=services.volume, coordination=services.coordination, cache=small)


def test_what_was_published_and_bound_anew_is_told_with_both_roots(services, tmp_path):
    with on_behalf_of("job-1"):
        made = commit(services, tmp_path / "again", A, b"another")
    bound, published = explain(services, A).history
    assert (published.what, published.why, published.before) == ("published", "commit", "")
    assert published.by.startswith("commit-")
    assert (bound.what, bound.before, bound.root) == ("bound", published.root, made.root)
    assert (bound.job, published.job) == ("job-1", "")
    commit(services, tmp_path / "again", A, b"another")
    assert whats(explain(services, A)) == ["bound", "published"], "the same again is no news"
    services.run(LinkRequest(ref=A, key="linked"), quiet())
    (linked,) = explain(services, "p/a/linked").history
    assert (linked.what, linked.why, linked.root) == ("published", "link", made.root)


def test_what_was_evicted_says_by_which_cleanup_and_why_and_what_it_freed(services):
    used_ms = explain(services, A).used_ms
    result = services.run(CleanupRequest(target_bytes=25_000), quiet())
    assert result.evicted_refs
    found = explain(services, A)
    assert (found.here, found.seen, found.kept_by, found.place) == (False, True, (), 0)
    evicted, published = found.history
    assert (evicted.what, evicted.before, evicted.used_ms) == ("evicted", published.root, used_ms)
    assert evicted.why == "a cleanup down to 24K was asked for; least recently used"
    assert evicted.by.startswith("cleanup-")
    assert evicted.freed_bytes == result.groups[0].frees_bytes > 9000
    assert services.coordination.recency.scores([A]) == [None]


def test_an_eviction_at_a_watermark_says_which(services, tmp_path):
    small = with_quota(services, tmp_path, bytes_=20_000)
    small.run(CleanupRequest(), quiet())
    assert explain(small, A).history[0].why == "used and reserved are above 20K; least recently used"


def test_an_eviction_for_a_write_says_so(services, tmp_path):
    used = services.coordination.usage.snapshot().used_bytes
    small = with_quota(services, tmp_path, bytes_=used + 4096)
    commit(small, tmp_path / "large", "p/large/1", b"l" * 20_000)
    assert "more did not fit; least recently used" in explain(small, A).history[0].why


def test_what_was_removed_says_so_and_what_refused_it_too(services, tmp_path):
    services.run(LinkRequest(ref=A, key="other"), quiet())
    services.run(RemoveRequest(refs=(A,)), quiet())
    removed, _published = explain(services, A).history
    assert (removed.what, removed.why) == ("removed", "it was asked for; other refs keep the tree")
    assert removed.by.startswith("remove-")
    services.run(RemoveRequest(refs=("p/a/other",)), quiet())
    last = explain(services, "p/a/other").history[0]
    assert (last.what, last.why) == ("removed", "it was asked for")
    assert last.freed_bytes > 9000
    services.pins.pin([B], quiet())
    with pytest.raises(PermissionDenied):
        services.run(RemoveRequest(refs=(B,)), quiet())
    services.coordination.sessions.open("build-7")
    services.coordination.sessions.require("build-7", ["3"])
    with pytest.raises(Busy, match="`caskeeper session close build-7`"):
        services.run(RemoveRequest(refs=(C,)), quiet())
    assert whats(explain(services, B)) == ["refused", "published"]
    assert f"pinned by {B}" in explain(services, B).history[0].why
    assert "required by session build-7" in explain(services, C).history[0].why


def test_a_damaged_ref_is_here_and_its_removal_is_told(services):
    path = services.layout.ref(Ref.parse(A))
    os.unlink(path)
    with open(path, "wb") as file:
        file.write(b"\xff\xff")
    found = explain(services, A)
    assert (found.here, found.complete, found.missing) == (True, False, "")
    assert any("a ref is damaged" in remark for remark in found.remarks)
    assert any("order of eviction is not known" in remark for remark in found.remarks)
    services.run(RemoveRequest(refs=(A,)), quiet())
    assert explain(services, A).history[0].what == "removed"


def test_a_write_that_was_refused_for_want_of_room_is_told(services, tmp_path):
    small = with_quota(services, tmp_path, bytes_=8192)
    with pytest.raises(TooLarge):
        commit(small, tmp_path / "large", "p/large/1", b"l" * 20_000)
    found = explain(small, "p/large/1")
    assert (found.here, found.seen, whats(found)) == (False, True, ["refused"])
    assert "too large" in found.history[0].why


def test_a_gap_is_told_with_what_is_missing(services):
    record = services.maintenance.refs.read(Ref.parse(A))
    listed = services.maintenance.closures.obtain(record.root, record.scope, services.maintenance.objects)
    file = max(listed.digests(), key=lambda digest: digest.size_bytes)
    os.unlink(services.layout.object(file.hash))
    found = explain(services, A)
    assert (found.here, found.complete) == (True, False)
    assert file.hash in found.missing


def test_what_was_never_seen_is_neither_here_nor_in_the_log(services):
    found = explain(services, "p/never/1")
    assert (found.here, found.seen, found.history) == (False, False, ())


def test_what_redis_cannot_tell_is_a_remark_and_the_volume_is_told_all_the_same(services, monkeypatch):
    def lost(*_arguments, **_options):
        raise StateLost("emptied")

    def away(*_arguments, **_options):
        raise CoordinatorUnavailable("no route")

    monkeypatch.setattr(services.coordination._scripts, "run", lost)
    monkeypatch.setattr(services.coordination._scripts, "run_plain", away)
    found = explain(services, A)
    assert (found.here, found.complete, found.action, found.history) == (True, True, "", ())
    told = "; ".join(found.remarks)
    for part in ("sessions and operations are not known", "order of eviction", "event log cannot be read"):
        assert part in told


def test_a_pin_that_cannot_be_read_is_a_remark(services):
    with open(f"{services.layout.pins}/{'0' * 64}", "wb") as file:
        file.write(b"junk")
    found = explain(services, A)
    assert any("a pin cannot be read, so nothing is evicted" in remark for remark in found.remarks)
    assert any("a pin cannot be read" in who for who in services.listing.show(Ref.parse(A)).protected_by)


def test_an_eviction_that_is_cut_short_after_the_ref_went_is_told_all_the_same(services, monkeypatch):
    def killed(_self, _hash_hex, *, looked):
        raise KeyboardInterrupt

    monkeypatch.setattr("worker.services.eviction.Evictor.take_object", killed)
    with pytest.raises(KeyboardInterrupt):
        services.run(CleanupRequest(target_bytes=0), quiet())
    found = explain(services, A)
    assert (found.here, whats(found)) == (False, ["evicted", "published"])
    assert found.history[0].freed_bytes > 9000


def test_a_ref_that_was_withdrawn_for_a_damaged_object_says_which(services):
    record = services.maintenance.refs.read(Ref.parse(A))
    listed = services.maintenance.closures.obtain(record.root, record.scope, services.maintenance.objects)
    file = max(listed.digests(), key=lambda digest: digest.size_bytes)
    os.unlink(services.layout.object(file.hash))
    with pytest.raises(ArtifactNotFound):
        services.run(ExtractRequest(ref=A), quiet())
    found = explain(services, A)
    assert (found.here, whats(found)) == (False, ["withdrawn", "published"])
    assert file.hash in found.history[0].why


def test_how_it_went_is_told_to_programs_too(services):
    services.run(RemoveRequest(refs=(A,)), quiet())
    assert explain(services, A).gone.startswith("removed 20")
    os.unlink(services.layout.ref(Ref.parse(B)))
    assert "without an entry in the log" in explain(services, B).gone
    assert explain(services, C).gone == explain(services, "p/never/1").gone == ""


def test_since_when_the_log_knows_anything_is_told_after_redis_was_emptied(services):
    began_ms = explain(services, A).history[-1].at_ms
    assert explain(services, "p/never/1").log_from_ms == began_ms
    services.run(RemoveRequest(refs=(A,)), quiet())
    services.coordination._connection.command("DEL", services.coordination.events._keys[1])
    gone = explain(services, A)
    assert (gone.seen, gone.log_from_ms) == (False, 0)
    services.run(RemoveRequest(refs=(B,)), quiet())
    assert explain(services, A).log_from_ms == explain(services, B).history[0].at_ms


def test_what_is_cut_short_is_named_by_its_digest_as_what_is_gone_is(services):
    record = services.maintenance.refs.read(Ref.parse(A))
    listed = services.maintenance.closures.obtain(record.root, record.scope, services.maintenance.objects)
    file = max(listed.digests(), key=lambda digest: digest.size_bytes)
    os.unlink(services.layout.object(file.hash))
    with open(services.layout.object(file.hash), "wb"):
        pass
    assert explain(services, A).missing == str(file)


def test_a_stranger_among_the_refs_leaves_only_the_order_of_eviction_unknown(services):
    os.symlink("/etc", f"{services.layout.refs}/p/etc")
    found = explain(services, A)
    assert (found.here, found.complete, found.action) == (True, True, "")
    (remark,) = found.remarks
    assert "p/etc" in remark
    assert "caskeeper verify" in remark
