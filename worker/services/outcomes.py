"""What a verb that asked several remotes ends with: an outcome for each, or one error for all of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from caskeeper.config.remote_spec import paired
from caskeeper.contract import Progress, PushOutcome
from caskeeper.errors import (
    BlobMissing,
    CaskeeperError,
    ConfigInvalid,
    DigestMismatch,
    NoSpace,
    PermissionDenied,
    RemoteUnavailable,
    Transient,
)
from worker.services.watched import Watched
from worker.store.damage import trouble_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from caskeeper.config.remotes import RemoteSpec
    from caskeeper.config.settings import Settings
    from worker.protocols import Context
    from worker.remote import Remote, RemotePool
    from worker.services.meter import Meter

Given = TypeVar("Given")

log = logging.getLogger(__name__)

PUSHED, ALREADY_THERE, FULL, FAILED = "pushed", "already-there", "full", "failed"


class Subject(NamedTuple):
    """What is pulled or pushed: ``ref demo/hello/1``, ``tree HASH/SIZE``. ``kind`` is a log's field too."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Offered(NamedTuple):
    """What became of a push at one remote, and the failure there, which is no part of what is answered."""

    outcome: PushOutcome
    failure: CaskeeperError | None = None


def push_specs(
    settings: Settings, project: str, *, only: tuple[str, ...] | None = None
) -> tuple[RemoteSpec, ...]:
    """The push remotes of a project in order of priority; a URL counts once, by its first spec.

    Each is a server that names artifacts, with its storages. Raises ConfigInvalid when there is none (AC-62).
    """
    specs = _paired(settings, settings.remotes_for(project, only=only), project)
    pushable = [spec for spec in specs if spec.push]
    if not pushable:
        raise _no_push_remote(settings, project)
    storing = [spec for spec in pushable if not spec.storages or any(held.push for held in spec.storages)]
    if not storing:
        raise ConfigInvalid(
            f"no storage server of project {project!r} takes pushes, only its index",
            pushable[0].where or settings.source or settings.config_file,
            "set `push: true` on a server of `type: storage` too",
        )
    return _each_url(storing)


def content_push_specs(settings: Settings, project: str) -> tuple[RemoteSpec, ...]:
    """The storages among a project's push remotes, each by itself: where content goes that has no name.

    Raises ConfigInvalid when there is none (AC-76).
    """
    specs = [spec for spec in settings.remotes_for(project) if spec.push and spec.holds]
    if not specs:
        raise _no_push_remote(settings, project)
    return _each_url(specs)


def _no_push_remote(settings: Settings, project: str) -> ConfigInvalid:
    return ConfigInvalid(
        f"no push remote is configured for project {project!r}",
        settings.source or settings.config_file,
        "set `push: true` on one under `artifacts:`, or name one with --remote",
    )


def _each_url(specs: Iterable[RemoteSpec]) -> tuple[RemoteSpec, ...]:
    found: dict[str, RemoteSpec] = {}
    for spec in specs:
        found.setdefault(spec.url, spec)
    return tuple(found.values())


def _paired(settings: Settings, chosen: tuple[RemoteSpec, ...], project: str) -> tuple[RemoteSpec, ...]:
    """The servers that name artifacts, with their storages. Raises ConfigInvalid when one half is missing."""
    specs = paired(chosen, settings.remotes_for(project))
    if chosen and not specs:
        half, other = ("storage", "index") if chosen[0].holds else ("index", "storage")
        raise ConfigInvalid(
            f"project {project!r} has a server of `type: {half}` and none of `type: {other}`",
            chosen[0].where or settings.source or settings.config_file,
            f"add one of `type: {other}`, or give `type: all` where a server is both",
        )
    return specs


def offer(
    remotes: RemotePool,
    spec: RemoteSpec,
    send: Callable[[Remote, Watched], bool],
    *,
    meter: Meter,
    subject: Subject,
    context: Context,
) -> Offered:
    """What became of ``send`` at one remote; it answers whether the remote was updated.

    The remote's trouble is its own and an outcome (D-18); every other failure is raised.
    """
    context.check()
    context.progress(Progress(phase=f"pushing {subject.name} -> {spec.url}"))
    outcome, reason, retry = ALREADY_THERE, "", False
    failed: CaskeeperError | None = None
    watched: Watched | None = None
    try:
        remote = remotes.get(spec)
        with remotes.turn(spec, context) as turn:
            watched = Watched(remote.uploads, turn.need)
            with watched.watching():
                if not remote.writable:
                    raise PermissionDenied(
                        "the server does not allow push",
                        f"remote {spec.url}",
                        "push to another one, or with credentials that may push there",
                    )
            if send(remote, watched):
                outcome = PUSHED
    except CaskeeperError as failure:
        context.check()  # a job that is to stop ends its calls: that is no trouble of the remote's
        if watched is not None and not watched.caused(failure):
            raise
        failed = failure
        outcome = FULL if isinstance(failure, NoSpace) else FAILED
        reason, retry = str(failure), isinstance(failure, Transient)
    log.info(outcome, extra={subject.kind: subject.name, "url": spec.url, "reason": reason})
    blobs, size_bytes = meter.done
    told = PushOutcome(
        url=spec.url, outcome=outcome, blobs=blobs, bytes=size_bytes, reason=reason, retry=retry
    )
    return Offered(told, failed)


