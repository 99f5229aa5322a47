"""status: sizes, sessions, operations, workers and queues, at this moment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from tasks.cli import wording
from tasks.cli.lazy import command

if TYPE_CHECKING:
    from caskeeper.client import ClientStatus
    from tasks.cli.invocation import Invocation
    from worker.services.status import StatusResult

#: How long workers have to answer.
PING_S = 0.7


@command("status")
@click.pass_obj
def status(invocation: Invocation) -> None:
    """Sizes, quota, reservations, sessions, operations, workers and queues.

    Where the volume is not mounted, only what Redis knows.
    """
    from caskeeper.layout import Layout

    client = invocation.client
    client.redis_url  # noqa: B018 -- joined first: the embedded worker makes the volume
    mounted = os.path.isfile(Layout(invocation.settings.cachedir).format)
    volume = invocation.services.status() if mounted else None
    known = client.status() if volume is None else None
    queues = client.queue.lengths()
    taken = client.queue.taken()
    workers = _workers(invocation)
    document: dict[str, Any] = {
        "cachedir": invocation.settings.cachedir,
        "mounted": mounted,
        **(volume.to_json() if volume is not None else {}),
        **(_plain(known) if known is not None else {}),
        "workers": workers,
        "queues": queues,
        "taken": taken,
    }
    lines = _volume(volume) if volume is not None else []
    lines += _known(known) if known is not None else []
    waiting = ", ".join(f"{name.partition('.')[2]} {length}" for name, length in queues.items())
    lines += [
        f"workers     {len(workers)}{': ' if workers else ''}{', '.join(workers)}",
        f"queues      {waiting}; taken by workers {taken}",
    ]
    invocation.emit(document, "\n".join(lines))


def _workers(invocation: Invocation) -> list[str]:
    """Those that answer within a moment."""
    from tasks.celery_app import make_app

    app = make_app(invocation.settings, invocation.client.redis_url)
    try:
        answers: list[dict[str, Any]] = app.control.ping(timeout=PING_S) or []
    finally:
        app.close()
    return sorted(name for answer in answers for name in answer)


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
