"""What a companion can do: by name, a function that is made for one operation and called for each unit."""

from __future__ import annotations

import itertools
import mmap
from typing import TYPE_CHECKING, Any

from caskeeper.digest import Digest
from worker.store.blobs import StoreBlobs
from worker.store.taking import take_aside

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.store.companion.messages import Open
    from worker.store.source import Listed, Stored


def _capture(blobs: StoreBlobs, check: Callable[[], None]) -> Callable[[Any], Listed | Stored]:
    """A unit is (folder, depth) or (folder, names of files in it)."""
    from worker.store.source import Source  # noqa: PLC0415 -- who reads no tree is ready sooner

    source = Source(blobs, check=check)

    def read(unit: tuple[str, int] | tuple[str, list[str]]) -> Listed | Stored:
        path, what = unit
        return source.folder(path, what) if isinstance(what, int) else source.files(path, what)

    return read


def _blobs(like: StoreBlobs, memory: int) -> Callable[[Any], bytes]:
    """A unit is a look at many digests, or a batch, whose bytes are in the common memory.

    What one unit relied on is looked at again by the next: its owner may have had it taken away in between,
    as a server does with damage. Who may remember longer does so itself.
    """
    content = memoryview(mmap.mmap(memory, 0))

    def do(unit: tuple[Any, ...]) -> bytes:
        what, hashes, sizes, *missed = unit
        blobs = StoreBlobs(like.staging, like.objects)
        digests = [Digest(hashes[64 * at : 64 * at + 64], size) for at, size in enumerate(sizes)]
        if what == "look":
            return blobs.states(digests)
        ends = itertools.accumulate(sizes)
        batch = [
            (digest, content[end - digest.size_bytes : end])
            for digest, end in zip(digests, ends, strict=True)
        ]
        if missed[0]:
            blobs.take_for_missed(digests)
        blobs.write_batch(batch)
        return b""

    return do


def _links(blobs: StoreBlobs, check: Callable[[], None], **particulars: Any) -> Callable[[Any], Any]:
    from worker.store.checkout_links import links_aside  # noqa: PLC0415 -- as above

    return links_aside(blobs, check, **particulars)


def _copy(blobs: StoreBlobs, check: Callable[[], None], **particulars: Any) -> Callable[[Any], Any]:
    from worker.store.checkout_copy import copy_aside  # noqa: PLC0415 -- as above

    return copy_aside(blobs, check, **particulars)


_WORKS: dict[str, Callable[..., Callable[[Any], Any]]] = {
    "capture": _capture,
    "links": _links,
    "copy": _copy,
    "take": take_aside,
}


def begin(opened: Open, blobs: StoreBlobs, check: Callable[[], None]) -> Callable[[Any], Any]:
    """What does a unit of the work that was opened."""
    if opened.work == "blobs":
        return _blobs(blobs, opened.memory)
    return _WORKS[opened.work](blobs, check, **opened.particulars)