def require_one_reached(subject: Subject, offers: Sequence[Offered]) -> tuple[PushOutcome, ...]:
    """The outcomes of a push. Raises when it reached no remote (interface section 7, decision 0011).

    RemoteUnavailable if any may answer later, NoSpace if all are full. Of lasting failures their class where
    they share one, with its own way out, else PermissionDenied.
    """
    failures = [(offer.outcome.url, offer.failure) for offer in offers if offer.failure is not None]
    if len(failures) < len(offers):
        return tuple(offer.outcome for offer in offers)
    later = any(
        isinstance(failure, Transient) and not isinstance(failure, NoSpace) for _, failure in failures
    )
    kinds = {type(failure) for _, failure in failures}
    settled = all(failure.settled for _, failure in failures if isinstance(failure, Transient))
    if len(kinds) == 1 and (not later or RemoteUnavailable in kinds):
        shared = _shared(subject, failures)
        shared.settled = settled
        raise shared
    what = "; ".join(
        f"{failure.template.format(what=failure.what)} [{_place(url, failure)}]" for url, failure in failures
    )
    if later:
        unreached = RemoteUnavailable(f"no remote was reached: {what}", str(subject))
        unreached.settled = settled
        raise unreached
    raise PermissionDenied(
        f"no remote took it: {what}", str(subject), "`caskeeper remotes` shows what each of them takes"
    )


def _shared(subject: Subject, failures: Sequence[tuple[str, CaskeeperError]]) -> CaskeeperError:
    """One error for failures of one class, with one way out, or each remote's where they differ."""
    (url, first), *others = failures
    if not others:
        place = _place(url, first)
        where = place if subject.name in place else f"{subject}, {place}"
        return type(first)(first.what, where, first.way_out)
    what = "; ".join(f"{failure.what} [{_place(url, failure)}]" for url, failure in failures)
    way_out = first.way_out
    if any(failure.way_out != way_out for _url, failure in others):
        way_out = "; ".join(f"{url}: {failure.way_out}" for url, failure in failures)
    return type(first)(what, str(subject), way_out)


def _place(url: str, failure: CaskeeperError) -> str:
    """Where a remote's failure happened, its url said once."""
    if url in failure.where:
        return failure.where
    return f"{failure.where}, remote {url}" if failure.where else f"remote {url}"


def fetch_specs(
    settings: Settings, project: str, *, only: tuple[str, ...] | None = None
) -> tuple[RemoteSpec, ...]:
    """All remotes of a project in order of priority, those that name artifacts, with their storages.

    Raises ConfigInvalid when there is none.
    """
    specs = settings.remotes_for(project, only=only, push=False)
    if not specs:
        raise _no_remote(settings, project)
    return _paired(settings, specs, project)


def content_specs(settings: Settings, project: str) -> tuple[RemoteSpec, ...]:
    """All storages of a project, each by itself. Raises ConfigInvalid when there is none."""
    specs = tuple(spec for spec in settings.remotes_for(project) if spec.holds)
    if not specs:
        raise _no_remote(settings, project)
    return specs


def _no_remote(settings: Settings, project: str) -> ConfigInvalid:
    return ConfigInvalid(
        f"no remote is configured for project {project!r}",
        settings.source or settings.config_file,
        "add one under `artifacts:`, or name one with --remote",
    )


def first_to_give(
    remotes: RemotePool,
    specs: Sequence[RemoteSpec],
    fetch: Callable[[Remote, Watched], Given | None],
    *,
    subject: Subject,
    context: Context,
) -> Given | None:
    """What ``fetch`` brought from the first remote that has it; None when all answered and none has it.

    ``fetch`` answers None or raises a BlobMissing of the remote's for what is not there. Raises, when nobody
    had it and some remotes failed, their failure, a transient one first (D-17); at once what was no
    remote's fault.
    """
    failures: list[tuple[str, CaskeeperError]] = []
    remotes.meet(specs)
    for spec in specs:
        context.check()
        context.progress(Progress(phase=f"pulling {subject.name} <- {spec.url}"))
        note = {subject.kind: subject.name, "url": spec.url}
        try:
            remote = remotes.get(spec)
            turn = remotes.turn(spec, context)
            watched = Watched(remote.blobs, turn.need)
        except CaskeeperError as failure:
            failures.append((spec.url, failure))
            _log_failed(failure, note)
            continue
        try:
            with turn:
                given = fetch(remote, watched)
        except CaskeeperError as failure:
            context.check()  # a job that is to stop ends its calls: that is no trouble of the remote's
            # A size that contradicts what is stored here came from the remote, whoever noticed it.
            if trouble_of(failure) is not None or not (
                watched.caused(failure) or isinstance(failure, DigestMismatch)
            ):
                raise
            if not isinstance(failure, BlobMissing):
                failures.append((spec.url, failure))
                _log_failed(failure, note)
                continue
            given = None  # AC-71: expired there while we looked
        if given is not None:
            log.info("pulled", extra=note)
            return given
        log.info("remote does not have it", extra=note)
    if failures:
        raise _worst(subject, failures)
    return None


def _log_failed(failure: CaskeeperError, note: dict[str, str]) -> None:
    """One that is left alone was in the log when that began: not once more for every artifact of a build."""
    level = logging.DEBUG if failure.settled else logging.WARNING
    log.log(level, "remote failed", extra={**note, "reason": str(failure)})


def _worst(subject: Subject, failures: Sequence[tuple[str, CaskeeperError]]) -> CaskeeperError:
    """One error for all remotes that failed: transient if any was, for then it may be had later (D-17)."""
    url, chosen = next(
        ((url, failure) for url, failure in failures if isinstance(failure, Transient)), failures[0]
    )
    if len(failures) == 1:
        told = type(chosen)(chosen.what, f"{subject}, remote {url}", chosen.way_out)
    else:
        what = "; ".join(f"{place}: {failure.what}" for place, failure in failures)
        told = type(chosen)(what, str(subject), chosen.way_out)
    told.settled = all(failure.settled for _, failure in failures if isinstance(failure, Transient))
    return told
