"""A tree is the same tree, whoever else has helped with it; and what goes wrong there is told as here."""

import os
import stat
import sys
from functools import partial

import pytest
from harness.companions import (
    Meeting,
    Verbs,
    companion_of,
    files_below,
    force,
    kill,
    objects,
    pid_of,
    write_tree,
)
from harness.trees import listing
from harness.volumes import fence, new_volume

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import Cancelled, LeaseLost, NoSpace, TooLarge
from worker.closure import Scope
from worker.protocols import Context, quiet
from worker.store.checkout_copy import checkout_copy
from worker.store.checkout_links import checkout_links
from worker.store.companion import owner
from worker.store.companion.session import Session
from worker.store.damage import ObjectDamaged
from worker.store.measure import used_bytes
from worker.store.objects import Objects


@pytest.fixture
def volume(tmp_path):
    return new_volume(tmp_path)


@pytest.fixture
def companion(volume, monkeypatch):
    force(monkeypatch)
    with_one = companion_of(volume)
    yield with_one
    with_one.close()


@pytest.fixture
def verbs(volume, companion):
    return Verbs(volume, companion)


@pytest.fixture
def source(tmp_path):
    return write_tree(tmp_path / "source")


def alone(verbs):
    return Verbs(verbs.volume, None)


def modes(folder):
    return {
        os.path.relpath(f"{above}/{name}", folder): os.lstat(f"{above}/{name}").st_mode
        for above, folders, names in os.walk(folder)
        for name in (*folders, *names)
    }


def test_what_two_commit_is_what_one_commits(tmp_path, verbs, source, helped):
    other = Verbs(new_volume(tmp_path / "other"), None)
    before = used_bytes(verbs.volume)
    ours, alone = verbs.commit(source), other.commit(source)
    assert helped
    assert ours.root == alone.root
    assert (ours.files, ours.size_bytes) == (alone.files, alone.size_bytes)
    assert set(ours.closure.files) == set(alone.closure.files)
    assert set(ours.closure.directories) == set(alone.closure.directories)
    assert used_bytes(verbs.volume) - before == verbs.staging.added_bytes == verbs.account.spent
    assert os.listdir(verbs.volume.layout.staging) == []
    for path in files_below(verbs.volume.layout.objects):
        with open(path, "rb") as file:
            assert Digest.of(file.read()).hash == "".join(path.split("/")[-2:])
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o444


def test_a_second_commit_adds_nothing_and_gives_all_room_back(verbs, source, helped):
    first = verbs.commit(source)
    helped.clear()
    again = verbs.commit(source)
    assert helped
    assert again.root == first.root
    assert verbs.staging.added_bytes == verbs.account.spent == 0


@pytest.mark.parametrize(
    "arguments", [{}, {"subdir": "1"}, {"scope": Scope(("0",), ("0/3",))}], ids=["all", "subdir", "scope"]
)
@pytest.mark.parametrize("verb", ["links", "copy"])
def test_what_two_lay_out_is_what_one_lays_out(tmp_path, verbs, source, helped, verb, arguments):
    root = alone(verbs).commit(source).root
    getattr(verbs, verb)(root, tmp_path / "ours", **arguments)
    assert helped
    getattr(alone(verbs), verb)(root, tmp_path / "alone", **arguments)
    assert listing(tmp_path / "ours") == listing(tmp_path / "alone")
    assert modes(tmp_path / "ours") == modes(tmp_path / "alone")
    assert os.listdir(verbs.volume.layout.staging) == []


def test_links_made_by_two_are_links(tmp_path, verbs, source):
    root = verbs.commit(source).root
    verbs.links(root, tmp_path / "ours")
    names = [path for path in files_below(tmp_path / "ours") if not os.path.islink(path)]
    assert all(os.stat(path).st_nlink > 1 for path in names if os.stat(path).st_size)


