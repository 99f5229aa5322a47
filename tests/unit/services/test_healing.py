"""Self-healing (issue C, point 2; R11): what `verify` and every verb build on."""

import os

import pytest
from harness.damage import EVERY, WRONG, delete, flip, truncate
from harness.fleet import Oracle
from harness.services import fake_services, make_tree, picture
from harness.serving import make_old

from caskeeper.artifact import Ref
from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ComputeSizeRequest,
    ExtractRequest,
    LinkRequest,
    PushRequest,
    VerifyRequest,
)
from caskeeper.coordination.events import HEALED, WITHDRAWN
from caskeeper.digest import Digest
from caskeeper.errors import Busy, NoSpace, RemoteUnavailable
from worker.protocols import quiet
from worker.store import quarantine
from worker.store.damage import damaged, missing

REF, OTHER = "demo/hello/k1", "demo/other/k1"
A, B = "http://a", "http://b"
FILE = Digest.of(b"deep code")


@pytest.fixture
def services(tmp_path):
    made = fake_services(tmp_path, urls=[A, B])
    made.run(CommitRequest(path=make_tree(tmp_path / "src"), refs=(REF,)), quiet())
    yield made
    made.close()


@pytest.fixture
def pushed(services):
    """A and B have it too."""
    services.run(PushRequest(refs=(REF,)), quiet())
    return services


def place(services, digest=FILE):
    return services.layout.object(digest.hash)


def quarantined(services):
    folder = services.layout.damaged
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def quarantine_now(services, digest=FILE, **arguments):
    with services.maintenance.run("heal", check=lambda: None) as run:
        return services.healing.quarantine(run, digest, **arguments)


def withdraw_now(services, *digests):
    with services.maintenance.run("heal", check=lambda: None) as run:
        return services.healing.withdraw(run, {digest.hash for digest in digests})


def is_sound(services):
    assert Oracle(services.layout.root).troubles() == []
    usage = services.coordination.usage.snapshot()
    assert usage.reserved_bytes == 0
    assert usage.used_bytes >= Oracle(services.layout.root).used_bytes()
    assert os.listdir(services.layout.staging) == os.listdir(services.layout.trashes) == []


# -- quarantine --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["flipped", "truncated", "empty"])
def test_a_damaged_file_is_taken_away_and_kept_for_a_look(services, harm):
    WRONG[harm](place(services))
    with open(place(services), "rb") as file:
        bytes_now = file.read()
    before = services.coordination.usage.snapshot().used_bytes
    assert quarantine_now(services)
    assert not os.path.lexists(place(services))
    with open(f"{services.layout.damaged}/{FILE.hash}", "rb") as file:
        assert file.read() == bytes_now
    assert services.coordination.usage.snapshot().used_bytes == before


@pytest.mark.parametrize("harm", ["folder", "link", "dangling link"])
def test_what_is_no_file_is_taken_away_and_what_a_link_leads_to_stays(services, tmp_path, harm):
    WRONG[harm](place(services))
    elsewhere = sorted(os.listdir(f"{services.layout.root}/elsewhere")) if harm == "link" else []
    assert quarantine_now(services)
    assert not os.path.lexists(place(services))
    assert quarantined(services) == []
    assert harm != "link" or sorted(os.listdir(f"{services.layout.root}/elsewhere")) == elsewhere != []


def test_a_good_object_stays_whatever_is_said_of_it(services):
    assert not quarantine_now(services)
    assert not quarantine_now(services, found=os.stat(place(services)))
    assert not quarantine_now(services, Digest(FILE.hash, 5))
    assert not quarantine_now(services, Digest.of(b"never here"))
    is_sound(services)


def test_an_inode_that_stands_there_no_more_is_healed_already(services):
    """What was found bad was taken by another one, and written anew since."""
    before = os.stat(place(services))
    os.rename(place(services), f"{place(services)}.aside")
    with open(place(services), "wb") as file:
        file.write(b"bad again")
    assert not quarantine_now(services, found=before)
    assert quarantine_now(services, found=os.stat(place(services)))


def test_a_good_file_with_the_number_of_a_bad_one_stays(services):
    """Inode numbers are used again: the bytes decide, not the number."""
    assert not quarantine_now(services, found=os.stat(place(services)))
    assert os.path.exists(place(services))


def test_an_executable_copy_is_taken_by_its_own_bytes(services):
    services.run(ExtractRequest(ref=REF), quiet())
    copies = services.layout.executables
    ((folder, name),) = [(above, name) for above, _, names in os.walk(copies) for name in names]
    digest = Digest(os.path.basename(folder) + name, os.stat(f"{folder}/{name}").st_size)
    flip(f"{folder}/{name}")
    assert quarantine_now(services, digest)
    assert not os.path.exists(f"{folder}/{name}")
    assert os.path.exists(place(services, digest))
    services.run(ExtractRequest(ref=REF), quiet())
    is_sound(services)


