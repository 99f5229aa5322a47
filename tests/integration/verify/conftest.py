"""Volumes that `verify` looks at."""

import pytest
from harness.fleet import fleet, quick
from harness.verifying import FILES, KEPT, OTHER, age, commit

from caskeeper.contract import (
    ExtractRequest,
    LinkRequest,
)
from worker.protocols import quiet


@pytest.fixture
def services(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit(services, tmp_path, KEPT, FILES)
        commit(services, tmp_path, OTHER, {"own": b"other" * 500, "shared": FILES["own"]})
        services.run(ExtractRequest(ref=KEPT), quiet())
        services.run(LinkRequest(ref=KEPT, key="weak"), quiet())
        age(services)
        yield services


@pytest.fixture
def impatient(tmp_path, valkey):
    """Leases so short that they can be waited for."""
    with fleet(tmp_path, valkey.url, leases=quick(operation_s=0.4, session_s=0.4)) as services:
        commit(services, tmp_path, KEPT, FILES)
        commit(services, tmp_path, OTHER, {"own": b"other" * 500})
        services.run(LinkRequest(ref=KEPT, key="weak"), quiet())
        age(services)
        yield services
