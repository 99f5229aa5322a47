import os
import socket
import stat
import threading

import pytest
from harness.captures import take
from harness.trees import ROOT, VECTORS, write_spec_tree
from harness.volumes import Account, WatchedVolume, begin, blobs_of, fence, new_volume

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import CacheTooFull, Cancelled, InvalidRequest, LeaseLost, PermissionDenied
from worker.closure import WHOLE, walk
from worker.directory import parse
from worker.protocols import Context, quiet
from worker.store import source as module
from worker.store.capture import capture
from worker.store.measure import used_bytes
from worker.store.objects import Objects
from worker.store.volume import Volume


@pytest.fixture
def volume(tmp_path):
    return new_volume(tmp_path)


def test_the_spec_s_tree_has_the_spec_s_digests(volume, source):
    captured, _ = take(volume, write_spec_tree(source))
    assert captured.root == ROOT
    assert {*VECTORS.values(), EMPTY} < {*captured.closure.digests}
    assert captured.files == 6
    assert captured.size_bytes == 7 + 1 + 1 + 21 + 24


def test_the_closure_is_that_of_a_walk_and_ends_with_the_root(volume, source):
    captured, _ = take(volume, write_spec_tree(source))
    walked = walk(captured.root, WHOLE, Objects(volume).directory)
    assert set(captured.closure.files) == set(walked.files)
    assert set(captured.closure.directories) == set(walked.directories)
    assert len(captured.closure.directories) == len(walked.directories)
    assert captured.closure.directories[-1] == ROOT
    assert captured.closure.scope == WHOLE


def test_objects_are_read_only_and_hold_what_their_names_say(volume, source):
    captured, staging = take(volume, write_spec_tree(source))
    for digest in captured.closure.digests:
        if digest != EMPTY:
            path = volume.layout.object(digest.hash)
            with open(path, "rb") as file:
                assert Digest.of(file.read()) == digest
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o444
    staging.end()
    assert os.listdir(volume.layout.staging) == []


def test_what_was_added_is_what_is_on_the_disk_and_was_spent(volume, source):
    account = Account()
    before = used_bytes(volume)
    _, staging = take(volume, write_spec_tree(source), account=account)
    assert used_bytes(volume) - before == staging.added_bytes == account.spent


def test_a_second_capture_adds_nothing_and_makes_all_of_it_young(tmp_path, source):
    volume = new_volume(tmp_path, WatchedVolume)
    take(volume, write_spec_tree(source))
    volume.verbs.clear()
    account = Account()
    captured, staging = take(volume, source, "again", account=account)
    assert captured.root == ROOT
    assert staging.added_bytes == account.spent == 0
    assert set(volume.verbs) == {"make_folder", "create", "touch"}
    for digest in captured.closure.digests:
        if digest != EMPTY:
            assert os.stat(volume.layout.object(digest.hash)).st_atime_ns >= staging.start_ns


def test_the_source_stays_as_it_is(volume, source):
    write_spec_tree(source)
    before = {path: os.lstat(path) for path in source.rglob("*")}
    take(volume, source)
    for path, was in before.items():
        now = os.lstat(path)
        assert (now.st_mode, now.st_nlink, now.st_mtime_ns, now.st_ctime_ns) == (
            was.st_mode,
            was.st_nlink,
            was.st_mtime_ns,
            was.st_ctime_ns,
        )


def test_only_the_owner_s_execute_bit_counts(volume, source):
    for name, mode in {"owner": 0o744, "group": 0o654, "none": 0o600}.items():
        (source / name).write_bytes(b"x")
        (source / name).chmod(mode)
    captured, _ = take(volume, source)
    directory = Objects(volume).directory(captured.root)
    assert {entry.name: entry.executable for entry in directory.files} == {
        "owner": True,
        "group": False,
        "none": False,
    }


