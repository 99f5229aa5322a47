"""The volume part of `doctor` (safety.md section 2): is it there, is it ours, can its file system do it.

Changes nothing but folders ``run/probe.*`` of its own, which it removes.
"""

from __future__ import annotations

import os
import time
from itertools import islice
from typing import TYPE_CHECKING

from caskeeper.config.quota import limits as limits_of
from caskeeper.config.sizes import pretty_size
from caskeeper.errors import CaskeeperError, ConfigInvalid
from caskeeper.layout import Layout
from caskeeper.pins import read_pins
from worker.services.checks import Check, Checks
from worker.services.lost_format import gone
from worker.services.odd_refs import REMEDY, odd_told
from worker.services.space import INODES_HIGH, INODES_LEAST
from worker.store.coordinator import read_coordinator
from worker.store.fitness import can_link, check_file_system, check_owner, mount_of
from worker.store.format import find_format
from worker.store.refs import Refs
from worker.store.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caskeeper.config import Settings
    from caskeeper.coordination.examination import RedisFacts
    from worker.store.format import Format

#: So many files are asked for their owner.
_ASKED = 500
_SECOND_NS = 1_000_000_000


def look_at_volume(settings: Settings, redis: RedisFacts | None) -> list[Check]:
    """``redis`` is what is known of the database, if anything is."""
    checks = Checks("volume")
    layout = Layout(settings.cachedir)
    try:
        found = find_format(layout)
    except CaskeeperError as damage:
        checks.trouble("FORMAT", damage.what, damage.way_out)
        return checks.made
    if found is None:
        _judge_absence(checks, layout, redis)
        return checks.made
    checks.ok("FORMAT", f"{layout.root}: layout version {found.version}, volume {found.volume_id}")
    _judge_redis(checks, layout, found, redis)
    _judge_owner(checks, layout, found)
    try:
        volume = Volume(layout)
        volume.block_bytes = found.block_bytes
        _judge_space(checks, volume, settings)
        _judge_file_system(checks, volume, settings)
    except CaskeeperError as trouble:
        checks.trouble("file system", str(trouble), trouble.way_out)
    _judge_pins(checks, layout)
    _judge_refs(checks, layout)
    return checks.made


def _judge_absence(checks: Checks, layout: Layout, redis: RedisFacts | None) -> None:
    if os.path.isdir(layout.objects) and os.path.lexists(layout.coordinator):
        found = "it is gone, and everything else of the volume is here"
        if _is_known(layout, redis):
            checks.trouble("FORMAT", found, "`caskeeper status`, like every job of a worker, writes it anew")
        else:
            checks.trouble("FORMAT", found, gone(layout).way_out)
    elif redis is not None and redis.owner is not None:
        checks.trouble(
            "mounted",
            f"there is no volume at {layout.root}, and Redis belongs to volume {redis.owner}",
            "mount that volume there, or correct `cachedir`",
        )
    else:
        checks.ok("mounted", f"there is no volume at {layout.root} yet: the first worker makes it")


def _is_known(layout: Layout, redis: RedisFacts | None) -> bool:
    """Whether Redis tells for certain which volume this is."""
    there = read_coordinator(layout)
    if there is None or redis is None or redis.owner is None or redis.state is None or redis.state.lost:
        return False
    return there.epoch == redis.state.epoch


def _judge_redis(checks: Checks, layout: Layout, found: Format, redis: RedisFacts | None) -> None:
    if redis is None or redis.owner is None:
        return
    if redis.owner != found.volume_id:
        checks.trouble(
            "Redis",
            f"this is volume {found.volume_id}, and Redis belongs to volume {redis.owner}",
            "mount the right volume, or give this one a Redis database of its own",
        )
        return
    there = read_coordinator(layout)
    if there is None or redis.state is None or redis.state.lost or there.epoch == redis.state.epoch:
        checks.ok("Redis", "volume and Redis belong to each other")
    else:
        checks.trouble(
            "Redis",
            f"the volume was last used through {there.redis}, and not with the state that this Redis has",
            f"use that one; if the database was moved, remove {layout.coordinator}",
        )


def _judge_owner(checks: Checks, layout: Layout, found: Format) -> None:
    try:
        check_owner(found, layout.format)
    except CaskeeperError as other:
        checks.trouble("owner", other.what, other.way_out)
        return
    try:
        uids = {os.lstat(path).st_uid for path in _folders(layout)}
        uids.update(uid for path in islice(_files(layout), _ASKED) if (uid := _uid(path)) is not None)
    except OSError as trouble:
        checks.trouble("owner", f"{trouble.filename}: {trouble.strerror}", "look at the owner and mode of it")
        return
    strangers = sorted(uids - {found.uid})
    if strangers:
        checks.trouble(
            "owner",
            f"files of uid {', '.join(map(str, strangers))} lie in a volume of uid {found.uid}: nobody else "
            "can make them young or link them",
            f"`chown -R {found.uid}` on {layout.root}, and run everything as that user",
        )
    else:
        checks.ok("owner", f"uid {found.uid}, as this process")


