"""A ref that needs what is nowhere goes, and only such a one."""

import os

import pytest
from harness.damage import delete
from harness.healing import FILE, OTHER, REF, is_sound, place, withdraw_now

from caskeeper.artifact import Ref
from caskeeper.contract import (
    CommitRequest,
    ComputeSizeRequest,
    ExtractRequest,
    LinkRequest,
)
from caskeeper.coordination.events import WITHDRAWN
from caskeeper.digest import Digest
from caskeeper.errors import Busy
from worker.protocols import quiet
from worker.store.damage import missing


def test_every_ref_that_needs_what_is_missing_goes(services, tmp_path):
    services.run(LinkRequest(ref=REF, key="k2"), quiet())
    tree = tmp_path / "unrelated"
    tree.mkdir()
    (tree / "plain").write_bytes(b"plain")
    services.run(CommitRequest(path=str(tree), refs=(OTHER,)), quiet())
    path = services.run(ExtractRequest(ref=REF), quiet()).path
    delete(place(services))
    assert sorted(map(str, withdraw_now(services, FILE))) == [REF, "demo/hello/k2"]
    assert [entry.ref for entry in services.listing.list()] == [OTHER]
    assert not os.path.exists(path)
    is_sound(services)
    used = services.coordination.usage.snapshot().used_bytes
    assert services.run(ComputeSizeRequest(), quiet()).used_bytes == used


def test_what_is_here_again_withdraws_nothing(services):
    assert withdraw_now(services, FILE, Digest.of(b""), Digest.of(b"never here")) == []
    assert services.listing.contains(Ref.parse(REF))


def test_what_is_uploaded_again_while_its_ref_is_taken_withdraws_nothing(services, monkeypatch):
    """docs/model m_withdraw_two_looks: a session may have found the ref whole by then."""
    with open(place(services), "rb") as file:
        content = file.read()
    delete(place(services))
    ref_path = services.layout.ref(Ref.parse(REF))

    def upload(verb, *paths):
        if verb == "take" and paths[0] == ref_path:
            with services.desk.writer("serve", "upload", quiet()) as operation:
                monkeypatch.undo()
                operation.blobs.add(content)

    monkeypatch.setattr(services.volume, "_change", upload)
    assert withdraw_now(services, FILE) == []
    assert services.listing.contains(Ref.parse(REF))
    is_sound(services)


def test_what_a_cleanup_has_in_its_hands_is_not_missing(services):
    with services.maintenance.run("heal", check=lambda: None) as run:
        services.volume.take(place(services), run.trash.place("o-", FILE.hash))
        assert services.healing.withdraw(run, {FILE.hash}) == []
        assert os.path.exists(place(services))


def test_sessions_and_pins_do_not_hold_what_cannot_be_read(services):
    services.pins.pin([REF], quiet())
    services.coordination.sessions.open("s", label="build")
    services.coordination.sessions.require("s", ["k1"])
    delete(place(services))
    assert withdraw_now(services, FILE) == [Ref.parse(REF)]


def test_a_ref_that_somebody_works_with_stays_for_now(services, monkeypatch):
    monkeypatch.setattr("worker.services.healing._CLAIMED_S", 0.0)
    delete(place(services))
    record = services.maintenance.refs.read(Ref.parse(REF))
    with services.desk.reader("extract", REF, quiet()) as operation:
        operation.claim(record.roots)
        assert withdraw_now(services, FILE) == []
        with pytest.raises(Busy):
            services.healing.heal(missing(FILE, ""), quiet())
    assert withdraw_now(services, FILE) == [Ref.parse(REF)]


def test_a_tree_that_cannot_be_looked_through_is_withdrawn_too(services):
    """Its list is gone, and so is one of its Directories."""
    record = services.maintenance.refs.read(Ref.parse(REF))
    os.unlink(services.layout.closure(record.root.hash, "whole"))
    delete(place(services, record.root))
    assert withdraw_now(services, record.root) == [Ref.parse(REF)]


def test_the_log_of_events_says_why_it_is_gone(services):
    delete(place(services))
    withdraw_now(services, FILE)
    event = services.coordination.events.of(REF)[0]
    assert event.what == WITHDRAWN
    assert FILE.hash in event.why
