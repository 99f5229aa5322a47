"""`caskeeper demo`: what it claims, and that it leaves nothing, however it ends."""

import json
import os
import signal

import pytest
from harness.commands import call, processes_naming, start, until


def left_in(folder):
    return os.listdir(folder), processes_naming(str(folder))


@pytest.mark.timeout(600)
def test_the_demo_shows_every_step_and_leaves_nothing(tmp_path):
    done = call("--json", "demo", timeout_s=600, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    rows = {row["operation"]: row for row in shown["rows"]}
    assert int(rows["commit the library"]["files"].replace(",", "")) >= 5000
    assert list(rows) == [
        "commit the library",
        "commit packages",
        "push 9 artifacts",
        "empty the cache",
        "pull 9 artifacts",
        "extract 9, shared",
        "extract, private copy",
        "compare",
        "commit a changed version",
        "push it",
        "fill over the quota",
        "clean up all that may go",
    ]
    assert rows["push it"]["size_bytes"] < rows["push 9 artifacts"]["size_bytes"] / 20
    findings = "\n".join(shown["findings"])
    assert "both workers had work" in findings
    assert "identical byte for byte" in findings
    assert "required by session" in findings
    assert left_in(tmp_path) == ([], {})


@pytest.mark.parametrize(
    ("moment", "number", "code"),
    [
        ("copying", signal.SIGINT, 130),
        ("commit demo/library", signal.SIGTERM, 143),
        ("pull 9", signal.SIGINT, 130),
    ],
)
@pytest.mark.timeout(300)
def test_an_interrupted_demo_leaves_nothing(tmp_path, moment, number, code):
    process = start("demo", TMPDIR=str(tmp_path))
    for line in process.stderr:
        if moment in line:
            break
    assert process.poll() is None
    process.send_signal(number)
    out, err = process.communicate(timeout=200)
    assert (process.returncode, out) == (code, "")
    assert "Traceback" not in err
    until(lambda: left_in(tmp_path) == ([], {}))