def _folders(layout: Layout) -> tuple[str, ...]:
    return (layout.root, layout.objects, layout.refs, layout.closures, layout.staging, layout.trashes)


def _files(layout: Layout) -> Iterator[str]:
    for parent in (layout.refs, layout.objects):
        for above, _below, files in os.walk(parent):
            yield from (f"{above}/{name}" for name in files)


def _uid(path: str) -> int | None:
    """None: it was evicted meanwhile."""
    try:
        return os.lstat(path).st_uid
    except FileNotFoundError:
        return None


def _judge_space(checks: Checks, volume: Volume, settings: Settings) -> None:
    disk = volume.space()
    limits = limits_of(
        settings.cache, total_bytes=disk.total_bytes, available_bytes=disk.available_bytes, used_bytes=0
    )
    free, kept = pretty_size(disk.available_bytes), pretty_size(limits.reserved_disk_bytes)
    if disk.available_bytes <= limits.reserved_disk_bytes:
        checks.warning(
            "space",
            f"{free} are free, and `reserved-disk-space` keeps {kept}: nothing more is written",
            "free space on the disk, or lower `cache: reserved-disk-space`",
        )
    else:
        checks.ok("space", f"{free} free, of which {kept} stay so")
    if not disk.inodes_total:
        checks.ok("inodes", "this file system does not count them")
        return
    inodes = f"{disk.inodes_free} of {disk.inodes_total} are free"
    if disk.inodes_free < disk.inodes_total * INODES_HIGH:
        stopped = disk.inodes_free < disk.inodes_total * INODES_LEAST
        what = "nothing more is written" if stopped else "a cleanup is due"
        checks.warning(
            "inodes", f"{inodes}: {what}", "delete small files there, or take a file system with more inodes"
        )
    else:
        checks.ok("inodes", inodes)


def _judge_file_system(checks: Checks, volume: Volume, settings: Settings) -> None:
    mount = mount_of(volume.layout.root)
    if mount is not None:
        _judge_mount(checks, mount.kind, mount.options, network=mount.is_network)
    try:
        now_ns = check_file_system(volume)
    except ConfigInvalid as unfit:
        checks.trouble("times and renames", unfit.what, unfit.way_out)
        return
    checks.ok("times", "ages are kept exactly, modification times as they are set")
    _judge_clock(checks, volume, settings, now_ns)
    if volume.has_noreplace:
        checks.ok("renames", "a rename never replaces (RENAME_NOREPLACE)")
    else:
        checks.warning(
            "renames",
            "it has no RENAME_NOREPLACE: a link and an unlink are used instead, which is slower",
            "use a local file system, or a newer kernel",
        )
    most = None if mount is None else mount.most_links
    if can_link(volume):
        checks.ok("hard links", f"work; at most {most:,} to one file, then it is copied" if most else "work")
    else:
        checks.warning(
            "hard links",
            "are refused: every extract is a copy, which takes time and space",
            "put the whole cache folder on one local file system",
        )


def _judge_mount(checks: Checks, kind: str, options: frozenset[str], *, network: bool) -> None:
    ages = next((name for name in ("noatime", "relatime", "strictatime") if name in options), "strictatime")
    found = f"{kind}, {ages}"  # ages are set by hand: every one of them will do
    if "ro" in options:
        checks.trouble("file system", f"{kind}, mounted read-only", "mount it to be written")
    elif network:
        checks.warning(
            "file system",
            f"{found}, over the network: another host's changes may be seen late",
            "on every host mount it without caches of attributes and look-ups "
            "(NFS: `noac,lookupcache=none`), or use a local one",
        )
    else:
        checks.ok("file system", found)


def _judge_clock(checks: Checks, volume: Volume, settings: Settings, now_ns: int) -> None:
    """Against the latest time known to have been there, and against this host's."""
    margin_s = settings.leases.clock_margin_s
    seen_ns = os.stat(volume.layout.format).st_atime_ns
    ahead_s = (now_ns - time.time_ns()) / _SECOND_NS
    if now_ns + int(margin_s * _SECOND_NS) < seen_ns:
        checks.trouble(
            "clock",
            f"it is {(seen_ns - now_ns) / _SECOND_NS:.0f} s behind what it was at an earlier start",
            "set the clock of the volume's host",
        )
    elif abs(ahead_s) > max(margin_s, 1.0):
        checks.warning(
            "clock",
            f"it is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this host's",
            "set both clocks by NTP",
        )
    else:
        checks.ok("clock", "goes on, and agrees with this host's")


def _judge_refs(checks: Checks, layout: Layout) -> None:
    """One that cannot be read stops everything that deletes (I9)."""
    try:
        told = odd_told(Refs(Volume(layout)).odd())
    except CaskeeperError as trouble:
        checks.trouble("refs", str(trouble), trouble.way_out)
        return
    if told:
        checks.trouble("refs", told, REMEDY)
    else:
        checks.ok("refs", "all are readable")


def _judge_pins(checks: Checks, layout: Layout) -> None:
    try:
        pins = read_pins(layout).pins
    except CaskeeperError as damage:
        checks.trouble("pins", damage.what, damage.way_out)
    else:
        checks.ok("pins", f"{len(pins)} readable")
