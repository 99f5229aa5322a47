"""Verify with remotes that can bring content back; samples; what travels of many findings."""

import os
import threading
import time

import fakeredis
import pytest
from harness.coordination import fake_coordination
from harness.services import fake_services, make_tree
from harness.volumes import WatchedVolume, new_volume

from caskeeper.artifact import Ref
from caskeeper.contract import CommitRequest, PushRequest, VerifyRequest
from caskeeper.digest import Digest
from caskeeper.errors import Cancelled
from worker.protocols import Context, quiet
from worker.services import findings as kinds
from worker.services import verify_repair
from worker.services.findings import MOST, Findings
from worker.services.verify_content import Sample

KEPT = "demo/hello/k1"
A, B = "http://a", "http://b"


@pytest.fixture
def services(tmp_path):
    made = fake_services(tmp_path, urls=[A, B], volume=new_volume(tmp_path, WatchedVolume))
    made.run(CommitRequest(path=make_tree(tmp_path / "src"), refs=(KEPT,)), quiet())
    made.run(PushRequest(refs=(KEPT,)), quiet())
    time.sleep(0.02)
    yield made
    made.close()


def nobody_has_it(services):
    for remote in services.remotes.remotes.values():
        remote.blobs.data.clear()


def verify(services, context=None, **options):
    return services.run(VerifyRequest(**options), context or quiet())


def digests_of(services):
    parts = services.maintenance
    record = parts.refs.read(Ref.parse(KEPT))
    listed = parts.closures.obtain(record.root, record.scope, parts.objects)
    return record.root, [digest for digest in listed.digests() if digest.size_bytes]


def test_everything_that_a_remote_has_comes_back_directories_and_all(services):
    root, digests = digests_of(services)
    for number, digest in enumerate(digests):
        path = services.layout.object(digest.hash)
        if number % 2:
            os.unlink(path)
        else:
            os.chmod(path, 0o644)
            with open(path, "r+b") as file:
                file.write(b"\0\1")
            os.chmod(path, 0o444)
    os.unlink(services.layout.closure(root.hash, "whole"))
    result = verify(services, repair=True)
    assert [finding for finding in result.findings if not finding.repaired] == []
    assert {"fetched anew", "whole again"} <= {finding.done for finding in result.findings}
    again = verify(services)
    assert again.counts == {}
    assert services.maintenance.refs.read(Ref.parse(KEPT)).root == root
    assert sorted(digests_of(services)[1]) == sorted(digests)


def test_a_ref_that_somebody_publishes_on_content_that_was_taken_away_is_withdrawn_too(tmp_path, services):
    """Safety.md section 5: again when the operations then alive have ended."""
    nobody_has_it(services)
    _root, digests = digests_of(services)
    lost = min(digests)
    os.unlink(services.layout.object(lost.hash))
    record = services.maintenance.refs.read(Ref.parse(KEPT))
    go_on, begun = threading.Event(), threading.Event()

    def late():
        with services.desk.writer("link", "late", quiet()) as operation:
            begun.set()
            assert go_on.wait(30)
            ref = Ref.parse("demo/hello/late")
            staged = services.maintenance.refs.stage(operation.staging, ref, record)
            operation.hold([ref], record.roots)
            services.maintenance.refs.publish(operation.staging, staged, ref)

    def before(verb, *paths):
        if verb == "take" and paths[0].endswith(KEPT):
            go_on.set()

    thread = threading.Thread(target=late)
    thread.start()
    assert begun.wait(30)
    services.volume.before = before
    result = verify(services, repair=True)
    thread.join()
    assert result.counts[kinds.DANGLING] == 1
    assert list(services.maintenance.refs.listing()) == []


def test_an_operation_that_never_ends_is_not_waited_for_for_ever(services, monkeypatch):
    monkeypatch.setattr(verify_repair, "AGAIN_S", 0.0)
    nobody_has_it(services)
    os.unlink(services.layout.object(min(digests_of(services)[1]).hash))
    with services.desk.writer("link", "for ever", quiet()):
        result = verify(services, repair=True)
    assert any("verify again" in remark for remark in result.remarks)


def test_others_get_the_lease_between_the_steps_of_a_long_repair(services, monkeypatch):
    monkeypatch.setattr(verify_repair, "HOLD_S", 0.0)
    monkeypatch.setattr(verify_repair, "PAUSE_S", 0.0)
    _root, digests = digests_of(services)
    for digest in digests:
        os.chmod(services.layout.object(digest.hash), 0o644)
    holders = set()

    def before(verb, *_paths):
        if verb == "chmod":
            holders.add(services.coordination.maintenance.holder().holder)

    services.volume.before = before
    assert verify(services, repair=True).repaired == len(digests)
    assert len(holders) == len(digests)


def test_it_can_be_stopped_while_it_hashes(services):
    calls = []

    def check():
        calls.append(1)
        if len(calls) > 5:
            raise Cancelled("the test says so")

    with pytest.raises(Cancelled):
        verify(services, Context(progress=lambda _progress: None, check=check))


def test_progress_says_how_much_was_hashed(services):
    seen = []
    result = verify(services, Context(progress=seen.append, check=lambda: None))
    assert seen[-1].done_bytes == result.hashed_bytes > 0
    assert seen[-1].done_objects == result.objects


def test_a_sample_is_a_share_and_a_month_of_them_is_everything():
    hashes = [Digest.of(str(n).encode()).hash for n in range(2000)]
    days = [Sample.of(4.0, now_s=(20_000 + day) * 86400.0 + 600 * (day % 3)) for day in range(32)]
    shares = [sum(map(sample.has, hashes)) / len(hashes) for sample in days]
    assert all(0.01 < share < 0.08 for share in shares)
    assert all(any(sample.has(one) for sample in days) for one in hashes)
    assert all(map(Sample.of(None).has, hashes))
    assert all(map(Sample.of(100.0).has, hashes))


def test_of_many_findings_some_of_each_kind_travel_and_all_are_counted():
    findings = Findings()
    for number in range(3 * MOST):
        findings.add(kinds.ORPHAN, f"/{number}", "nobody needs it")
    findings.add(kinds.DAMAGED, "/bad", "it is damaged")
    assert len(findings.messages()) <= MOST
    assert {finding.kind for finding in findings.messages()} == {kinds.ORPHAN, kinds.DAMAGED}
    assert findings.counts() == {kinds.ORPHAN: 3 * MOST, kinds.DAMAGED: 1}


def test_a_state_that_is_lost_is_found_and_recovered(tmp_path):
    server = fakeredis.FakeServer()
    services = fake_services(tmp_path, coordination=fake_coordination(server))
    with fakeredis.FakeRedis(server=server) as raw:
        raw.delete("caskeeper:{volume-1}:claims")
    assert verify(services).counts == {kinds.STATE: 1}
    assert services.coordination.state().ready
    assert verify(services).counts == {}
    services.close()
