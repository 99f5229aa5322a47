"""Settings become services, and a folder becomes a volume.

``build`` is called in the process that will work, after a fork; ``worker.assembly`` picks implementations.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from caskeeper.coordination import Coordination
from caskeeper.errors import Busy, ConfigInvalid, NoSpace
from caskeeper.layout import Layout
from worker.assembly import Services
from worker.services.lost_format import find_or_mend_format
from worker.services.one_coordinator import refuse_second, take_up
from worker.store.fitness import accept
from worker.store.format import (
    BALLAST_BYTES,
    creation_lock,
    discard_staged,
    find_format,
    make_ballast,
    new_format,
    prepare_folders,
    publish_format,
    stage_format,
    staged_formats,
)
from worker.store.volume import Volume

if TYPE_CHECKING:
    from caskeeper.config.settings import Settings
    from worker.remote import RemotePool
    from worker.store.format import CreationLock, Format

__all__ = ["Services", "build", "open_volume", "wire"]

log = logging.getLogger(__name__)


def build(settings: Settings, *, redis_url: str, looks: bool = False) -> Services:
    """Open the volume at ``settings.cachedir``, or make one there, and wire everything that works on it.

    Raises ConfigInvalid (another volume's Redis, another layout version, an unmounted volume, a quota that
    cannot be: AC-2), PermissionDenied (another uid), CoordinatorUnavailable, VolumeFailed. Whoever only
    ``looks`` writes nothing to try the volume.
    """
    volume, coordination = open_volume(settings, redis_url=redis_url, looks=looks)
    services = Services(settings, volume, coordination, lambda: _remotes(settings, coordination))
    try:
        if not looks:
            services.make_all()
        services.maintenance.ensure_ready()
        services.space.accept()
    except BaseException:
        services.close()
        raise
    return services


def _remotes(settings: Settings, coordination: Coordination) -> RemotePool:
    from worker.remote import RemotePool  # noqa: PLC0415 -- loads gRPC, which most looks do without
    from worker.remote.breaker import Breaker  # noqa: PLC0415 -- as above
    from worker.remote.turns import Turns  # noqa: PLC0415 -- as above

    return RemotePool(
        breaker=Breaker(coordination.breakers),
        turns=Turns(coordination.limits, most=settings.queue.max_transfers),
    )


def wire(settings: Settings, volume: Volume, coordination: Coordination, remotes: RemotePool) -> Services:
    """The services over parts that are there already, all of them made. Contacts nobody."""
    services = Services(settings, volume, coordination, lambda: remotes)
    services.make_all()
    return services


def open_volume(settings: Settings, *, redis_url: str, looks: bool = False) -> tuple[Volume, Coordination]:
    """The volume at ``settings.cachedir`` and what Redis knows of it; both are made when neither exists."""
    layout = Layout(settings.cachedir)
    found = find_or_mend_format(layout, redis_url=redis_url)
    if found is None:
        _refuse_unmounted(layout, redis_url=redis_url)
        Volume.make_root(layout)
        volume = Volume(layout)
        with creation_lock(volume) as lock:
            found = find_format(layout) or _create(volume, lock, settings, redis_url=redis_url)
    volume = Volume(layout)
    accept(volume, found, clock_margin_s=settings.leases.clock_margin_s, looks=looks)
    coordination = Coordination.connect(redis_url, volume_id=found.volume_id, leases=settings.leases)
    try:
        refuse_second(volume, coordination)
    except BaseException:
        coordination.close()
        raise
    try:
        # What a full disk was given back stays free until there is room for both.
        if not looks and volume.space().available_bytes >= 2 * BALLAST_BYTES:
            make_ballast(volume)
    except NoSpace:
        log.warning("no room for the ballast", extra={"path": layout.ballast})
    return volume, coordination


def _create(volume: Volume, lock: CreationLock, settings: Settings, *, redis_url: str) -> Format:
    """A volume where none is. Cut short at any step, the next start goes on from there.

    FORMAT is staged before Redis learns of it and published afterwards: a volume that Redis knows can
    always be completed, and one that Redis does not know was never used.
    """
    from worker.store.adoption import needs_adoption  # noqa: PLC0415 -- once in a volume's life
    from worker.store.measure import used_bytes  # noqa: PLC0415 -- as above

    layout = volume.layout
    _refuse_unmounted(layout, redis_url=redis_url)
    owner = Coordination.volume_of(redis_url)
    staged = staged_formats(layout)
    chosen = next((format_ for format_ in staged if owner in {None, format_.volume_id}), None)
    if chosen is None:
        if needs_adoption(layout):
            _adopt(volume, lock)
        else:
            _refuse_foreign(layout)
        prepare_folders(volume)
        chosen = new_format(volume)
    for other in staged:
        if other != chosen:
            discard_staged(volume, other)
    # A staged FORMAT leaves the part of the volume that is counted as soon as it is published.
    volume.block_bytes = chosen.block_bytes
    staged_bytes = volume.charge(len(chosen.to_bytes())) if chosen in staged else 0
    used = used_bytes(volume) - staged_bytes
    stage_format(volume, chosen)
    coordination = Coordination.create(
        redis_url,
        volume_id=chosen.volume_id,
        epoch=chosen.epoch,
        used_bytes=used,
        leases=settings.leases,
    )
    try:
        # The state of a creation that was cut short may be lost by now: then whoever recovers it writes.
        take_up(volume, coordination, coordination.state().epoch or chosen.epoch, begins=True)
    finally:
        coordination.close()
    published = publish_format(volume, chosen)
    if published.volume_id != chosen.volume_id:
        raise Busy("another host makes a volume in the same folder", layout.root)
    log.info("volume made", extra={"path": layout.root, "volume": chosen.volume_id})
    return published


def _adopt(volume: Volume, lock: CreationLock) -> None:
    from worker.services.takeover import take_over_refs  # noqa: PLC0415 -- once in a volume's life
    from worker.store.adoption import adopt  # noqa: PLC0415 -- as above

    adoption = adopt(volume, lock)
    prepare_folders(volume)
    aside = [*adoption.damaged, *take_over_refs(volume)]
    log.info(
        "cache of BuildStream 1.x adopted",
        extra={"path": volume.layout.root, "objects": adoption.objects, "bytes": adoption.size_bytes},
    )
    for path in aside:
        log.warning("set aside: it is damaged", extra={"path": path})


def _refuse_foreign(layout: Layout) -> None:
    """Objects without refs and FORMAT are another program's, which has other rules for them (I9)."""
    for _folder, _folders, files in os.walk(layout.objects):
        if files:
            raise ConfigInvalid(
                "the folder holds objects of another program, and nothing says what they belong to",
                layout.objects,
                "name an empty folder as `cachedir`, or a cache of BuildStream 1.x",
            )


def _refuse_unmounted(layout: Layout, *, redis_url: str) -> None:
    """A Redis that knows a volume, and a folder without one: nothing is written there (I9)."""
    owner = Coordination.volume_of(redis_url)
    if owner is None or any(staged.volume_id == owner for staged in staged_formats(layout)):
        return
    # Whoever makes a volume tells Redis before it publishes FORMAT: look for that once more, last.
    if find_format(layout) is None:
        raise ConfigInvalid(
            f"there is no volume here, and this Redis database belongs to volume {owner}",
            layout.root,
            "mount that volume, correct `cachedir`, or give this folder a Redis database of its own",
        )