def test_checkouts_with_links_to_it_go_with_it(services, tmp_path):
    other = services.run(CommitRequest(path=str(tmp_path / "src/buildtree"), refs=(OTHER,)), quiet())
    tree = tmp_path / "unrelated"
    tree.mkdir()
    (tree / "plain").write_bytes(b"plain")
    services.run(CommitRequest(path=str(tree), refs=("demo/plain/k1",)), quiet())
    paths = [services.run(ExtractRequest(ref=ref), quiet()).path for ref in (REF, OTHER, "demo/plain/k1")]
    assert other.root in paths[1] or os.path.isdir(paths[1])
    flip(place(services))
    assert quarantine_now(services)
    assert [os.path.isdir(path) for path in paths] == [False, False, True]


def test_few_are_kept_and_the_oldest_go_first(services, monkeypatch, tmp_path):
    monkeypatch.setattr(quarantine, "MOST", 2)
    tree = tmp_path / "many"
    tree.mkdir()
    contents = [b"number %d" % number for number in range(4)]
    for content in contents:
        (tree / content.decode()).write_bytes(content)
    services.run(CommitRequest(path=str(tree), refs=(OTHER,)), quiet())
    for number, content in enumerate(contents, start=1):
        flip(place(services, Digest.of(content)))
        quarantine_now(services, Digest.of(content))
        os.utime(f"{services.layout.damaged}/{Digest.of(content).hash}", ns=(number * 10**9, 0))
    assert quarantined(services) == sorted(Digest.of(content).hash for content in contents[2:])
    used = services.coordination.usage.snapshot().used_bytes
    assert services.run(ComputeSizeRequest(), quiet()).used_bytes == used


def test_a_large_one_is_not_kept(services, monkeypatch):
    monkeypatch.setattr(quarantine, "MOST_BYTES", 10)
    flip(place(services))
    assert quarantine_now(services)
    assert quarantined(services) == []


def test_the_second_of_one_hash_is_not_kept(pushed):
    for _time in range(2):
        flip(place(pushed))
        assert quarantine_now(pushed)
        assert pushed.healing.restore([FILE], ["demo"], quiet()).back == {FILE}
    assert quarantined(pushed) == [FILE.hash]
    is_sound(pushed)
    used = pushed.coordination.usage.snapshot().used_bytes
    assert pushed.run(ComputeSizeRequest(), quiet()).used_bytes == used


def test_a_cleanup_that_needs_room_takes_them_first(pushed):
    flip(place(pushed))
    pushed.healing.heal(damaged(FILE, ""), quiet())
    assert quarantined(pushed) == [FILE.hash]
    before = pushed.coordination.usage.snapshot().used_bytes
    pushed.run(CleanupRequest(target_bytes=before - 1), quiet())
    assert quarantined(pushed) == []
    assert pushed.listing.contains(Ref.parse(REF))
    used = pushed.coordination.usage.snapshot().used_bytes
    assert pushed.run(ComputeSizeRequest(), quiet()).used_bytes == used


def test_a_cleanup_leaves_alone_what_somebody_may_be_bringing_back(pushed):
    """Whoever took it away has an operation that is older; it may be asking a remote just now."""
    flip(place(pushed))
    with pushed.desk.writer("heal", "", quiet()):
        quarantine_now(pushed)
        pushed.run(CleanupRequest(target_bytes=0), quiet())
        assert pushed.healing.restore([FILE], ["demo"], quiet()).back == {FILE}
    assert pushed.listing.contains(Ref.parse(REF))
    is_sound(pushed)


def cleaned_after_a_healer_died(services):
    """A writer that had relied on the object publishes after the healing; or the healer died."""
    flip(place(services))
    quarantine_now(services)
    make_old(f"{services.layout.damaged}/{FILE.hash}")
    before = services.coordination.usage.snapshot().used_bytes
    services.run(CleanupRequest(target_bytes=before), quiet())


def test_a_cleanup_withdraws_again_once_everybody_of_that_time_has_ended(tmp_path):
    services = fake_services(tmp_path)
    services.run(CommitRequest(path=make_tree(tmp_path / "src"), refs=(REF,)), quiet())
    cleaned_after_a_healer_died(services)
    assert services.listing.list() == []
    assert quarantined(services) == [FILE.hash]
    services.run(CleanupRequest(target_bytes=0), quiet())
    assert quarantined(services) == []
    services.close()


def test_a_cleanup_withdraws_nothing_that_a_remote_may_have(pushed):
    """No cleanup asks one: the next reader does."""
    cleaned_after_a_healer_died(pushed)
    assert [entry.ref for entry in pushed.listing.list()] == [REF]
    pushed.run(ExtractRequest(ref=REF), quiet())
    is_sound(pushed)


# -- restore -----------------------------------------------------------------------------------------------


