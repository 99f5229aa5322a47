"""The tasks ``cache.*``: maintenance of the volume."""

from __future__ import annotations

from caskeeper.contract import CleanupRequest, ComputeSizeRequest, Request

KINDS: tuple[type[Request], ...] = (CleanupRequest, ComputeSizeRequest)
