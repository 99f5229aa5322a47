"""verify."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from caskeeper.errors import InvalidRequest
from tasks.cli import wording
from tasks.cli.failures import REMARKS
from tasks.cli.lazy import command
from tasks.cli.waiting import Sent, queueing, waited

if TYPE_CHECKING:
    from caskeeper.contract import Finding, VerifyResult
    from tasks.cli.invocation import Invocation


#: Digits as they are on every keyboard: no exponent, no `nan`, and nobody has to guess what is meant.
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)\s*%?\Z", re.ASCII)
#: So many refs are named in a line.
_NAMED = 5


@command("verify")
@click.option("--repair", is_flag=True, help="Mend what can be mended. Without it nothing is changed.")
@click.option(
    "--sample",
    metavar="N%",
    help="Hash only so many percent of the objects, another part every day. Default: all.",
)
@queueing
@click.pass_obj
def verify(
    invocation: Invocation, *, repair: bool, sample: str | None, detach: bool, timeout_s: float | None
) -> int:
    """Look at everything on the volume: content, refs, closure lists, leftovers, the estimate.

    Workers may go on meanwhile. Exit 3 when something was found, also when it was repaired.
    """
    percent = None if sample is None else _percent(sample)
    sent = Sent("", invocation.client.verify(repair=repair, sample=percent))
    result = waited(invocation, sent, verb="verify", detach=detach, timeout_s=timeout_s)
    if result is None:
        return 0
    for finding in result.findings:
        invocation.data(_line(finding))
    for remark in result.remarks:
        invocation.say(f"remark: {wording.printable(remark)}")
    invocation.tell(sent.document(), _summary(result))
    if result.quarantined:
        invocation.say(_kept_aside(result))
    return REMARKS if result.counts else 0


def _percent(text: str) -> float:
    number = _SHARE.match(text.strip())
    percent = 0.0 if number is None else float(number[1])
    if not 0 < percent <= 100:
        raise InvalidRequest(
            f"{text[:40]!r} is no share", "argument --sample", "give N% with N above 0 and at most 100"
        )
    return percent


def _line(finding: Finding) -> str:
    outcome = f"repaired: {finding.done}" if finding.repaired else finding.way_out
    if finding.withdrawn:
        outcome = f"withdrawn: {_some(finding.withdrawn)}; {finding.done}: {finding.way_out}"
    where, what = wording.printable(finding.where), wording.printable(finding.what)
    return f"{finding.kind}  {where}: {what}" + (f" ({wording.printable(outcome)})" if outcome else "")


def _summary(result: VerifyResult) -> str:
    looked = f"{wording.count(result.refs, 'ref')}, {wording.count(result.objects, 'object')}"
    hashed = f"{result.hashed_objects:,} hashed ({wording.size(result.hashed_bytes)})"
    if result.objects and not result.hashed_objects:
        hashed = "no object was looked into: the sample met none of so few"
    found = sum(result.counts.values())
    if not found:
        return f"nothing found: {looked}, {hashed}"
    mended = f", {result.repaired:,} of them repaired" if result.repair else ""
    if result.withdrawn:
        mended += f", withdrawn: {_some(result.withdrawn)}"
    shown = len(result.findings)
    left_out = f"; {found - shown:,} more of these kinds are not shown" if shown < found else ""
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in result.counts.items())
    return f"{wording.count(found, 'finding')}{mended}: {kinds}; {looked}, {hashed}{left_out}"


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(map(wording.printable, names[:_NAMED])) + more


def _kept_aside(result: VerifyResult) -> str:
    """Neither a finding nor lost: what repairs took away, for whoever wants to know why it was damaged."""
    files = wording.count(len(result.quarantined), "damaged file")
    folder = wording.printable(result.quarantined[0].rpartition("/")[0])
    return (
        f"remark: {files} of {wording.size(result.quarantined_bytes)} kept aside in {folder}: "
        "no artifact needs them, a cleanup for room takes them first, and `caskeeper compute-size` counts "
        "anew after you have deleted them"
    )
