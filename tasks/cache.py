"""The tasks ``cache.*``: maintenance of the volume, and one look at it."""

from __future__ import annotations

from caskeeper.contract import CleanupRequest, ComputeSizeRequest, ExplainRequest, Request, VerifyRequest

KINDS: tuple[type[Request], ...] = (CleanupRequest, ComputeSizeRequest, VerifyRequest, ExplainRequest)
