"""What a remote has comes back; what no remote could be asked for is no miss."""

import os

import pytest
from harness.damage import delete, flip
from harness.healing import FILE, REF, A, B, is_sound, place, quarantine_now

from caskeeper.contract import (
    ExtractRequest,
    VerifyRequest,
)
from caskeeper.digest import Digest
from caskeeper.errors import NoSpace, RemoteUnavailable
from worker.protocols import quiet


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
