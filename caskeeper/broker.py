"""How every process speaks to the queue: the settings that client and worker must share.

Plain values, no Celery here: the client's door (queue.py) and the worker's application add theirs.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlencode

from caskeeper.contract import LANES, REQUESTS, lane_of, queue_of
from caskeeper.errors import ConfigInvalid

#: A message whose worker has not been heard of for so long goes to another one. Each worker renews at a
#: quarter of it (queue.md 2.3), so three renewals may be missed before it is passed on.
VISIBILITY_TIMEOUT_S = 12.0
#: The longest that one worker's sweep for such messages keeps the others from theirs.
SWEEP_LOCK_S = 3

#: How long a Redis may take to accept a connection.
CONNECT_S = 3.0

#: A result is kept for a day, a failure for a week: somebody will ask why.
RESULT_LIFE_S = 24 * 3600
FAILURE_LIFE_S = 7 * 24 * 3600

#: By the scheme of the address, what keeps the states of jobs: named, for it takes its time to be loaded.
STATES = dict.fromkeys(("redis", "rediss"), "caskeeper.states:StoredStates")


def place_of(redis_url: str) -> str:
    """A Redis URL as it may be shown: without its password."""
    scheme, _, rest = redis_url.partition("://")
    place = rest.partition("?")[0]
    return f"{scheme}://{place.rpartition('@')[2]}"


def broker_url(redis_url: str) -> str:
    """The URL of the same Redis in the form that the queue's library reads.

    Redis' own clients write ``unix:///path?db=1``, the queue ``redis+socket:///path?virtual_host=1``.
    ``rediss://`` checks the server's certificate unless it says otherwise. Raises ConfigInvalid.
    """
    scheme, mark, rest = redis_url.partition("://")
    if not mark or scheme not in {"redis", "rediss", "unix", "redis+socket"}:
        raise ConfigInvalid(
            f"`redis` is not the address of a Redis: scheme {scheme[:20]!r}",
            "redis",
            "write redis://HOST:PORT/DB, rediss://… or unix:///PATH",
        )
    place, _, query = rest.partition("?")
    fields = dict(parse_qsl(query, keep_blank_values=True))
    if scheme in {"unix", "redis+socket"}:
        scheme = "redis+socket"
        if "db" in fields:
            fields["virtual_host"] = fields.pop("db")
    elif scheme == "rediss":
        fields.setdefault("ssl_cert_reqs", "required")
    return f"{scheme}://{place}{'?' if fields else ''}{urlencode(fields)}"


def broker_settings(
    redis_url: str, *, visibility_timeout_s: float = VISIBILITY_TIMEOUT_S, socket_timeout_s: float = 30.0
) -> dict[str, Any]:
    """The part of the queue's configuration that all processes share (queue.md 2.1), JSON only."""
    url = broker_url(redis_url)
    return {
        "broker_url": url,
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # for ever: a queue that comes back is worth waiting for
        "broker_transport_options": {
            "visibility_timeout": visibility_timeout_s,
            "unacked_restore_interval": 1,  # the sweep looks every second, not every hundredth (queue.md 0)
            "unacked_restore_throttle": 1,
            # A worker killed inside its sweep leaves this lock: by default no message of a dead worker would
            # be passed on for five minutes.
            "unacked_mutex_expire": SWEEP_LOCK_S,
            "queue_order_strategy": "priority",  # lanes are served in their order, not in turns
            "priority_steps": [0, 3, 6, 9],
            "sep": ":",
            "socket_keepalive": True,
            "health_check_interval": 10,
            "socket_timeout": socket_timeout_s,
            "socket_connect_timeout": CONNECT_S,
        },
        "redis_socket_keepalive": not url.startswith("redis+socket"),  # no such thing there
        "redis_socket_timeout": socket_timeout_s,
        "redis_socket_connect_timeout": CONNECT_S,
        "result_extended": True,
        "result_expires": RESULT_LIFE_S,
        "task_send_sent_event": True,
        "task_default_queue": queue_of("maintenance"),  # a forgotten route lands where a worker listens
        "task_routes": {name: {"queue": queue_of(lane_of(name))} for name in REQUESTS},
        "task_create_missing_queues": False,  # a typo fails where it is made
    }


def lane_queues() -> tuple[str, ...]:
    """The queues in the order in which one worker serves them."""
    return tuple(queue_of(lane) for lane in LANES)


def is_message_of(job_id: str, text: bytes) -> bool:
    """Whether it is the job's message, as it waits in a queue or as a worker holds it."""
    if json.dumps(job_id).encode() not in text:  # before it is read whole: it may be long
        return False
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    message = found[0] if isinstance(found, list) and found else found
    headers = message.get("headers") if isinstance(message, dict) else None
    return isinstance(headers, dict) and headers.get("id") == job_id
