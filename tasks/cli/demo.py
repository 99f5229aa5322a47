"""demo: the whole of it on one machine, and a table of what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tasks.cli import wording
from tasks.cli.lazy import command

if TYPE_CHECKING:
    from tasks.cli.invocation import Invocation
    from tasks.demo import Outcome


@command("demo")
@click.pass_obj
def demo(invocation: Invocation) -> None:
    """A real tree through every verb, with a server and two workers, in a temporary folder that goes.

    Needs nothing and leaves nothing; TMPDIR names where the folder is made.
    """
    from tasks import demo as story

    outcome = story.run(invocation)
    if invocation.json:
        rows = [{**row._asdict(), "rate": _rate(row.size_bytes, row.seconds)} for row in outcome.rows]
        invocation.emit({"rows": rows, "findings": outcome.findings})
        return
    _print_table(outcome)
    for finding in outcome.findings:
        invocation.say(f"- {finding}")


def _rate(size_bytes: int, seconds: float) -> float:
    return round(size_bytes / max(seconds, 0.001))


def _print_table(outcome: Outcome) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="caskeeper demo", title_justify="left")
    table.add_column("operation")
    for name in ("files", "bytes", "seconds", "rate"):
        table.add_column(name, justify="right")
    for row in outcome.rows:
        rate = f"{wording.size(_rate(row.size_bytes, row.seconds))}/s"
        table.add_row(row.operation, row.files, wording.size(row.size_bytes), f"{row.seconds:.2f}", rate)
    Console(soft_wrap=True).print(table)
