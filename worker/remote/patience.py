"""How long a remote is waited for, and how often it is asked again."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from caskeeper.config.remote_spec import ConnectionConfig


class Patience(NamedTuple):
    """Durations in seconds. One deadline covers all attempts of a call: a dead remote costs it once."""

    #: the first contact, capabilities and permissions together, and the look for a name: what a remote that
    #: is dead or hangs may cost a build, which with all that is around it shall not be more than 5 s
    probe_s: float = 4.0
    #: any other call, and a server's last word on an upload
    call_s: float = 60.0
    #: the longest time in which a stream may not move
    silence_s: float = 30.0
    #: a stream may take ``call_s`` and its size at this rate
    slowest_bytes_per_s: int = 32 * 1024
    #: attempts at one call or stream, the first one included
    attempts: int = 5
    first_delay_s: float = 0.2
    longest_delay_s: float = 3.0
    #: after a remote did not answer, so long it is not asked again; in a row twice as long each time
    memory_s: float = 10.0
    #: what was negotiated is asked again after this time
    negotiation_life_s: float = 300.0

    def configured(self, connection: ConnectionConfig) -> Patience:
        """As `connection-config` says (section 22); what it leaves out stays.

        A longer request-timeout does not make a dead remote cost more: the first contact keeps its own.
        """
        changes: dict[str, float] = {}
        if connection.retry_limit is not None:
            changes["attempts"] = connection.retry_limit + 1
        if connection.retry_delay_ms is not None:
            changes["first_delay_s"] = connection.retry_delay_ms / 1000
            changes["longest_delay_s"] = max(self.longest_delay_s, connection.retry_delay_ms / 1000)
        if connection.request_timeout_s is not None:
            timeout_s = float(connection.request_timeout_s)
            changes |= {"call_s": timeout_s, "silence_s": timeout_s, "probe_s": min(self.probe_s, timeout_s)}
        return self._replace(**changes)  # type: ignore[arg-type]  # attempts is whole, the others are not

    def first_answer_s(self, size_bytes: int) -> float:
        """For the first answer to a question that no server has much to do for, with so much to send."""
        return min(self.call_s, self.probe_s + size_bytes / self.slowest_bytes_per_s)

    def stream_s(self, size_bytes: int) -> float:
        """The deadline of a stream of this size."""
        return self.call_s + size_bytes / self.slowest_bytes_per_s

    def delay_s(self, failures: int, *, asked_s: float = 0.0) -> float:
        """The pause after so many failures: doubling, half of it random, never below what was asked for.

        What a remote asks for is capped too: it may not put a worker to sleep.
        """
        full = min(self.longest_delay_s, self.first_delay_s * 2.0 ** max(0, failures - 1))
        jittered = full * (0.5 + random.random() / 2)  # noqa: S311 -- spreads retries, hides nothing
        return max(jittered, min(asked_s, self.longest_delay_s))
