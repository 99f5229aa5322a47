"""The names behind action digests: found among the refs, exactly, and without listing what did not change."""

import os
import threading

import pytest
from harness.actions import action_of, key_of, records
from harness.assets import Assets
from harness.serving import settled

from caskeeper.artifact import Ref
from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import VolumeFailed
from worker._protos import remote_execution_pb2 as reapi
from worker.server.action_names import ActionNames
from worker.store.objects import Objects

REF = Ref("demo", "el", "aaaa")
OTHER = Digest.of(b"an Action message, for all we know, of some length")


def bind(services, *keys):
    for key in keys:
        path = services.layout.ref(Ref("demo", "el", key))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb"):
            pass


def test_a_name_is_found_and_forgotten_as_it_comes_and_goes(services):
    names = ActionNames(services.layout, Objects(services.volume))
    assert names.search(action_of("demo/el/aaaa")) is None
    bind(services, "aaaa", "bbbb")
    assert names.known(action_of("demo/el/aaaa")) is None
    assert names.search(action_of("demo/el/aaaa")) == Ref("demo", "el", "aaaa")
    assert names.known(action_of("demo/el/bbbb")) == Ref("demo", "el", "bbbb")
    os.unlink(services.layout.ref(Ref("demo", "el", "bbbb")))
    assert names.search(action_of("demo/el/cccc")) is None
    assert names.known(action_of("demo/el/bbbb")) is None


def test_folders_that_did_not_change_are_not_listed_again(services, monkeypatch):
    names = ActionNames(services.layout, Objects(services.volume))
    bind(services, "aaaa")
    element = os.path.dirname(services.layout.ref(REF))
    for folder in (services.layout.refs, os.path.dirname(element), element):
        make_long_ago(folder)
    assert names.search(action_of("demo/el/none")) is None
    listed = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or listdir(path))
    assert names.search(action_of("demo/el/bbbb")) is None
    assert listed == []
    bind(services, "bbbb")
    assert names.search(action_of("demo/el/bbbb")) == Ref("demo", "el", "bbbb")
    assert listed == [element]


def test_refs_that_servers_made_for_what_has_no_name_stand_for_no_action(
    peer, services, actions, monkeypatch
):
    names = ActionNames(services.layout, Objects(services.volume))
    actions.update(OTHER, reapi.ActionResult(exit_code=1))
    Assets(peer).push_blob(EMPTY, "urn:some")
    action, asset = sorted(records(services))
    peer.upload(key_of(asset))
    listed = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or listdir(path))
    assert names.search(action_of(action)) is None
    assert listed == [services.layout.refs]
    assert names.search(action_of(asset)) is None


def make_long_ago(folder):
    os.utime(folder, ns=(1, 1))


class Turn(threading.Condition):
    """Counts who waits for a listing."""

    waits = 0

    def wait(self, timeout=None):
        self.waits += 1
        return super().wait(timeout)


def test_many_that_miss_share_a_listing_that_began_after_each_of_them(services, monkeypatch):
    names = ActionNames(services.layout, Objects(services.volume))
    listings, held, go_on = [], threading.Event(), threading.Event()
    listing = names._list

    def slow():
        listings.append(None)
        listing()
        held.set()
        go_on.wait()

    monkeypatch.setattr(names, "_list", slow)
    monkeypatch.setattr(names, "_turn", Turn())
    found = []
    first = threading.Thread(target=lambda: found.append(names.search(action_of("demo/el/none"))))
    first.start()
    held.wait()
    bind(services, "aaaa")  # too late for the first listing
    later = [
        threading.Thread(target=lambda: found.append(names.search(action_of("demo/el/aaaa"))))
        for _ in range(5)
    ]
    for thread in later:
        thread.start()
    settled(lambda: names._turn.waits == len(later))
    go_on.set()
    for thread in (first, *later):
        thread.join()
    assert found.count(Ref("demo", "el", "aaaa")) == 5
    assert len(listings) == 2


def test_a_listing_that_fails_is_no_miss(services):
    names = ActionNames(services.layout, Objects(services.volume))
    os.rename(services.layout.refs, f"{services.layout.refs}.away")
    with pytest.raises(VolumeFailed):
        names.search(action_of("demo/el/aaaa"))
    os.rename(f"{services.layout.refs}.away", services.layout.refs)
    assert names.search(action_of("demo/el/aaaa")) is None
