"""pin, unpin, pins: permanent protection by ref or by glob. No worker is needed, but the volume is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tasks.cli import wording
from tasks.cli.lazy import command

if TYPE_CHECKING:
    from tasks.cli.invocation import Invocation
    from worker.protocols import Context


@command("pin")
@click.argument("patterns", metavar="REF|GLOB...", nargs=-1, required=True)
@click.pass_obj
def pin(invocation: Invocation, *, patterns: tuple[str, ...]) -> None:
    """Protect artifacts from cleanup and remove until they are unpinned: those here, and those to come.

    In a GLOB * and ? also match /; quote it for the shell.
    """
    _check(patterns)
    done = invocation.look().pins.pin(patterns, _context())
    lines = [
        f"{one.pattern}: {'pinned' if one.added else 'was pinned'}, "
        f"{wording.count(one.here, 'artifact')} of it here"
        for one in done
    ]
    invocation.tell({"pins": [one.to_json() for one in done]}, "\n".join(lines))


@command("unpin")
@click.argument("patterns", metavar="REF|GLOB...", nargs=-1, required=True)
@click.pass_obj
def unpin(invocation: Invocation, *, patterns: tuple[str, ...]) -> None:
    """End the protection of pins, named exactly as `pins` lists them."""
    _check(patterns)
    gone = invocation.look().pins.unpin(patterns, _context())
    invocation.tell({"unpinned": list(gone)}, "\n".join(f"{pattern}: unpinned" for pattern in gone))


@command("pins")
@click.pass_obj
def list_pins(invocation: Invocation) -> None:
    """The pins, one a line."""
    patterns = [one.pattern for one in invocation.client.pins()]
    invocation.emit({"pins": patterns}, "\n".join(patterns) or None)


def _check(patterns: tuple[str, ...]) -> None:
    """A pattern that cannot be one is told before anything is connected or started."""
    from caskeeper.pins import Pin

    for pattern in patterns:
        Pin.parse(pattern)


def _context() -> Context:
    from worker.protocols import quiet

    return quiet()
