"""The door to coordination: one object per volume and process tree, safe to fork and to share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from caskeeper.coordination import keys as key_names
from caskeeper.coordination.breakers import Breakers
from caskeeper.coordination.connection import Connection, address
from caskeeper.coordination.events import Events
from caskeeper.coordination.flights import Flights
from caskeeper.coordination.keys import Keys
from caskeeper.coordination.limits import Limits
from caskeeper.coordination.maintenance import Maintenance
from caskeeper.coordination.operations import Operations
from caskeeper.coordination.recency import Recency
from caskeeper.coordination.scripts import Scripts
from caskeeper.coordination.sessions import Sessions
from caskeeper.coordination.stats import Stats
from caskeeper.coordination.usage import UsageCounter
from caskeeper.coordination.values import State, Usage
from caskeeper.errors import ConfigInvalid, CoordinatorUnavailable

if TYPE_CHECKING:
    from caskeeper.config.settings import LeaseSettings


def _refuse_eviction(connection: Connection) -> None:
    """A server that drops keys when full would drop claims and sessions (safety.md section 7)."""
    policy = connection.eviction_policy()
    if policy != "noeviction":
        raise ConfigInvalid(
            f"Redis would drop keys when its memory is full: its maxmemory-policy is {policy}",
            connection.where,
            "set `maxmemory-policy noeviction`",
        )


def _owner(connection: Connection) -> str | None:
    """The volume that the database belongs to; None: none yet, or nothing that could be a volume's id."""
    if connection.command("TYPE", key_names.VOLUME) != "string":
        return None
    owner = connection.command("GET", key_names.VOLUME)  # None: emptied between the two questions
    return str(owner) if owner is not None and key_names.is_identifier(str(owner)) else None


class Coordination:
    """What the fleet of one volume agrees on. Every method raises CoordinatorUnavailable.

    ``connect`` and ``create`` check the database once; after that connections are made when they are
    needed, one pool per process.
    """

    def __init__(self, connection: Connection, *, volume_id: str, leases: LeaseSettings) -> None:
        self.volume_id = volume_id
        self.url = connection.url
        #: the database's address, to be written down: without credentials
        self.address = address(connection.url)
        self.leases = leases
        self._connection = connection
        self._scripts = Scripts(connection, Keys(volume_id))
        self.operations = Operations(self._scripts, leases)
        self.usage = UsageCounter(self._scripts)
        self.recency = Recency(self._scripts)
        self.events = Events(self._scripts)
        self.stats = Stats(self._scripts)
        self.sessions = Sessions(self._scripts, leases)
        self.maintenance = Maintenance(
            self._scripts, leases, refuse_other=self._refuse_other, volume_id=volume_id
        )
        self.flights = Flights(self._scripts)
        self.limits = Limits(self._scripts)
        self.breakers = Breakers(self._scripts)

    @classmethod
    def connect(cls, url: str, *, volume_id: str | None, leases: LeaseSettings) -> Coordination:
        """The coordination of a volume; None: of the one this database belongs to.

        ConfigInvalid: the database belongs to another volume, or the server may drop keys.
        CoordinatorUnavailable also when ``volume_id`` is None and no worker has been here yet.
        """
        return cls.over(Connection(url), volume_id=volume_id, leases=leases)

    @classmethod
    def over(cls, connection: Connection, *, volume_id: str | None, leases: LeaseSettings) -> Coordination:
        """As ``connect``, over a connection that is there."""
        owner = _owner(connection)
        if volume_id is None and owner is None:
            raise CoordinatorUnavailable(
                "no worker has used this Redis yet", connection.where, "start a worker, then try again"
            )
        made = cls(connection, volume_id=volume_id or owner or "", leases=leases)
        if owner is not None and owner != made.volume_id:
            made._refuse_other(owner)
        _refuse_eviction(connection)
        return made

    @staticmethod
    def volume_of(url: str) -> str | None:
        """Which volume the database belongs to; None: none yet."""
        connection = Connection(url)
        try:
            return _owner(connection)
        finally:
            connection.close()

    @staticmethod
    def epoch_of(url: str, volume_id: str, timeout_s: float) -> str | None:
        """The epoch of a volume in the database at ``url``; None: it has no state of it, or lost it.

        Changes nothing. CoordinatorUnavailable: it does not answer in time; PermissionDenied: it does, and
        does not say; ConfigInvalid: there is no such address.
        """
        connection = Connection(url, timeout_s=timeout_s)
        try:
            _, epoch, lost, *_ = Scripts(connection, Keys(volume_id)).run("state")
        finally:
            connection.close()
        return str(epoch) if epoch and lost != 1 else None

    @classmethod
    def create(
        cls, url: str, *, volume_id: str, epoch: str, used_bytes: int, leases: LeaseSettings
    ) -> Coordination:
        """The first state of a new volume, which claims the database: ready, size known, no waiting.

        A state that this volume already has there stays as it is. ConfigInvalid as in ``connect``.
        """
        return cls.create_over(
            Connection(url), volume_id=volume_id, epoch=epoch, used_bytes=used_bytes, leases=leases
        )

    @classmethod
    def create_over(
        cls,
        connection: Connection,
        *,
        volume_id: str,
        epoch: str,
        used_bytes: int,
        leases: LeaseSettings,
    ) -> Coordination:
        """As ``create``, over a connection that is there."""
        _refuse_eviction(connection)
        made = cls(connection, volume_id=volume_id, leases=leases)
        answer = made._scripts.run("create", volume_id, epoch, used_bytes, accept=("OTHER",))
        if answer[0] == "OTHER":
            made._refuse_other(str(answer[1]))
        return made

    def state(self) -> State:
        """The shared state as a whole, also when it is lost."""
        return State.of(self._scripts.run("state"))

    def look(self) -> tuple[State, Usage]:
        """The shared state as a whole and the counters, at one instant; these are 0 when it is lost."""
        answer = self._scripts.run("state")
        state = State.of(answer)
        used, reserved, added_total, converted = map(int, answer[-4:])
        return state, Usage(used, reserved, added_total, state.known, converted)

    def now_ms(self) -> int:
        """Redis TIME: the one clock of leases. Never compared with the age of a file."""
        seconds, microseconds = self._connection.command("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    def ping(self) -> None:
        """Redis answers."""
        self._connection.command("PING")

    def clean_stop(self, nonce: str) -> str:
        """The last word before an embedded server is stopped; answers the epoch for the mark. StateLost.

        The mark is written only after the server has saved and stopped (safety.md section 7).
        """
        return str(self._scripts.run("clean_stop", nonce, what="clean stop")[1])

    def resume(self, *, epoch: str, nonce: str) -> bool:
        """The state that a clean stop saved goes on in this run; False: it is another state, so lost.

        The mark is removed before this is called.
        """
        return bool(self._scripts.run("resume", epoch, nonce)[1] == 1)

    def close(self) -> None:
        """This process' connections are closed."""
        self._connection.close()

    def _refuse_other(self, owner: str) -> NoReturn:
        raise ConfigInvalid(
            f"this Redis database belongs to volume {owner}, not to {self.volume_id}",
            self._connection.where,
            "give each volume a database of its own, or empty this one if its volume is gone",
        )
