"""files, cat, du: looking into artifacts needs no worker, and promises nothing about later."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from tasks.cli import wording
from tasks.cli.lazy import command
from tasks.cli.look import MEND, complain_of

if TYPE_CHECKING:
    from tasks.cli.invocation import Invocation
    from worker.services.browse import TreeEntry


@command("files")
@click.argument("ref", metavar="REF")
@click.option("--subdir", metavar="D", help="Only this folder of the artifact; paths are relative to it.")
@click.pass_obj
def files(invocation: Invocation, *, ref: str, subdir: str | None) -> None:
    """What is in an artifact: kind, mode, size and path, a folder before what is in it."""
    from caskeeper.artifact import Ref

    parsed = Ref.parse(ref)
    entries = invocation.look().browse.files(parsed, subdir)
    if invocation.json:
        invocation.emit({"ref": str(parsed), "files": [entry.to_json() for entry in entries]})
        return
    for entry in entries:
        invocation.data(_row(entry))


def _row(entry: TreeEntry) -> str:
    size = wording.size(entry.size_bytes) if entry.kind == "file" else "-"
    target = f" -> {wording.printable(entry.target)}" if entry.kind == "symlink" else ""
    remark = "" if entry.here else "  left out when it was pulled"
    return f"{entry.kind:<9}  {entry.mode}  {size:>7}  {wording.printable(entry.path)}{target}{remark}"


@command("cat")
@click.argument("ref", metavar="REF")
@click.argument("path", metavar="PATH")
@click.pass_obj
def cat(invocation: Invocation, *, ref: str, path: str) -> None:
    """The bytes of one file of an artifact, on stdout; with --json as base64."""
    from caskeeper.artifact import Ref

    parsed = Ref.parse(ref)
    pieces = invocation.look().browse.cat(parsed, path)
    if invocation.json:
        from base64 import b64encode

        content = b"".join(pieces)
        document = {"ref": str(parsed), "path": path, "size_bytes": len(content)}
        invocation.emit({**document, "content_base64": b64encode(content).decode()})
        return
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


@command("du")
@click.argument("pattern", metavar="[GLOB]", default="*")
@click.pass_obj
def du(invocation: Invocation, *, pattern: str) -> None:
    """What the refs that match GLOB take (* also matches /): logical, unique and physical size, ref.

    Logical: as checked out. Physical: on the disk, each blob once. Unique: what of that no other artifact
    shares. The last line is all of them together, each tree and each blob once.
    """
    services = invocation.look()
    usage = services.disk_usage(pattern)
    complain_of(invocation, services.listing.strangers())
    if invocation.json:
        invocation.emit(usage.to_json())
        return
    for line in usage.refs:
        invocation.data(_sizes(line.logical_bytes, line.unique_bytes, line.physical_bytes, line.ref))
    together = f"in all, {wording.count(len(usage.refs), 'ref')}"
    invocation.say(_sizes(usage.logical_bytes, usage.unique_bytes, usage.physical_bytes, together))


def _sizes(logical: int | None, unique: int | None, physical: int | None, name: str) -> str:
    sizes = ["?" if size is None else wording.size(size) for size in (logical, unique, physical)]
    remark = "" if logical is not None else f"  a part is gone or damaged: {MEND}"
    return f"{'  '.join(f'{size:>7}' for size in sizes)}  {name}{remark}"
