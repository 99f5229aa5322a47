"""import."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from tasks.cli import wording
from tasks.cli.failures import REMARKS
from tasks.cli.lazy import command
from tasks.cli.waiting import Sent, queueing, waited

if TYPE_CHECKING:
    from caskeeper.contract import ImportResult
    from tasks.cli.invocation import Invocation

_OUTCOMES = {
    "imported": "imported",
    "present": "here already",
    "kept": "left, for the name stands for another tree here",
    "damaged": "damaged or incomplete there",
}


@command("import")
@click.argument("folder", metavar="DIR")
@click.option("--dry-run", is_flag=True, help="Only say what would be taken over; content is not verified.")
@queueing
@click.pass_obj
def import_cache(
    invocation: Invocation, *, folder: str, dry_run: bool, detach: bool, timeout_s: float | None
) -> int:
    """Take over the artifacts of the BuildStream 1.x cache folder DIR, copied and verified.

    DIR stays as it is. Exit 3 when some were not taken over, or not whole.
    """
    sent = Sent(folder, invocation.client.import_cache(folder, dry_run=dry_run))
    result = waited(invocation, sent, verb="import", detach=detach, timeout_s=timeout_s)
    if result is None:
        return 0
    if not invocation.json:
        _say(invocation, result)
    invocation.tell(sent.document(path=folder), _summary(result))
    return REMARKS if any(one.reason for one in result.artifacts) else 0


def _say(invocation: Invocation, result: ImportResult) -> None:
    for one in result.artifacts:
        if one.reason:
            invocation.note(f"{one.ref}: {one.outcome}: {one.reason}")
        elif result.dry_run or invocation.verbose:
            without = f"  without {', '.join(one.excluded)}" if one.excluded else ""
            invocation.data(f"{one.outcome:<9}  {one.ref}{without}")


def _summary(result: ImportResult) -> str:
    counted = Counter(one.outcome for one in result.artifacts)
    told = [f"{counted[outcome]:,} {words}" for outcome, words in _OUTCOMES.items() if counted[outcome]]
    moved = f"{wording.count(result.blobs, 'object')}, {wording.size(result.bytes)}"
    verb = "would be copied" if result.dry_run else "copied"
    return f"refs: {', '.join(told) or 'none'}; {moved} {verb}"
