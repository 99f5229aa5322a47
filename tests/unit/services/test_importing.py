"""Taking over another cache folder of BuildStream 1.x."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace

import pytest
from harness.old_cache import OldCache, artifact, as_listed
from harness.services import SMALL_CACHE, fake_services
from harness.trees import listing
from harness.volumes import new_volume

from caskeeper.artifact import Ref
from caskeeper.config import QuotaExpression
from caskeeper.contract import CommitRequest, ExtractRequest, ImportRequest
from caskeeper.errors import Cancelled, InvalidRequest, TooLarge
from worker.protocols import Context, quiet

WHOLE, SAME, PARTIAL = "interop/app/aaaa", "interop/app/bbbb", "interop/lib/cccc"


@pytest.fixture
def services(tmp_path):
    made = fake_services(tmp_path)
    yield made
    made.close()


@pytest.fixture
def old(tmp_path):
    """Two refs of one whole artifact, and an older one pulled without its build tree (AC-74)."""
    cache = OldCache(f"{tmp_path}/artifacts")
    root = cache.add_tree(artifact("app"))
    cache.name(WHOLE, root, age_s=10)
    cache.name(SAME, root, age_s=20)
    cache.extract(WHOLE, root, artifact("app"))
    partial = artifact("lib")
    cache.name(PARTIAL, cache.add_tree(partial, mode=0o600), age_s=30)
    os.unlink(cache.path(OldCache(f"{tmp_path}/scratch").add_tree(partial["buildtree"]).hash))
    return cache


def take(services, old, **more):
    return services.run(ImportRequest(path=old.root, **more), quiet())


def outcomes(result):
    return {one.ref: one.outcome for one in result.artifacts}


def photograph(folder):
    """Every entry with all that ``stat`` tells but how often it was looked at, and every byte."""
    seen = {}
    for above, _folders, names in os.walk(folder):
        for path in (above, *(f"{above}/{name}" for name in names)):
            there = os.lstat(path)
            aged = os.path.isdir(path)  # listing a folder may change its access time
            seen[path] = (there.st_mode, there.st_ino, there.st_nlink, there.st_size, there.st_mtime_ns)
            seen[path] += (None if aged else there.st_atime_ns,)
    return seen


def extracted(services, ref):
    return listing(services.run(ExtractRequest(ref=ref), quiet()).path)


def test_everything_is_taken_over_and_the_source_is_not_touched_in_any_way(services, old):
    before = photograph(old.root)
    result = take(services, old)
    assert photograph(old.root) == before
    assert outcomes(result) == {PARTIAL: "imported", WHOLE: "imported", SAME: "imported"}
    assert result.blobs > 0
    assert result.bytes > 1_000_000
    assert extracted(services, WHOLE) == as_listed(artifact("app")) == extracted(services, SAME)
    parts = {name: part for name, part in artifact("lib").items() if name != "buildtree"}
    assert extracted(services, PARTIAL) == as_listed(parts)
    shown = services.listing.show(Ref.parse(PARTIAL))
    assert (shown.complete, shown.excluded, shown.origin) == (True, ("buildtree",), "import")
    assert photograph(old.root) == before


def test_nothing_here_shares_a_file_with_the_source(services, old):
    take(services, old)
    theirs = {os.lstat(path).st_ino for path in photograph(f"{old.root}/cas/objects")}
    ours = {os.lstat(path).st_ino for path in photograph(services.layout.objects)}
    assert not theirs & ours


def test_the_order_of_use_stays(services, old):
    """Of trees: their refs are evicted together."""
    old.name("interop/new/1", old.add_tree({"file": (b"new", False)}), age_s=1)
    old.name("interop/old/1", old.add_tree({"file": (b"old", False)}), age_s=99)
    take(services, old)
    listed = [line.ref for line in services.listing.list()]
    assert listed == ["interop/old/1", PARTIAL, WHOLE, SAME, "interop/new/1"]


def test_a_dry_run_says_the_same_and_changes_nothing(services, old):
    before = photograph(services.layout.root)
    would = take(services, old, dry_run=True)
    assert photograph(services.layout.root) == before
    did = take(services, old)
    assert outcomes(would) == outcomes(did)
    assert (would.blobs, would.bytes) == (did.blobs, did.bytes)


def test_running_again_finds_everything_here(services, old):
    take(services, old)
    again = take(services, old)
    assert set(outcomes(again).values()) == {"present"}
    assert (again.blobs, again.bytes) == (0, 0)


def test_what_was_cut_short_goes_on_where_it_was(services, old):
    def stop():
        if services.listing.list():
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        services.run(ImportRequest(path=old.root), Context(progress=lambda _: None, check=stop))
    assert [line.ref for line in services.listing.list()] == [PARTIAL]
    assert services.coordination.operations.list() == []
    assert outcomes(take(services, old)) == {PARTIAL: "present", WHOLE: "imported", SAME: "imported"}


def test_a_name_that_stands_for_another_tree_here_is_left(services, old, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_bytes(b"mine")
    services.run(CommitRequest(path=f"{tmp_path}/mine", refs=(WHOLE,)), quiet())
    result = take(services, old)
    assert outcomes(result) == {WHOLE: "kept", SAME: "imported", PARTIAL: "imported"}
    assert next(one.reason for one in result.artifacts if one.ref == WHOLE)
    assert extracted(services, WHOLE) == {"file": (b"mine", False)}
    assert extracted(services, SAME) == as_listed(artifact("app"))


def test_a_partial_artifact_here_becomes_whole(services, old, tmp_path):
    take(services, old)
    whole = OldCache(f"{tmp_path}/whole")
    whole.name(PARTIAL, whole.add_tree(artifact("lib")), age_s=0)
    assert outcomes(take(services, whole)) == {PARTIAL: "imported"}
    assert extracted(services, PARTIAL) == as_listed(artifact("lib"))
    assert outcomes(take(services, old))[PARTIAL] == "present"
    assert services.listing.show(Ref.parse(PARTIAL)).excluded == ()


def test_damaged_content_is_found_out_and_only_its_artifact_suffers(services, old):
    path = old.path(hashlib.sha256(b"app").hexdigest())
    with open(path, "r+b") as file:
        file.write(b"APP")
    result = take(services, old)
    assert outcomes(result) == {WHOLE: "damaged", SAME: "damaged", PARTIAL: "imported"}
    assert [line.ref for line in services.listing.list()] == [PARTIAL]
    assert services.coordination.operations.list() == []


def test_a_gap_is_found_out_before_anything_is_copied(services, old):
    os.unlink(old.path(hashlib.sha256(b"app").hexdigest()))
    would = take(services, old, dry_run=True)
    assert outcomes(would)[PARTIAL] == "imported"
    excluded = {one.ref: one.excluded for one in would.artifacts}
    assert excluded[WHOLE] == ("files",)  # a part of a top-level folder is gone, so none of it is taken
    reasons = {one.ref: one.reason for one in would.artifacts}
    assert (reasons[WHOLE], reasons[PARTIAL]) == ("without files, of which a part is missing there", "")


def test_what_is_no_ref_is_named_and_passed_over(services, old):
    for name, content in {"interop/deep/er/key": b"", "interop/x/broken": b"\xff", "loose": b""}.items():
        old._write(f"cas/refs/heads/{name}", content, 0o600)
    os.symlink("/etc/passwd", f"{old.root}/cas/refs/heads/interop/app/link")
    found = outcomes(take(services, old))
    assert {ref for ref, outcome in found.items() if outcome == "damaged"} == {
        "interop/deep/er/key",
        "interop/x/broken",
        "interop/app/link",
        "loose",
    }
    assert found[WHOLE] == "imported"


def test_links_in_the_source_lead_nowhere(services, old, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"app")
    path = old.path(hashlib.sha256(b"app").hexdigest())
    os.unlink(path)
    os.symlink(secret, path)
    assert {one.excluded for one in take(services, old).artifacts if one.ref == WHOLE} == {("files",)}


def test_a_folder_of_another_kind_is_refused_with_the_way_out(services, tmp_path, old):
    with pytest.raises(InvalidRequest, match=r"no cache folder.*here .*/artifacts"):
        services.run(ImportRequest(path=str(tmp_path)), quiet())
    with pytest.raises(InvalidRequest, match="caskeeper's own"):
        services.run(ImportRequest(path=services.layout.root), quiet())
    with pytest.raises(InvalidRequest, match="outside of what"):
        services.run(ImportRequest(path="/etc"), quiet())
    (tmp_path / "linked" / "cas" / "refs" / "heads").mkdir(parents=True)
    os.symlink("/etc", tmp_path / "linked" / "cas" / "objects")
    with pytest.raises(InvalidRequest, match="outside of what"):
        services.run(ImportRequest(path=f"{tmp_path}/linked"), quiet())


def test_it_tells_how_far_it_is(services, old):
    seen = []
    services.run(ImportRequest(path=old.root), Context(progress=seen.append, check=lambda: None))
    assert {"looking", "import"} <= {progress.phase for progress in seen}
    last = [progress for progress in seen if progress.phase == "import"][-1]
    assert last.done_bytes == last.total_bytes > 0
    assert last.done_objects == last.total_objects


def test_what_does_not_fit_is_an_error_and_what_was_taken_over_stays(tmp_path, old):
    small = replace(SMALL_CACHE, quota=QuotaExpression.parse("1M"))
    (tmp_path / "small").mkdir()
    os.unlink(f"{old.root}/cas/refs/heads/{PARTIAL}")
    light = old.add_tree({"file": (b"light", False)})
    old.name("interop/light/1", light, age_s=100)
    services = fake_services(tmp_path, cache=small, volume=new_volume(tmp_path / "small"))
    with pytest.raises(TooLarge):
        take(services, old)
    assert [line.ref for line in services.listing.list()] == ["interop/light/1"]
    services.close()
