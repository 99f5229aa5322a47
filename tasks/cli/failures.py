"""Failures -> one sentence and an exit code (interface section 7)."""

from __future__ import annotations

import io
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

import click

from tasks.cli import wording
from tasks.cli.output import Unwritable

if TYPE_CHECKING:
    from tasks.cli.invocation import Invocation

BUG, USAGE, REMARKS, INTERRUPTED = 1, 2, 3, 130


class Ended(BaseException):
    """A signal asked this process to end: unwind, clean up, exit with 128 + its number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def report(trouble: BaseException, invocation: Invocation) -> int:
    """Say what happened; the exit code of it."""
    from caskeeper.errors import CaskeeperError

    if isinstance(trouble, CaskeeperError):
        if not invocation.json:
            invocation.complain(str(trouble))
        invocation.emit(trouble.to_json())
        return trouble.exit_code
    if isinstance(trouble, Ended) and trouble.number == signal.SIGINT and sys.stderr.isatty():
        sys.stderr.write("\n")  # ends the line on which the terminal shows ^C
    if isinstance(trouble, (click.Abort, KeyboardInterrupt, Ended)):
        number = trouble.number if isinstance(trouble, Ended) else signal.SIGINT
        told = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
        return _say(invocation, "Interrupted", told, 128 + number, retry=True)
    if isinstance(trouble, Unwritable):
        invocation.complain(trouble.sentence)
        return trouble.exit_code
    if isinstance(trouble, click.ClickException):
        return _usage(trouble, invocation)
    if isinstance(trouble, BrokenPipeError):
        return 128 + signal.SIGPIPE
    if isinstance(trouble, SystemExit):
        return trouble.code if isinstance(trouble.code, int) else BUG
    if invocation.verbose:
        traceback.print_exception(trouble)
    what = f"{type(trouble).__name__}: {' '.join(str(trouble).split())}"
    hint = "" if invocation.verbose else "; --verbose shows where"
    sentence = f"this is a fault of caskeeper, please report it: {what}{hint}"
    return _say(invocation, "Bug", sentence, BUG, what=what, way_out="please report it")


def _say(
    invocation: Invocation,
    name: str,
    sentence: str,
    code: int,
    *,
    what: str = "",
    where: str = "",
    way_out: str = "",
    retry: bool = False,
) -> int:
    """What is no CaskeeperError, in the same words and the same document."""
    if not invocation.json:
        invocation.complain(sentence)
    document: dict[str, Any] = {
        "error": name,
        "what": what or sentence,
        "where": where,
        "way_out": way_out,
        "message": sentence,
        "exit_code": code,
        "retry": retry,
    }
    invocation.emit(document)
    return code


def _usage(trouble: click.ClickException, invocation: Invocation) -> int:
    if invocation.json:
        context = trouble.ctx if isinstance(trouble, click.UsageError) else None
        where = context.command_path if context else ""
        way_out = f"`{where or 'caskeeper'} --help` shows the usage"
        return _say(invocation, "Usage", trouble.format_message(), USAGE, where=where, way_out=way_out)
    told = io.StringIO()
    trouble.show(told)
    sys.stderr.write(wording.lines(told.getvalue().expandtabs().split("\n")))  # it quotes what was given
    return USAGE
