"""What tests of verbs that travel start from: an empty cache with two push remotes in memory."""

import pytest
from harness.loose_trees import A, B, small_world
from harness.services import fake_services


@pytest.fixture
def services(tmp_path, caplog):
    caplog.set_level("INFO")  # as a worker has it: every line is really made
    made = fake_services(tmp_path, urls=[A, B])
    yield made
    made.close()


@pytest.fixture
def a(services):
    return services.remotes.remotes[A]


@pytest.fixture
def b(services):
    return services.remotes.remotes[B]


@pytest.fixture
def world():
    return small_world()
