"""What the tests of worker.remote share: remotes that are closed at the end, short patience, content."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING

import grpc

from caskeeper.config.remotes import RemoteSpec
from caskeeper.digest import Digest
from worker.protocols import CHUNK_BYTES
from worker.remote import Patience, Remote, open_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Code = grpc.StatusCode

HURRY = Patience(
    probe_s=5.0, call_s=10.0, silence_s=8.0, first_delay_s=0.01, longest_delay_s=0.05, memory_s=30.0
)
SMALL = b"a small blob"
LARGE = random.Random(7).randbytes(3 * CHUNK_BYTES + 12345)
ABSENT = Digest.of(b"nowhere to be found")


@contextlib.contextmanager
def remotes() -> Iterator[Callable[..., Remote]]:
    """Opens remotes by url, patience and further fields of the spec; closes them at the end."""
    opened: list[Remote] = []

    def make(url: str, patience: Patience = HURRY, **fields) -> Remote:
        opened.append(open_remote(RemoteSpec(url, **fields), patience))
        return opened[-1]

    yield make
    for remote in opened:
        remote.close()
