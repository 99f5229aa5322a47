"""What a worker tells of its jobs to whoever watches the queue (Flower) leaves in bundles.

By itself the library sends each event at once, three for a job: more than a third of what its process does
for one, and all jobs of a worker go through that process. Nobody who looks minds a moment.
"""

from __future__ import annotations

from typing import Any

from celery import bootsteps

#: So long the first event of a bundle waits for others. The library sends sooner what has grown long.
MOMENT_S = 0.25


class BundledEvents(bootsteps.StartStopStep):
    """Everything here is called in the consumer's event loop: nothing runs at the same time."""

    requires = ("celery.worker.consumer.events:Events",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._waiting: Any = None

    def start(self, parent: Any) -> None:
        """Called for every (re)connection to the broker, each of which has a dispatcher of its own."""
        dispatcher = parent.event_dispatcher
        if dispatcher is None or dispatcher.on_send_buffered is None:
            return  # without an event loop every event leaves at once

        def send() -> None:
            self._waiting = None
            dispatcher.flush()  # what Redis does not take is kept for the next connection

        def buffered() -> None:
            if self._waiting is None:
                self._waiting = parent.timer.call_after(MOMENT_S, send)

        dispatcher.on_send_buffered = buffered

    def stop(self, parent: Any) -> None:
        """Called when the connection is lost, and at the end: what is left is told."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
            parent.event_dispatcher.flush()
