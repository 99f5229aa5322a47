"""Two that meet the same damage: what one of them brings back is no miss for the other (I10)."""

import os

import pytest
from harness.damage import delete
from harness.healing import FILE, REF, is_sound, place, withdraw_now

from caskeeper.artifact import Ref
from caskeeper.contract import CommitRequest, ExtractRequest, RemoveRequest
from caskeeper.errors import ArtifactNotFound, RemoteUnavailable
from worker.protocols import quiet
from worker.services.subjects import Subjects, subjects_of
from worker.store.damage import damaged, missing
from worker.store.trash import REF as REF_IN_TRASH
from worker.store.trash import ref_name

ASKED = Subjects((Ref.parse(REF),), ("demo",))


def steps(*works):
    """Work that does the first of these the first time, and so on."""
    left = iter(works)

    def work():
        return next(left)()

    return work


def meets_it_missing():
    raise missing(FILE, "")


def extract(services):
    return services.run(ExtractRequest(ref=REF), quiet()).path


def with_content(services):
    with open(place(services), "rb") as file:
        return file.read()


def bring_back(services, content):
    with services.desk.writer("serve", "upload", quiet()) as operation:
        operation.blobs.add(content)


def test_a_ref_that_a_withdrawal_has_in_its_hands_is_no_miss(services):
    """It lies in a trash folder, and is put back: here by whoever looks under the lease."""

    def meets_it_taken():
        folder = services.layout.trash("cleanup-of-another")
        os.mkdir(folder)
        taken = f"{folder}/{REF_IN_TRASH}{ref_name(Ref.parse(REF))}"
        os.rename(services.layout.ref(Ref.parse(REF)), taken)
        return services.extract(ExtractRequest(ref=REF), quiet())

    work = steps(meets_it_missing, meets_it_taken, lambda: extract(services))
    assert os.path.isdir(services.healing.around(work, ASKED, quiet()))
    is_sound(services)


def test_what_another_one_removed_is_not_said_to_be_withdrawn(services):
    def meets_it_removed():
        services.run(RemoveRequest(refs=(REF,)), quiet())
        return services.extract(ExtractRequest(ref=REF), quiet())

    with pytest.raises(ArtifactNotFound, match="there is no such ref"):
        services.healing.around(steps(meets_it_missing, meets_it_removed), ASKED, quiet())


def test_what_is_back_before_it_is_asked_for_may_be_tried_again(services, monkeypatch):
    """Also for a request that names no ref: a push of a folder by its digest."""
    content = with_content(services)
    delete(place(services))
    writer = services.desk.writer

    def another_one_is_faster(*given, **named):
        monkeypatch.undo()
        bring_back(services, content)
        return writer(*given, **named)

    monkeypatch.setattr(services.desk, "writer", another_one_is_faster)
    assert services.healing.heal(missing(FILE, ""), quiet())
    is_sound(services)


def test_what_another_one_took_away_with_its_refs_is_no_trouble_of_a_commit(services, tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(with_content(services))

    def meets_it_damaged():
        delete(place(services))
        assert withdraw_now(services, FILE)
        raise damaged(FILE, place(services))

    request = CommitRequest(path=str(tree), refs=(REF,))
    work = steps(meets_it_damaged, lambda: services.run(request, quiet()))
    services.healing.around(work, subjects_of(request), quiet())
    assert services.listing.contains(Ref.parse(REF))
    is_sound(services)


def test_what_another_one_brought_back_needs_no_remote(pushed, monkeypatch):
    for remote in pushed.remotes.remotes.values():
        remote.blobs.fail["find_missing"] = RemoteUnavailable("away", remote.url)
    content = with_content(pushed)
    delete(place(pushed))
    restore = pushed.healing.restore

    def and_another_one_brings_it(*given):
        restored = restore(*given)
        bring_back(pushed, content)
        return restored

    monkeypatch.setattr(pushed.healing, "restore", and_another_one_brings_it)
    assert pushed.healing.heal(missing(FILE, ""), quiet(), subjects=ASKED).withdrawn == frozenset()
    assert pushed.listing.contains(Ref.parse(REF))
    is_sound(pushed)


def test_nobody_withdraws_what_another_one_is_fetching(pushed, monkeypatch):
    delete(place(pushed))
    restore = pushed.healing.restore

    def while_another_one_withdraws(*given):
        assert withdraw_now(pushed, FILE) == []
        return restore(*given)

    monkeypatch.setattr(pushed.healing, "restore", while_another_one_withdraws)
    assert os.path.isdir(extract(pushed))
    is_sound(pushed)
