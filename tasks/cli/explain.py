"""explain: why an artifact is kept, or why and when it went. Needs no worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from caskeeper.explanation import how_it_went
from tasks.cli import wording
from tasks.cli.lazy import command
from tasks.cli.look import MEND, NOT_HERE, REPAIR

if TYPE_CHECKING:
    from caskeeper.contract import Explanation, Happening, Keeper
    from tasks.cli.invocation import Invocation

_MEANS = {"evict": "would evict it", "protected": "keeps it", "young": "keeps it", "kept": "would keep it"}


@command("explain")
@click.argument("ref", metavar="REF")
@click.pass_obj
def explain(invocation: Invocation, *, ref: str) -> int:
    """Why REF is kept, or why and when it went.

    Exit 11 when it was never seen: neither here nor in the event log, which keeps some 50,000 entries.
    """
    from caskeeper.artifact import Ref
    from caskeeper.contract import ExplainRequest
    from worker.protocols import quiet

    parsed = Ref.parse(ref)
    found = invocation.look().explain(ExplainRequest(ref=str(parsed)), quiet())
    invocation.emit(found.to_json(), wording.lines(f"{name:<8}  {text}" for name, text in facts(found)))
    return 0 if found.seen else NOT_HERE


def facts(found: Explanation) -> list[tuple[str, str]]:
    """What there is to say, a line each."""
    lines = [("ref", found.ref)]
    if found.here:
        lines += _here(found)
    elif not found.seen:
        lines.append(("here", f"no{_unlogged(found)}"))
    else:
        went = how_it_went(found.history, moment=wording.moment)
        lines.append(("here", f"no: {wording.printable(went)}"))
    lines += [("remark", wording.printable(remark)) for remark in found.remarks]
    lines += [("history", _line(one)) for one in found.history]
    if found.here and not found.history and found.log_from_ms:
        lines.append(("history", f"none; the event log begins {wording.moment(found.log_from_ms)}"))
    return lines


def _unlogged(found: Explanation) -> str:
    """What the silence of the log is worth."""
    if found.log_from_ms is None:
        return ""  # a remark says why
    if not found.log_from_ms:
        return ", and the event log is empty: Redis was emptied, or nothing happened yet"
    return f", and the event log, which begins {wording.moment(found.log_from_ms)}, knows nothing of it"


def _here(found: Explanation) -> list[tuple[str, str]]:
    if found.complete:
        part = f", without {', '.join(found.excluded)}" if found.excluded else ""
        lines = [("here", f"yes, complete{part}")]
    elif found.missing:
        lines = [("here", f"yes, but a part is gone or damaged ({found.missing}): {MEND}")]
    else:
        lines = [("here", f"yes, but its record is damaged: {REPAIR}")]
    lines += [("kept by", _keeper(one)) for one in found.kept_by] or [("kept by", "nobody")]
    if found.used_ms:
        lines.append(("used", wording.moment(found.used_ms)))
    if found.action:
        lines.append(("cleanup", f"now {_MEANS.get(found.action, found.action)}: {found.reason}"))
    if found.place:
        lines.append(("order", _order(found)))
    return lines


def _order(found: Explanation) -> str:
    whole = f"number {found.place} of {found.places} in the order of eviction"
    if not found.before:
        return f"{whole}: nothing goes before it"
    names = ", ".join(found.before_refs) + (", …" if found.before > len(found.before_refs) else "")
    goes = f"{wording.count(found.before, 'artifact')} of {wording.size(found.before_bytes)}"
    return f"{whole}, after {goes}: {names}"


def _keeper(one: Keeper) -> str:
    label = f" ({wording.printable(one.detail)})" if one.detail else ""
    if one.expires_in_s is None:
        return f"{one.kind} {one.name}{label}"
    if one.expires_in_s < 0:
        return f"{one.kind} {one.name}{label}, whose lease ran out"
    return f"{one.kind} {one.name}{label}, ends in {wording.duration(one.expires_in_s)} unless renewed"


def _line(one: Happening) -> str:
    words = [f"{wording.moment(one.at_ms)} {one.what}"]
    if one.what == "bound":
        words.append(f"from {one.before} to {one.root}")
    elif one.root:
        words.append(one.root)
    if one.why:
        words.append(f"({wording.printable(one.why)})")
    if one.used_ms:
        words.append(f"last used {wording.moment(one.used_ms)}")
    if one.freed_bytes:
        words.append(f"{wording.size(one.freed_bytes)} freed")
    words.append(f"by {one.by} on {one.host}" if one.by else f"on {one.host}")
    if one.job:
        words.append(f"for job {one.job}")
    return " ".join(words)
