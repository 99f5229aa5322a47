"""What the long trials of the queue have measured: docs/queue-report.md.

``record`` does nothing unless CASKEEPER_QUEUE_REPORT names a folder. ``python -P -m
harness.queue_trial_report FOLDER`` with ``tests`` on PYTHONPATH prints the page of what lies there.
"""

from __future__ import annotations

import sys

from harness.report_page import Page

FOLDER = "CASKEEPER_QUEUE_REPORT"

#: Each section of the page, in order, with what it says before its figures.
SECTIONS = {
    "runs": "What was run, and whether it passed.",
    "faults under load": (
        "Clients commit, push and pull without a pause, each job another artifact, while Redis is killed\n"
        "and workers are killed or told to end. Every job that was sent must succeed; then the volume and\n"
        "the remote hold what was asked for and nothing else, and nothing was done twice."
    ),
    "cut connections": (
        "The same load with slower transfers, while every connection to Redis is cut again and again. The\n"
        "library delivers running jobs anew at once: none of them may run twice at the same time."
    ),
    "single flight": "Many client processes ask for one artifact in the same moment.",
    "cancel": (
        "A job is cancelled in each of its states; a transfer after a quarter of its bytes. Afterwards\n"
        "it has no lease, staged file, reservation or wrongly counted byte, and it never began again."
    ),
    "trouble": (
        "A build that awaits one pull after the other, with remotes that are refused, silent, or hang, and\n"
        "with a Redis that is dead or silent: seconds for all, and seconds added by the trouble."
    ),
    "idle": (
        "Workers that did some jobs and then wait, with channels to a gRPC server that has every setting of\n"
        "its library's default. A line between them reads every HTTP/2 frame."
    ),
    "soak": "Small jobs, one after the other; what the processes hold in memory while their number grows.",
    "two workers": (
        "The same jobs for one worker process with one child, and for two of them, in turns. Seconds from\n"
        "the first job sent to the last result; the ratio is that of the medians."
    ),
}

_HEAD = """\
# Queue report

Written by `make test-queue-long`; do not edit. [operations.md](operations.md) says how to run a fleet.
"""

PAGE = Page(FOLDER, _HEAD, SECTIONS)
record, render = PAGE.record, PAGE.render


if __name__ == "__main__":
    sys.stdout.write(render(sys.argv[1]))
