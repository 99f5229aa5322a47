"""A shared extract in which somebody took away the right to write goes all the same (AC-51)."""

from __future__ import annotations

import os
import stat

import pytest
from harness.services import fake_services, make_tree
from harness.volumes import new_volume

from caskeeper.contract import CommitRequest, ExtractRequest, RemoveRequest
from caskeeper.errors import PermissionDenied
from worker.protocols import quiet
from worker.store.trash import delete_tree
from worker.store.volume import Volume

REF = "demo/hello/k1"


class Unprivileged(Volume):
    """Holds whoever runs the tests, root too, to what the kernel asks of any other owner."""

    def _change(self, verb, *paths):
        super()._change(verb, *paths)
        if verb in {"unlink", "remove_folder", "take"}:
            self._require_writable(os.path.dirname(paths[0]))
        if verb == "take" and os.path.isdir(paths[0]):  # its `..` changes
            self._require_writable(paths[0])

    def _require_writable(self, folder):
        if os.stat(folder).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            raise PermissionDenied("Permission denied", folder)


def lock(folder, mode):
    for above, _folders, _names in os.walk(folder, topdown=False):
        os.chmod(above, mode)


@pytest.mark.parametrize("mode", [0o555, 0o500, 0o300, 0])
def test_it_goes_with_its_ref_whatever_the_modes_of_its_folders(tmp_path, mode):
    services = fake_services(tmp_path, volume=new_volume(tmp_path, kind=Unprivileged))
    services.run(CommitRequest(path=make_tree(tmp_path / "src"), refs=(REF,)), quiet())
    path = services.run(ExtractRequest(ref=REF), quiet()).path
    lock(path, mode)
    services.run(RemoveRequest(refs=(REF,)), quiet())
    assert os.listdir(services.layout.extracts) == []
    assert os.listdir(services.layout.trashes) == []
    services.close()


def test_what_links_lead_to_keeps_its_mode(tmp_path):
    volume = new_volume(tmp_path, kind=Unprivileged)
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o500)
    folder = f"{volume.layout.trashes}/x"
    os.mkdir(folder)
    os.symlink(outside, f"{folder}/link")
    lock(folder, 0o500)
    delete_tree(volume, folder)
    assert not os.path.exists(folder)
    assert stat.S_IMODE(os.stat(outside).st_mode) == 0o500
