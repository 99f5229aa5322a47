"""Operations, their reservations and claims: the Redis side of safety.md section 3."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from caskeeper.coordination.keys import identifier
from caskeeper.coordination.values import OperationRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.config.settings import LeaseSettings
    from caskeeper.coordination.scripts import Scripts


def _members(refs: Sequence[str], roots: Sequence[str]) -> tuple[str, ...]:
    return (*(f"root:{root}" for root in roots), *(f"ref:{ref}" for ref in refs))


class Operations:
    """Who works on the volume. Every method raises CoordinatorUnavailable."""

    def __init__(self, scripts: Scripts, leases: LeaseSettings) -> None:
        self._scripts = scripts
        self._life_ms = round(leases.operation_s * 1000)
        self._whole_life_ms = round(leases.operation_life_s * 1000)

    def register(
        self,
        op_id: str,
        *,
        verb: str,
        subject: str,
        host: str,
        reserved_bytes: int = 0,
        refs: Sequence[str] = (),
        roots: Sequence[str] = (),
    ) -> str:
        """The operation is known from here on; answers the epoch to name from now on.

        Registering again renews and keeps what is there; after a loss the operation passes what it
        still has reserved and what it had claimed. Raises StateLost (also while the state is being
        recovered) and LeaseLost (it is dying, has lived too long, or what it claims is condemned).
        """
        answer = self._scripts.run(
            "register",
            identifier(op_id, what="operation id"),
            verb,
            subject,
            host,
            reserved_bytes,
            self._life_ms,
            self._whole_life_ms,
            *_members(refs, roots),
            what=f"operation {op_id}",
        )
        return str(answer[1])

    def renew(self, op_id: str, epoch: str) -> None:
        """One more lease life; an expired operation lives until it is marked dying. LeaseLost, StateLost."""
        self._scripts.run(
            "renew", op_id, self._life_ms, self._whole_life_ms, epoch=epoch, what=f"operation {op_id}"
        )

    def reserve(self, op_id: str, epoch: str, size_bytes: int, *, limit_bytes: int) -> bool:
        """So many more bytes may be written (I5); False: they do not fit. LeaseLost, StateLost."""
        answer = self._scripts.run(
            "reserve",
            op_id,
            size_bytes,
            limit_bytes,
            epoch=epoch,
            what=f"operation {op_id}",
            accept=("FULL",),
        )
        return bool(answer[0] == "OK")

    def hold(self, op_id: str, epoch: str, *, refs: Sequence[str], roots: Sequence[str]) -> bool:
        """Claims ref names and roots; False: one is condemned, nothing was claimed. LeaseLost, StateLost."""
        answer = self._scripts.run(
            "hold",
            op_id,
            *_members(refs, roots),
            epoch=epoch,
            what=f"operation {op_id}",
            accept=("CONDEMNED",),
        )
        return bool(answer[0] == "OK")

    def claim(self, op_id: str, epoch: str, roots: Sequence[str]) -> bool:
        """A reader's hold: the roots only. False: condemned, so they count as absent."""
        return self.hold(op_id, epoch, refs=(), roots=roots)

    def settle(self, op_id: str, epoch: str, added_bytes: int, *, fenced: bool = False) -> bool:
        """The end: what was added is used; reservation, claims and record go. Also while dying.

        ``fenced``: its folder was taken away, or what it says may be wrong (settle.lua): the rest of the
        reservation waits for a cleanup, and a recount is asked for.
        False: the record or the epoch is gone and nothing was done.
        """
        flag = "1" if fenced else "0"
        answer = self._scripts.run("settle", op_id, added_bytes, flag, epoch=epoch, accept=("LOST", "GONE"))
        return bool(answer[0] == "OK")

    def settle_part(
        self, op_id: str, epoch: str, added_bytes: int, *, unreserve_bytes: int, number: int
    ) -> None:
        """As settle, for an operation that goes on: part of its reservation goes. LeaseLost, StateLost."""
        self._scripts.run(
            "settle_part", op_id, added_bytes, unreserve_bytes, number, epoch=epoch, what=f"operation {op_id}"
        )

    def list(self) -> list[OperationRecord]:
        """Every registered operation, the oldest first. StateLost."""
        _, _, _, *flat = self._scripts.run("read", 3, what="operations")
        found = []
        for op_id, text in zip(flat[::2], flat[1::2], strict=True):
            record = json.loads(text)
            found.append(
                OperationRecord(
                    id=op_id,
                    verb=record["verb"],
                    subject=record["subject"],
                    host=record["host"],
                    started_ms=int(record["started_ms"]),
                    expires_ms=int(record["expires_ms"]),
                    reserved_bytes=int(record["reserved_bytes"]),
                    dying=record["dying"],
                    claims=tuple(record["claims"]),  # Lua writes an empty list as an empty object
                )
            )
        return sorted(found, key=lambda record: (record.started_ms, record.id))
