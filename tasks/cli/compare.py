"""diff."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tasks.cli import wording
from tasks.cli.failures import REMARKS
from tasks.cli.lazy import command
from tasks.cli.refs import bound
from tasks.cli.waiting import Sent, queueing, waited

if TYPE_CHECKING:
    from caskeeper.contract import DiffResult
    from tasks.cli.invocation import Invocation


@command("diff")
@click.argument("ref_a", metavar="REF_A")
@click.argument("ref_b", metavar="REF_B")
@click.option("--subdir", metavar="D", help="Compare only this folder; paths are relative to it.")
@queueing
@click.pass_obj
def diff(
    invocation: Invocation,
    *,
    ref_a: str,
    ref_b: str,
    subdir: str | None,
    detach: bool,
    timeout_s: float | None,
) -> int:
    """What changed from REF_A to REF_B: files, links, executable bits, kinds, folders.

    Exit 3 when a folder that differs could not be compared, for it was left out when it was pulled.
    """
    ref_a, ref_b = bound(ref_a), bound(ref_b)
    sent = Sent(f"{ref_a} {ref_b}", invocation.client.diff(ref_a, ref_b, subdir=subdir))
    result = waited(invocation, sent, verb="diff", detach=detach, timeout_s=timeout_s)
    if result is None:
        return 0
    invocation.emit(sent.document(ref_a=ref_a, ref_b=ref_b))
    lines = _lines(result)
    for word, text in lines:
        invocation.data(f"{word:<9}  {text}")
    if not lines and not result.not_compared:
        invocation.say("no difference")
    for path in result.not_compared:
        invocation.note(f"not compared: {path} was left out when it was pulled")
    return REMARKS if result.not_compared else 0


def _lines(result: DiffResult) -> list[tuple[str, str]]:
    shown = wording.printable
    lines = [("modified", shown(path)) for path in result.modified]
    lines += [("removed", shown(path)) for path in result.removed]
    lines += [("added", shown(path)) for path in result.added]
    lines += [("removed", f"{shown(path)}/") for path in result.folders_removed]
    lines += [("added", f"{shown(path)}/") for path in result.folders_added]
    for link in result.symlinks:
        before, after = (
            "no link" if target is None else shown(target) for target in (link.before, link.after)
        )
        lines.append(("link", f"{shown(link.path)}: {before} -> {after}"))
    lines += [
        ("mode", f"{shown(mode.path)}: {'executable now' if mode.executable else 'no longer executable'}")
        for mode in result.modes
    ]
    lines += [("kind", f"{shown(kind.path)}: {kind.before} -> {kind.after}") for kind in result.types]
    return lines
