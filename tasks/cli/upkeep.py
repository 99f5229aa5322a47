"""cleanup, compute-size."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from caskeeper.config.quota import percentage
from caskeeper.config.sizes import parse_size
from caskeeper.errors import InvalidRequest
from caskeeper.maintenance import DAMAGED, UPLOADS
from tasks.cli import wording
from tasks.cli.failures import REMARKS
from tasks.cli.lazy import command
from tasks.cli.waiting import Sent, queueing, waited

if TYPE_CHECKING:
    from caskeeper.contract import CleanupResult
    from tasks.cli.invocation import Invocation

_ACTIONS = {
    "evict": "evicted",
    "protected": "required or in use",
    "young": "too young to go",
    "kept": "kept",
}


@command("cleanup")
@click.option(
    "--to",
    "target",
    metavar="SIZE|N%",
    help="Until so much is left: a size, or a share of the quota. Default: the low watermark.",
)
@click.option("--dry-run", is_flag=True, help="Only print the plan.")
@queueing
@click.pass_obj
def cleanup(
    invocation: Invocation, *, target: str | None, dry_run: bool, detach: bool, timeout_s: float | None
) -> int:
    """Evict what was not used for longest, until the target is reached.

    Exit 3 when --to was not reached, because what is left is required, in use or too young.
    """
    target_bytes = None if target is None else _target(invocation, target)
    sent = Sent("", invocation.client.cleanup(target_bytes=target_bytes, dry_run=dry_run))
    result = waited(invocation, sent, verb="cleanup", detach=detach, timeout_s=timeout_s)
    if result is None:
        return 0
    if not invocation.json and (dry_run or invocation.verbose):
        _print_plan(invocation, result)
    invocation.tell(sent.document(), _summary(result))
    if target is None or dry_run or result.used_after_bytes <= result.target_bytes:
        return 0
    above = wording.size(result.used_after_bytes - result.target_bytes)
    if not invocation.json:
        invocation.complain(
            f"the target {wording.size(result.target_bytes)} was not reached: {above} above it cannot go; "
            f"`caskeeper cleanup --dry-run --to {target}` shows why"
        )
    return REMARKS


@command("compute-size")
@queueing
@click.pass_obj
def compute_size(invocation: Invocation, *, detach: bool, timeout_s: float | None) -> None:
    """Recount the volume, and set the estimate to the truth."""
    sent = Sent("", invocation.client.compute_size())
    result = waited(invocation, sent, verb="compute-size", detach=detach, timeout_s=timeout_s)
    if result is not None:
        estimate = wording.size(result.estimate_bytes)
        invocation.tell(
            sent.document(), f"{wording.size(result.used_bytes)} used; the estimate was {estimate}"
        )


def _target(invocation: Invocation, text: str) -> int:
    """Bytes of ``--to``. A share is one of the quota as it is now."""
    share = percentage(text)
    if share is None:
        try:
            return parse_size(text, "--to", error=InvalidRequest)
        except InvalidRequest as wrong:
            ways = "give a size, such as 800M or 1.5G, or N% of the quota with N from 0 to 100"
            raise InvalidRequest(wrong.what, wrong.where, ways) from None
    return invocation.look().status().quota_bytes * share[0] // share[1]


def _print_plan(invocation: Invocation, result: CleanupResult) -> None:
    from worker.services.fullness import sentence

    for group in result.groups:
        size = wording.size(group.frees_bytes) if group.action == "evict" else "-"
        reason = f"  ({group.reason})" if group.reason else ""
        invocation.data(f"{group.action:<9}  {size:>7}  {' '.join(group.refs) or group.root}{reason}")
    if result.more_kept:
        invocation.data(f"kept             -  {result.more_kept} more artifacts")
    for holder in result.holders:
        invocation.data(f"held       {wording.size(holder.size_bytes):>7}  {sentence(holder)}")


def _summary(result: CleanupResult) -> str:
    groups = Counter(group.action for group in result.groups if group.root not in {UPLOADS, DAMAGED})
    groups["kept"] += result.more_kept
    told = ", ".join(f"{groups[action]} {words}" for action, words in _ACTIONS.items() if groups[action])
    before, after = wording.size(result.used_before_bytes), wording.size(result.used_after_bytes)
    if result.dry_run:
        frees = sum(group.frees_bytes for group in result.groups if group.action == "evict")
        target = wording.size(result.target_bytes)
        sentence = f"{before} used, target {target}: would free {wording.size(frees)}"
    else:
        sentence = f"{wording.size(result.freed_bytes)} freed: {before} used before, {after} now"
    return f"{sentence}; artifacts: {told or 'none'}"
