"""A symbolic link where a folder of ours should be is never followed: what it leads to is not ours (I9)."""

import os

from harness.coordination import fake_coordination
from harness.services import fake_services
from harness.volumes import new_volume

from caskeeper.contract import CleanupRequest
from worker.protocols import quiet
from worker.store.trash import delete_tree


def precious(tmp_path):
    folder = tmp_path / "precious"
    (folder / "deep").mkdir(parents=True)
    for name in ("o-" + "ab" * 32, "plain", "deep/file"):
        (folder / name).write_text("mine")
    return folder


def names(folder):
    return sorted(
        os.path.relpath(f"{above}/{name}", folder) for above, _, files in os.walk(folder) for name in files
    )


def test_a_link_in_the_trash_is_removed_and_nothing_behind_it(tmp_path):
    outside, volume = precious(tmp_path), new_volume(tmp_path)
    before = names(outside)
    services = fake_services(tmp_path, volume=volume, coordination=fake_coordination())
    os.symlink(outside, volume.layout.trash("old"))
    os.mkdir(volume.layout.trash("older"))
    os.symlink(outside, f"{volume.layout.trash('older')}/e-1")
    services.run(CleanupRequest(target_bytes=0), quiet())
    services.close()
    assert names(outside) == before
    assert os.listdir(volume.layout.trashes) == []


def test_deleting_a_tree_that_is_a_link_deletes_the_link(tmp_path):
    outside, volume = precious(tmp_path), new_volume(tmp_path)
    before = names(outside)
    os.symlink(outside, tmp_path / "link")
    assert delete_tree(volume, str(tmp_path / "link")) == 0
    assert names(outside) == before
    assert not os.path.lexists(tmp_path / "link")
