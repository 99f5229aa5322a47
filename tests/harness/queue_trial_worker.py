"""The real `caskeeper` command, whose services write down what they begin and end.

Run as ``python -P -m harness.queue_trial_worker JOURNAL WORDS...`` with ``tests`` on PYTHONPATH; WORDS are
those of the command line: ``--config FILE worker --concurrency 2``.
"""

from __future__ import annotations

import json
import os
import sys

from harness.queue_trial_journal import Journal

from caskeeper.errors import CaskeeperError
from tasks.cli.main import main
from worker.wiring import Services


def operation_of(request):
    """A request's task and arguments in one line; the version of the payload is none of them."""
    arguments = {name: value for name, value in request.to_json().items() if name != "version"}
    return f"{request.TASK} {json.dumps(arguments, sort_keys=True)}"


def keep_journal(path):
    """From now on, in this process and those it forks."""
    run = Services.run

    def noted(self, request, context):
        journal = Journal(path, "worker")
        about = {"operation": operation_of(request), "pid": os.getpid()}
        outcome = "a bug"
        journal.note("begin", **about)
        try:
            result = run(self, request, context)
            outcome = "done"
            return result
        except CaskeeperError as error:
            outcome = type(error).__name__
            raise
        finally:
            journal.note("end", outcome=outcome, **about)

    Services.run = noted


if __name__ == "__main__":
    keep_journal(sys.argv.pop(1))
    main()
