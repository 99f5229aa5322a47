"""Who has published an artifact, and who pulls it."""

import pytest
from harness.pulls import publishing, pulling
from harness.services import make_tree


@pytest.fixture
def source(tmp_path):
    return make_tree(tmp_path / "src")


@pytest.fixture
def publisher(tmp_path, source):
    with publishing(tmp_path, source) as made:
        yield made


@pytest.fixture
def services(tmp_path, publisher):
    with pulling(tmp_path, publisher) as made:
        yield made
