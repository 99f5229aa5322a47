"""Doctor: is everything fit for work? Each part reports by itself, whatever is wrong with the others."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from caskeeper.errors import CaskeeperError
from caskeeper.layout import Layout
from worker.services.checks import Check, Checks
from worker.services.doctor_host import look_at_configuration, look_at_process
from worker.services.doctor_redis import look_at_redis
from worker.services.doctor_room import look_at_room
from worker.services.doctor_volume import look_at_volume
from worker.store.format import find_format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caskeeper.config import Settings


def examine(settings: Settings, *, redis_url: str | None) -> Iterator[Check]:
    """Every check that needs no queue, as soon as it is made.

    ``redis_url`` None: there is none to look at, because the embedded one is not running.
    """
    yield from look_at_process()
    yield from look_at_configuration(settings)
    facts = None
    if redis_url is not None:
        made, facts = look_at_redis(redis_url, _volume_id(settings))
        yield from made
    else:
        checks = Checks("redis")
        checks.ok("embedded", "not running now: the first command that needs it starts it")
        yield from checks.made
    yield from look_at_volume(settings, facts)
    if redis_url is not None and facts is not None:
        yield from look_at_room(settings, redis_url)


def _volume_id(settings: Settings) -> str | None:
    """What FORMAT says, if it can be read: the checks of the volume tell the rest."""
    with suppress(CaskeeperError):
        found = find_format(Layout(settings.cachedir))
        return None if found is None else found.volume_id
    return None
