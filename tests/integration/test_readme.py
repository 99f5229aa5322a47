"""The README's first screen is a session that works, and its Python example too."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def block(language):
    return re.search(rf"```{language}\n(.*?)```", README, re.DOTALL).group(1)


@pytest.fixture
def home(tmp_path):
    """A fresh home without any configuration or Redis, and the installed command on PATH."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("CASKEEPER_", "XDG_"))
    }
    environ |= {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(command):
        return subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False
        )

    yield run
    run(["caskeeper", "down"])


def matches(shown, line):
    """``…`` in the README stands for what differs from run to run."""
    return re.fullmatch(".*".join(map(re.escape, shown.split("…"))), line) is not None


def test_every_command_of_the_first_screen_prints_what_the_readme_shows(home):
    steps = re.split(r"^\$ ", block("console"), flags=re.MULTILINE)[1:]
    assert len(steps) >= 8
    for step in steps:
        command, *shown = step.rstrip("\n").split("\n")
        done = home(["sh", "-c", command])
        printed = [*done.stderr.splitlines(), *done.stdout.splitlines()]
        assert done.returncode == 0, (command, printed)
        assert len(printed) == len(shown), (command, printed)
        for expected, line in zip(shown, printed, strict=True):
            assert matches(expected, line), (command, line)


def test_the_python_example_commits_and_then_finds_the_artifact_protected(home):
    home(["sh", "-c", "mkdir -p build && echo hello > build/f"])
    first = home([sys.executable, "-c", block("python")])
    assert first.returncode == 0, first.stderr
    assert re.search(r"^[0-9a-f]{64}/\d+$", first.stdout, re.MULTILINE)
    again = home([sys.executable, "-c", block("python")])
    assert (again.returncode, again.stdout) == (0, "")
