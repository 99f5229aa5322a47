"""BuildStream 1.6 from Debian's package, with folders of its own, and a small project for it."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess

#: What the package does not depend on but an artifact cache needs nothing of is left out.
_INSTALL = ("apt-get", "install", "-y", "--no-install-recommends", "buildstream", "bubblewrap")
_PROJECT = """\
name: interop
format-version: 12
element-path: elements
"""
_USER = """\
sourcedir: {home}/sources
builddir: {home}/build
artifactdir: {home}/artifacts
logdir: {home}/logs
scheduler: {{on-error: quit}}
"""
_REMOTE = """\
artifacts:
  url: {url}
  push: {push}
"""

#: Element -> its name in refs: slashes and the suffix go, what refs do not allow becomes `_` (AC-4).
ELEMENTS = {"base.bst": "base", "apps/tool.bst": "apps-tool", "c++.bst": "c__"}


def ensure_installed() -> None:
    """`bst` 1.6 is there when this returns; installed from Debian's package when root may do so."""
    if shutil.which("bst") is None:
        can_install = shutil.which("apt-get") is not None and os.geteuid() == 0
        assert can_install, (
            "these tests need BuildStream 1.6: run `apt-get install buildstream bubblewrap` on Debian 12 "
            "as root, or run the tests there as root"
        )
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (("apt-get", "update"), _INSTALL):
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=600
            )
            assert done.returncode == 0, f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}"
    version = subprocess.run(["bst", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    assert version.startswith("1.6"), f"these tests need BuildStream 1.6; `bst` here is {version}"


def write_project(folder: str) -> str:
    """A project of import elements: executables, links, empty folders, odd names, a large file."""
    base = f"{folder}/files/base"
    for path in ("bin", "etc/empty/deep", "share/日本語", "share/many"):
        os.makedirs(f"{base}/{path}")
    contents = {
        "bin/hello": b"#!/bin/sh\necho hello\n",
        "etc/settings": b"colour: blue\n",
        "etc/nothing": b"",
        "share/été": "déjà vu\n".encode(),
        "share/日本語/ファイル": "こんにちは\n".encode(),
        "share/large": random.Random(1).randbytes(5 * 2**20 + 17),
        **{f"share/many/{n:04}": b"%d" % n * (n % 100) for n in range(600)},
    }
    _write(base, contents)
    os.chmod(f"{base}/bin/hello", 0o755)
    os.symlink("hello", f"{base}/bin/hallo")
    os.symlink("../share/été", f"{base}/etc/link")
    os.symlink("no/such/file", f"{base}/etc/dangling")
    _write(f"{folder}/files/tool", {"bin/tool": b"#!/bin/sh\nexec hello\n", "copy": contents["share/large"]})
    os.chmod(f"{folder}/files/tool/bin/tool", 0o755)
    _write(f"{folder}/files/c++", {"include/vector": b"#pragma once\n"})
    element = "kind: import\nsources:\n- kind: local\n  path: files/{}\n"
    _write(
        folder,
        {
            "project.conf": _PROJECT.encode(),
            "elements/base.bst": element.format("base").encode(),
            "elements/apps/tool.bst": (element.format("tool") + "depends: [base.bst]\n").encode(),
            "elements/c++.bst": element.format("c++").encode(),
        },
    )
    return folder


def _write(folder: str, contents: dict[str, bytes]) -> None:
    for name, data in contents.items():
        path = f"{folder}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)


class BuildStream:
    """One user of a project: own caches below ``home``, and perhaps an artifact server."""

    def __init__(self, home: str, project: str, *, url: str | None = None, push: bool = True) -> None:
        self.project = project
        #: the artifact cache, in the layout of BuildStream 1.x
        self.cache = f"{home}/artifacts"
        self._config = f"{home}/buildstream.conf"
        self._environment = {"HOME": home, "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
        os.makedirs(home, exist_ok=True)
        text = _USER.format(home=home)
        if url is not None:
            text += _REMOTE.format(url=url, push=push)
        with open(self._config, "w", encoding="utf-8") as file:
            file.write(text)

    def run(self, *arguments: str) -> str:
        """One command; what it said. A failure of the command fails the test."""
        done = subprocess.run(
            ["bst", "--no-interactive", "--no-colors", "--config", self._config, *arguments],
            cwd=self.project,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"bst {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    @staticmethod
    def queue(name: str, said: str) -> tuple[int, int, int]:
        """How many elements a queue processed, skipped and failed, by the summary of a command."""
        found = re.search(rf"{name} Queue:\s+processed (\d+), skipped (\d+), failed (\d+)", said)
        assert found, f"no {name} queue in:\n{said}"
        return int(found[1]), int(found[2]), int(found[3])

    def keys(self) -> dict[str, str]:
        """The cache key of each element."""
        shown = self.run("show", "--deps", "none", "--format", "%{name} %{full-key}", *ELEMENTS)
        pairs = [line.split() for line in shown.splitlines() if line.endswith(tuple("0123456789abcdef"))]
        return {pair[0]: pair[1] for pair in pairs if pair[0] in ELEMENTS}

    def states(self) -> dict[str, str]:
        """Whether each element is cached, by its own judgement."""
        shown = self.run("show", "--deps", "none", "--format", "%{name} %{state}", *ELEMENTS)
        pairs = [line.split() for line in shown.splitlines()]
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[0] in ELEMENTS}

    def refs(self) -> dict[str, str]:
        """The ref of each element."""
        return {element: f"interop/{ELEMENTS[element]}/{key}" for element, key in self.keys().items()}

    def checkout(self, element: str, folder: str) -> str:
        """The files of one element alone, in a new folder."""
        self.run("checkout", "--deps", "none", "--no-integrate", element, folder)
        return folder

    def wipe(self) -> None:
        """Forget every artifact."""
        shutil.rmtree(self.cache)
