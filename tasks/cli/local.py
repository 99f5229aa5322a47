"""extract, link, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tasks.cli import wording
from tasks.cli.lazy import command
from tasks.cli.refs import bound, every_bound
from tasks.cli.waiting import Sent, queueing, waited

if TYPE_CHECKING:
    from tasks.cli.invocation import Invocation


@command("extract")
@click.argument("ref", metavar="REF")
@click.option("--to", "destination", metavar="DIR", help="A private writable copy to DIR.")
@click.option(
    "--subdir",
    metavar="D",
    help="With --to: copy only this folder of the artifact. Without: the artifact's shared folder gains it "
    "if it was left out there; the path printed is the artifact's, not the folder's.",
)
@queueing
@click.pass_obj
def extract(
    invocation: Invocation,
    *,
    ref: str,
    destination: str | None,
    subdir: str | None,
    detach: bool,
    timeout_s: float | None,
) -> None:
    """Check out and print the path: shared and read-only in the cache, or a private copy with --to."""
    ref = bound(ref)
    sent = Sent(ref, invocation.client.extract(ref, subdir=subdir, destination=destination))
    result = waited(invocation, sent, verb="extract", detach=detach, timeout_s=timeout_s)
    if result is not None:
        invocation.emit(sent.document(ref=ref), result.path, exact=True)


@command("link")
@click.argument("ref", metavar="REF")
@click.argument("key", metavar="KEY")
@queueing
@click.pass_obj
def link(invocation: Invocation, *, ref: str, key: str, detach: bool, timeout_s: float | None) -> None:
    """Bind another KEY of the same element to what REF names."""
    ref = bound(ref)
    sent = Sent(ref, invocation.client.link(ref, key))
    if waited(invocation, sent, verb="link", detach=detach, timeout_s=timeout_s) is not None:
        linked = f"{ref.rpartition('/')[0]}/{key}"
        invocation.tell(sent.document(ref=ref, linked=linked), f"{linked}: names what {ref} names")


@command("remove")
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@queueing
@click.pass_obj
def remove(invocation: Invocation, *, refs: tuple[str, ...], detach: bool, timeout_s: float | None) -> None:
    """Forget refs, and free what nothing else needs."""
    refs = every_bound(refs)
    sent = Sent(", ".join(refs[:3]), invocation.client.remove(*refs))
    result = waited(invocation, sent, verb="remove", detach=detach, timeout_s=timeout_s)
    if result is not None:
        gone = wording.count(len(result.removed), "ref")
        invocation.tell(
            sent.document(refs=list(refs)), f"{gone} removed, {wording.size(result.freed_bytes)} freed"
        )
