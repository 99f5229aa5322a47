"""Making and removing pins on the volume; the caller holds the maintenance lease.

Promises: a pin appears whole, by one rename, flushed to the disk before and after it. Nothing else needs
the fence of a cleanup's folder: a pin that comes late only protects more, and its maker learns from the
lease that he may not promise it. Pins are no part of ``used`` (interface section 4).
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from caskeeper.errors import LeaseLost, VolumeFailed
from caskeeper.pins import UNFINISHED, read_pins
from worker.store.failures import failure

if TYPE_CHECKING:
    from caskeeper.pins import Pin, PinSet
    from worker.store.volume import Volume


class Pins:
    """The pins of one volume."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._folder = volume.layout.pins

    def read(self) -> PinSet:
        """All of them. Raises VolumeFailed, PermissionDenied: then nothing may be deleted (I9)."""
        return read_pins(self._volume.layout)

    def holds(self, pin: Pin) -> bool:
        """Whether there is a file for it, damaged or not."""
        return os.path.lexists(self._path(pin))

    def add(self, pin: Pin) -> None:
        """Write it, over a damaged one if need be. Raises LeaseLost, NoSpace, PermissionDenied.

        A folder in its place is nothing of ours: it is kept, out of the way, in ``damaged/``.
        """
        self._drop_unfinished()
        place = self._path(pin)
        if os.path.isdir(place) and not os.path.islink(place):
            aside = f"{self._volume.layout.root}/damaged/pin.{secrets.token_hex(8)}"
            self._volume.move_folder(place, aside)
        staged = f"{self._folder}/{UNFINISHED}{secrets.token_hex(8)}"
        self._volume.stage(staged, pin.to_bytes())
        try:
            self._volume.sync()
            self._volume.replace(staged, place)
        except VolumeFailed as trouble:
            if os.path.lexists(staged):
                raise
            # Only who holds the lease clears unfinished ones away: it is another's by now.
            raise LeaseLost("another one took the maintenance lease", staged) from trouble
        self._volume.sync()

    def remove(self, pin: Pin) -> bool:
        """Take it away, damaged or not. False: there was none."""
        gone = self._volume.unlink(self._path(pin)) is not None
        self._drop_unfinished()
        self._volume.sync()
        return gone

    def _drop_unfinished(self) -> None:
        """What a crash left between writing and renaming."""
        try:
            names = os.listdir(self._folder)
        except OSError as error:
            raise failure(error, self._folder) from error
        for name in names:
            if name.startswith(UNFINISHED):
                self._volume.unlink(f"{self._folder}/{name}")

    def _path(self, pin: Pin) -> str:
        return f"{self._folder}/{pin.name}"
