"""One whole tree between the store and a remote, whatever names it: the part that every verb shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.services import transfer
from worker.services.meter import Meter
from worker.services.reserving import reserve_for

if TYPE_CHECKING:
    from worker.closure import Closure
    from worker.protocols import Context, PeerBlobs
    from worker.services.gather import Gathered
    from worker.services.operations import Operation
    from worker.services.presence import Presence

#: A closure list: its header and sum, and one record for each digest (an upper bound, to reserve).
_LIST_BYTES, _LIST_RECORD_BYTES = 256, 40


def bring(
    operation: Operation, closure: Closure, held: Gathered, remote: PeerBlobs, context: Context
) -> Meter:
    """Reserve for what is missing, copy the files, then the Directories ``held``, children first (I2).

    The reservation also covers the closure list and one ref, which are the caller's to write.
    """
    digests = closure.digests
    charge = operation.staging.volume.charge
    list_bytes = _LIST_BYTES + _LIST_RECORD_BYTES * len(digests)
    # Where a part of it is here already, no cleanup makes room for the rest by evicting that. One that is
    # just being removed is not kept.
    operation.claim([closure.root])
    beside_bytes = charge(list_bytes) + charge(1)
    missing = reserve_for(operation, digests, context, beside_bytes=beside_bytes)
    meter = Meter(context, "pull")
    meter.expect(digests, missing)
    folders, lacking = set(closure.directories), set(missing)
    files = [digest for digest in missing if digest not in folders]
    transfer.copy(remote.unhashed(), operation.blobs, files, context=context, meter=meter)
    ordered = [digest for digest in closure.directories if digest in lacking]
    transfer.copy(held, operation.blobs, ordered, context=context, meter=meter, ordered=True)
    meter.show()
    return meter


def send(
    operation: Operation,
    closure: Closure,
    remote: PeerBlobs,
    *,
    presence: Presence,
    meter: Meter,
    context: Context,
) -> int:
    """Send what ``remote`` lacks, files first; how many blobs that were.

    Raises BlobMissing before the first of them when one cannot be read here (AC-67).
    """
    digests = closure.digests
    missing = transfer.find_missing_ahead(remote, digests, context, presence.require)
    meter.expect(digests, missing)
    folders, absent = set(closure.directories), set(missing)
    files = [digest for digest in missing if digest not in folders]
    sink = remote.unhashed()
    transfer.copy(operation.blobs, sink, files, context=context, meter=meter)
    messages = [digest for digest in closure.directories if digest in absent]
    transfer.copy(operation.blobs, sink, messages, context=context, meter=meter)
    meter.show()
    return len(missing)
