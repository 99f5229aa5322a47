from __future__ import annotations

import os

import pytest

from caskeeper.errors import InvalidRequest
from caskeeper.roots import below_roots


def test_a_path_below_a_root_is_answered_without_symbolic_links(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    os.symlink(real, tmp_path / "alias")
    assert below_roots(str(tmp_path / "alias"), [str(tmp_path)], where="path") == str(real)
    assert below_roots(str(real / "not" / "yet"), [str(real)], where="path") == str(real / "not" / "yet")


def test_a_root_may_itself_be_reached_through_a_symbolic_link(tmp_path):
    (tmp_path / "real").mkdir()
    os.symlink(tmp_path / "real", tmp_path / "root")
    path = str(tmp_path / "root" / "x")
    assert below_roots(path, [str(tmp_path / "root")], where="path") == str(tmp_path / "real" / "x")


@pytest.mark.parametrize("path", ["/etc", "/", "", "relative/path", "/tmp/\0", "/roots/../etc"])
def test_anything_else_is_refused_and_the_way_out_named(tmp_path, path):
    with pytest.raises(InvalidRequest, match="argument path"):
        below_roots(path, [str(tmp_path)], where="path")


def test_a_link_out_of_the_roots_and_a_neighbour_with_the_same_beginning_are_outside(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "rootless").mkdir()
    os.symlink(tmp_path, root / "out")
    for path in (root / "out" / "rootless", tmp_path / "rootless"):
        with pytest.raises(InvalidRequest, match="`roots`"):
            below_roots(str(path), [str(root)], where="path")


def test_the_whole_file_system_can_be_a_root():
    assert below_roots("/etc", ["/"], where="path") == os.path.realpath("/etc")
