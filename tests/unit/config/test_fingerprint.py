"""Two settings that ask for the same have one fingerprint, in every process."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from caskeeper.config import load_settings
from caskeeper.config.fingerprint import fingerprint

TEXT = """
cachedir: /c
cache: {quota: 10G, headroom: 1G}
artifacts:
  servers:
  - {url: "http://127.0.0.1:1", push: true}
projects:
  a: {artifacts: {url: "http://127.0.0.1:2"}}
  b: {artifacts: {servers: [{url: "http://127.0.0.1:3"}], override-project-caches: true}}
  c: {artifacts: {servers: [{url: "http://127.0.0.1:4"}], override-project-caches: true}}
"""


def loaded(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    return load_settings(str(tmp_path / "c.yaml"), {"HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("before", "after"),
    [("10G", "11G"), ("push: true", "push: false"), ("/c", "/d"), ("127.0.0.1:2", "127.0.0.1:5")],
)
def test_what_a_fleet_does_differently_changes_it(tmp_path, before, after):
    assert fingerprint(loaded(tmp_path, TEXT)) != fingerprint(loaded(tmp_path, TEXT.replace(before, after)))


def test_the_log_the_place_and_what_the_supervisor_gives_change_nothing(tmp_path):
    plain = loaded(tmp_path, TEXT)
    moved = loaded(
        tmp_path, f"# a comment\nlog: {{level: debug}}\nserver: {{tls-key: k}}\nroots: [/x]\n{TEXT}"
    )
    assert moved != plain
    assert fingerprint(moved) == fingerprint(plain)
    assert fingerprint(replace(plain, redis="unix:///x", source="", config_file="")) == fingerprint(plain)


def test_it_is_the_same_in_every_process(tmp_path):
    expected = fingerprint(loaded(tmp_path, TEXT))
    program = (
        "import sys; from caskeeper.config import load_settings\n"
        "from caskeeper.config.fingerprint import fingerprint\n"
        "print(fingerprint(load_settings(sys.argv[1], {'HOME': '/'})))"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-P", "-c", program, str(tmp_path / "c.yaml")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == expected