def test_links_are_recorded_and_not_followed(volume, source, tmp_path):
    (source / "loop").symlink_to("loop")
    (source / "folder").symlink_to(tmp_path)
    (source / "dangling").symlink_to("/no/where/")
    captured, _ = take(volume, source)
    directory = Objects(volume).directory(captured.root)
    assert [tuple(entry) for entry in directory.symlinks] == [
        ("dangling", "/no/where/"),
        ("folder", str(tmp_path)),
        ("loop", "loop"),
    ]
    assert not directory.files
    assert not directory.directories


def test_an_empty_folder_is_the_empty_digest(volume, source):
    captured, staging = take(volume, source)
    assert captured.root == EMPTY
    assert captured.closure.directories == (EMPTY,)
    assert staging.added_bytes == 0


def test_a_folder_of_many_files_is_one_directory(volume, source):
    for number in range(3 * module.SLICE_FILES + 1):
        (source / f"{number:05}").write_bytes(str(number).encode())
    captured, _ = take(volume, source)
    directory = Objects(volume).directory(captured.root)
    assert [entry.name for entry in directory.files] == [f"{n:05}" for n in range(3 * module.SLICE_FILES + 1)]
    assert all(entry.digest == Digest.of(str(int(entry.name)).encode()) for entry in directory.files)
    assert captured.files == len(directory.files)


def test_what_was_found_or_new_tells_what_is_expected_next(volume, source):
    for number in range(40):
        (source / f"{number:02}").write_bytes(b"small %d" % number)
    blobs = blobs_of(begin(volume, "first"))
    capture(os.fspath(source), blobs, context=quiet())
    assert not blobs.finds_most
    blobs = blobs_of(begin(volume, "second"))
    capture(os.fspath(source), blobs, context=quiet())
    assert blobs.finds_most
    blobs.add(b"something new")
    assert not blobs.finds_most


def test_every_directory_appears_after_what_it_names(tmp_path, source):
    """I2, looked at before each publish by another reader."""
    for number in range(40):
        folder = source / f"{number % 4}" / f"{number % 3}" / f"{number}"
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(os.urandom(20))
    incomplete = []
    published = []
    guard = threading.Lock()

    class Looking(Volume):
        def _change(self, verb, *paths):
            if verb == "publish" and "/cas/objects/" in paths[1]:
                with open(paths[0], "rb") as file:
                    data = file.read()
                if len(data) != 20:
                    look(data)

    def look(data):
        directory = parse(data, Digest.of(data))
        with guard:
            published.append(data)
            incomplete.extend(
                entry.name
                for entry in (*directory.files, *directory.directories)
                if objects.stat(entry.digest.hash) is None
            )

    volume = new_volume(tmp_path, Looking)
    objects = Objects(volume)
    captured, _ = take(volume, source)
    assert incomplete == []
    assert len(published) == len(captured.closure.directories)


def test_sockets_are_skipped(volume, source):
    (source / "file").write_bytes(b"x")
    with socket.socket(socket.AF_UNIX) as listening:
        before = os.getcwd()
        os.chdir(source)
        try:
            listening.bind("socket")
        finally:
            os.chdir(before)
        captured, _ = take(volume, source)
    assert [entry.name for entry in Objects(volume).directory(captured.root).files] == ["file"]


def refused(volume, source, kind=InvalidRequest, **arguments):
    with pytest.raises(kind) as caught:
        take(volume, source, **arguments)
    return str(caught.value)


def test_a_fifo_is_refused_by_name(volume, source):
    (source / "inner").mkdir()
    os.mkfifo(source / "inner" / "pipe")
    assert f"{source}/inner/pipe" in refused(volume, source)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_a_name_that_is_no_utf_8_is_refused_by_name(volume, source, kind):
    path = os.fsencode(source) + b"/caf\xe9"
    if kind == "file":
        with open(path, "wb"):
            pass
    elif kind == "folder":
        os.mkdir(path)
    else:
        os.symlink(b"t", path)
    sentence = refused(volume, source)
    assert "UTF-8" in sentence
    assert "caf\\udce9" in sentence
    sentence.encode()  # it can be printed


def test_a_target_that_is_no_utf_8_is_refused_by_name(volume, source):
    os.symlink(b"caf\xe9", os.fsencode(source) + b"/link")
    assert f"{source}/link" in refused(volume, source)


