"""`/metrics`, `/healthz` and `/readyz` of `caskeeper server`: threads of its process, which never forks."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tasks.facts import EVERY_S, Facts
from worker.telemetry import metrics
from worker.telemetry.endpoint import Endpoint, address_of, bind
from worker.telemetry.log import Log

if TYPE_CHECKING:
    from caskeeper.config.settings import MetricsSettings
    from tasks.cli.invocation import Invocation

log = Log("caskeeper.server")


class ServerMetrics:
    """Made before the server listens, so that an address that is taken is an error of the start.

    That an answer comes at all says that the process is alive: nothing else can make it sick.
    """

    def __init__(self, told: MetricsSettings, invocation: Invocation) -> None:
        self._over = threading.Event()
        self._stopping = threading.Event()
        self._parts: tuple[Facts, Endpoint] | None = None
        self._thread = threading.Thread(target=self._run, name="facts", daemon=True)
        if not told.listen:
            return
        from worker.telemetry.registry import Registry  # noqa: PLC0415 -- only where it is asked for

        facts = Facts(lambda: invocation.services, invocation.client.queue)
        registry = Registry(lambda: facts.samples)
        bound = bind(told.listen, told.where)
        endpoint = Endpoint(bound, render=registry.render, sick=lambda: "", unready=self._unready)
        metrics.send_to(registry.add)
        self._parts = facts, endpoint
        log.info("metrics", address=address_of(bound))

    def start(self) -> None:
        """The server listens."""
        if self._parts is not None:
            self._parts[0].start()
            self._thread.start()
            self._parts[1].start()

    def stopping(self) -> None:
        """The server takes no more calls: it is not ready, and still tells."""
        self._stopping.set()

    def close(self) -> None:
        """The server has stopped."""
        self._over.set()
        if self._parts is not None and self._thread.is_alive():
            self._parts[0].close()
            self._parts[1].close()

    def _unready(self) -> str:
        if self._stopping.is_set():
            return "the server is stopping"
        return self._parts[0].trouble if self._parts is not None else ""

    def _run(self) -> None:
        while self._parts is not None:
            self._parts[0].look_at_redis()
            if self._over.wait(EVERY_S):
                return
