"""A fleet for a file of tests, and a small tree for each of them."""

import re

import pytest
from harness.commands import place_in

FILES = {"a": b"one\n", "sub/b": b"two\n", "sub/deep/c": b"three\n"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A worker, and a server that is its push remote."""
    with place_in(tmp_path_factory.mktemp("fleet")) as place:
        _, place.remote = place.server()
        place.config = place.configure(artifacts={"url": place.remote, "push": True})
        place.process = place.worker()
        yield place


@pytest.fixture
def tree(fleet, request):
    """A small tree of its own, and a ref for it."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:60]
    return fleet.tree(name, {**FILES, f"sub/deep/{name}": name.encode()}), f"test/{name}/k1"
