"""jobs: what is queued, running, done, failed and cancelled, from the queue's own log.

Neither a worker nor Flower is needed for it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from caskeeper.contract import LANES
from tasks.cli import wording
from tasks.cli.lazy import command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.coordination.jobrecords import JobRecord, State
    from tasks.cli.invocation import Invocation

#: The states by their names, here so that the command line need not load the queue to be parsed.
STATES: tuple[State, ...] = ("queued", "running", "retrying", "done", "failed", "cancelled")
_HEAD = ("JOB", "STATE", "TASK", "SUBJECT", "SENT", "TOOK", "WHO", "WHERE")
_LONGEST_SUBJECT = 60


@command("jobs")
@click.option("--state", type=click.Choice(STATES), help="Only jobs in this state.")
@click.option("--lane", type=click.Choice(LANES), help="Only jobs of this lane.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    metavar="N",
    help="So many, the last sent first.",
)
@click.pass_obj
def jobs(invocation: Invocation, *, state: State | None, lane: str | None, limit: int) -> None:
    """The jobs of this queue, newest first: what, who, when, where, and why one failed.

    The last 10,000 are kept, each for a week. `caskeeper job ID` tells all about one.
    """
    found = invocation.client.jobs(limit=limit, state=state, lane=lane)
    document = {"jobs": [one.to_json() for one in found]}
    invocation.emit(document, "\n".join(table(found, now_s=time.time())) or None)
    if not found and not invocation.json:
        invocation.note("no such job" if state or lane else "no job was sent yet")


def table(found: Sequence[JobRecord], *, now_s: float) -> list[str]:
    """One line a job under a head; why one did not succeed stands at its end."""
    if not found:
        return []
    rows = [_HEAD, *(_row(one, now_s) for one in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    whys = ["", *(why(one) for one in found)]
    return [f"{line}  {reason}" if reason else line for line, reason in zip(lines, whys, strict=True)]


def _row(one: JobRecord, now_s: float) -> tuple[str, ...]:
    subject = wording.printable(one.subject)
    if len(subject) > _LONGEST_SUBJECT:
        subject = f"{subject[: _LONGEST_SUBJECT - 1]}\N{HORIZONTAL ELLIPSIS}"
    return (
        one.id,
        one.state,
        one.task,
        subject or "-",
        wording.instant(one.sent_ms),
        took(one, now_s) or "-",
        wording.printable(one.who) or "-",
        wording.printable(one.worker if one.state != "queued" else "") or "-",  # it was put back
    )


def took(one: JobRecord, now_s: float) -> str:
    """How long it has been running, or ran; "": it has not begun."""
    if not one.begun_ms:
        return ""
    end_ms = one.ended_ms or now_s * 1000 if one.state != "queued" else one.begun_ms
    return wording.duration(max(0.0, (end_ms - one.begun_ms) / 1000))


def why(one: JobRecord) -> str:
    """Why it is not done, in words; "": nothing is to be said about it."""
    if one.state == "running" and not one.alive:
        return "its worker was not heard of lately: another one takes it over"
    if one.cancelled_by and one.state == "running":
        return f"is being ended: cancelled by {wording.printable(one.cancelled_by)}"
    if one.state == "cancelled" and one.cancelled_by:
        return f"by {wording.printable(one.cancelled_by)}"
    if one.state in {"failed", "retrying", "cancelled"}:
        return wording.printable(one.sentence)
    return ""
