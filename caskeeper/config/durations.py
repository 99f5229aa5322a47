"""Durations as people write them: ``60s``, ``10min``, ``6h``, or plain seconds."""

from __future__ import annotations

import re

from caskeeper.errors import ConfigInvalid

_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{0,9})?) ?(ms|s|min|h|d)?\Z")


def parse_duration(text: str, where: str = "") -> float:
    """Seconds. Raises ConfigInvalid."""
    match = _DURATION.match(text)
    if match is None:
        raise ConfigInvalid(
            f"{text[:80]!r} is not a duration", where, "give seconds or a unit, such as 60, 90s, 10min or 6h"
        )
    return float(match.group(1)) * _SECONDS[match.group(2) or ""]
