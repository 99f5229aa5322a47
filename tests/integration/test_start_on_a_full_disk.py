"""Nothing more can be written: whoever looks is answered, and a worker starts, for who else makes room?"""

import pytest
from harness.fleet import fleet, write_tree

from caskeeper.contract import CommitRequest
from caskeeper.errors import NoSpace
from worker.protocols import quiet
from worker.store.fitness import accept
from worker.store.format import find_format
from worker.store.volume import Volume

REF = "demo/hello/k1"


class Full(Volume):
    """Touches succeed, as on a disk without room; whoever writes is refused."""

    def _change(self, verb, *paths):
        if verb != "touch":
            raise NoSpace(f"no room to {verb}", str(paths[0]))


@pytest.fixture
def layout(tmp_path, valkey):
    write_tree(tmp_path / "src", {"file": b"content"})
    with fleet(tmp_path, valkey.url) as services:
        services.run(CommitRequest(path=str(tmp_path / "src"), refs=(REF,)), quiet())
        return services.layout


@pytest.mark.parametrize("looks", [True, False])
def test_a_volume_that_was_fit_is_accepted(layout, looks):
    volume = Full(layout)
    accept(volume, find_format(layout), looks=looks)
    assert volume.block_bytes == find_format(layout).block_bytes
