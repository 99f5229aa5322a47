"""What a cleanup decides on the way, while somebody else writes (I3: nothing that a ref needs goes)."""

import os

import pytest
from harness.fleet import Oracle, fleet, write_tree

from caskeeper.contract import CommitRequest, ExtractRequest
from worker.protocols import quiet
from worker.services.cleanup import Cleanup


@pytest.fixture
def two_services(tmp_path, shared_valkey):
    with shared_valkey.client() as redis:
        redis.flushall()
    with fleet(tmp_path, shared_valkey.url, 2) as services:
        yield services


def test_what_was_kept_since_the_target_was_reached_keeps_what_it_needs_when_more_must_go(
    tmp_path, two_services, monkeypatch
):
    one, other = two_services
    shared = os.urandom(300_000)

    def commit(services, name, **files):
        path = write_tree(f"{tmp_path}/{name}", files)
        services.commit(CommitRequest(path=path, refs=(f"p/{name}/k",)), quiet())

    commit(one, "first", **{"x:big": os.urandom(2_000_000)})
    one.extract(ExtractRequest(ref="p/first/k"), quiet())  # its twin, 2 MB that no plan reckons with
    commit(one, "kept", shared=shared, own=os.urandom(200_000))
    commit(one, "next", shared=shared, own=os.urandom(400_000))
    lacking, looks = Cleanup._lacking, []

    def look(cleanup, *goal):
        looks.append(lacking(cleanup, *goal))
        if looks.count(None) == 1 and looks[-1] is None:  # right after the look that keeps the second
            commit(other, "new", own=os.urandom(2_200_000))
        return looks[-1]

    monkeypatch.setattr(Cleanup, "_lacking", look)
    result = one.cleanup.clean(
        target_bytes=one.space.used_bytes() - 2_250_000, dry_run=False, context=quiet()
    )
    assert {group.refs: group.action for group in result.groups if group.refs} == {
        ("p/first/k",): "evict",
        ("p/kept/k",): "kept",
        ("p/next/k",): "evict",
        **{group.refs: "kept" for group in result.groups if group.refs == ("p/new/k",)},
    }
    assert Oracle(f"{tmp_path}/cache").troubles() == []
