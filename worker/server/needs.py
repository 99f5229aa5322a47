"""What the server needs of the process that runs it: said here, because services are its siblings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from caskeeper.artifact import Ref
    from caskeeper.config import Settings
    from caskeeper.coordination import Coordination
    from caskeeper.digest import Digest
    from worker.protocols import Context
    from worker.store.staging import Staging
    from worker.store.volume import Volume


class Operation(Protocol):
    """The right to change the volume, paid for from its own reservation (safety.md section 3).

    It keeps itself registered, also across a loss of Redis, until it is ended or fenced.
    """

    @property
    def staging(self) -> Staging:
        """Its folder on the volume."""

    def check(self) -> None:
        """Raises LeaseLost when the operation is over."""

    def hold(self, refs: Sequence[Ref], roots: Sequence[Digest]) -> None:
        """The last gate before publishing refs (safety.md section 9). Raises LeaseLost, Busy."""

    def in_use(self) -> None:
        """Somebody still works under it while it ends: what is reserved then stays so until it is counted."""

    def settle_part(self) -> None:
        """Turn what was published since the last time from reserved into used; the operation goes on."""


class Desk(Protocol):
    """Where operations come from."""

    def writer(
        self, verb: str, subject: str, context: Context, *, room_wait_s: float = ..., of_many: bool = ...
    ) -> AbstractContextManager[Operation]:
        """An operation that lives as long as its ``with`` block, and so long waits for room.

        ``of_many``: what it writes is of many callers, and need not fit into the quota together.
        """


class Healing(Protocol):
    """Who takes damaged content away."""

    def mend(self, digest: Digest, context: Context, *, taken: Callable[[], None] = ...) -> None:
        """See ``worker.services.healing.Healing.mend``."""


class Services(Protocol):
    """The parts of one volume's services that are served."""

    @property
    def settings(self) -> Settings:
        """For ``leases.upload_grace_s``."""

    @property
    def volume(self) -> Volume:
        """The volume that is served."""

    @property
    def coordination(self) -> Coordination:
        """For recency."""

    @property
    def healing(self) -> Healing:
        """For what a reader finds damaged."""

    @property
    def desk(self) -> Desk:
        """For the rolling operation, and one for each ref update."""
