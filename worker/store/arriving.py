"""One blob on its way in: staged, hashed piece by piece, complete only when all of it matched (I1).

It may pause for as long as its operation lives: what has come stays staged and paid for, what has not come
is given back meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.digest import Digest, Hasher
from caskeeper.errors import DigestMismatch

if TYPE_CHECKING:
    from worker.store.staging import Staging


class Arriving:
    """A staged file of exactly ``size_bytes`` bytes. Ends with ``finish``, or with ``discard``."""

    def __init__(
        self, staging: Staging, size_bytes: int, *, expected: Digest | None = None, mode: int = 0o444
    ) -> None:
        """Spends for all of it. NoSpace, LeaseLost, and what spending raises."""
        self.staging = staging
        self.total_bytes = size_bytes
        self.expected = expected
        self._hasher = Hasher()
        self._file = staging.stage_stream(size_bytes, mode=mode)
        self._paid_bytes = staging.volume.charge(size_bytes)

    @property
    def size_bytes(self) -> int:
        """How much of it has come."""
        return self._file.size_bytes

    @property
    def path(self) -> str:
        """Where it is staged."""
        return self._file.path

    def write(self, chunk: bytes | memoryview) -> None:
        """The next piece. DigestMismatch when it is more than was announced, NoSpace, LeaseLost."""
        self.staging.check()
        if self._file.size_bytes + len(chunk) > self.total_bytes:
            raise DigestMismatch(f"more bytes came than {self._claimed} has")
        self._hasher.update(chunk)
        self._file.write(chunk)

    def finish(self) -> Digest:
        """Everything has come; its digest. Raises DigestMismatch when it is not what was announced."""
        found = Digest(self._hasher.hexdigest(), self._file.size_bytes)
        if found.size_bytes < self.total_bytes:
            raise DigestMismatch(f"only {found.size_bytes} bytes came of {self._claimed}")
        if self.expected is not None and found != self.expected:
            raise DigestMismatch(f"what came as {self._claimed} has the hash {found.hash}")
        self._file.finish()
        return found

    def publish(self, target: str) -> None:
        """Give it its place; what stands there already stays. After ``finish``."""
        self.staging.publish(self.path, target, size_bytes=self.total_bytes)
        self._paid_bytes = 0

    def pause(self) -> None:
        """Nothing comes for a while: pay only for what is there."""
        kept_bytes = self.staging.volume.charge(self._file.size_bytes)
        paid_bytes, self._paid_bytes = self._paid_bytes, kept_bytes
        self.staging.refund(paid_bytes - kept_bytes)

    def resume(self) -> None:
        """It goes on: pay for the rest. Raises what spending raises, and is paused still."""
        whole_bytes = self.staging.volume.charge(self.total_bytes)
        self.staging.spend(whole_bytes - self._paid_bytes)
        self._paid_bytes = whole_bytes

    def discard(self) -> None:
        """Remove it, whatever state it is in, and refund it. A fence has taken it: no refund then."""
        is_removed = self._file.discard()
        paid_bytes, self._paid_bytes = self._paid_bytes, 0
        if is_removed:
            self.staging.refund(paid_bytes)

    @property
    def _claimed(self) -> str:
        return str(self.expected) if self.expected else f"a stream of {self.total_bytes} bytes"
