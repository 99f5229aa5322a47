"""The one lease for everything that removes or recounts: the Redis side of safety.md sections 5 to 7."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from caskeeper.coordination.keys import is_identifier
from caskeeper.coordination.values import Grant, LeaseHolder
from caskeeper.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from caskeeper.config.settings import LeaseSettings
    from caskeeper.coordination.scripts import Scripts


def _members(roots: Sequence[str], refs: Sequence[str], keys: Sequence[str]) -> list[str]:
    return [
        *(f"root:{root}" for root in roots),
        *(f"ref:{ref}" for ref in refs),
        *(f"key:{key}" for key in keys),
    ]


class Maintenance:
    """The lease and what only its holder may do.

    Every method but ``holder``, ``release`` and ``give_back`` raises LeaseLost when somebody else
    took the lease and StateLost when the epoch is another; all raise CoordinatorUnavailable.
    """

    def __init__(
        self, scripts: Scripts, leases: LeaseSettings, *, refuse_other: Callable[[str], None], volume_id: str
    ) -> None:
        self._scripts = scripts
        self._volume_id = volume_id
        self._refuse_other = refuse_other
        self._life_ms = round(leases.operation_s * 1000)
        self._wait_ms = round(max(leases.operation_s, leases.session_s) * 1000)

    def acquire(self, holder: str, *, purpose: str) -> Grant | None:
        """The lease, when it is free or expired; None: somebody else holds it.

        On a lost state a new epoch begins: empty, not ready, size unknown, no eviction for one
        longest lease. ConfigInvalid: the database came to belong to another volume.
        """
        answer = self._scripts.run(
            "acquire",
            self._volume_id,
            holder,
            purpose,
            self._life_ms,
            uuid.uuid4().hex,
            self._wait_ms,
            accept=("HELD", "OTHER"),
        )
        if answer[0] == "OTHER":
            self._refuse_other(str(answer[1]))
        return Grant(str(answer[1]), answer[2] == 1) if answer[0] == "OK" else None

    def holder(self) -> LeaseHolder | None:
        """Who holds the lease; None: it is free or expired. StateLost."""
        _, now_ms, _, *flat = self._scripts.run("read", 7, what="maintenance")
        lease = dict(zip(flat[::2], flat[1::2], strict=True))
        if not lease["holder"] or int(lease["expires_ms"]) <= int(now_ms):
            return None
        return LeaseHolder(lease["holder"], lease["purpose"], int(lease["expires_ms"]))

    def renew(self, holder: str, epoch: str) -> None:
        """One more life."""
        self._run("lease_renew", holder, epoch, self._life_ms)

    def release(self, holder: str) -> None:
        """The lease is free and nothing stays condemned; nothing happens when it is somebody else's."""
        self._scripts.run("lease_release", holder, accept=("LOST", "TAKEN"))

    def ready(self, holder: str, epoch: str) -> None:
        """Everything earlier is fenced and put back: no marks are left, operations may register."""
        self._run("ready", holder, epoch, self._wait_ms)

    def set_provisional(self, holder: str, epoch: str, used_bytes: int) -> None:
        """A first count of a lost state; it stays unknown. Once ready, this does nothing."""
        self._run("set_provisional", holder, epoch, used_bytes)

    def expect(self, holder: str, epoch: str, reserved_bytes: Mapping[str, int]) -> None:
        """Operations of before a loss are known again, with what each may add yet: they come back or expire.

        Names that are no operation's are left out. Once ready, this does nothing.
        """
        said: list[str | int] = []
        for op_id, size_bytes in reserved_bytes.items():
            if is_identifier(op_id):
                said += op_id, op_id.rpartition("-")[0], size_bytes
        self._run("expect", holder, epoch, self._life_ms, *said)

    def mark_dying(self, holder: str, epoch: str) -> list[str]:
        """The expired operations, which from here on can neither renew nor hold. Ends expired sessions."""
        return sorted(map(str, self._run("mark_dying", holder, epoch)[1:]))

    def drop_dead(self, holder: str, epoch: str, op_id: str) -> int:
        """A *fenced* dying operation is dropped; its reservation, now used, is the answer (I5).

        Busy: it was never marked dying. 0: it settled meanwhile.
        """
        answer = self._run("drop_dead", holder, epoch, op_id, accept=("ALIVE",))
        if answer[0] == "ALIVE":
            raise Busy(f"operation {op_id} is alive", self._scripts.connection.where)
        return int(answer[1])

    def condemn(
        self, holder: str, epoch: str, *, roots: Sequence[str], refs: Sequence[str], keys: Sequence[str]
    ) -> str:
        """All of the group is condemned and may be taken away: ''. Else nothing is, and why."""
        answer = self._run(
            "condemn",
            holder,
            epoch,
            *_members(roots, refs, keys),
            accept=("UNREADY", "EARLY", "UNKNOWN", "SESSION", "OPERATION"),
        )
        match answer:
            case ["SESSION", session_id, key]:
                return f"required by session {session_id} (key {key})"
            case ["OPERATION", op_id, verb, member]:
                return f"claimed by operation {op_id} ({verb}, {member})"
            case ["EARLY", from_ms]:
                when = datetime.fromtimestamp(int(from_ms) / 1000, UTC).isoformat(timespec="seconds")
                return f"not allowed until {when}: who worked before Redis was lost may come back"
            case ["UNKNOWN"]:
                return "not allowed until the size is counted"
            case ["UNREADY"]:
                return "not allowed until the state is recovered"
        return ""

    def uncondemn(
        self, holder: str, epoch: str, *, roots: Sequence[str], refs: Sequence[str], keys: Sequence[str]
    ) -> None:
        """The names of the group may be used again."""
        self._run("uncondemn", holder, epoch, *_members(roots, refs, keys))

    def give_back(self, holder: str, epoch: str, freed_bytes: int) -> None:
        """What the holder's own unlinks freed is not used any more; never below 0.

        Nothing happens when the lease or the epoch is gone or the size is not known: too high is
        allowed (I5). After CoordinatorUnavailable do not repeat it: it may have been counted.
        """
        self._scripts.run("give_back", holder, freed_bytes, epoch=epoch, accept=("LOST", "TAKEN", "UNKNOWN"))

    def begin_recount(self, holder: str, epoch: str) -> int:
        """A scan begins: the total ever added, to be passed to finish_recount."""
        return int(self._run("begin_recount", holder, epoch)[1])

    def finish_recount(
        self, holder: str, epoch: str, *, scanned_bytes: int, added_total_at_start: int
    ) -> int:
        """The scan's sum and what was added since it began are the size from now on, and the answer.

        What is left of operations that ended as ``fenced`` meanwhile stays to be converted, by the next one.
        """
        return int(self._run("finish_recount", holder, epoch, scanned_bytes, added_total_at_start)[1])

    def _run(
        self, name: str, holder: str, epoch: str, *args: str | int, accept: Sequence[str] = ()
    ) -> list[str]:
        return self._scripts.run(name, holder, *args, epoch=epoch, what=holder, accept=accept)
