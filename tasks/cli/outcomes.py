"""What became of a push at each remote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.cli import wording
from tasks.cli.failures import REMARKS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caskeeper.contract import PushOutcome
    from tasks.cli.invocation import Invocation


def tell_outcomes(
    invocation: Invocation, name: str, outcomes: Sequence[PushOutcome], *, say: Callable[[str], None]
) -> None:
    """One line for each remote, for people; what went wrong is never left out."""
    for outcome in outcomes:
        sentence = f"{name} -> {outcome.url}: {outcome.outcome}"
        if outcome.outcome == "pushed":
            sentence += f", {wording.count(outcome.blobs, 'object')}, {wording.size(outcome.bytes)}"
        if outcome.reason:
            invocation.complain(f"{sentence}: {outcome.reason}")
        else:
            say(sentence)


def code_of(outcomes: Sequence[PushOutcome]) -> int:
    """3 when a remote was not reached; a push that reached none is an error of the task's."""
    return REMARKS if any(outcome.outcome in {"full", "failed"} for outcome in outcomes) else 0
