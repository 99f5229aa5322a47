"""remotes: ask every configured remote how it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tasks.cli import wording
from tasks.cli.failures import REMARKS
from tasks.cli.lazy import command
from tasks.cli.waiting import Sent, queueing, waited

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.contract import RemoteHealth
    from tasks.cli.invocation import Invocation

_HEADS = ("URL", "USABLE", "FETCH", "PUSH", "PROTOCOL", "LATENCY", "PROJECTS")


@command("remotes")
@click.option("--project", metavar="P", help="Only the remotes of this project, in its order of priority.")
@queueing
@click.pass_obj
def remotes(invocation: Invocation, *, project: str | None, detach: bool, timeout_s: float | None) -> int:
    """Ask every configured remote how it is, all at once.

    Exit 3 when one cannot be used, or not be pushed to as configured.
    """
    sent = Sent(project or "", invocation.client.remotes(project))
    result = waited(invocation, sent, verb="remotes", detach=detach, timeout_s=timeout_s)
    if result is None:
        return 0
    invocation.emit(sent.document(project=project), _table(result.remotes))
    for remote in result.remotes:
        if remote.reason and not invocation.json:
            state = "fetch only" if remote.usable else "not usable"
            invocation.complain(f"{remote.url}: {state}: {remote.reason}")
    return REMARKS if any(remote.reason for remote in result.remotes) else 0


def _table(found: Sequence[RemoteHealth]) -> str:
    if not found:
        return "no remote is configured"
    rows = [_HEADS, *(_row(remote) for remote in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return wording.lines(line.rstrip() for line in lines)


def _row(remote: RemoteHealth) -> tuple[str, ...]:
    latency = "-" if remote.latency_ms is None else wording.duration(remote.latency_ms / 1000)
    flags = (_yes(remote.usable), _yes(remote.fetch), _yes(remote.push))
    return (remote.url, *flags, remote.protocol or "-", latency, " ".join(remote.projects))


def _yes(flag: bool) -> str:  # noqa: FBT001 -- a cell of the table
    return "yes" if flag else "no"
