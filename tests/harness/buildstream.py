"""What the BuildStream users of the tests share: a small project, and how to read what `bst` says."""

from __future__ import annotations

import os
import random
import re
import subprocess

#: Element -> its name in refs: slashes and the suffix go, what refs do not allow becomes `_` (AC-4).
ELEMENTS = {"base.bst": "base", "apps/tool.bst": "apps-tool", "c++.bst": "c__"}


def write_project(folder: str, *, needs: str) -> str:
    """A project of import elements: executables, links, empty folders, odd names, a large file.

    ``needs`` is the line of `project.conf` that says which BuildStream can read it.
    """
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
            "project.conf": f"name: interop\n{needs}\nelement-path: elements\n".encode(),
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


def below(tree: dict[str, object], folder: str) -> dict[str, object]:
    """The part of a listing below one folder."""
    return {
        path.removeprefix(f"{folder}/"): what for path, what in tree.items() if path.startswith(f"{folder}/")
    }


class User:
    """One user of a project: a home, a configuration file, and the `bst` that he calls."""

    def __init__(self, home: str, project: str, *, bst: str, configuration: str) -> None:
        self.project = project
        self._bst = bst
        self._config = f"{home}/buildstream.conf"
        self._environment = {"HOME": home, "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
        os.makedirs(home, exist_ok=True)
        with open(self._config, "w", encoding="utf-8") as file:
            file.write(configuration)

    def run(self, *arguments: str, fails: bool = False) -> str:
        """One command; what it said. It fails the test when it does not end as it should."""
        done = subprocess.run(
            [self._bst, "--no-interactive", "--no-colors", "--config", self._config, *arguments],
            cwd=self.project,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (done.returncode != 0) is fails, f"bst {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
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
