"""Each behaviour on fakeredis and on a real server, where Lua is not quite the same."""

from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest
from harness.coordination import FakeConnection
from harness.valkey import shared_valkey, valkey

from caskeeper.config.settings import LeaseSettings
from caskeeper.coordination import Coordination
from caskeeper.coordination.connection import Connection

__all__ = ["shared_valkey", "valkey"]

#: Leases that are over as soon as they begin: no test has to wait.
EXPIRED = LeaseSettings(operation_s=0.0, session_s=0.0)


class Place:
    """An empty database, ``raw`` access to it, and coordinations over it with volume ``volume-1``."""

    prefix = "caskeeper:{volume-1}:"
    expired = EXPIRED

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._made: list[Coordination] = []
        if request.param == "valkey":
            server = request.getfixturevalue("valkey")
            self.raw: Any = server.client()
            self.connection = lambda: Connection(server.url)
        else:
            fake = fakeredis.FakeServer()
            self.raw = fakeredis.FakeRedis(server=fake, decode_responses=True)
            self.connection = lambda: FakeConnection(fake)

    def create(self, *, used_bytes: int = 0, leases: LeaseSettings | None = None) -> Coordination:
        made = Coordination.create_over(
            self.connection(),
            volume_id="volume-1",
            epoch="epoch-1",
            used_bytes=used_bytes,
            leases=leases or LeaseSettings(),
        )
        self._made.append(made)
        return made

    def join(self, *, leases: LeaseSettings | None = None) -> Coordination:
        made = Coordination.over(self.connection(), volume_id="volume-1", leases=leases or LeaseSettings())
        self._made.append(made)
        return made

    def contents(self) -> dict[str, Any]:
        """Everything in the database."""
        read = {
            "string": self.raw.get,
            "hash": self.raw.hgetall,
            "set": self.raw.smembers,
            "zset": lambda key: self.raw.zrange(key, 0, -1, withscores=True),
            "stream": self.raw.xrange,
        }
        return {key: read[self.raw.type(key)](key) for key in self.raw.keys("*")}

    def close(self) -> None:
        for made in self._made:
            made.close()
        self.raw.close()


@pytest.fixture(params=["fakeredis", "valkey"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    made = Place(request)
    yield made
    made.close()
