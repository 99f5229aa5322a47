"""All that a working process uses, loaded at once.

By a worker before it forks its children, which then share the memory of it, and no job waits for what the
first of its kind would load.
"""

from __future__ import annotations

from importlib import import_module

from caskeeper.contract import REQUESTS

_MODULES = (
    "worker.errand",
    "worker.remote",
    "worker.remote.breaker",
    "worker.remote.turns",
    "worker.services.browse",
    "worker.services.cleanup",
    "worker.services.commit",
    "worker.services.desk",
    "worker.services.diff",
    "worker.services.disk_usage",
    "worker.services.explain",
    "worker.services.extract",
    "worker.services.healing",
    "worker.services.importing",
    "worker.services.link",
    "worker.services.listing",
    "worker.services.lost_format",
    "worker.services.maintenance",
    "worker.services.naming",
    "worker.services.pins",
    "worker.services.presence",
    "worker.services.protected",
    "worker.services.pull",
    "worker.services.push",
    "worker.services.recount",
    "worker.services.relief",
    "worker.services.remotes",
    "worker.services.remove",
    "worker.services.restoring",
    "worker.services.room",
    "worker.services.space",
    "worker.services.status",
    "worker.services.subjects",
    "worker.services.trees",
    "worker.services.verify",
    "worker.store.closures",
    "worker.store.companion.owner",
    "worker.store.objects",
    "worker.store.pins",
    "worker.store.refs",
)


def load_everything() -> None:
    """Import what ``worker.assembly`` would import when it is first asked for."""
    for name in _MODULES:
        import_module(name)
    tuple(REQUESTS.values())  # each is loaded when it is asked for