def test_what_a_remote_has_comes_back(pushed):
    del pushed.remotes.remotes[A].blobs.data[FILE.hash]
    delete(place(pushed))
    never = Digest.of(b"nobody has this")
    assert pushed.healing.restore([FILE, never], ["demo"], quiet()).back == {FILE}
    is_sound(pushed)


def test_what_is_here_asks_nobody(services):
    services.remotes.remotes.clear()
    assert services.healing.restore([FILE], ["demo"], quiet()).back == {FILE}
    assert services.remotes.asked == []


def test_a_remote_that_lies_about_one_blob_gives_the_others(pushed):
    other = Digest.of(b"object code")
    for url in (A, B):
        pushed.remotes.remotes[url].blobs.data[FILE.hash] = b"a lie!!!!"
    for digest in (FILE, other):
        delete(place(pushed, digest))
    assert pushed.healing.restore([FILE, other], ["demo"], quiet()).back == {other}


def test_remotes_that_fail_are_no_error(pushed, caplog):
    delete(place(pushed))
    pushed.remotes.remotes[A].blobs.fail["find_missing"] = RemoteUnavailable("away", A)
    del pushed.remotes.remotes[B]
    assert pushed.healing.restore([FILE], ["demo"], quiet()).back == set()
    assert [record.msg for record in caplog.records].count("remote failed") == 2
    assert pushed.healing.restore([FILE], ["a-project-without-remotes"], quiet()).back == set()


def test_i10_what_a_remote_could_not_be_asked_for_is_no_miss(pushed, tmp_path):
    """And when it can be asked again, everything is there, also what was pinned."""
    for remote in pushed.remotes.remotes.values():
        remote.blobs.fail["find_missing"] = RemoteUnavailable("away", remote.url)
    delete(place(pushed))
    for _time in range(2):
        with pytest.raises(RemoteUnavailable, match="could not be asked"):
            pushed.run(ExtractRequest(ref=REF), quiet())
    told = pushed.run(VerifyRequest(repair=True), quiet())
    assert not told.withdrawn
    assert any("could not be asked" in remark for remark in told.remarks)
    assert [entry.ref for entry in pushed.listing.list()] == [REF]
    for remote in pushed.remotes.remotes.values():
        remote.blobs.fail.clear()
    pushed.run(ExtractRequest(ref=REF), quiet())
    is_sound(pushed)


def test_trouble_of_the_own_side_is_raised(pushed, monkeypatch):
    delete(place(pushed))

    def full(*_arguments, **_options):
        raise NoSpace("full")

    monkeypatch.setattr(pushed.desk.space, "limit_for", full)
    with pytest.raises(NoSpace):
        pushed.healing.restore([FILE], ["demo"], quiet())


def test_an_executable_copy_that_is_good_brings_the_object_back(services):
    """No remote has it; the copy in `executables/` is the same content."""
    services.run(ExtractRequest(ref=REF), quiet())
    above, name = next((above, names[0]) for above, _, names in os.walk(services.layout.executables) if names)
    digest = Digest(os.path.basename(above) + name, os.stat(f"{above}/{name}").st_size)
    flip(place(services, digest))
    quarantine_now(services, digest)
    services.remotes.remotes.clear()
    assert services.healing.restore([digest], [], quiet()).back == {digest}
    is_sound(services)


# -- withdraw ----------------------------------------------------------------------------------------------


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


# -- the whole sequence ------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", EVERY)
def test_what_a_remote_has_is_healed_whatever_happened_to_it(pushed, tmp_path, harm):
    EVERY[harm](place(pushed))
    trouble = missing(FILE, "") if harm == "deleted" else damaged(FILE, "")
    assert pushed.healing.heal(trouble, quiet())
    event = pushed.coordination.events.of(REF)[0]
    assert (event.what, event.why) == (HEALED, "a part of it was damaged or missing, and was fetched anew")
    path = pushed.run(ExtractRequest(ref=REF), quiet()).path
    assert picture(path) == picture(tmp_path / "src")
    is_sound(pushed)


@pytest.mark.parametrize("harm", EVERY)
def test_what_nobody_has_takes_its_refs_along(services, harm):
    EVERY[harm](place(services))
    trouble = missing(FILE, "") if harm == "deleted" else damaged(FILE, "")
    assert services.healing.heal(trouble, quiet())
    assert services.listing.list() == []
    is_sound(services)


def test_healing_twice_is_healing_once(pushed):
    truncate(place(pushed))
    for _time in range(2):
        assert pushed.healing.heal(damaged(FILE, ""), quiet())
    assert quarantined(pushed) == [FILE.hash]
    is_sound(pushed)


def test_what_is_part_of_nothing_is_not_healed(services):
    assert not services.healing.heal(missing(Digest.of(b"never here"), ""), quiet())
    assert services.remotes.asked == []
