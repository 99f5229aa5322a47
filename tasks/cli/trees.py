"""pull-tree, push-directory, push-message: content that no ref names."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from caskeeper.contract import MAX_MESSAGE_BYTES
from caskeeper.errors import ArtifactNotFound, InvalidRequest
from tasks.cli import wording
from tasks.cli.lazy import command
from tasks.cli.outcomes import code_of, tell_outcomes
from tasks.cli.waiting import Sent, queueing, waited

if TYPE_CHECKING:
    from tasks.cli.invocation import Invocation

_PROJECT = click.option("--project", required=True, metavar="P", help="The project whose remotes are asked.")


@command("pull-tree")
@click.argument("digest", metavar="DIGEST")
@_PROJECT
@queueing
@click.pass_obj
def pull_tree(
    invocation: Invocation, *, digest: str, project: str, detach: bool, timeout_s: float | None
) -> None:
    """Bring everything that the Tree blob DIGEST (HASH/SIZE) names here; print its root's digest.

    No ref names what came: it is protected while the job runs, and garbage for the next cleanup afterwards.
    """
    sent = Sent(digest, invocation.client.pull_tree(project, digest))
    result = waited(invocation, sent, verb="pull-tree", detach=detach, timeout_s=timeout_s)
    if result is None:
        return
    if result.digest is None:
        raise ArtifactNotFound("no remote has it", f"tree {digest}", "push it from where it is")
    moved = f"{wording.count(result.blobs, 'object')}, {wording.size(result.bytes)}"
    invocation.note(f"{digest}: {moved} from {result.remote}")
    invocation.emit({"tree": digest, **sent.document(project=project)}, result.digest)


@command("push-directory")
@click.argument("digest", metavar="DIGEST")
@_PROJECT
@queueing
@click.pass_obj
def push_directory(
    invocation: Invocation, *, digest: str, project: str, detach: bool, timeout_s: float | None
) -> int:
    """Send the Directory DIGEST (HASH/SIZE), which is here, and all below it to every push remote.

    Exit 3 when some remotes were reached and others not.
    """
    sent = Sent(digest, invocation.client.push_directory(project, digest))
    result = waited(invocation, sent, verb="push-directory", detach=detach, timeout_s=timeout_s)
    if result is None:
        return 0
    invocation.emit(sent.document(project=project, digest=digest))
    tell_outcomes(invocation, digest, result.remotes, say=invocation.say)
    return code_of(result.remotes)


@command("push-message")
@click.argument("file", metavar="FILE")
@_PROJECT
@queueing
@click.pass_obj
def push_message(
    invocation: Invocation, *, file: str, project: str, detach: bool, timeout_s: float | None
) -> int:
    """Send the content of FILE (- is standard input) as one blob to every push remote; print its digest.

    Exit 3 when some remotes were reached and others not.
    """
    sent = Sent(file, invocation.client.push_message(project, _content(file)))
    result = waited(invocation, sent, verb="push-message", detach=detach, timeout_s=timeout_s)
    if result is None:
        return 0
    tell_outcomes(invocation, result.digest, result.remotes, say=invocation.note)
    invocation.emit(sent.document(project=project), result.digest)
    return code_of(result.remotes)


def _content(file: str) -> bytes:
    """No more of it than a job may carry and one byte, by which the client sees that it is too much."""
    try:
        if file == "-":
            return sys.stdin.buffer.read(MAX_MESSAGE_BYTES + 1)
        with open(file, "rb") as opened:
            return opened.read(MAX_MESSAGE_BYTES + 1)
    except OSError as error:
        raise InvalidRequest(
            f"{file!r} cannot be read: {os.strerror(error.errno or 0)}", "argument FILE", "name a file"
        ) from None
