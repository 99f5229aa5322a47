"""Checking a stored tree out, by links or as a copy, as an operation does."""

import os
import uuid

from harness.volumes import begin, blobs_of

from worker.protocols import quiet
from worker.store.capture import capture
from worker.store.checkout_copy import checkout_copy
from worker.store.checkout_links import checkout_links
from worker.store.volume import Volume


class NoLinks(Volume):
    """A file system on which no second name can be made."""

    def link(self, source, target):
        self._change("link", source, target)
        return False


def store(volume, source):
    staging = begin(volume, "commit")
    captured = capture(os.fspath(source), blobs_of(staging), context=quiet())
    staging.end()
    return captured.root


class Extract:
    """An operation that checks out by links."""

    def __init__(self, volume, operation="extract", account=None):
        self.volume = volume
        self.staging = begin(volume, operation, account)
        self.blobs = blobs_of(self.staging)
        self.path = self.staging.path()

    def __call__(self, root, context=None, **arguments):
        return checkout_links(root, self.path, blobs=self.blobs, context=context or quiet(), **arguments)


def copy(volume, root, destination, context=None, **arguments):
    staging = begin(volume, f"copy-{uuid.uuid4().hex}")
    try:
        checkout_copy(
            root, os.fspath(destination), blobs=blobs_of(staging), context=context or quiet(), **arguments
        )
    finally:
        staging.end()
    return os.fspath(destination)


def without_files(tree):
    return {path for path, value in tree.items() if not isinstance(value, tuple)}
