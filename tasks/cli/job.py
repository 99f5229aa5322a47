"""job: everything that is known of one job, and waiting for one that was sent by whomever."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from caskeeper.errors import InvalidRequest
from tasks.cli import wording
from tasks.cli.jobs import took, why
from tasks.cli.lazy import command
from tasks.cli.waiting import TIMEOUT, Deadline, Sent, exit_code, wait

if TYPE_CHECKING:
    from caskeeper.contract import Message
    from caskeeper.coordination.jobrecords import JobRecord
    from tasks.cli.invocation import Invocation


@command("job")
@click.argument("job_id", metavar="ID")
@click.option("--follow", is_flag=True, help="Wait until it has ended, and exit as it did.")
@TIMEOUT
@click.pass_obj
def job(invocation: Invocation, *, job_id: str, follow: bool, timeout_s: float | None) -> int:
    """What a job does, who sent it, where it runs, and what became of it, up to a week later.

    With --follow: how far it is, until it has ended; Ctrl-C does not end a job that others wait for, such as
    those that were sent with --detach or by another program.
    """
    if timeout_s is not None and not follow:
        raise click.UsageError("--timeout goes with --follow")
    record = _record(invocation, job_id)
    sent: Sent[Message] = Sent(record.subject, invocation.client.job(job_id))
    code = 0
    if follow and record.ended and invocation.client.queue.state(job_id) is None:
        code = record.exit_code  # its result is kept for less time than what is known of it
    elif follow:
        wait(invocation, [sent], verb=record.task, deadline=Deadline(timeout_s))
        code = exit_code([sent])
        # Redis may have been emptied meanwhile: what was awaited is told all the same.
        record = invocation.client.record(job_id) or record
    document = {**record.to_json(), **_outcome(invocation, sent, record)}
    invocation.emit(document, "\n".join(_lines(record, document)))
    if sent.error is not None and not invocation.json and not record.ended:
        invocation.complain(str(sent.error))  # its own failure stands in the record
    return code


def _record(invocation: Invocation, job_id: str) -> JobRecord:
    record = invocation.client.record(job_id)
    if record is None:
        raise InvalidRequest(
            "no job with this id is known",
            f"job {wording.printable(job_id[:80])}",
            "`caskeeper jobs` lists those of the last week",
        )
    return record


def _outcome(invocation: Invocation, sent: Sent[Message], record: JobRecord) -> dict[str, Any]:
    """Its result, where it is still stored; or the error of whoever waited."""
    if sent.error is not None:
        return {"failure": sent.error.to_json()}
    if sent.result is not None:
        return {"result": sent.result.to_json()}
    if record.state != "done":
        return {}
    stored = invocation.client.queue.state(record.id) or {}
    return {"result": stored["result"]} if stored.get("status") == "SUCCESS" else {}


def _lines(record: JobRecord, document: dict[str, Any]) -> list[str]:
    lines = [
        f"job        {record.id}",
        f"state      {record.state}",
        f"task       {record.task}, lane {record.lane}",
        f"subject    {wording.printable(record.subject) or '-'}",
        f"sent       {wording.instant(record.sent_ms)} by {wording.printable(record.who) or 'somebody'}",
    ]
    if record.begun_ms:
        starts = f", begun {wording.count(record.starts, 'time')}" if record.starts > 1 else ""
        where = f"{wording.printable(record.worker) or 'a worker'}, process {record.pid}"
        lines.append(f"begun      {wording.instant(record.begun_ms)} on {where}{starts}")
    if record.retries:
        lines.append(f"tried      again {wording.count(record.retries, 'time')} after trouble of its own")
    if record.ended_ms:
        took_words = took(record, record.ended_ms / 1000)
        after = f" after {took_words}" if took_words else ""
        lines.append(f"ended      {wording.instant(record.ended_ms)}{after}")
    elif record.begun_ms and record.state == "running":
        lines.append(f"running    for {took(record, time.time())}")
    if record.waiters and not record.ended:
        lines.append(f"awaited    by {wording.count(record.waiters, 'caller')}")
    if record.bytes:
        lines.append(f"moved      {wording.size(record.bytes)}")
    if record.error:
        lines.append(f"error      {record.error}, exit code {record.exit_code}")
    if reason := why(record):
        lines.append(f"why        {reason}")
    if "result" in document:
        lines += [f"result     {name}: {_short(value)}" for name, value in document["result"].items()]
    return lines


def _short(value: object) -> str:
    text = wording.printable(str(value))
    return text if len(text) <= 200 else f"{text[:199]}\N{HORIZONTAL ELLIPSIS}"
