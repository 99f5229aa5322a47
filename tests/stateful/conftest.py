"""One small volume on a file system in memory, and a Valkey of its own, for every scenario."""

import os
import shutil
import tempfile

import pytest
from harness.interleaved_site import Site

_MEMORY = "/dev/shm"


@pytest.fixture
def site(valkey):
    """A site that nobody prepared yet."""
    folder = tempfile.mkdtemp(prefix="ck-interleaved-", dir=_MEMORY if os.path.isdir(_MEMORY) else None)
    made = Site(folder, valkey)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)
