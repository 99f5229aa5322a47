"""Uploads that nothing refers to after the grace go first, found by journals, not by listing `objects/`."""

import os
import threading

import pytest
from harness.serving import make_old, open_services, serving, settled, small_tree, upload_name

from caskeeper.digest import Digest
from caskeeper.maintenance import UPLOADS
from worker._protos.bytestream_pb2 import WriteRequest
from worker.protocols import quiet
from worker.store.journal import PREFIX as JOURNAL
from worker.store.measure import used_bytes
from worker.store.promises import PREFIX as PROMISE

KEY = "demo/el/aaaa"


@pytest.fixture
def services(tmp_path, valkey, monkeypatch):
    monkeypatch.setattr("worker.services.cleanup.sweep", unlisted)
    made = open_services(tmp_path, valkey.url)
    yield made
    made.close()


def unlisted(*_arguments, **_options):
    raise AssertionError("the folder of all objects was listed")


def files(services, prefix):
    folder = services.layout.staging
    return [f"{folder}/{name}" for name in sorted(os.listdir(folder)) if name.startswith(prefix)]


def pass_a_grace(services, tmp_path):
    """As if the server had ended a whole grace ago, and then some."""
    for path in files(services, PROMISE):
        os.utime(path, (0, 0))
    probe, latest_ns = tmp_path / "probe", os.stat(services.layout.staging).st_mtime_ns
    settled(lambda: probe.write_bytes(b"now") and probe.stat().st_mtime_ns > latest_ns)


def clean(services, *, target=2**50, dry_run=False):
    """A cleanup that no artifact has to go for."""
    return services.cleanup.clean(target_bytes=target, dry_run=dry_run, context=quiet())


def uploads(result):
    return [(group.action, group.frees_bytes) for group in result.groups if group.root == UPLOADS]


def test_after_the_grace_what_nobody_named_goes_first_and_what_is_named_stays(services, tmp_path):
    unnamed = [os.urandom(5000), b"small"]
    with serving(services) as peer:
        root, blobs = small_tree()
        peer.upload(*blobs, *unnamed)
        peer.update(root, KEY)
    pass_a_grace(services, tmp_path)
    block = services.volume.block_bytes
    plan = clean(services, dry_run=True)
    frees = services.volume.charge(5000) + block
    assert uploads(plan) == [("evict", frees)]
    assert "no ref names it (2 objects)" in plan.groups[0].reason
    assert files(services, JOURNAL) != []
    done = clean(services)
    assert uploads(done) == [("evict", frees + block)]  # and the journal's own block
    assert (done.freed_bytes, done.evicted_refs) == (frees + block, 0)
    for data in unnamed:
        assert not os.path.exists(services.layout.object(Digest.of(data).hash))
    assert os.listdir(services.layout.staging) == []
    assert services.coordination.usage.snapshot().used_bytes == used_bytes(services.volume)
    with serving(services) as peer:
        assert peer.resolve(KEY) == root
        assert peer.missing(*map(Digest.of, blobs)) == []
    assert uploads(clean(services)) == []


def test_within_the_grace_nothing_goes_also_after_the_server_was_killed(services, tmp_path):
    with serving(services) as peer:
        (digest,) = peer.upload(b"not named yet")
        assert uploads(clean(services)) == []
    assert uploads(clean(services)) == [("young", 0)]
    assert os.path.exists(services.layout.object(digest.hash))
    pass_a_grace(services, tmp_path)
    assert uploads(clean(services))[0][0] == "evict"
    assert not os.path.exists(services.layout.object(digest.hash))


def test_a_journal_of_which_everything_is_named_goes_before_the_grace_is_over(services):
    root, blobs = small_tree()
    with serving(services) as peer:
        peer.upload(*blobs)
        peer.update(root, KEY)
    assert uploads(clean(services)) == []
    assert files(services, JOURNAL) == []
    with serving(services) as peer:
        assert peer.resolve(KEY) == root


def test_what_somebody_still_asks_for_stays_and_its_journal_with_it(services, tmp_path):
    with serving(services) as peer:
        wanted, other = peer.upload(b"wanted", b"other")
    pass_a_grace(services, tmp_path)
    with serving(services) as peer:
        assert peer.missing(wanted) == []
        result = clean(services)
        assert [action for action, _ in uploads(result)] == ["evict", "young"]
        assert peer.missing(other, wanted) == [other]
        assert len(files(services, JOURNAL)) == 1
    pass_a_grace(services, tmp_path)
    clean(services)
    assert not os.path.exists(services.layout.object(wanted.hash))
    assert os.listdir(services.layout.staging) == []


def test_what_was_named_and_removed_later_goes_as_any_artifact(services, tmp_path):
    root, blobs = small_tree()
    with serving(services) as peer:
        peer.upload(*blobs)
        peer.update(root, KEY)
    pass_a_grace(services, tmp_path)
    clean(services)
    assert files(services, JOURNAL) == []
    for data in blobs:
        make_old(services.layout.object(Digest.of(data).hash))
    assert clean(services, target=0).evicted_refs == 1
    assert services.coordination.usage.snapshot().used_bytes == used_bytes(services.volume) == 0


@pytest.mark.parametrize("ask", ["find", "upload", "stream"])
def test_whoever_asks_while_a_cleanup_takes_uploads_is_told_the_truth(services, tmp_path, monkeypatch, ask):
    """At every step of the cleanup in turn: what a client was told is here stays, for a grace."""
    data = b"wanted after all"
    digest = Digest.of(data)
    name = upload_name(digest)
    questions = {
        "find": lambda peer: peer.missing(digest) == [],
        "upload": lambda peer: peer.upload(data) == [digest],
        "stream": lambda peer: peer.write(WriteRequest(resource_name=name, data=data, finish_write=True)) > 0,
    }
    steps = _Steps(services, monkeypatch)
    told = []
    while steps.at <= steps.most:
        with serving(services) as peer:
            peer.upload(data, b"another")
        pass_a_grace(services, tmp_path)
        with serving(services) as peer:
            steps.run(lambda: clean(services), lambda peer=peer: told.append(questions[ask](peer)))
            if told[-1]:
                clean(services)
                assert peer.read(f"blobs/{digest}") == data, f"at step {steps.at} of {steps.most}"
        assert services.coordination.usage.snapshot().used_bytes >= used_bytes(services.volume)
        steps.at += 1
    assert steps.most > 8
    assert set(told) == ({True, False} if ask == "find" else {True})


class _Steps:
    """Runs something, and something else before its ``at``-th change of the volume."""

    def __init__(self, services, monkeypatch):
        self.at, self.most = 1, 1
        self._thread = threading.get_ident()
        self._change = services.volume._change
        monkeypatch.setattr(services.volume, "_change", self._watched)
        self._other = None

    def run(self, work, other):
        self._step, self._other = 0, other
        work()
        self.most, self._other = self._step, None

    def _watched(self, verb, *paths):
        if self._other is not None and threading.get_ident() == self._thread:
            self._step += 1
            if self._step == self.at:
                self._other()
        self._change(verb, *paths)


def test_the_plan_says_what_they_are(services, tmp_path):
    with serving(services) as peer:
        peer.upload(b"small")
    pass_a_grace(services, tmp_path)
    (group,) = clean(services, dry_run=True).groups
    assert (group.root, group.refs, group.reason) == (
        UPLOADS,
        (),
        "uploaded, and no ref names it (1 object)",
    )
