from __future__ import annotations

import pytest
from harness.memory_blobs import MemoryBlobs

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import BlobMissing, InvalidRequest
from worker.closure import WHOLE, Scope, walk
from worker.directory import Directory, DirectoryEntry, FileEntry, serialise
from worker.protocols import quiet
from worker.services.gather import gather
from worker.services.watched import Watched


def put(blobs, *, files=None, folders=None):
    return blobs.add(
        serialise(
            Directory(
                tuple(FileEntry(name, blobs.add(data)) for name, data in (files or {}).items()),
                tuple(DirectoryEntry(name, digest) for name, digest in (folders or {}).items()),
            )
        )
    )


@pytest.fixture
def remote():
    return MemoryBlobs()


@pytest.fixture
def tree(remote):
    inner = put(remote, files={"deep": b"deep"})
    build = put(remote, files={"obj": b"object"}, folders={"inner": inner})
    shared = put(remote, files={"x": b"x"})
    files = put(remote, folders={"one": shared, "two": shared})
    return {
        "root": put(remote, folders={"buildtree": build, "files": files, "logs": EMPTY}),
        "build": build,
        "inner": inner,
        "shared": shared,
        "files": files,
    }


def fetched(root, scope, *, store, remote):
    held = gather(root, scope, store=store, remote=Watched(remote), context=quiet())
    closure = walk(root, scope, held.read)
    assert set(closure.directories) <= set(held.data)
    return held


def test_every_message_of_a_whole_tree_comes_once(remote, tree):
    held = fetched(tree["root"], WHOLE, store=MemoryBlobs(), remote=remote)
    assert set(held.data) == {*tree.values(), EMPTY}
    asked = [digest for verb, batch in remote.calls if verb == "read_batch" for digest in batch]
    assert sorted(asked) == sorted(set(asked)) == sorted(tree.values())


def test_excluded_folders_are_not_asked_for(remote, tree):
    held = fetched(tree["root"], Scope.of(["buildtree"]), store=MemoryBlobs(), remote=remote)
    assert tree["build"] not in held.data
    assert tree["files"] in held.data


def test_an_included_path_below_an_excluded_folder_brings_the_way_to_it(remote, tree):
    scope = Scope.of(["buildtree", "files"]).with_subdir("buildtree/inner")
    held = fetched(tree["root"], scope, store=MemoryBlobs(), remote=remote)
    assert set(held.data) == {tree["root"], tree["build"], tree["inner"], EMPTY}


def test_what_the_store_has_is_made_young_and_not_fetched(remote, tree):
    store = MemoryBlobs(remote.data[tree["root"].hash], remote.data[tree["files"].hash])
    fetched(tree["root"], WHOLE, store=store, remote=remote)
    asked = {digest for verb, batch in remote.calls if verb == "read_batch" for digest in batch}
    assert asked == {tree["build"], tree["inner"], tree["shared"]}
    refreshed = {digest for verb, batch in store.calls if verb == "find_missing" for digest in batch}
    assert set(tree.values()) <= refreshed
    assert not store.arrived


def test_a_message_that_is_damaged_here_comes_from_the_remote(remote, tree):
    store = MemoryBlobs()
    store.data[tree["root"].hash] = b"damaged"
    held = fetched(tree["root"], WHOLE, store=store, remote=remote)
    assert held.data[tree["root"]] == remote.data[tree["root"].hash]


def test_a_message_that_nobody_has_is_a_miss_of_the_remote(remote, tree):
    del remote.data[tree["inner"].hash]
    watched = Watched(remote)
    with pytest.raises(BlobMissing) as caught:
        gather(tree["root"], WHOLE, store=MemoryBlobs(), remote=watched, context=quiet())
    assert watched.caused(caught.value)


def test_a_malformed_message_is_the_remotes_fault(remote):
    root = remote.add(b"\xff\xff no message")
    watched = Watched(remote)
    with pytest.raises(InvalidRequest) as caught:
        gather(root, WHOLE, store=MemoryBlobs(), remote=watched, context=quiet())
    assert watched.caused(caught.value)


def test_a_name_that_would_leave_the_tree_is_refused(remote):
    root = remote.add(serialise(Directory((FileEntry("../escape", remote.add(b"x")),))))
    with pytest.raises(InvalidRequest, match="escape"):
        gather(root, WHOLE, store=MemoryBlobs(), remote=Watched(remote), context=quiet())


def test_a_tree_deeper_than_any_path_is_refused(remote):
    at = put(remote, files={"leaf": b"leaf"})
    for _level in range(1001):
        at = put(remote, folders={"d": at})
    with pytest.raises(InvalidRequest, match="deeper"):
        gather(at, WHOLE, store=MemoryBlobs(), remote=Watched(remote), context=quiet())


def test_a_message_of_an_absurd_size_is_refused_before_it_is_fetched(remote):
    root = Digest("ab" * 32, 1 << 40)
    with pytest.raises(InvalidRequest, match="too large"):
        gather(root, WHOLE, store=MemoryBlobs(), remote=Watched(remote), context=quiet())
    assert not remote.calls
