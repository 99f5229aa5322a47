"""COORDINATOR: which Redis database the volume was last under, and in which epoch (decision 0005).

Promises: it is whole or absent, for it is written by one rename. What cannot be read as one is as none:
the file refuses a second database and permits nothing by itself.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from typing import TYPE_CHECKING, NamedTuple

from worker.store.failures import failure
from worker.store.format import without_waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.layout import Layout
    from worker.store.volume import Volume

#: More than any address is long: what is longer is no COORDINATOR.
_LIMIT_BYTES = 64 * 1024


class Coordinator(NamedTuple):
    """What COORDINATOR says; ``redis`` is the database's address without credentials."""

    epoch: str
    redis: str

    def to_bytes(self) -> bytes:
        """One JSON object and a newline, for people to read too."""
        return json.dumps(self._asdict(), indent=1, sort_keys=True).encode() + b"\n"


def read_coordinator(layout: Layout) -> Coordinator | None:
    """None: a volume that nobody has written it for, or what is written is damaged."""
    try:
        with open(layout.coordinator, "rb", opener=without_waiting) as file:
            document = json.loads(file.read(_LIMIT_BYTES))
        found = Coordinator(document["epoch"], document["redis"])
    except (FileNotFoundError, IsADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link that leads to itself
            return None
        raise failure(error, layout.coordinator) from error
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found.epoch, str) and isinstance(found.redis, str) else None


def write_coordinator(
    volume: Volume,
    coordinator: Coordinator,
    *,
    replaces: bool = True,
    last_look: Callable[[], None] = lambda: None,
) -> None:
    """Put it in place, over what was there if it ``replaces``.

    ``last_look`` runs right before that: it raises to prevent it.
    """
    staged = f"{volume.layout.run}/COORDINATOR.{secrets.token_hex(8)}"
    volume.make_folder(volume.layout.run, mode=0o700)
    volume.stage(staged, coordinator.to_bytes())
    try:
        volume.sync()
        last_look()
    except BaseException:
        volume.unlink(staged)
        raise
    if replaces:
        _set_folder_aside(volume)
        volume.replace(staged, volume.layout.coordinator)
    elif not volume.publish(staged, volume.layout.coordinator):
        volume.unlink(staged)


def _set_folder_aside(volume: Volume) -> None:
    """A folder in its place is nothing of ours: it is kept, out of the way (I9)."""
    place = volume.layout.coordinator
    if os.path.isdir(place) and not os.path.islink(place):
        volume.move_folder(place, f"{volume.layout.root}/damaged/COORDINATOR.{secrets.token_hex(8)}")
