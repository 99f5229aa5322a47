"""Room for content that others may bring meanwhile: nothing is evicted for what is here by now (I5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.services import transfer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.digest import Digest
    from worker.protocols import Context
    from worker.services.operations import Operation


def reserve_for(
    operation: Operation, digests: Sequence[Digest], context: Context, *, beside_bytes: int = 0
) -> list[Digest]:
    """Those of ``digests`` that are missing here, paid for together with ``beside_bytes``.

    While it waits for room it looks again before each question: who heals or pulls the same pays for it too,
    and both do not fit. What is here is young afterwards. Raises what ``Operation.reserve`` does.
    """
    charge = operation.staging.volume.charge
    missing = transfer.find_missing(operation.blobs, digests, context)

    def cost_bytes() -> int:
        return sum(charge(digest.size_bytes) for digest in missing) + beside_bytes

    def look_again() -> int:
        missing[:] = transfer.find_missing(operation.blobs, missing, context)
        return cost_bytes()

    operation.reserve(cost_bytes(), look_again=look_again)
    return missing
