"""Which remotes are left alone, for the whole fleet: a dead one costs one deadline, not one per worker (R17).

Whoever is not answered says so once; until the time is over nobody asks that remote. Then one of those who
want it looks whether it is back, while the others still leave it alone. A hint (I6): losing it costs the
deadline once more.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from caskeeper.errors import CaskeeperError, RemoteUnavailable, Transient, from_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.coordination.scripts import Scripts

#: The longest time for which a remote is left alone, whatever happened how often.
LONGEST_S = 120.0
#: After so much time without trouble the first time counts as the first again.
CALM_S = 600.0
#: How long others leave a remote alone that somebody is looking at.
PROBE_S = 10.0
#: How many remotes are remembered.
MOST = 200
#: Whom nobody has asked for so long after its time is not left alone by anybody: it is no matter of an alarm.
_ASKED_S = 300.0
#: An end that is further away is none of ours: junk, or left by a clock that was set back.
_FAR_S = 10 * LONGEST_S


class LeftAlone(NamedTuple):
    """A remote that did not answer. ``probe``: the time is over, and it is the asker's to look."""

    error: CaskeeperError
    left_s: float
    probe: bool


class BreakerRecord(NamedTuple):
    """A remote that did not answer lately. For people and metrics.

    ``is_open``: it is left alone, or was until a moment ago and nobody has met it since.
    """

    url: str
    is_open: bool
    reason: str
    left_s: float
    failures: int
    since_s: float


class Breakers:
    """What the fleet knows of its remotes, by their urls. Every method raises CoordinatorUnavailable."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def look(self, urls: Sequence[str]) -> dict[str, LeftAlone]:
        """Those of ``urls`` that are left alone; one round trip."""
        milliseconds = [round(seconds * 1000) for seconds in (PROBE_S, _FAR_S, CALM_S)]
        _, *records = self._run("breaker_look", *milliseconds, *urls)
        found = {}
        for url, text in zip(urls, records, strict=True):
            record = _document(text)
            if record:
                error = _error(record, url)
                found[url] = LeftAlone(error, _seconds(record, "left_ms"), record.get("probe") == "1")
        return found

    def open(self, url: str, error: CaskeeperError, *, first_s: float) -> tuple[float, bool]:
        """It did not answer: for how long it is left alone, and whether that is news."""
        document = json.dumps({**error.to_json(), "message": ""})
        longest_s = max(LONGEST_S, first_s)
        milliseconds = [round(seconds * 1000) for seconds in (first_s, longest_s, CALM_S, _FAR_S)]
        _, left_ms, news = self._run("breaker_open", url, document, *milliseconds, MOST)
        return int(left_ms) / 1000, news == 1

    def close(self, url: str) -> bool:
        """It answered; whether that is news."""
        return bool(self._run("breaker_close", url)[1] == 1)

    def read(self) -> tuple[BreakerRecord, ...]:
        """All that did not answer lately, by url."""
        _, now, *flat = self._run("breakers_read")
        found = []
        for url, text in zip(flat[::2], flat[1::2], strict=True):
            record = _document(text)
            left_s = _seconds(record, "until_ms") - int(now) / 1000
            if not record or left_s > _FAR_S:
                continue
            found.append(
                BreakerRecord(
                    url=str(url),
                    is_open=record.get("open") == "1" and left_s > -_ASKED_S,
                    reason=_error(record, url).what,
                    left_s=max(0.0, left_s),
                    failures=round(_seconds(record, "failures") * 1000),
                    since_s=max(0.0, int(now) / 1000 - _seconds(record, "since_ms")),
                )
            )
        return tuple(sorted(found))

    def _run(self, name: str, *args: str | int) -> list[Any]:
        return self._scripts.run_plain(name, self._scripts.keys.breakers, *args)


def _document(text: object) -> dict[str, Any]:
    """What no script of ours wrote is nothing."""
    try:
        found = json.loads(str(text))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(record: dict[str, Any], name: str) -> float:
    text = str(record.get(name, ""))
    return int(text) / 1000 if text.isascii() and text.isdigit() and len(text) <= 16 else 0.0


def _error(record: dict[str, Any], url: str) -> CaskeeperError:
    """What the remote's first victim met."""
    error = from_json(_document(record.get("error")))
    if isinstance(error, Transient) and type(error) is not Transient:
        return error
    return RemoteUnavailable(error.what or "it did not answer", url)
