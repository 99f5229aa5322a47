"""A folder of the volume that was replaced by a symbolic link: nothing behind it is deleted or changed (I9).

The worker that runs goes on or says which link it is; the next one does not start before it is gone.
"""

import os
import shutil
import stat

import pytest
from harness.fleet import Oracle, fleet, settings_for, write_tree

from caskeeper.artifact import Ref
from caskeeper.contract import CleanupRequest, CommitRequest, ExtractRequest, RemoveRequest, VerifyRequest
from caskeeper.digest import Digest
from caskeeper.errors import CaskeeperError, VolumeFailed
from worker.protocols import quiet
from worker.wiring import build

REF, OTHER = "demo/hello/k1", "demo/other/k2"
CONTENT = b"some content"
FAN = Digest.of(CONTENT).hash[:2]


@pytest.fixture
def services(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as made:
        for number, ref in enumerate((REF, OTHER)):
            files = {"file": CONTENT, "own": b"%d" % number, "x:tool": b"#!/bin/sh\n"}
            source = write_tree(tmp_path / f"src{number}", files)
            made.run(CommitRequest(path=source, refs=(ref,)), quiet())
        made.run(ExtractRequest(ref=REF), quiet())
        yield made


def replaced_by_link(services, name, outside):
    """The folder goes outside the volume, with something beside what was in it; the link."""
    path = f"{services.layout.root}/{name}"
    os.makedirs(path, exist_ok=True)
    shutil.move(path, outside)
    os.symlink(outside, path)
    (outside / "mine").mkdir()
    (outside / "mine" / "precious").write_text("mine")
    os.chmod(outside / "mine", 0o500)
    return path


def picture(folder):
    found = {}
    for above, _folders, files in os.walk(folder):
        found[above] = stat.S_IMODE(os.lstat(above).st_mode)
        found.update({f"{above}/{name}": stat.S_IMODE(os.lstat(f"{above}/{name}").st_mode) for name in files})
    return found


FOLDERS = {
    "pins",
    "cas/damaged",
    "cas/refs/heads",
    "cas/refs/heads/demo",
    "cas/refs/heads/demo/hello",
    "cas/objects",
    f"cas/objects/{FAN}",
    "cas/executables",
    "cas/closures",
    "extract",
    "extract/demo",
    "extract/demo/hello",
    "trash",
    "tmp",
    "cas",
}


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_i9_nothing_behind_a_link_is_removed_or_changed(services, tmp_path, name):
    outside = tmp_path / "outside"
    link = replaced_by_link(services, name, outside)
    before = picture(outside)
    told = []
    for request in (
        VerifyRequest(repair=True),
        RemoveRequest(refs=(REF,)),
        CleanupRequest(target_bytes=0),
        VerifyRequest(repair=True),
    ):
        try:
            result = services.run(request, quiet())
            told += [finding.where for finding in getattr(result, "findings", ())]
        except CaskeeperError as error:
            told += [error.where, str(error)]
    after = picture(outside)
    # what operations and cleanups stage and clear there for themselves comes and goes
    assert {path: mode for path, mode in before.items() if after.get(path) != mode} == {}
    assert any(link in where for where in told), "somebody says which link it is"
    assert os.path.islink(link)


START = sorted(name for name in FOLDERS if not name.startswith(("extract/", "cas/refs/heads/")))


@pytest.mark.parametrize("name", START)
def test_i9_a_worker_starts_when_the_folder_itself_is_there_again(services, tmp_path, valkey, name):
    outside = tmp_path / "outside"
    link = replaced_by_link(services, name, outside)
    with pytest.raises(VolumeFailed, match="symbolic link") as refused:
        build(settings_for(tmp_path), redis_url=valkey.url)
    assert refused.value.where == link
    assert "in the place of the link" in refused.value.way_out
    os.chmod(outside / "mine", 0o700)
    shutil.rmtree(outside / "mine")
    os.unlink(link)
    shutil.move(outside, link)
    again = build(settings_for(tmp_path), redis_url=valkey.url)
    try:
        again.run(ExtractRequest(ref=OTHER), quiet())
        assert again.run(VerifyRequest(), quiet()).counts == {}
        assert set(Oracle(again.layout.root).refs()) == {REF, OTHER}
        assert again.maintenance.refs.read(Ref.parse(REF)) is not None
    finally:
        again.close()


def test_i9_the_cache_folder_itself_may_be_a_link(tmp_path, valkey):
    (tmp_path / "disk").mkdir()
    os.symlink(tmp_path / "disk", tmp_path / "cache")
    with fleet(tmp_path, valkey.url) as made:
        source = write_tree(tmp_path / "src", {"file": CONTENT})
        made.run(CommitRequest(path=source, refs=(REF,)), quiet())
        made.run(CleanupRequest(target_bytes=0), quiet())
        assert list(Oracle(made.layout.root).refs()) == []
