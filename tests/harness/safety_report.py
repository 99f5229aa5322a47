"""The figures of a run of all safety tests: every test leaves its part, one page shows them together.

``record`` does nothing unless CASKEEPER_SAFETY_REPORT names a folder, so any test may call it.
"""

from __future__ import annotations

import sys

from harness.report_page import Page, recorded

FOLDER = "CASKEEPER_SAFETY_REPORT"

#: Each section of the page, in order, with what it says before its figures.
SECTIONS = {
    "runs": "What was run, and whether it passed.",
    "histories": (
        "Real processes under a nemesis: workers, competing cleaners, sessions, foreign clients of a\n"
        "server, a remote that lies, hangs and dies. A checker reads only what was answered and the volume."
    ),
    "interleavings": "Two or three actors over the real code, switched at every change, look and script.",
    "crash points": "A process that dies before its n-th step, for every n, and the verb run again.",
    "mutants": "Each protection removed by a patch that lives in the tests, and the test that notices.",
    "model": "The protocol as built, every interleaving within bounds.",
    "file systems": "What real file systems do, and what is refused at start.",
}

_HEAD = """\
# Safety report

Written by `make test-faults-long`; do not edit. [design.md](design.md) says what must hold, and why it does.
"""

PAGE = Page(FOLDER, _HEAD, SECTIONS)
record, render = PAGE.record, PAGE.render

__all__ = ["FOLDER", "PAGE", "SECTIONS", "record", "recorded", "render"]


if __name__ == "__main__":
    sys.stdout.write(render(sys.argv[1]))
