"""--best-effort: trouble with a remote or the queue never fails a build; it is one remark and exit 0.

What the caller got wrong (10 to 17) and bugs stay what they are, but for a push that its remotes refuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from caskeeper.best_effort import is_trouble
from caskeeper.outage import HURRY_S
from tasks.cli.waiting import wait

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caskeeper.errors import CaskeeperError
    from tasks.cli.invocation import Invocation
    from tasks.cli.waiting import Deadline, Sent

BEST_EFFORT = click.option(
    "--best-effort",
    is_flag=True,
    help="What may succeed later (20 to 26: a dead remote, Redis, --timeout) is one remark, and exit 0; "
    "of a push also what its remotes refuse.",
)


def wait_for(
    invocation: Invocation,
    sent: Sequence[Sent[Any]],
    *,
    verb: str,
    deadline: Deadline,
    best_effort: bool,
    passes: Callable[[CaskeeperError], bool] = is_trouble,
) -> None:
    """As ``wait``, for those that were sent; with ``best_effort`` what ``passes`` does not count."""
    for one in sent:
        if best_effort and one.job is not None:
            one.job.bears_s = HURRY_S
    wait(invocation, [one for one in sent if one.job is not None], verb=verb, deadline=deadline)
    if best_effort:
        for one in sent:
            if one.error is not None and passes(one.error):
                one.passed_over, one.error = one.error, None


def remarks(invocation: Invocation, sent: Sequence[Sent[Any]]) -> dict[str, list[str]]:
    """What was passed over as a part of the document; people are told in one line."""
    troubles = [one.passed_over for one in sent if one.passed_over is not None]
    if not troubles:
        return {}
    which = "it" if len(troubles) == 1 else f"{len(troubles)} of them"
    line = f"going on without {which}: {troubles[0]}"
    if not invocation.json:
        invocation.complain(line)
    return {"remarks": [line]}
