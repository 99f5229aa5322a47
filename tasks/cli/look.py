"""contains, list, show: looking needs no worker, and promises nothing about later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from caskeeper.errors import ArtifactNotFound
from tasks.cli import wording
from tasks.cli.lazy import command
from tasks.cli.refs import every_bound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks.cli.invocation import Invocation
    from worker.services.listing import ListedRef, ShownRef

#: The exit code of ArtifactNotFound, which is an answer here and no failure.
NOT_HERE = 11
#: What to do about an artifact of which a part is gone or damaged.
MEND = "pull it again with --refresh, or commit it again"
#: And where even its record may be what cannot be read: then a pin keeps all but this from it.
REPAIR = "`caskeeper verify --repair` fetches it anew, or drops it"


@command("contains")
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@click.option("--subdir", metavar="D", help="Whether this folder of the artifacts is here.")
@click.pass_obj
def contains(invocation: Invocation, *, refs: tuple[str, ...], subdir: str | None) -> int:
    """Exit 0 when every REF is here, 11 when one is not. A promise is what `hold` gives.

    Without --subdir only the name is looked at: whether all that it names is here is what `show` tells.
    """
    here = {ref: _is_here(invocation, ref, subdir) for ref in every_bound(refs)}
    invocation.tell(
        {"results": [{"ref": ref, "here": found} for ref, found in here.items()]},
        "\n".join(f"{ref}: {'here' if found else 'not here'}" for ref, found in here.items()),
    )
    return 0 if all(here.values()) else NOT_HERE


def _is_here(invocation: Invocation, ref: str, subdir: str | None) -> bool:
    try:
        return invocation.client.contains(ref, subdir=subdir)
    except ArtifactNotFound:  # asked for a folder of what is not here: an answer like the others
        return False


@command("list")
@click.argument("pattern", metavar="[GLOB]", default="*")
@click.option(
    "--sort",
    type=click.Choice(["lru", "name", "size"]),
    default="lru",
    show_default=True,
    help="Least recently used first, by name, or largest first.",
)
@click.pass_obj
def list_refs(invocation: Invocation, *, pattern: str, sort: str) -> None:
    """The refs that are here and match GLOB (* also matches /): last use, size, ref."""
    strangers: list[str] = []
    lines = invocation.look().listing.list(pattern, sort=sort, sizes=True, strangers=strangers)
    if invocation.json:
        odd = {"strangers": sorted(strangers)} if strangers else {}
        invocation.emit({"artifacts": [line.to_json() for line in lines], **odd})
    for line in lines:
        invocation.data(_row(line))
    if not lines and not invocation.json:
        invocation.note(nothing_matches(pattern))
    complain_of(invocation, strangers)


def nothing_matches(pattern: str) -> str:
    """Why a list of refs is empty: nothing said looks like nothing done."""
    if pattern == "*":
        return "no artifact is here"
    hint = "" if "*" in pattern or pattern.count("/") > 1 else f"; those of a project: {pattern}/*"
    return f"no ref matches {pattern!r} as a whole{hint}"


def complain_of(invocation: Invocation, strangers: Sequence[str]) -> None:
    """One line about what is no ref: what is healthy was told, and nothing is deleted beside it."""
    from worker.services.odd_refs import strangers_told

    told = strangers_told(strangers)
    if told:
        invocation.complain(told)


def _row(line: ListedRef) -> str:
    size = "?" if line.size_bytes is None else wording.size(line.size_bytes)
    remarks = ""
    if line.damaged:
        remarks = f"  damaged: {REPAIR}"
    elif line.excluded:
        remarks = f"  without {', '.join(line.excluded)}"
    return f"{wording.moment(line.used_ms):>16}  {size:>7}  {line.ref}{remarks}"


@command("show")
@click.argument("ref", metavar="REF")
@click.pass_obj
def show(invocation: Invocation, *, ref: str) -> None:
    """Everything known of one ref."""
    from caskeeper.artifact import Ref

    parsed = Ref.parse(ref)
    listing = invocation.look().listing
    found = listing.show(parsed)
    invocation.emit(found.to_json(), wording.lines(f"{name:<10} {text}" for name, text in _facts(found)))
    complain_of(invocation, listing.strangers())


def _facts(found: ShownRef) -> list[tuple[str, str]]:
    facts = [("ref", found.ref), ("kind", found.kind)]
    facts += [("root", root) for root in found.roots]
    if found.size_bytes is not None and found.objects is not None:
        objects = wording.count(found.objects, "object")
        facts.append(("content", f"{wording.size(found.size_bytes)}, {objects}"))
    if not found.complete:
        facts.append(("content", f"a part is gone or damaged: {MEND}"))
    if found.excluded:
        facts.append(("without", ", ".join(found.excluded)))
    if found.included:
        facts.append(("but with", ", ".join(found.included)))
    facts += [
        ("origin", found.origin or "-"),
        ("created", wording.moment(found.created_ms)),
        ("used", wording.moment(found.used_ms)),
    ]
    facts += [("label", f"{name}={value}") for name, value in found.labels.items()]
    facts += [("protected", f"by {who}") for who in found.protected_by] or [("protected", "no")]
    return facts
