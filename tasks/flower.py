"""Flower, set up so that it can be left running: it shows, asks for a password, and keeps little.

Its own settings stay in reach as ``FLOWER_…`` variables, such as FLOWER_URL_PREFIX; what is set there wins.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from caskeeper.broker import broker_url
from caskeeper.errors import ConfigInvalid
from tasks.celery_app import make_app
from worker.telemetry.log import configure

if TYPE_CHECKING:
    from caskeeper.config import Settings

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

#: By Flower's names. What a job is about is its `kwargs`, which lane it is in its routing key.
_DEFAULTS = {
    # Its buttons end workers and revoke what only `caskeeper cancel` cancels for good.
    "read_only": "true",
    "max_tasks": "3000",  # what it keeps in memory, about 8 KB each with their events
    "max_workers": "500",
    "purge_offline_workers": "600",  # those that were scaled away
    "tasks_columns": "name,kwargs,state,routing_key,received,started,runtime,worker,retries,exception,uuid",
}


def run_flower(settings: Settings, redis_url: str, *, address: str = "127.0.0.1", port: int = 5555) -> int:
    """Flower until SIGTERM or Ctrl-C.

    It tells everybody's business: beyond loopback only with ``FLOWER_BASIC_AUTH=USER:PASSWORD`` in the
    environment, which the command takes from ``CASKEEPER_FLOWER_AUTH``. Raises ConfigInvalid.
    """
    address = address.strip("[]")  # of an IPv6 address: it is asked for with them, and bound without
    if address not in _LOOPBACK and not os.environ.get("FLOWER_BASIC_AUTH"):
        raise ConfigInvalid(
            "Flower shows every job and worker; it is not opened to others without a password",
            f"argument --listen {address}:{port}",
            "set CASKEEPER_FLOWER_AUTH=USER:PASSWORD in its environment, or keep it on 127.0.0.1",
        )
    configure(settings.log.level, settings.log.format)
    app: Any = make_app(settings, redis_url)
    app.conf.broker_use_ssl = broker_tls(redis_url)
    return int(app.start(["flower", *flower_options(address, port)]) or 0)


def flower_options(address: str, port: int) -> list[str]:
    """The words of its command line."""
    chosen = [
        f"--{name}={text}" for name, text in _DEFAULTS.items() if f"FLOWER_{name.upper()}" not in os.environ
    ]
    # No file of settings: its name would be looked up in the current folder, and run.
    return [f"--address={address}", f"--port={port}", "--conf=/dev/null", *chosen]


def broker_tls(redis_url: str) -> dict[str, str] | None:
    """How Flower's page of queues checks a Redis behind TLS: it does not read that in the URL."""
    parts = urlsplit(broker_url(redis_url))
    if parts.scheme != "rediss":
        return None
    return {name: text for name, text in parse_qsl(parts.query) if name.startswith("ssl_")}