def test_what_is_no_folder_is_refused(volume, source, tmp_path):
    (source / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(source)
    for path in (source / "file", tmp_path / "none", tmp_path / "link"):
        assert "no folder" in refused(volume, path, operation=path.name)


def test_a_tree_that_is_too_deep_is_refused(volume, source, monkeypatch):
    monkeypatch.setattr(module, "MAX_DEPTH", 10)  # nothing that removes it has to be as deep
    (source / "/".join("d" * 9)).mkdir(parents=True)
    assert take(volume, source)[0].root != EMPTY
    (source / "/".join("d" * 10)).mkdir()
    assert "deeper" in refused(volume, source, operation="deeper")


@pytest.mark.parametrize("size_bytes", [10, module.SMALL_BYTES + 10, module.WHOLE_BYTES + 10])
def test_a_file_that_keeps_changing_is_refused_and_nothing_of_it_is_left(
    volume, source, size_bytes, monkeypatch
):
    (source / "log").write_bytes(bytes(size_bytes))
    opened = os.open

    def appending(path, flags, *arguments, **keywords):
        fd = opened(path, flags, *arguments, **keywords)
        if path == "log":
            reads.append(fd)
        return fd

    def growing(read):
        def grown(fd, *arguments):
            if fd in reads:
                with open(source / "log", "ab") as file:
                    file.write(b"more")
            return read(fd, *arguments)

        return grown

    reads = []
    before = used_bytes(volume)
    monkeypatch.setattr(os, "open", appending)
    monkeypatch.setattr(os, "read", growing(os.read))
    monkeypatch.setattr(os, "readv", growing(os.readv))
    sentence = refused(volume, source)
    assert f"{source}/log" in sentence
    assert "changes" in sentence
    assert len(reads) >= module.TRIES
    assert used_bytes(volume) == before


def test_a_file_that_changed_once_is_read_again(volume, source, monkeypatch):
    (source / "log").write_bytes(b"old")
    read = os.read
    changed = []

    def changing(fd, count):
        if not changed and os.fstat(fd).st_size == 3:
            changed.append(fd)
            (source / "log").write_bytes(b"newer")
        return read(fd, count)

    monkeypatch.setattr(os, "read", changing)
    captured, _ = take(volume, source)
    assert changed
    assert captured.closure.files == (Digest.of(b"newer"),)


def test_an_unreadable_file_is_named(volume, source, monkeypatch):
    (source / "secret").write_bytes(b"x")
    opened = os.open

    def refusing(path, *arguments, **keywords):
        if path == "secret":
            raise PermissionError(13, "Permission denied", path)
        return opened(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", refusing)  # root reads everything, so the kernel's answer is given here
    assert f"{source}/secret" in refused(volume, source, PermissionDenied)


def test_a_cache_that_is_full_stops_it(volume, source):
    for number in range(100):
        (source / str(number)).write_bytes(os.urandom(5000))
    refused(volume, source, CacheTooFull, account=Account(limit_bytes=50_000))


def test_a_fence_stops_it(tmp_path, source):
    volume = new_volume(tmp_path, WatchedVolume)
    write_spec_tree(source)
    staging = begin(volume)
    fence(volume)
    with pytest.raises(LeaseLost):
        capture(os.fspath(source), blobs_of(staging), context=quiet())


def test_whoever_asked_is_asked_back_and_can_stop_it(volume, source):
    write_spec_tree(source)
    callers = set()

    def check():
        callers.add(threading.current_thread())
        raise Cancelled("no longer wanted")

    context = Context(progress=lambda _progress: None, check=check)
    refused(volume, source, Cancelled, context=context)
    assert callers == {threading.current_thread()}


def test_the_last_progress_is_the_whole(volume, source):
    write_spec_tree(source)
    seen = []
    take(volume, source, context=Context(progress=seen.append, check=lambda: None))
    assert seen[-1].phase == "commit"
    assert (seen[-1].done_objects, seen[-1].done_bytes) == (6, 54)
