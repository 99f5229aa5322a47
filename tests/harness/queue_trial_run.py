"""Runs the long trials of the queue and writes docs/queue-report.md: ``make test-queue-long``.

    python -P -m harness.queue_trial_run PAGE [TRIAL ...]

with ``tests`` on PYTHONPATH. Without trials named, all of them. The page is written at the end, also when
something failed: then the figures say so, and so does the exit code. Where CASKEEPER_QUEUE_REPORT names a
folder, figures of earlier runs in it are kept: trials may be run one by one.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from harness.queue_trial_report import FOLDER, PAGE, render
from harness.safety_run import ROOT, Stage, run

#: One after the other, each alone on the machine.
TRIALS = {
    name: Stage(name, (f"tests/faults_long/test_queue_{file}.py",))
    for name, file in {
        "faults under load": "faults",
        "cut connections": "cut_connections",
        "single flight": "single_flight",
        "cancel": "cancel",
        "trouble": "trouble",
        "idle": "idle",
        "soak": "soak",
        "two workers": "two_workers",
    }.items()
}


def chosen(words: list[str]) -> list[Stage]:
    """The trials with these words in their names, all without words. Raises SystemExit."""
    for word in words:
        if not any(word in name for name in TRIALS):
            raise SystemExit(f"no trial {word!r}: {', '.join(TRIALS)}")
    return [stage for name, stage in TRIALS.items() if not words or any(word in name for word in words)]


def main(page: str, *words: str) -> int:
    stages = chosen(list(words))
    with ExitStack() as stack:
        folder = os.environ.get(FOLDER) or stack.enter_context(
            tempfile.TemporaryDirectory(prefix="ck-queue-")
        )
        os.environ[FOLDER] = folder
        os.makedirs(folder, exist_ok=True)
        try:
            passed = [run(stage, folder, PAGE) for stage in stages]
        finally:
            Path(page).write_text(render(folder), encoding="utf-8")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "docs/queue-report.md"), *sys.argv[2:]))
