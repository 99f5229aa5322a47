"""Runs every long safety test and writes docs/safety-report.md: ``make test-faults-long``.

    python -P -m harness.safety_run [PAGE]

with ``tests`` on PYTHONPATH. The page is written at the end, also when something failed: then the figures
say so, and so does the exit code.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree as ET

from harness.safety_report import FOLDER, PAGE, record, render

if TYPE_CHECKING:
    from harness.report_page import Page

ROOT = Path(__file__).resolve().parents[2]


class Stage(NamedTuple):
    """One run of pytest."""

    name: str
    words: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()


_HISTORIES = "test_histories.py"
#: Whole where `make test` has a part.
_ALL = (("CASKEEPER_TEST_FULL_DISK", "all"), ("CASKEEPER_TEST_PAUSES", "all"))
_TWO_AT_ONCE = ("-n", "2", "--dist", "loadfile")
STAGES = (
    # Alone on the machine: its leases are short.
    Stage("histories", (f"tests/faults_long/{_HISTORIES}",)),
    Stage("file systems", ("tests/faults_long/test_file_systems.py",)),
    Stage("faults", ("tests/faults", f"--ignore=tests/faults/{_HISTORIES}", *_TWO_AT_ONCE), _ALL),
    Stage(
        "interleavings and mutants",
        ("tests/stateful", *_TWO_AT_ONCE),
        (("CASKEEPER_TEST_INTERLEAVINGS", "10"),),
    ),
)
#: For a test that has no limit of its own: longer than in `make test`, as it does more.
LIMIT_S = 3600
MODEL = ROOT / "docs/model/results.txt"


def run(stage: Stage, folder: str, page: Page = PAGE) -> bool:
    """Whether all of it passed; told in the page's section of runs."""
    results = f"{folder}/{stage.name.replace(' ', '-')}.xml"
    command = [sys.executable, "-P", "-m", "pytest", *stage.words]
    command += [f"--junitxml={results}", f"--timeout={LIMIT_S}"]
    code = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **dict(stage.environment)}, check=False
    ).returncode
    told: dict[str, object] = {"passed": 0, "failed": 0, "which": ""}
    if os.path.exists(results):
        cases = list(ET.parse(results).iter("testcase"))
        failed = [
            case for case in cases if case.find("failure") is not None or case.find("error") is not None
        ]
        told = {
            "passed": len(cases) - len(failed),
            "failed": len(failed),
            "which": sorted({f"{case.get('classname')}.{case.get('name')}" for case in failed}),
        }
    if code and not told["failed"]:
        told["which"] = f"ended with {code}"
    page.record("runs", {stage.name: told})
    return code == 0


def record_model() -> None:
    """What docs/model/run.sh has left: a line a configuration, its parts between bars."""
    if not MODEL.exists():
        return
    rows = {}
    for line in MODEL.read_text(encoding="utf-8").splitlines():
        name, *parts = (part.strip() for part in line.split("|"))
        if len(parts) >= 3 and not name.startswith("#"):
            rows[name] = {"flags": parts[0], "states": parts[1].removeprefix("states "), "outcome": parts[2]}
    record("model", rows)


def main(page: str) -> int:
    with tempfile.TemporaryDirectory(prefix="ck-safety-") as folder:
        os.environ[FOLDER] = folder
        try:
            record_model()
            passed = [run(stage, folder) for stage in STAGES]
        finally:
            Path(page).write_text(render(folder), encoding="utf-8")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "docs/safety-report.md")))
