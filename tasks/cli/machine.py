"""up, down, and the hidden supervise: everything on one machine, with the embedded Redis of a cachedir."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click

from tasks.cli.failures import Ended
from tasks.cli.lazy import command

if TYPE_CHECKING:
    from tasks.cli.invocation import Invocation


@command("up")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="So many worker processes.",
)
@click.pass_obj
def up(invocation: Invocation, *, workers: int) -> None:
    """Everything on one machine until Ctrl-C: an embedded Redis, workers. Leaves nothing running.

    Other commands with the same configuration join it.
    """
    from caskeeper.errors import ConfigInvalid
    from tasks.supervisor import Fleet, stay_up
    from worker.telemetry.log import configure

    settings = invocation.settings
    if settings.redis is not None:
        raise ConfigInvalid(
            "`up` brings a Redis of its own, and one is configured",
            settings.source or "environment variable CASKEEPER_REDIS_URL",
            "start `caskeeper worker` for that one, or take `redis` out",
        )
    configure(settings.log.level, settings.log.format)
    signal.signal(signal.SIGTERM, _end)  # until the fleet is up, and then looks after signals itself
    with Fleet(settings, workers=workers) as fleet:
        processes = fleet.processes()
        told = ", ".join(f"{name} (process {pid})" for name, pid in processes)
        invocation.tell(
            {"event": "up", "cachedir": settings.cachedir, "redis": fleet.url, "processes": dict(processes)},
            f"up for {settings.cachedir}: {told}; Ctrl-C ends it",
        )
        stay_up(fleet)


@command("down")
@click.pass_obj
def down(invocation: Invocation) -> None:
    """End the embedded server of this cachedir now. Queued jobs stay for the next one."""
    from caskeeper.embedding import end

    settings = invocation.settings
    if settings.redis is not None:
        from caskeeper.coordination.connection import without_credentials

        invocation.tell(
            {"ended": False, "embedded": False},
            "there is no embedded server in this configuration: it names the Redis "
            + without_credentials(settings.redis),
        )
        return
    ended = end(settings.cachedir)
    invocation.tell({"ended": ended}, "ended" if ended else "none was running")


@command("supervise", hidden=True)
@click.pass_obj
def supervise(invocation: Invocation) -> int:
    """What a command starts in the background when no Redis is configured and none runs."""
    from tasks import supervisor

    return supervisor.supervise(invocation.settings)


def _end(number: int, _frame: object) -> None:
    raise Ended(number)
