"""What a repair costs on a store of many refs: passes over them, not one for each thing that is damaged."""

import pytest
from harness.damage import truncate
from harness.fleet import write_tree
from harness.healing import is_sound, place

from caskeeper.contract import CommitRequest, ExtractRequest, PushRequest, VerifyRequest
from caskeeper.digest import Digest
from worker.protocols import quiet
from worker.store.refs import Refs

CONTENTS = [b"number %d" % number for number in range(6)]
REFS = [f"demo/hello-{number}/k" for number in range(6)]


@pytest.fixture
def linked(pushed, tmp_path):
    """Artifacts with a file each; shared checkouts have links to them."""
    for ref, content in zip(REFS, CONTENTS, strict=True):
        tree = write_tree(tmp_path / ref, {"file": content})
        pushed.run(CommitRequest(path=tree, refs=(ref,)), quiet())
    pushed.run(PushRequest(refs=tuple(REFS)), quiet())
    return pushed


def passes_of_a_repair(services, monkeypatch, contents):
    for ref in REFS:
        services.run(ExtractRequest(ref=ref), quiet())
    for content in contents:
        truncate(place(services, Digest.of(content)))
    passes, listing = [], Refs.listing
    with monkeypatch.context() as patch:
        patch.setattr(Refs, "listing", lambda *given, **named: passes.append(1) or listing(*given, **named))
        told = services.run(VerifyRequest(repair=True), quiet())
    damaged = [found for found in told.findings if found.kind == "damaged-object"]
    assert [found.repaired for found in damaged] == [True] * len(contents)
    is_sound(services)
    return len(passes)


def test_many_damaged_objects_cost_as_many_passes_over_the_refs_as_one(linked, monkeypatch):
    one = passes_of_a_repair(linked, monkeypatch, CONTENTS[:1])
    assert one > 0
    assert passes_of_a_repair(linked, monkeypatch, CONTENTS) == one
