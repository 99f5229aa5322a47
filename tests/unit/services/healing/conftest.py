"""One artifact that is here, and two remotes that may get it too."""

import pytest
from harness.healing import REF, A, B
from harness.services import fake_services, make_tree

from caskeeper.contract import CommitRequest, PushRequest
from worker.protocols import quiet


@pytest.fixture
def services(tmp_path):
    made = fake_services(tmp_path, urls=[A, B])
    made.run(CommitRequest(path=make_tree(tmp_path / "src"), refs=(REF,)), quiet())
    yield made
    made.close()


@pytest.fixture
def pushed(services):
    """A and B have it too."""
    services.run(PushRequest(refs=(REF,)), quiet())
    return services
