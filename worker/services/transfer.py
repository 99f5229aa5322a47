"""The copy engine: blobs from one BlobAccess to another, the one mechanism below pull and push.

Small blobs travel in batches, several in flight; a batch is measured as it will be on the wire, with
margin. Large ones are streamed side by side. What arrives is hashed and published whole by the sink. The
engine decides nothing about names: the order "children first" (I2) is the caller's, through ``ordered``.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.errors import BlobMissing, Cancelled, CaskeeperError
from worker import errand

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from caskeeper.digest import Digest
    from worker.protocols import BlobAccess, Context, Piece
    from worker.services.meter import Meter

#: How many digests one question "which of these are missing" carries.
FIND_GROUP = 4096
#: What one batch aims at; larger ones gain nothing and hold more memory (speed.md section 3).
BATCH_BYTES = 1024 * 1024
#: What a blob costs in a message beside its bytes: digest, status, field tags; generously.
ENTRY_BYTES = 160
#: What a message costs beside its entries: instance name and the like.
MESSAGE_BYTES = 1024
#: How many batches and streams are on their way at once.
LANES = 4
#: How often a waiting copy looks whether it shall stop, and shows how far it is.
LOOK_S = 0.2


def find_missing(blobs: BlobAccess, digests: Iterable[Digest], context: Context) -> list[Digest]:
    """Those of ``digests`` that ``blobs`` lacks, each once, in the given order; asked in groups."""
    wanted = iter(dict.fromkeys(digests))
    missing: list[Digest] = []
    while group := list(islice(wanted, FIND_GROUP)):
        context.check()
        lacking = blobs.find_missing(group)
        missing += [digest for digest in group if digest in lacking]
    return missing


def find_missing_ahead(
    blobs: BlobAccess, digests: Iterable[Digest], context: Context, look: Callable[[list[Digest]], None]
) -> list[Digest]:
    """As ``find_missing``. ``look`` is told what a group lacks while the next one is asked about."""
    wanted = list(dict.fromkeys(digests))
    if len(wanted) <= FIND_GROUP:
        missing = find_missing(blobs, wanted, context)
        look(missing)
        return missing
    missing = []
    groups = [wanted[start : start + FIND_GROUP] for start in range(0, len(wanted), FIND_GROUP)]
    with errand.part() as together, ThreadPoolExecutor(1, "find") as pool:
        try:
            asked = pool.submit(copy_context().run, blobs.find_missing, groups[0])
            for group, following in zip_longest(groups, groups[1:]):
                context.check()
                lacking = asked.result()
                if following:
                    asked = pool.submit(copy_context().run, blobs.find_missing, following)
                found = [digest for digest in group if digest in lacking]
                look(found)
                missing += found
        except BaseException:
            together.stop()  # the call under way is not waited for
            raise
    return missing


class Job(NamedTuple):
    """What one thread carries in one go: a batch, or one large blob as a stream."""

    digests: tuple[Digest, ...]
    streamed: bool


def split(digests: Iterable[Digest], *, limit_bytes: int, ordered: bool = False) -> list[Job]:
    """``digests`` as batches within ``limit_bytes`` and streams; largest streams first unless ``ordered``."""
    room = min(limit_bytes, BATCH_BYTES) - MESSAGE_BYTES
    batches: list[Job] = []
    streams: list[Job] = []
    batch: list[Digest] = []
    weight = 0
    for digest in digests:
        cost = digest.size_bytes + ENTRY_BYTES
        large = cost > room
        if batch and (weight + cost > room if not large else ordered):
            batches.append(Job(tuple(batch), streamed=False))
            batch.clear()
            weight = 0
        if large:
            (batches if ordered else streams).append(Job((digest,), streamed=True))
        else:
            batch.append(digest)
            weight += cost
    if batch:
        batches.append(Job(tuple(batch), streamed=False))
    streams.sort(key=lambda job: -job.digests[0].size_bytes)
    return streams + batches


def copy(
    source: BlobAccess,
    sink: BlobAccess,
    digests: Iterable[Digest],
    *,
    context: Context,
    meter: Meter,
    ordered: bool = False,
) -> None:
    """Bring every digest from ``source`` to ``sink``. ``ordered``: one after the other, as given.

    Raises the first failure of either side after everything under way has stopped; BlobMissing names the
    digest that ``source`` does not have. What has arrived by then stays.
    """
    limit_bytes = min(source.batch_limit_bytes, sink.batch_limit_bytes)
    jobs = split(digests, limit_bytes=limit_bytes, ordered=ordered)
    if not jobs:
        return
    carrier = _Carrier(source, sink, meter, jobs)
    lanes = 1 if ordered else min(LANES, len(jobs))
    with errand.part() as together, ThreadPoolExecutor(lanes, "transfer") as pool:
        pending: set[Future[None]] = set()
        try:
            pending = {pool.submit(carrier.carry_all, copy_context()) for _ in range(lanes)}
            while pending:
                _done, pending = wait(pending, timeout=LOOK_S, return_when=FIRST_COMPLETED)
                carrier.complain()
                context.check()
                meter.show()
        except BaseException:
            carrier.stop.set()
            for future in pending:
                future.cancel()
            together.stop()  # calls under way are not waited for
            raise


class _Carrier:
    """One copy's hands: what runs in its threads."""

    def __init__(self, source: BlobAccess, sink: BlobAccess, meter: Meter, jobs: Iterable[Job]) -> None:
        self._waiting = deque(jobs)
        self.source = source
        self.sink = sink
        self.meter = meter
        self.stop = threading.Event()
        self.failures: list[BaseException] = []

    def complain(self) -> None:
        """Raises the first failure: those after it may only be parts that were told to stop."""
        if self.failures:
            raise self.failures[0]

    def carry_all(self, context: contextvars.Context) -> None:
        """One lane: one job after the other, each in a ``context`` of its own."""
        with suppress(IndexError):  # nothing is left
            while not self.stop.is_set():
                context.copy().run(self.carry, self._waiting.popleft())

    def carry(self, job: Job) -> None:
        try:
            if job.streamed:
                self._stream(job.digests[0])
            else:
                self._batch(job.digests)
        except BaseException as failure:  # noqa: BLE001 -- raised by the thread that waits
            self.failures.append(failure)
            self.stop.set()

    def _batch(self, digests: Sequence[Digest]) -> None:
        blobs = self.source.read_batch(digests)
        if len(blobs) != len(digests):
            # Left out without a word: a miss all the same, never a silent gap (I10).
            came = {digest for digest, _data in blobs}
            lost = next((digest for digest in digests if digest not in came), digests[0])
            raise BlobMissing("a batch came without it", str(lost))
        self.sink.write_batch(blobs)
        self.meter.add(len(blobs), sum(digest.size_bytes for digest in digests))

    def _stream(self, digest: Digest) -> None:
        chunks = _Chunks(self, digest)
        try:
            self.sink.write_stream(digest, chunks)
        except CaskeeperError as failure:
            # The sink sees its input fail and may report that as a failure of its own: the cause wins.
            if chunks.failures and chunks.failures[0] is not failure:
                raise chunks.failures[0] from failure
            raise
        # A sink that had the blob by now may have stopped listening.
        self.meter.add(1, digest.size_bytes - chunks.sent_bytes)


class _Chunks:
    """One blob of the source; iterated again, it starts anew, so that a sink may repeat a failed call."""

    def __init__(self, carrier: _Carrier, digest: Digest) -> None:
        self._carrier = carrier
        self._digest = digest
        self.failures: list[Exception] = []
        self.sent_bytes = 0

    def __iter__(self) -> Iterator[Piece]:
        meter = self._carrier.meter
        meter.add(0, -self.sent_bytes)
        self.sent_bytes = 0
        try:
            for chunk in self._carrier.source.read_stream(self._digest):
                self._go_on()
                self.sent_bytes += len(chunk)
                meter.add(0, len(chunk))
                yield chunk
        except Exception as failure:
            self.failures.append(failure)
            raise

    def _go_on(self) -> None:
        if self._carrier.stop.is_set():
            raise Cancelled("another part of the same transfer failed", str(self._digest))
