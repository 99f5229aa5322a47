"""hold: run a command while a session protects artifacts."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import click

from tasks.cli.lazy import Command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.artifact import Ref
    from tasks.cli.invocation import Invocation

#: What a shell answers when a command cannot be started.
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127
_FORWARDED = (signal.SIGTERM, signal.SIGHUP)


class _WithCommand(Command):
    """REF... -- COMMAND...: what comes after the first ``--`` is not ours to read."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ours, mark, command = args, "", list[str]()
        if "--" in args:
            position = args.index("--")
            ours, mark, command = args[:position], "--", args[position + 1 :]
        ctx.meta["command"] = command
        try:
            rest = super().parse_args(ctx, ours)
        except click.UsageError as wrong:
            if mark:
                raise
            said = wrong.format_message()  # an option of the command, most likely
            raise click.UsageError(
                f"{said} Write the command after --: hold REF... -- COMMAND...", ctx
            ) from None
        if not (mark and command) and not ctx.resilient_parsing:
            raise click.UsageError("write a command after --: hold REF... -- COMMAND...", ctx)
        return rest


@click.command("hold", cls=_WithCommand, options_metavar="[OPTIONS]")
@click.argument("refs", metavar="REF... -- COMMAND...", nargs=-1, required=True)
@click.pass_context
def hold(context: click.Context, *, refs: tuple[str, ...]) -> int:
    """Run COMMAND while a session protects every REF from eviction; its exit code is ours.

    What is not here yet is protected as soon as somebody brings it.
    """
    invocation: Invocation = context.obj
    command: list[str] = context.meta["command"]
    wanted = _parsed(refs)

    def tell_lost(lost: frozenset[Ref]) -> None:
        invocation.complain(f"the session was interrupted and does not protect: {_names(lost)}")

    with invocation.client.session(label=f"hold: {command[0]}"[:80], on_lost=tell_lost) as session:
        present = session.require(*wanted)
        absent = {str(ref) for ref in wanted} - {str(ref) for ref in present}
        if absent:
            invocation.note(f"not here, protected once somebody brings it: {', '.join(sorted(absent))}")
        return _run(invocation, command)


def _parsed(refs: Sequence[str]) -> list[Ref]:
    from caskeeper.artifact import Ref

    return [Ref.parse(ref) for ref in refs]


def _names(refs: frozenset[Ref]) -> str:
    return ", ".join(sorted(str(ref) for ref in refs))


def _run(invocation: Invocation, command: Sequence[str]) -> int:
    try:
        child = subprocess.Popen(command)
    except FileNotFoundError:
        invocation.complain(f"command not found: {command[0]}")
        return _NOT_FOUND
    except OSError as trouble:
        invocation.complain(f"{command[0]}: {trouble.strerror}")
        return _NOT_EXECUTABLE

    def forward(number: int, _frame: Any) -> None:
        if child.poll() is None:
            os.kill(child.pid, number)

    # Ctrl-C reaches the command by itself: the terminal sends it to both. It ends us when the command ends.
    previous = {signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    previous |= {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        code = child.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code
