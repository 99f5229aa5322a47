"""commit, push, pull."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from caskeeper.best_effort import passes_of
from caskeeper.errors import ArtifactNotFound, CaskeeperError, InvalidRequest, Transient
from tasks.cli import wording
from tasks.cli.best_effort import BEST_EFFORT, remarks, wait_for
from tasks.cli.lazy import command
from tasks.cli.outcomes import code_of, tell_outcomes
from tasks.cli.refs import every_bound
from tasks.cli.waiting import (
    Deadline,
    Sent,
    exit_code,
    outcome_of,
    print_ids,
    queueing,
    sending,
    wait,
)

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
@BEST_EFFORT
@queueing
@click.pass_obj
def commit(
    invocation: Invocation,
    *,
    folder: str,
    refs: tuple[str, ...],
    push_too: bool,
    best_effort: bool,
    detach: bool,
    timeout_s: float | None,
) -> int:
    """Import the folder DIR and bind every REF to it. --best-effort is for what --push does."""
    if best_effort and not push_too:
        raise click.UsageError("--best-effort goes with --push: what is committed stays here")
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
        pushed = _push(invocation, refs, (), deadline, best_effort=best_effort)
        told = remarks(invocation, [pushed])
        if pushed.passed_over is None:
            outcome_of(pushed)
    except CaskeeperError as failed:
        if not invocation.json:
            raise
        # One document: what was committed is here, whatever became of the push.
        invocation.emit({**document, "push": {"refs": list(refs), "error": failed.to_json()}})
        return failed.exit_code
    _show_push(invocation, pushed, {**document, "push": pushed.document(refs=list(refs)), **told})
    return _push_code(pushed, best_effort=best_effort)


@command("push")
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@_REMOTE
@BEST_EFFORT
@queueing
@click.pass_obj
def push(
    invocation: Invocation,
    *,
    refs: tuple[str, ...],
    remotes: tuple[str, ...],
    best_effort: bool,
    detach: bool,
    timeout_s: float | None,
) -> int:
    """Offer artifacts to every usable push remote of their project; several REFs of one tree travel once.

    Exit 3 when some remotes were reached and others not; with --best-effort 0 then too.
    """
    refs = every_bound(refs)
    if detach:
        return _detached(invocation, [_send_push(invocation, refs, remotes, best_effort=best_effort)])
    sent = _push(invocation, refs, remotes, Deadline(timeout_s), best_effort=best_effort)
    told = remarks(invocation, [sent])
    if sent.passed_over is None:
        outcome_of(sent)
    _show_push(invocation, sent, {**sent.document(refs=list(refs)), **told})
    return _push_code(sent, best_effort=best_effort)


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
@BEST_EFFORT
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
    best_effort: bool,
    detach: bool,
    timeout_s: float | None,
) -> int:
    """Bring artifacts here from the first remote that has them; what is complete here is done already.

    The folder `buildtree` at an artifact's root comes only with `cache: pull-buildtrees`, or by --subdir.
    With --best-effort what no remote has is still 11, so that a build knows; `contains` tells after the rest.
    """
    check_out = check_out or destination is not None
    _refuse_detached(detach, "--extract and --to", given=check_out)
    if destination == "":  # before anything is pulled for it
        raise InvalidRequest("the path is empty", "argument --to", "name a folder")
    if destination is not None and len(refs) > 1:
        raise click.UsageError("--to takes one REF: each private copy needs a folder of its own")
    refs = every_bound(refs)
    deadline = Deadline(timeout_s)
    options: dict[str, Any] = {"subdir": subdir, "excluded_subdirs": excluded, "refresh": refresh}
    sent: list[Sent[PullResult]] = []
    with sending(invocation, sent):
        try:
            for ref in refs:
                job = invocation.client.pull(ref, remotes=remotes or None, **options)
                sent.append(Sent(ref, job))
        except Transient as trouble:
            if not best_effort:
                raise
            sent += [Sent(ref, None, passed_over=trouble) for ref in refs[len(sent) :]]
    if detach:
        return _detached(invocation, sent)
    wait_for(invocation, sent, verb="pull", deadline=deadline, best_effort=best_effort)
    for one in sent:
        _judge_pull(one)
    paths: dict[str, Sent[ExtractResult]] = {}
    for one in sent if check_out else ():
        if one.result is not None:
            paths[one.name] = _send_extract(invocation, one.name, subdir, destination, best_effort)
    wait_for(invocation, list(paths.values()), verb="extract", deadline=deadline, best_effort=best_effort)
    return _show_pulls(invocation, sent, paths)


def _send_extract(
    invocation: Invocation,
    ref: str,
    subdir: str | None,
    destination: str | None,
    best_effort: bool,  # noqa: FBT001 -- the value of --best-effort
) -> Sent[ExtractResult]:
    try:
        return Sent(ref, invocation.client.extract(ref, subdir=subdir, destination=destination))
    except Transient as trouble:
        if not best_effort:
            raise
        return Sent(ref, None, passed_over=trouble)


def _judge_pull(one: Sent[PullResult]) -> None:
    """AC-69 answers false when every remote answered and none has it; here that is exit 11."""
    result = one.result
    if result is not None and not (result.pulled or result.cached):
        one.result = None
        one.error = ArtifactNotFound("no remote has it", f"ref {one.name}", "build and commit it")


def _show_pulls(
    invocation: Invocation, sent: Sequence[Sent[PullResult]], paths: dict[str, Sent[ExtractResult]]
) -> int:
    if len(sent) == 1 and sent[0].passed_over is None:
        outcome_of(sent[0])
        for extracted in paths.values():
            if extracted.passed_over is None:
                outcome_of(extracted)
    documents: list[dict[str, Any]] = []
    for one in sent:
        document = one.document(ref=one.name)
        if one.name in paths:
            document["extract"] = paths[one.name].document()
        documents.append(document)
        if not invocation.json:
            _say_pull(invocation, one, paths.get(one.name))
    told = remarks(invocation, [*sent, *paths.values()])
    if invocation.json:
        invocation.emit({"results": documents, **told})
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
    invocation: Invocation,
    refs: Sequence[str],
    remotes: Sequence[str],
    deadline: Deadline,
    *,
    best_effort: bool,
) -> Sent[PushResult]:
    sent = _send_push(invocation, refs, remotes, best_effort=best_effort)
    passes = passes_of(remotes)
    wait_for(invocation, [sent], verb="push", deadline=deadline, best_effort=best_effort, passes=passes)
    return sent


def _send_push(
    invocation: Invocation, refs: Sequence[str], remotes: Sequence[str], *, best_effort: bool
) -> Sent[PushResult]:
    name = ", ".join(refs[:3])
    try:
        return Sent(name, invocation.client.push(*refs, remotes=remotes or None))
    except Transient as trouble:
        if not best_effort:
            raise
        return Sent(name, None, passed_over=trouble)


def _push_code(sent: Sent[PushResult], *, best_effort: bool) -> int:
    return 0 if best_effort or sent.result is None else code_of(sent.result.remotes)


def _show_push(invocation: Invocation, sent: Sent[PushResult], document: dict[str, Any]) -> None:
    if invocation.json:
        invocation.emit(document)
    elif sent.result is not None:
        tell_outcomes(invocation, sent.name, sent.result.remotes, say=invocation.say)


def _detached(invocation: Invocation, sent: Sequence[Sent[Any]]) -> int:
    print_ids(invocation, sent, **remarks(invocation, sent))
    return 0


def _refuse_detached(detached: bool, what: str, *, given: bool) -> None:  # noqa: FBT001 -- the value of --detach
    if detached and given:
        raise click.UsageError(f"{what} needs the result of the job: it does not go with --detach")
