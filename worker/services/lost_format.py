"""FORMAT is damaged or gone, and everything else of the volume is here: written anew from what is known.

Only where there is no doubt which volume this is (I9): COORDINATOR names an epoch, and it is the one that the
volume of this Redis database is in now. An unmounted or foreign folder has no such file.
"""

from __future__ import annotations

import logging
import os
import secrets
from typing import TYPE_CHECKING

from caskeeper.coordination import Coordination
from caskeeper.errors import VolumeFailed
from worker.store.coordinator import read_coordinator
from worker.store.failures import failure
from worker.store.format import Format, creation_lock, find_format, replace_format, staged_formats
from worker.store.volume import Volume

if TYPE_CHECKING:
    from caskeeper.layout import Layout

log = logging.getLogger(__name__)

_TIMEOUT_S = 5.0


def find_or_mend_format(layout: Layout, *, redis_url: str) -> Format | None:
    """What FORMAT says, written anew if need be; None: this is no volume that Redis knows.

    Raises what ``find_format`` does when it is damaged and nothing says for certain what it was, and
    VolumeFailed when it is gone so.
    """
    try:
        found = find_format(layout)
    except VolumeFailed:
        mended = _mend(layout, redis_url=redis_url)
        if mended is None:
            raise
        return mended
    # A staged one is that of a creation that was cut short: it is completed.
    if found is None and os.path.lexists(layout.coordinator) and not staged_formats(layout):
        mended = _mend(layout, redis_url=redis_url)
        if mended is None and os.path.isdir(layout.objects):
            raise gone(layout)
        return mended
    return found


def gone(layout: Layout) -> VolumeFailed:
    """What to say when FORMAT is gone, and Redis does not tell for certain which volume this is."""
    written = read_coordinator(layout)
    other = "" if written is None else f"use the Redis it was last used through, {written.redis}, or "
    return VolumeFailed(
        "FORMAT is gone, and this Redis does not tell for certain which volume this is",
        layout.format,
        f"{other}restore FORMAT from a backup of this file",
    )


def _mend(layout: Layout, *, redis_url: str) -> Format | None:
    volume_id = Coordination.volume_of(redis_url)
    written = read_coordinator(layout)
    if volume_id is None or written is None:
        return None
    if written.epoch != Coordination.epoch_of(redis_url, volume_id, _TIMEOUT_S):
        return None
    volume = Volume(layout)
    with creation_lock(volume):
        try:
            found = find_format(layout)
        except VolumeFailed:
            found = None
        if found is not None:
            return found  # another process was faster
        try:
            uid = os.stat(layout.objects).st_uid
        except FileNotFoundError:
            return None
        except OSError as error:
            raise failure(error, layout.objects) from error
        # Not the present epoch: whether it was made in that is not known, so a loss of Redis is waited for.
        mended = Format(volume_id, volume.block_bytes, uid, f"mended-{secrets.token_hex(8)}")
        replace_format(volume, mended)
    log.warning("FORMAT was damaged or gone, and is written anew", extra={"path": layout.format})
    return mended
