"""Log lines: one lower-case event and key=value, as text or as one JSON object a line.

    log = Log("caskeeper.pull")
    log.info("pulled", ref=ref, bytes=4711)      ->  … INFO caskeeper.pull pulled ref=a/b/c bytes=4711

``context`` adds fields, such as the job, to every line written inside it by the same thread.
Lines of libraries keep their words and get the same frame.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The beginnings of our own loggers' names; what others attach to a line is their own business.
_OURS = ("caskeeper", "worker", "tasks")
_STANDARD = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "fields"})

_context: ContextVar[dict[str, object]] = ContextVar("caskeeper_log_context", default={})  # noqa: B039 -- never changed, only replaced


class Log:
    """A named source of events."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: object) -> None:
        """What only somebody who searches needs."""
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """What an operator reads to know that all is well."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """What went wrong and was dealt with."""
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """What went wrong and needs somebody."""
        self._write(logging.ERROR, event, fields)

    def fault(self, event: str, bug: BaseException) -> None:
        """A fault of ours that ends nothing: with its traceback."""
        self._logger.error("%s", event, exc_info=bug)

    def _write(self, level: int, event: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", event, extra={"fields": fields})


@contextmanager
def context(**fields: object) -> Iterator[None]:
    """Add fields to every line inside."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def configure(level: str = "info", format: str = "text", stream: TextIO | None = None) -> None:  # noqa: A002 -- the key of the configuration
    """Send every line of this process to ``stream`` (stderr); replaces what was configured before."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json() if format == "json" else _Text())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """What the line was given: by ``Log``, or by ``extra`` of the standard library's logging."""
    own = getattr(record, "fields", {})
    if record.name.partition(".")[0] in _OURS:
        own = {**{name: value for name, value in vars(record).items() if name not in _STANDARD}, **own}
    return {**_context.get(), **own}


class _Text(logging.Formatter):
    """``2026-01-31T12:00:00.123Z INFO source event key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_moment(record.created)} {record.levelname} {record.name} {_event(record)}"
        for name, value in _fields(record).items():
            line += f" {name}={_plain(value)}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _Json(logging.Formatter):
    """One object a line; fields beside time, level, source and event."""

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, object] = {
            **_fields(record),
            "time": _moment(record.created),
            "level": record.levelname.lower(),
            "source": record.name,
            "event": _event(record),
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str, ensure_ascii=False)


def _event(record: logging.LogRecord) -> str:
    return record.getMessage().replace("\n", " | ")


def _moment(seconds: float) -> str:
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{int(seconds * 1000) % 1000:03d}Z"


def _plain(value: object) -> str:
    """A value on one line; quoted when it would not be one word."""
    text = str(value)
    return text if text and not any(c in text for c in ' \n\t"=') else json.dumps(text, ensure_ascii=False)
