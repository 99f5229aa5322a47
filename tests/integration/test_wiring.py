"""How a folder becomes a volume, and which pairs of folder and Redis are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from harness.fleet import Oracle, fleet, settings_for
from harness.services import make_tree, picture
from harness.volumes import Dead, DyingVolume

import worker.wiring
from caskeeper.artifact import Ref
from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ComputeSizeRequest,
    ExtractRequest,
    LinkRequest,
    Request,
)
from caskeeper.coordination import Coordination
from caskeeper.digest import Digest
from caskeeper.errors import ConfigInvalid, InvalidRequest, PermissionDenied
from worker._protos import remote_execution_pb2
from worker.protocols import quiet
from worker.wiring import build


def open_and_close(folder, valkey, **options):
    services = build(settings_for(folder, **options), redis_url=valkey.url)
    services.close()
    return services


def commit(services, folder, ref="demo/hello/k1"):
    return services.run(CommitRequest(path=make_tree(folder), refs=(ref,)), quiet())


def test_an_empty_folder_becomes_a_volume_once(tmp_path, valkey):
    first = open_and_close(tmp_path, valkey)
    second = open_and_close(tmp_path, valkey)
    assert first.coordination.volume_id == second.coordination.volume_id
    assert Coordination.volume_of(valkey.url) == first.coordination.volume_id
    assert os.path.getsize(first.layout.ballast) > 0


def test_a_new_volume_counts_exactly_and_may_evict_at_once(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit(services, tmp_path / "src")
        used = services.coordination.usage.snapshot().used_bytes
        assert used == Oracle(services.layout.root).used_bytes() > 0
        assert services.run(ComputeSizeRequest(), quiet()).estimate_bytes == used
        services.run(CleanupRequest(target_bytes=0), quiet())


def test_processes_that_start_at_once_make_one_volume(tmp_path, valkey):
    script = (
        "import sys; sys.path[:0] = sys.argv[3].split(':')\n"
        "from harness.fleet import settings_for\n"
        "from worker.wiring import build\n"
        "services = build(settings_for(sys.argv[1]), redis_url=sys.argv[2])\n"
        "print(services.coordination.volume_id); services.close()\n"
    )
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    paths = f"{here}:{os.path.dirname(here)}"
    started = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", script, str(tmp_path), valkey.url, paths],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    answers = [process.communicate(timeout=60)[0].strip() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len(set(answers)) == 1
    assert answers[0] == Coordination.volume_of(valkey.url)
    assert os.listdir(f"{tmp_path}/cache/tmp") == []


def test_a_creation_that_died_at_any_step_is_completed_by_the_next_start(tmp_path, valkey, monkeypatch):
    """The last steps one by one; the making of folders before them at its beginning and in its middle."""
    counted = []

    class Counting(DyingVolume):
        def __init__(self, layout):
            super().__init__(layout, at=10**9)
            counted.append(self)

    monkeypatch.setattr(worker.wiring, "Volume", Counting)
    open_and_close(tmp_path / "rehearsal", valkey)
    steps = counted[0].changes  # the first one makes the volume, the second works on it
    for at in [1, 2, 3, 9, 500, *range(steps - 8, steps + 1)]:
        with valkey.client() as client:
            client.flushall()
        folder = tmp_path / f"at-{at}"
        folder.mkdir()
        monkeypatch.setattr(worker.wiring, "Volume", type("Dying", (DyingVolume,), {}))
        worker.wiring.Volume.__init__ = lambda self, layout, at=at: DyingVolume.__init__(self, layout, at=at)
        with pytest.raises(Dead):
            open_and_close(folder, valkey)
        monkeypatch.undo()
        services = open_and_close(folder, valkey)
        assert Coordination.volume_of(valkey.url) == services.coordination.volume_id
        assert os.listdir(services.layout.staging) == []
        with fleet(folder, valkey.url) as again:
            recounted = again.run(ComputeSizeRequest(), quiet())
            assert recounted.used_bytes == recounted.estimate_bytes == 0


def test_an_unmounted_volume_is_not_made_anew(tmp_path, valkey):
    """I9: the folder below the mount point stays untouched."""
    (tmp_path / "elsewhere").mkdir()
    volume_id = open_and_close(tmp_path, valkey).coordination.volume_id
    with pytest.raises(ConfigInvalid, match="mount") as refused:
        open_and_close(tmp_path / "elsewhere", valkey)
    assert volume_id in str(refused.value)
    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_second_volume_on_one_redis_is_refused(tmp_path, valkey):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    open_and_close(tmp_path / "one", valkey)
    with valkey.client() as client:
        client.flushall()
    volume_id = open_and_close(tmp_path / "two", valkey).coordination.volume_id
    with pytest.raises(ConfigInvalid, match=volume_id):
        open_and_close(tmp_path / "one", valkey)


def test_a_volume_whose_redis_was_emptied_comes_back_with_everything(tmp_path, valkey):
    """I6."""
    with fleet(tmp_path, valkey.url) as services:
        commit(services, tmp_path / "src")
        volume_id = services.coordination.volume_id
    with valkey.client() as client:
        client.flushall()
    with fleet(tmp_path, valkey.url) as services:
        assert services.coordination.volume_id == volume_id
        assert services.listing.contains(Ref.parse("demo/hello/k1"))
        assert services.run(LinkRequest(ref="demo/hello/k1", key="k2"), quiet())
        oracle = Oracle(services.layout.root)
        assert services.coordination.usage.snapshot().used_bytes >= oracle.used_bytes()
        assert oracle.troubles() == []


def edit_format(layout, **changes):
    with open(layout.format, "rb") as file:
        document = json.load(file)
    os.unlink(layout.format)
    with open(layout.format, "w") as file:
        json.dump(document | changes, file)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"version": 99}, ConfigInvalid, "version 99"),
        ({"uid": 4711}, PermissionDenied, "uid 4711"),
    ],
)
def test_a_format_that_is_not_ours_is_refused(tmp_path, valkey, changes, error, words):
    layout = open_and_close(tmp_path, valkey).layout
    edit_format(layout, **changes)
    with pytest.raises(error, match=words):
        open_and_close(tmp_path, valkey)


def test_objects_of_another_program_are_not_taken_over(tmp_path, valkey):
    folder = tmp_path / "cache" / "cas" / "objects" / "ab"
    folder.mkdir(parents=True)
    (folder / "cdef").write_bytes(b"whose?")
    with pytest.raises(ConfigInvalid, match="another program"):
        open_and_close(tmp_path, valkey)
    assert Coordination.volume_of(valkey.url) is None


def test_a_request_that_is_unknown_is_refused(tmp_path, valkey):
    class Unknown(Request):
        TASK = "artifacts.dance"

    with (
        fleet(tmp_path, valkey.url) as services,
        pytest.raises(InvalidRequest, match=r"artifacts\.dance"),
    ):
        services.run(Unknown(), quiet())


# -- adoption of a BuildStream 1.x cache ------------------------------------------------------------------


@pytest.fixture
def old_cache(tmp_path, valkey):
    """A folder as BuildStream 1.x leaves it: one whole artifact, one without its build tree, one damaged."""
    with fleet(tmp_path, valkey.url) as services:
        roots = {}
        for name in ("whole", "partial", "damaged"):
            source = make_tree(tmp_path / name)
            for path in ("files/README", "buildtree/main.o"):
                with open(f"{source}/{path}", "a") as file:
                    file.write(name)
            request = CommitRequest(path=source, refs=(f"demo/{name}/k",))
            roots[name] = Digest.parse(services.run(request, quiet()).root)
        layout = services.layout
    with valkey.client() as client:
        client.flushall()
    for path in (layout.format, layout.coordinator, layout.ballast):
        os.unlink(path)
    for folder in (layout.closures, layout.executables, layout.pins, layout.run, layout.trashes):
        for above, folders, files in os.walk(folder, topdown=False):
            for name in files:
                os.unlink(f"{above}/{name}")
            for name in folders:
                os.rmdir(f"{above}/{name}")
        os.rmdir(folder)
    for number, (name, root) in enumerate(roots.items()):
        path = layout.ref(Ref("demo", name, "k"))
        os.unlink(path)
        with open(path, "wb") as file:
            file.write(
                remote_execution_pb2.Digest(hash=root.hash, size_bytes=root.size_bytes).SerializeToString()
            )
        os.utime(path, (10_000 - number, 10_000 - number))
    os.unlink(layout.object(Digest.of(b"object codepartial").hash))
    os.unlink(layout.object(Digest.of(b"readme\ndamaged").hash))
    os.unlink(layout.object(Digest.of(b"object codedamaged").hash))
    return layout


def test_a_cache_of_buildstream_1_lists_extracts_links_and_cleans(old_cache, tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        # least recently used first, by the times that BuildStream left
        assert [line.ref for line in services.listing.list()] == [
            "demo/damaged/k",
            "demo/partial/k",
            "demo/whole/k",
        ]
        assert picture(services.run(ExtractRequest(ref="demo/whole/k"), quiet()).path) == picture(
            tmp_path / "whole"
        )
        partial = services.run(ExtractRequest(ref="demo/partial/k"), quiet()).path
        assert sorted(os.listdir(partial)) == ["files", "logs", "meta"]
        assert services.listing.show(Ref.parse("demo/partial/k")).excluded == ("buildtree",)
        assert services.listing.show(Ref.parse("demo/damaged/k")).excluded == ("buildtree", "files")
        services.run(LinkRequest(ref="demo/whole/k", key="k2"), quiet())
        used = services.coordination.usage.snapshot().used_bytes
        assert used == Oracle(services.layout.root).used_bytes()
        services.run(CleanupRequest(target_bytes=0), quiet())
        assert Oracle(services.layout.root).troubles() == []


def test_a_ref_whose_root_is_gone_is_set_aside_and_never_deleted(old_cache, tmp_path, valkey):
    with open(old_cache.ref(Ref("demo", "damaged", "k")), "rb") as file:
        kept = file.read()
    root = remote_execution_pb2.Digest.FromString(kept)
    os.unlink(old_cache.object(root.hash))
    with fleet(tmp_path, valkey.url) as services:
        assert [line.ref for line in services.listing.list()] == ["demo/partial/k", "demo/whole/k"]
        with open(f"{services.layout.root}/damaged/refs/demo/damaged/k", "rb") as file:
            assert file.read() == kept
