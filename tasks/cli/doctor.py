"""doctor: what is not fit for work, and what to do about it. Starts nothing, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tasks.cli import wording
from tasks.cli.failures import REMARKS
from tasks.cli.lazy import command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tasks.cli.invocation import Invocation
    from worker.services.checks import Check, Checks

#: So many waiting jobs are a queue that nobody keeps up with.
_BACKLOG = 1000


@command("doctor")
@click.pass_obj
def doctor(invocation: Invocation) -> int:
    """Look at Redis, volume, limits, configuration, workers and queues; each finding with its remedy.

    Exit 0 when all is well, 3 when something is not.
    """
    made = []
    for check in _checks(invocation):
        made.append(check)
        if not invocation.quiet or check.verdict != "ok":
            for line in lines(check):
                invocation.data(line)
    bad = [check for check in made if check.verdict != "ok"]
    counts = {verdict: sum(check.verdict == verdict for check in made) for verdict in ("trouble", "warning")}
    invocation.tell(
        {"checks": [check.to_json() for check in made], **counts},
        f"{wording.count(counts['trouble'], 'trouble')}, {wording.count(counts['warning'], 'warning')}"
        if bad
        else f"all is well: {wording.count(len(made), 'check')}",
    )
    return REMARKS if bad else 0


def lines(check: Check) -> Iterator[str]:
    """One check for people."""
    yield f"{check.verdict:<7}  {f'{check.area}: {check.name}':<32}  {wording.printable(check.found)}"
    if check.remedy:
        yield f"{'':<9}-> {wording.printable(check.remedy)}"


def _checks(invocation: Invocation) -> Iterator[Check]:
    from caskeeper.embedding import running
    from caskeeper.errors import CaskeeperError
    from worker.services.checks import Checks
    from worker.services.doctor import examine
    from worker.services.doctor_host import look_at_process

    try:
        settings = invocation.settings
    except CaskeeperError as wrong:
        yield from look_at_process()
        checks = Checks("configuration")
        checks.trouble("file", str(wrong), wrong.way_out)
        yield from checks.made
        return
    url = settings.redis
    if url is None:
        endpoint = running(settings.cachedir)
        url = None if endpoint is None else endpoint.url
    answered = True
    for check in examine(settings, redis_url=url):
        answered = answered and (check.area, check.name, check.verdict) != ("redis", "reachable", "trouble")
        yield check
    if url is not None and answered:
        checks = Checks("queue")
        try:
            _look_at_queue(checks, invocation, url)
        except CaskeeperError as away:
            checks.trouble("reachable", str(away), away.way_out)
        yield from checks.made


def _look_at_queue(checks: Checks, invocation: Invocation, url: str) -> None:
    from caskeeper.coordination.leader import Leader

    queue_lengths = invocation.client.queue.lengths()
    judge_workers(checks, invocation.client.queue.serving(), queue_lengths)
    if invocation.settings.redis is None:
        return  # the embedded fleet looks after itself
    leader = Leader.connect(url, invocation.settings.leases)
    try:
        host = leader.leads()
    finally:
        leader.close()
    judge_beat(checks, host)


def judge_workers(checks: Checks, workers: Mapping[str, frozenset[str]], lengths: Mapping[str, int]) -> None:
    """Every lane is served, and its jobs do not pile up."""
    if not workers:
        waiting = sum(lengths.values())
        found = f"none answers; {wording.count(waiting, 'job')} waiting" if waiting else "none answers"
        checks.trouble("workers", found, "start `caskeeper worker`")
        return
    checks.ok("workers", f"{len(workers)}: {', '.join(sorted(workers))}")
    served = frozenset().union(*workers.values())
    for name, length in lengths.items():
        lane = name.partition(".")[2]
        if name not in served:
            judge = checks.trouble if length else checks.warning
            judge(
                f"lane {lane}",
                f"no worker serves it; {wording.count(length, 'job')} waiting",
                f"start `caskeeper worker --lane {lane}`",
            )
        elif length > _BACKLOG:
            checks.warning(f"lane {lane}", f"{length:,} jobs are waiting", "start more workers")
        else:
            checks.ok(f"lane {lane}", f"{wording.count(length, 'job')} waiting")


def judge_beat(checks: Checks, host: str) -> None:
    """Somebody puts the periodic upkeep into the queue."""
    if host:
        checks.ok("beat", f"leads on {wording.printable(host)}")
    else:
        checks.warning(
            "beat",
            "none leads: no recount, no sweep, no cleanup while no task runs",
            "start `caskeeper beat`",
        )
