"""Caskeeper: one shared, content-addressed cache of build artifacts. This package is what a build imports.

``from caskeeper import Client, Element, Ref, errors``. Names are loaded when they are used: importing the
package alone costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caskeeper import errors
    from caskeeper.artifact import Element, Ref
    from caskeeper.client import Client, ClientStatus
    from caskeeper.config import Settings, load_settings
    from caskeeper.coordination.jobrecords import JobRecord
    from caskeeper.job import Job
    from caskeeper.pins import Pin
    from caskeeper.session import DetachedSession, Session

__all__ = [
    "Client",
    "ClientStatus",
    "DetachedSession",
    "Element",
    "Job",
    "JobRecord",
    "Pin",
    "Ref",
    "Session",
    "Settings",
    "errors",
    "load_settings",
]

_HOMES = {
    "Client": "client",
    "ClientStatus": "client",
    "DetachedSession": "session",
    "Element": "artifact",
    "Job": "job",
    "JobRecord": "coordination.jobrecords",
    "Pin": "pins",
    "Ref": "artifact",
    "Session": "session",
    "Settings": "config",
    "load_settings": "config",
}


def __getattr__(name: str) -> object:
    if name == "errors":
        return import_module("caskeeper.errors")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"caskeeper.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
