"""The one beat that puts scheduled work into the queue: others stand by and take over.

A lease in one key of the database, which belongs to one volume and so to one fleet; a beat may run before
any worker has told which. A hint (I6): what is scheduled may be sent twice, or be late, and does no harm.
When an entry was last sent stands beside the lease, so a beat that takes over or starts anew goes on from
there, and what runs once a day also runs where beats do not live that long.
"""

from __future__ import annotations

import socket
import uuid
from typing import TYPE_CHECKING, NamedTuple, Self

from caskeeper.coordination import keys as key_names
from caskeeper.coordination.connection import Connection
from caskeeper.coordination.scripts import load

if TYPE_CHECKING:
    from caskeeper.config.settings import LeaseSettings


#: Shares of `leases: operation`: how long a leader leads without taking it again, and how often every beat
#: looks. One that dies is followed within both together, so within one lease life.
LEASE, LOOK = 0.6, 0.2


class Lead(NamedTuple):
    """This beat leads. ``ago_s``: per entry of the schedule, how long ago it was last sent."""

    ago_s: dict[str, float]


class Leader:
    """One candidate. Every method raises CoordinatorUnavailable."""

    def __init__(self, connection: Connection, leases: LeaseSettings) -> None:
        self._connection = connection
        self.lease_s, self.look_s = LEASE * leases.operation_s, LOOK * leases.operation_s
        self._life_ms = round(self.lease_s * 1000)
        self.host = socket.gethostname()
        self.token = uuid.uuid4().hex

    @classmethod
    def connect(cls, url: str, leases: LeaseSettings) -> Self:
        """A candidate of the fleet of this database. Contacts nobody."""
        return cls(Connection(url), leases)

    def take(self) -> Lead | None:
        """Lead for one lease, or one more; None: another one does."""
        word, *rest = self._run("leader_take", self.token, self._life_ms, self.host)
        if word != "OK":
            return None
        now_ms, *sent = rest
        return Lead(
            {
                name: (int(now_ms) - int(sent_ms)) / 1000  # the script tells of nothing after now
                for name, sent_ms in zip(sent[::2], sent[1::2], strict=True)
            }
        )

    def sent(self, name: str) -> bool:
        """An entry was sent now. False: this one does not lead any more."""
        return bool(self._run("leader_sent", self.token, name)[0] == "OK")

    def release(self) -> bool:
        """Another one may lead at once. False: one does already."""
        return bool(self._run("leader_release", self.token)[0] == "OK")

    def leads(self) -> str:
        """The host of the beat that leads, whichever it is; '' = none does."""
        return str(self._run("leader_read", self._life_ms)[1])

    def close(self) -> None:
        """This process' connections are closed."""
        self._connection.close()

    def _run(self, name: str, *args: str | int) -> list[str]:
        return self._connection.script(load(name, self._connection.run_id), (key_names.LEADER,), args)
