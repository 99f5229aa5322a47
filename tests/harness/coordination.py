"""Coordination over fakeredis: quick, in this process, with the same scripts."""

import fakeredis

from caskeeper.config.settings import LeaseSettings
from caskeeper.coordination import Coordination
from caskeeper.coordination.connection import Connection


class FakeConnection(Connection):
    """A connection to a fakeredis server, which knows no INFO: its run and its policy are given."""

    def __init__(self, server: fakeredis.FakeServer) -> None:
        super().__init__(
            "redis://fake",
            client=lambda: fakeredis.FakeRedis(server=server, decode_responses=True),
            run_id="'the-only-run'",
        )

    def eviction_policy(self) -> str:
        return "noeviction"


def fake_coordination(
    server: fakeredis.FakeServer | None = None,
    *,
    volume_id: str = "volume-1",
    epoch: str = "epoch-1",
    used_bytes: int = 0,
    leases: LeaseSettings | None = None,
) -> Coordination:
    """The coordination of a new volume: ready, size known."""
    return Coordination.create_over(
        FakeConnection(server or fakeredis.FakeServer()),
        volume_id=volume_id,
        epoch=epoch,
        used_bytes=used_bytes,
        leases=leases or LeaseSettings(),
    )
