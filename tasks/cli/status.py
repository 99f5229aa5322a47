"""status: sizes, sessions, operations, workers and queues, at this moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from caskeeper.errors import CaskeeperError, CoordinatorUnavailable
from tasks.cli import wording
from tasks.cli.lazy import command

if TYPE_CHECKING:
    from caskeeper.client import Client, ClientStatus
    from tasks.cli.invocation import Invocation
    from worker.services.status import StatusResult


@command("status")
@click.pass_obj
def status(invocation: Invocation) -> None:
    """Sizes, quota, reservations, sessions, operations, workers and queues.

    Where the volume is not mounted, only what Redis knows.
    """
    client = invocation.client
    client.redis_url  # noqa: B018 -- joined first: the embedded worker makes the volume
    mounted = invocation.mounted()
    volume = invocation.look().status() if mounted else None
    odd, odd_lines = _odd(invocation) if mounted else ({}, [])
    known, unused = (None, "") if volume is not None else _known_to_redis(client)
    queues: dict[str, int] = {}
    taken, workers, unasked = 0, list[str](), ""
    try:
        queues, taken = client.queue.lengths(), client.queue.taken()
        workers = sorted(client.queue.serving())
    except CoordinatorUnavailable as refused:
        if volume is None:
            raise
        unasked = str(refused)  # a Redis that takes no writes still tells the rest
    document: dict[str, Any] = {
        "cachedir": invocation.settings.cachedir,
        "mounted": mounted,
        **(volume.to_json() if volume is not None else {}),
        **odd,
        **(_plain(known) if known is not None else {}),
        **({"remark": unused or unasked} if unused or unasked else {}),
        "workers": workers,
        "queues": queues,
        "taken": taken,
    }
    lines = [*_volume(volume), *odd_lines] if volume is not None else []
    lines += _known(known) if known is not None else []
    lines += [f"volume      {unused}"] if unused else []
    waiting = ", ".join(f"{name.partition('.')[2]} {length}" for name, length in queues.items())
    lines += (
        [f"workers     {unasked}"]
        if unasked
        else [
            f"workers     {len(workers)}{': ' if workers else ''}{', '.join(workers)}",
            f"queues      {waiting}; taken by workers {taken}",
        ]
    )
    invocation.emit(document, wording.lines(lines))


def _odd(invocation: Invocation) -> tuple[dict[str, Any], list[str]]:
    """What among the refs keeps everything from being deleted, as a document and as lines."""
    from worker.services.odd_refs import REMEDY, odd_told

    try:
        odd = invocation.look().listing.odd()
    except CaskeeperError as unknown:
        return {"refs_remark": str(unknown)}, [f"refs        {unknown}"]
    told = odd_told(odd)
    document = {"strangers": list(odd.strangers), "unreadable_refs": [str(ref) for ref in odd.unreadable]}
    return document, [f"refs        {told}: {REMEDY}"] if told else []


def _known_to_redis(client: Client) -> tuple[ClientStatus | None, str]:
    """What Redis knows, or why it knows nothing. Called when it has answered."""
    try:
        return client.status(), ""
    except CoordinatorUnavailable as nothing:
        return None, nothing.what


def _volume(found: StatusResult) -> list[str]:
    used, quota = found.used_bytes, found.quota_bytes
    share = f" ({100 * used / quota:.0f} %)" if quota else ""
    sure = "" if found.size_known else " (an upper bound: a recount is due)"
    state = "ready" if found.ready else "recovering what Redis forgot"
    disk = f"{wording.size(found.disk_available_bytes)} of {wording.size(found.disk_total_bytes)} free"
    cleanup = wording.size(found.cleanup_above_bytes), wording.size(found.cleanup_to_bytes)
    reserved = wording.size(found.reserved_bytes)
    lines = [
        f"volume      {found.cachedir} ({found.volume_id}), {state}",
        f"used        {wording.size(used)} of {wording.size(quota)}{share}{sure}, {reserved} reserved",
        f"cleanup     above {cleanup[0]}, down to {cleanup[1]}",
        f"disk        {disk}, {wording.size(found.disk_reserved_bytes)} of it stay free",
    ]
    if found.cleanup_wanted:
        lines.append(f"wanted      a cleanup: {found.cleanup_wanted}")
    if found.waiting_s:
        left = wording.duration(found.waiting_s)
        lines.append(
            f"waiting     {left} more until anything is evicted: who worked when Redis was lost may come back"
        )
    if found.maintenance:
        lines.append(f"maintenance {found.maintenance}")
    lines += [
        f"operation   {one.verb} {one.subject} on {one.host}, {wording.size(one.reserved_bytes)} reserved"
        for one in found.operations
    ]
    lines += [
        f"session     {one.id} {one.label or '-'}: {wording.count(one.keys, 'key')}, "
        f"ends in {wording.duration(one.expires_in_s)} unless renewed"
        for one in found.sessions
    ]
    return lines


def _known(found: ClientStatus) -> list[str]:
    usage = found.usage
    return [
        "volume      not mounted here",
        f"used        {wording.size(usage.used_bytes)}, {wording.size(usage.reserved_bytes)} reserved",
        f"sessions    {len(found.sessions)}",
    ]


def _plain(found: ClientStatus) -> dict[str, Any]:
    usage = found.usage
    return {
        "used_bytes": usage.used_bytes,
        "reserved_bytes": usage.reserved_bytes,
        "size_known": usage.known,
        "sessions": [session._asdict() for session in found.sessions],
    }
