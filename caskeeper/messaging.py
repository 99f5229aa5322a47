"""The queue's library as a client uses it: it sends, reads what is stored of jobs, and asks workers.

It takes longer to be loaded than most commands take for all they do: its door (queue.py) waits until
somebody needs it.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.app.backends import by_url
from kombu import Queue as BrokerQueue
from kombu.exceptions import ChannelError, KombuError, OperationalError
from kombu.utils.encoding import bytes_to_str

from caskeeper.broker import STATES, broker_settings, broker_url, lane_queues
from caskeeper.channels import keep_clients
from caskeeper.coordination.refusals import redis_errors
from caskeeper.errors import ConfigInvalid, CoordinatorUnavailable


class Messaging:
    """One application of the library, without tasks: ``app``, and the ``states`` of jobs.

    ``troubles`` is what either raises when Redis is not there, or refuses. ``answer_s``: how long it may take
    to answer. Raises ConfigInvalid for an address that is none.
    """

    def __init__(self, redis_url: str, *, answer_s: float) -> None:
        keep_clients()
        self.app = Celery("caskeeper.client", set_as_current=False)
        loader: Any = self.app.loader
        loader.override_backends = STATES
        # Results are read by key: the library's own waiting subscribes to every job it sends.
        self.app.conf.update(
            broker_settings(redis_url, socket_timeout_s=answer_s),
            task_queues=[BrokerQueue(name) for name in lane_queues()],
            task_publish_retry=False,
        )
        try:
            found: Any = by_url(broker_url(redis_url), self.app.loader)
            kind, url = found
            self.states: Any = kind(app=self.app, url=url)
        except ValueError as unusable:
            said = " ".join(str(unusable).split())
            raise ConfigInvalid(said, "redis", "correct the address of the Redis") from None
        self.troubles: tuple[type[BaseException], ...] = (
            CoordinatorUnavailable,
            *self.states.connection_errors,
            *self.states.channel_errors,
            OperationalError,
            KombuError,
            *redis_errors(),
        )

    def key_of(self, job_id: str) -> str:
        """Where the state of a job is stored."""
        return str(bytes_to_str(self.states.get_key_for_task(job_id)))

    def lengths(self) -> dict[str, int]:
        """How many messages wait in each queue. Raises one of ``troubles``."""
        found = {}
        with self.app.connection_for_read() as connection:
            channel: Any = connection.default_channel
            for name in lane_queues():
                try:
                    found[name] = channel.queue_declare(name, passive=True).message_count
                except ChannelError:  # an empty queue has no key
                    found[name] = 0
        return found

    def close(self) -> None:
        """Drop the connections."""
        self.app.close()
        self.states.client.connection_pool.disconnect()
