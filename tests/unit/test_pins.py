"""Pins as a client reads them: patterns, what they match, and doubt about any (safety.md section 4)."""

import hashlib
import os

import pytest
from harness.volumes import new_volume

from caskeeper import Client
from caskeeper.artifact import Ref
from caskeeper.config import load_settings
from caskeeper.errors import CaskeeperError, InvalidRequest, VolumeFailed
from caskeeper.layout import Layout
from caskeeper.pins import MAX_PATTERN, UNFINISHED, Pin, PinSet, read_pins


@pytest.fixture
def layout(tmp_path):
    found = Layout(tmp_path)
    os.mkdir(found.pins)
    return found


def put(layout, name, data):
    with open(f"{layout.pins}/{name}", "wb") as file:
        file.write(data)


def put_pin(layout, pattern):
    put(layout, hashlib.sha256(pattern.encode()).hexdigest(), pattern.encode() + b"\n")


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("p/e/k", "p/e/k"),
        ("p/app+dev.bst/k", "p/app_dev/k"),
        ("p/*", "p/*"),
        ("*/e/[!ab]?", "*/e/[!ab]?"),
        ("*", "*"),
    ],
)
def test_a_pattern_is_a_ref_as_it_is_stored_or_a_glob(text, pattern):
    assert Pin.parse(text).pattern == pattern


@pytest.mark.parametrize(
    "text", ["", "p/e", "p/e/k/l", "p/*\n", "p/* x", "p/é*", "p/app+dev*", "*" * (MAX_PATTERN + 1), "*\udcff"]
)
def test_what_can_match_no_ref_is_refused(text):
    with pytest.raises(InvalidRequest):
        Pin.parse(text)


def test_a_ref_is_held_by_its_own_name_or_by_a_glob_whose_star_also_matches_slashes():
    pins = PinSet(map(Pin.parse, ("p/e/k", "tools/*", "*/release-?/[ab]*")))
    held = {
        "p/e/k": "p/e/k",
        "p/e/k2": "",
        "q/e/k": "",
        "tools/gcc/1": "tools/*",
        "tool/gcc/1": "",
        "x/release-1/abc": "*/release-?/[ab]*",
        "x/release-10/abc": "",
    }
    assert {ref: pins.holder(Ref.parse(ref)) for ref in held} == held


def test_all_pins_are_read_and_one_that_is_being_written_is_none_yet(layout):
    assert read_pins(layout).pins == ()
    put_pin(layout, "tools/*")
    put_pin(layout, "p/e/k")
    put(layout, f"{UNFINISHED}1", b"half")
    assert read_pins(layout).pins == (Pin("p/e/k"), Pin("tools/*"))


def digest(text):
    return hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("README", b"what is this\n"),
        (digest(b"p/*"), b""),
        (digest(b"p/*"), b"p/*"),
        (digest(b"p/*"), b"p/*\n\n"),
        (digest(b"p/*"), b"q/*\n"),
        (digest(b"p/a.bst/k"), b"p/a.bst/k\n"),
        (digest(b"p/\xff*"), b"p/\xff*\n"),
        (digest(b"*" * 5000), b"*" * 5000 + b"\n"),
        (digest(b"p/*").upper(), b"p/*\n"),
    ],
)
def test_i9_a_file_that_is_no_pin_is_an_error_that_names_it(layout, name, data):
    put_pin(layout, "p/e/k")
    put(layout, name, data)
    with pytest.raises(VolumeFailed, match="nothing is deleted") as caught:
        read_pins(layout)
    assert caught.value.where == f"{layout.pins}/{name}"


@pytest.mark.parametrize("make", ["folder", "link", "pipe"])
def test_i9_what_is_no_file_is_an_error_too(layout, make):
    path = f"{layout.pins}/{digest(b'p/*')}"
    {"folder": os.mkdir, "link": lambda path: os.symlink("/none", path), "pipe": os.mkfifo}[make](path)
    with pytest.raises(CaskeeperError, match="pins/"):
        read_pins(layout)


def test_i9_without_the_folder_nobody_knows_what_was_pinned(layout):
    os.rmdir(layout.pins)
    with pytest.raises(VolumeFailed, match="no folder of pins"):
        read_pins(layout)


def test_the_client_answers_without_redis_and_for_a_volume_that_is_not_made_yet(tmp_path):
    environ = {"CASKEEPER_CACHEDIR": f"{tmp_path}/volume", "XDG_CONFIG_HOME": str(tmp_path)}
    with Client(load_settings(environ=environ)) as cache:
        assert cache.pins() == ()
        put_pin(new_volume(tmp_path).layout, "tools/*")
        assert cache.pins() == (Pin("tools/*"),)
