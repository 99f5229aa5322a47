"""Because of whom a ref stays: pins by its name, sessions by its key, operations by their claims.

For people, at one moment; the decision of a cleanup is made by ``plan`` and by the script «condemn».
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.contract import Keeper
from caskeeper.errors import Busy, CoordinatorUnavailable, PermissionDenied, VolumeFailed

if TYPE_CHECKING:
    from caskeeper.artifact import Ref
    from caskeeper.coordination import Coordination, OperationRecord
    from worker.store.pins import Pins
    from worker.store.refs import RefRecord

SESSION, PIN, OPERATION = "session", "pin", "operation"


def describe(record: OperationRecord) -> str:
    """``pull p/e/k on host:17``."""
    return f"{record.verb} {record.subject} on {record.host}"


def in_words(keeper: Keeper) -> str:
    """As ``show`` names it; of an operation only what it does."""
    verb = f" ({keeper.detail.partition(' ')[0]})" if keeper.kind == OPERATION else ""
    return f"{keeper.kind} {keeper.name}{verb}"


def find_keepers(
    ref: Ref, record: RefRecord | None, *, pins: Pins, coordination: Coordination
) -> tuple[tuple[Keeper, ...], tuple[str, ...]]:
    """All of them, and what could not be looked at. ``record`` None: it is damaged, or not here."""
    found: list[Keeper] = []
    remarks = []
    try:
        found += [Keeper(kind=PIN, name=pattern) for pattern in pins.read().holders(ref)]
    except (VolumeFailed, PermissionDenied) as damage:
        remarks.append(f"a pin cannot be read, so nothing is evicted ({damage})")  # I9
    try:
        found += _leased(ref, record, coordination)
    except (Busy, CoordinatorUnavailable) as away:
        remarks.append(f"sessions and operations are not known ({away.what})")
    return tuple(found), tuple(remarks)


def _leased(ref: Ref, record: RefRecord | None, coordination: Coordination) -> list[Keeper]:
    now_ms = coordination.now_ms()
    roots = record.roots if record is not None else ()
    claims = {f"ref:{ref}", *(f"root:{root.hash}" for root in roots)}
    return [
        *(
            Keeper(
                kind=SESSION,
                name=session.id,
                detail=session.label,
                expires_in_s=(session.expires_ms - now_ms) / 1000,
            )
            for session in coordination.sessions.requirers().get(ref.key, ())
        ),
        *(
            Keeper(
                kind=OPERATION,
                name=operation.id,
                detail=describe(operation),
                expires_in_s=(operation.expires_ms - now_ms) / 1000,
            )
            for operation in coordination.operations.list()
            if claims.intersection(operation.claims)
        ),
    ]
