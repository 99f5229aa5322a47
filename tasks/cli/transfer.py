"""commit, push, pull."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from caskeeper.errors import ArtifactNotFound, CaskeeperError, InvalidRequest
from tasks.cli import wording
from tasks.cli.lazy import command
from tasks.cli.outcomes import code_of, tell_outcomes
from tasks.cli.refs import every_bound
from tasks.cli.waiting import Deadline, Sent, exit_code, outcome_of, print_ids, queueing, wait

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.contract import CommitResult, ExtractResult, PullResult, PushResult
    from tasks.cli.invocation import Invocation

_REMOTE = click.option(
    "--remote",
    "remotes",
    multiple=True,
    metavar="SPEC",
    help="Only this remote: a URL, or url=…,push=true,…; repeats.",
)


@command("commit")
@click.argument("folder", metavar="DIR")
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@click.option("--push", "push_too", is_flag=True, help="Push afterwards.")
@queueing
@click.pass_obj
def commit(
    invocation: Invocation,
    *,
    folder: str,
    refs: tuple[str, ...],
    push_too: bool,
    detach: bool,
    timeout_s: float | None,
) -> int:
    """Import the folder DIR and bind every REF to it."""
    _refuse_detached(detach, "--push", given=push_too)
    refs = every_bound(refs)
    deadline = Deadline(timeout_s)
    sent = Sent(refs[0], invocation.client.commit(folder, *refs))
    if detach:
        return _detached(invocation, [sent])
    wait(invocation, [sent], verb="commit", deadline=deadline)
    result: CommitResult = outcome_of(sent)
    sentence = (
        f"{', '.join(refs)}: {wording.count(result.files, 'file')}, {wording.size(result.size_bytes)}, "
        f"{wording.size(result.added_bytes)} more on the disk; tree {result.root}"
    )
    document = sent.document(refs=list(refs))
    if not push_too:
        invocation.tell(document, sentence)
        return 0
    invocation.say(sentence)
    try:
        pushed = _push(invocation, refs, (), deadline)
        result_of_push = outcome_of(pushed)
    except CaskeeperError as failed:
        if not invocation.json:
            raise
        # One document: what was committed is here, whatever became of the push.
        invocation.emit({**document, "push": {"refs": list(refs), "error": failed.to_json()}})
        return failed.exit_code
    _show_push(invocation, pushed, {**document, "push": pushed.document(refs=list(refs))})
    return code_of(result_of_push.remotes)


@command("push")
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@_REMOTE
@queueing
@click.pass_obj
def push(
    invocation: Invocation,
    *,
    refs: tuple[str, ...],
    remotes: tuple[str, ...],
    detach: bool,
    timeout_s: float | None,
) -> int:
    """Offer artifacts to every usable push remote of their project; several REFs of one tree travel once.

    Exit 3 when some remotes were reached and others not.
    """
    refs = every_bound(refs)
    if detach:
        return _detached(invocation, [Sent(refs[0], invocation.client.push(*refs, remotes=remotes or None))])
    sent = _push(invocation, refs, remotes, Deadline(timeout_s))
    result = outcome_of(sent)
    _show_push(invocation, sent, sent.document(refs=list(refs)))
    return code_of(result.remotes)


@command("pull")
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@click.option("--subdir", metavar="D", help="Only this folder of the artifact.")
@click.option(
    "--exclude",
    "excluded",
    multiple=True,
    metavar="D",
    help="Leave out this folder at the artifact's root; repeats.",
)
@click.option("--extract", "check_out", is_flag=True, help="Check out afterwards and print the path.")
@click.option("--to", "destination", metavar="DIR", help="Check out a private copy to DIR afterwards.")
@click.option("--refresh", is_flag=True, help="Ask the remotes even when it is complete here.")
@_REMOTE
@queueing
@click.pass_obj
def pull(
    invocation: Invocation,
    *,
    refs: tuple[str, ...],
    subdir: str | None,
    excluded: tuple[str, ...],
    check_out: bool,
    destination: str | None,
    refresh: bool,
    remotes: tuple[str, ...],
    detach: bool,
    timeout_s: float | None,
) -> int:
    """Bring artifacts here from the first remote that has them; what is complete here is done already.

    The folder `buildtree` at an artifact's root comes only with `cache: pull-buildtrees`, or by --subdir.
    """
    check_out = check_out or destination is not None
    _refuse_detached(detach, "--extract and --to", given=check_out)
    if destination == "":  # before anything is pulled for it
        raise InvalidRequest("the path is empty", "argument --to", "name a folder")
    if destination is not None and len(refs) > 1:
        raise click.UsageError("--to takes one REF: each private copy needs a folder of its own")
    refs = every_bound(refs)
    deadline = Deadline(timeout_s)
    client = invocation.client
    sent = [
        Sent(
            ref,
            client.pull(
                ref, subdir=subdir, excluded_subdirs=excluded, remotes=remotes or None, refresh=refresh
            ),
        )
        for ref in refs
    ]
    if detach:
        return _detached(invocation, sent)
    wait(invocation, sent, verb="pull", deadline=deadline)
    for one in sent:
        _judge_pull(one)
    paths: dict[str, Sent[ExtractResult]] = {}
    if check_out:
        paths = {
            one.name: Sent(one.name, client.extract(one.name, subdir=subdir, destination=destination))
            for one in sent
            if one.error is None
        }
        wait(invocation, list(paths.values()), verb="extract", deadline=deadline)
    return _show_pulls(invocation, sent, paths)


def _judge_pull(one: Sent[PullResult]) -> None:
    """AC-69 answers false when every remote answered and none has it; here that is exit 11."""
    result = one.result
    if result is not None and not (result.pulled or result.cached):
        one.result = None
        one.error = ArtifactNotFound("no remote has it", f"ref {one.name}", "build and commit it")


def _show_pulls(
    invocation: Invocation, sent: Sequence[Sent[PullResult]], paths: dict[str, Sent[ExtractResult]]
) -> int:
    if len(sent) == 1:
        outcome_of(sent[0])
        for extracted in paths.values():
            outcome_of(extracted)
    documents: list[dict[str, Any]] = []
    for one in sent:
        document = one.document(ref=one.name)
        if one.name in paths:
            document["extract"] = paths[one.name].document()
        documents.append(document)
        if not invocation.json:
            _say_pull(invocation, one, paths.get(one.name))
    if invocation.json:
        invocation.emit({"results": documents})
    return exit_code(sent) or exit_code(paths.values())


def _say_pull(invocation: Invocation, one: Sent[PullResult], extracted: Sent[ExtractResult] | None) -> None:
    error = one.error or (extracted.error if extracted is not None else None)
    if one.result is not None:
        result = one.result
        sentence = f"{one.name}: is here already"
        if result.pulled:
            moved = f"{wording.count(result.blobs, 'object')}, {wording.size(result.bytes)}"
            sentence = f"{one.name}: {moved} from {result.remote}"
        if extracted is None:
            invocation.say(sentence)
        else:
            invocation.note(sentence)  # the path is the data
    if error is not None:
        invocation.complain(str(error))
    elif extracted is not None and extracted.result is not None:
        invocation.data(extracted.result.path, exact=True)


def _push(
    invocation: Invocation, refs: Sequence[str], remotes: Sequence[str], deadline: Deadline
) -> Sent[PushResult]:
    sent = Sent(", ".join(refs[:3]), invocation.client.push(*refs, remotes=remotes or None))
    wait(invocation, [sent], verb="push", deadline=deadline)
    return sent


def _show_push(invocation: Invocation, sent: Sent[PushResult], document: dict[str, Any]) -> None:
    result = sent.result
    if invocation.json or result is None:
        invocation.emit(document)
        return
    tell_outcomes(invocation, sent.name, result.remotes, say=invocation.say)


def _detached(invocation: Invocation, sent: Sequence[Sent[Any]]) -> int:
    print_ids(invocation, sent)
    return 0


def _refuse_detached(detached: bool, what: str, *, given: bool) -> None:  # noqa: FBT001 -- the value of --detach
    if detached and given:
        raise click.UsageError(f"{what} needs the result of the job: it does not go with --detach")
