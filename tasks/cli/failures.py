"""Failures -> one sentence and an exit code (interface section 7)."""

from __future__ import annotations

import signal
import traceback
from typing import TYPE_CHECKING, Any

import click

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
    if isinstance(trouble, (click.Abort, KeyboardInterrupt)):
        return _say(invocation, "Interrupted", "interrupted", INTERRUPTED)
    if isinstance(trouble, Ended):
        name = signal.Signals(trouble.number).name
        return _say(invocation, "Interrupted", f"ended by {name}", 128 + trouble.number)
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
    return _say(invocation, "Bug", f"this is a fault of caskeeper, please report it: {what}{hint}", BUG)


def _say(invocation: Invocation, name: str, sentence: str, code: int) -> int:
    if not invocation.json:
        invocation.complain(sentence)
    document: dict[str, Any] = {"error": name, "message": sentence, "exit_code": code}
    invocation.emit(document)
    return code


def _usage(trouble: click.ClickException, invocation: Invocation) -> int:
    if invocation.json:
        return _say(invocation, "Usage", trouble.format_message(), USAGE)
    trouble.show()
    return USAGE