def test_a_copy_has_the_umask_of_now(tmp_path, verbs, source, helped):
    root = verbs.commit(source).root
    helped.clear()
    before = os.umask(0o077)
    try:
        verbs.copy(root, tmp_path / "ours")
    finally:
        os.umask(before)
    assert helped
    assert {
        stat.S_IMODE(mode) & 0o077 for mode in modes(tmp_path / "ours").values() if not stat.S_ISLNK(mode)
    } == {0}


def test_many_long_names_in_one_folder_do_not_hold_the_two_up(tmp_path, verbs, helped):
    """Both have more to say at once than a socket holds."""
    folder = tmp_path / "flat"
    folder.mkdir()
    for number in range(4000):
        (folder / f"{number:0>240}").touch()
    captured = verbs.commit(folder)
    assert helped
    assert captured.files == 4000
    assert captured.closure.files in ((EMPTY,), ())


def test_one_process_serves_one_operation_after_the_other(verbs, tmp_path, source, monkeypatch):
    root = verbs.commit(source).root
    first = pid_of(verbs.companion)
    verbs.links(root, tmp_path / "links")
    assert pid_of(verbs.companion) == first
    kill(first)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    monkeypatch.setattr(owner, "SESSIONS", 2)
    pids = []
    for number in range(3):
        verbs.copy(root, tmp_path / f"copy{number}")
        pids.append(pid_of(verbs.companion))
    assert first not in pids
    assert [bool(pid) for pid in pids] == [True, False, True]
    assert listing(tmp_path / "copy2") == listing(source)


def test_who_comes_while_another_operation_has_it_works_alone(verbs, tmp_path, source, helped):
    root = alone(verbs).commit(source).root
    assert verbs.companion.take()
    verbs.links(root, tmp_path / "links")
    assert not helped
    verbs.companion.give_back(lost=False, heard=True)
    verbs.copy(root, tmp_path / "copy")
    assert helped
    assert listing(tmp_path / "links") == listing(tmp_path / "copy")


def test_a_closed_one_helps_nobody_and_leaves_nobody(verbs, tmp_path, source, helped):
    alone(verbs).commit(source)
    open_files = len(os.listdir("/proc/self/fd"))
    root = verbs.commit(source).root
    pid = pid_of(verbs.companion)
    assert pid
    verbs.companion.close()
    assert not os.path.exists(f"/proc/{pid}")
    assert len(os.listdir("/proc/self/fd")) == open_files
    helped.clear()
    verbs.copy(root, tmp_path / "copy")
    assert not helped


def test_closed_while_an_operation_has_it_it_ends_after_that(verbs, source, helped, monkeypatch):
    Meeting(monkeypatch, verbs.companion, "Done", 1, lambda _pid: verbs.companion.close())
    verbs.commit(source)
    assert helped
    assert not pid_of(verbs.companion)


@pytest.mark.parametrize("program", ["/nowhere/python3", "/bin/true", "", None])
def test_where_it_cannot_be_started_the_work_goes_on_alone(verbs, source, helped, program, monkeypatch):
    monkeypatch.setattr(sys, "executable", program)
    root = verbs.commit(source).root
    assert not helped
    assert root == alone(verbs).commit(source).root


