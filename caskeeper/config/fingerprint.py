"""Whether two settings ask a fleet for the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING

from caskeeper.config.settings import LogSettings, ServerSettings

if TYPE_CHECKING:
    from caskeeper.config.settings import Settings


def fingerprint(settings: Settings) -> str:
    """The same for settings with which an embedded fleet does the same, in every process.

    Left out: the log's, the server's (a fleet has none), the places where values stand, and what a fleet is
    given by its supervisor anyway (`redis`, `roots`).
    """
    chosen = replace(
        settings,
        redis=None,
        roots=(),
        log=LogSettings(),
        server=ServerSettings(),
        source="",
        config_file="",
        notes=(),
    )
    return hashlib.sha256(json.dumps(_plain(chosen), sort_keys=True).encode()).hexdigest()


def _plain(value: object) -> object:
    """A setting as JSON; what two equal ones may differ in (where they stand) is left out."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value) if field.compare}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
