"""A folder is captured, by an operation of its own."""

import os

from harness.volumes import begin, blobs_of

from worker.protocols import quiet
from worker.store.capture import capture


def take(volume, source, operation="op", context=None, account=None):
    """What was captured, and the operation's staging, which goes on."""
    staging = begin(volume, operation, account)
    captured = capture(os.fspath(source), blobs_of(staging), context=context or quiet())
    return captured, staging