def test_one_that_ends_as_soon_as_it_starts_is_tried_three_times(verbs, tmp_path, source, monkeypatch):
    program = tmp_path / "python3"
    program.write_text(f"#!/bin/sh\necho >> {tmp_path}/starts\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    roots = {verbs.commit(source).root for _ in range(5)}
    assert roots == {alone(verbs).commit(source).root}
    assert (tmp_path / "starts").read_text() == "\n" * owner.IN_VAIN
    assert os.listdir(verbs.volume.layout.staging) == []


def test_without_a_second_core_nobody_is_started(verbs, source, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    verbs.commit(source)
    assert not pid_of(verbs.companion)


@pytest.mark.parametrize("error", [NoSpace("the disk"), TooLarge("the quota")])
def test_room_refused_to_it_is_refused_to_the_operation(verbs, source, error, monkeypatch):
    grant = Session._grant

    def refused(session, charged_bytes):
        verbs.account.refusal = error
        grant(session, charged_bytes)

    monkeypatch.setattr(Session, "_grant", refused)
    before = used_bytes(verbs.volume)
    with pytest.raises(type(error)):
        verbs.commit(source)
    assert used_bytes(verbs.volume) - before == verbs.staging.added_bytes == verbs.account.spent
    assert os.listdir(verbs.volume.layout.staging) == []
    assert pid_of(verbs.companion)  # it is as good as before
    monkeypatch.setattr(Session, "_grant", grant)
    assert verbs.commit(source).root == alone(verbs).commit(source).root


@pytest.mark.parametrize("verb", ["commit", "links", "copy"])
def test_a_cancelled_operation_leaves_nothing_and_gives_its_room_back(
    verbs, tmp_path, source, verb, monkeypatch
):
    other = write_tree(tmp_path / "other", mark="o")
    root, before = alone(verbs).commit(source).root, used_bytes(verbs.volume)
    meeting = Meeting(monkeypatch, verbs.companion, "Done", 1, lambda _pid: None)

    def check():
        if meeting.happened:
            raise Cancelled("enough")

    context = Context(check=check, progress=lambda _progress: None)
    if verb == "commit":
        work = partial(verbs.commit, other, context=context)
    else:
        work = partial(getattr(verbs, verb), root, tmp_path / "out", context=context)
    with pytest.raises(Cancelled):
        work()
    assert meeting.heard[-1] == "Over"
    assert used_bytes(verbs.volume) - before == verbs.staging.added_bytes == verbs.account.spent
    assert os.listdir(verbs.volume.layout.staging) == []
    assert not os.path.lexists(tmp_path / "out")


def test_what_it_published_when_it_was_told_to_stop_is_counted(verbs, tmp_path, source, monkeypatch):
    def fail(_pid):
        raise Cancelled("while it is at work")

    before = used_bytes(verbs.volume)
    Meeting(monkeypatch, verbs.companion, "Do", 3, fail)
    with pytest.raises(Cancelled):
        verbs.commit(source)
    assert used_bytes(verbs.volume) - before == verbs.staging.added_bytes == verbs.account.spent
    assert pid_of(verbs.companion)


@pytest.mark.parametrize("verb", ["commit", "links"])
def test_after_the_fence_nothing_is_published_and_the_verb_has_lost(
    verbs, tmp_path, source, verb, monkeypatch
):
    other, root = write_tree(tmp_path / "other", mark="o"), alone(verbs).commit(source).root
    seen = []

    def fenced(_pid):
        fence(verbs.volume, verbs.staging.id)
        seen.append(objects(verbs.volume))

    Meeting(monkeypatch, verbs.companion, "Done", 1, fenced)
    with pytest.raises(LeaseLost):
        verbs.commit(other) if verb == "commit" else verbs.links(root, tmp_path / "out")
    assert seen == [objects(verbs.volume)]


@pytest.mark.parametrize("verb", ["links", "copy"])
def test_damage_that_it_finds_is_told_as_if_the_owner_had(verbs, tmp_path, source, verb, monkeypatch):
    root = alone(verbs).commit(source).root
    store, send, spoilt = Objects(verbs.volume), Session.send, []

    def spoil(session, units):
        for unit in units if not spoilt else ():
            for entry in store.directory(unit.digest).files:
                if entry.name == "2":
                    path = verbs.volume.layout.object(entry.digest.hash)
                    os.chmod(path, 0o600)
                    os.truncate(path, 1)
                    os.chmod(path, 0o444)
                    spoilt.append(entry.digest)
        send(session, units)

    monkeypatch.setattr(Session, "send", spoil)
    told = []
    check_out = checkout_links if verb == "links" else checkout_copy
    with verbs.operation() as blobs:
        blobs.objects.on_damage = told.append
        path = verbs.staging.path() if verb == "links" else str(tmp_path / "out")
        with pytest.raises(ObjectDamaged) as raised:
            check_out(root, path, blobs=blobs, context=quiet(), companion=verbs.companion)
    assert raised.value.digest in spoilt
    assert [trouble.digest for trouble in told] == [raised.value.digest]
