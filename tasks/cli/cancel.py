"""cancel: end jobs, whoever waits for them. Durable: also of jobs that nobody has taken yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from caskeeper.errors import CaskeeperError, CoordinatorUnavailable
from tasks.cli.lazy import command

if TYPE_CHECKING:
    from caskeeper.coordination.jobs import Withdrawal
    from tasks.cli.invocation import Invocation

_TOLD = {
    "ended": "cancelled",
    "running": "is being ended; its worker stops within seconds",
    "over": "had ended before",
}


@command("cancel")
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@click.pass_obj
def cancel(invocation: Invocation, *, job_ids: tuple[str, ...]) -> int:
    """End jobs: one that waits at once, also when no worker is there; one that runs within two seconds.

    Whoever waits for one is told so (exit 26). An id that nobody knows is 10; the others are cancelled.
    """
    documents: list[dict[str, Any]] = []
    code = 0
    left = list(dict.fromkeys(job_ids))
    while left:
        job_id = left.pop(0)
        try:
            done: Withdrawal = invocation.client.cancel(job_id)
        except CaskeeperError as refused:
            gone = isinstance(refused, CoordinatorUnavailable)
            if gone and not documents:
                raise
            code = code or refused.exit_code
            failed = [job_id, *(left if gone else ())]  # without Redis the next would not get further
            documents += [{"job": each, "error": refused.to_json()} for each in failed]
            if not invocation.json:
                invocation.complain(str(refused))
            if gone:
                break
            continue
        documents.append({"job": job_id, "outcome": _WORDS.get(done.word, done.word)})
        invocation.say(f"{job_id}: {_TOLD.get(done.word, done.word)}")
    if invocation.json:
        invocation.emit({"jobs": documents})
    return code


#: What stands in the JSON document.
_WORDS = {"ended": "cancelled", "running": "stopping", "over": "ended"}
