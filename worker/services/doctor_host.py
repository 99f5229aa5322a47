"""The part of `doctor` that needs neither volume nor Redis: this process' limits, and the configuration."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

from caskeeper.config.quota import evaluate
from caskeeper.config.sizes import pretty_size
from caskeeper.errors import ConfigInvalid
from worker.services.checks import Check, Checks
from worker.store.system_calls import process_umask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caskeeper.config import Settings
    from caskeeper.config.remotes import RemoteSpec

#: A child of a worker keeps so many files and connections open at its busiest, with some to spare.
_FILES = 1024
#: Below this an operation can lose its lease by an ordinary pause of a busy machine.
_LEAST_LEASE_S = 5.0


def look_at_process() -> list[Check]:
    """Limits that a worker started from here would have too."""
    checks = Checks("process")
    files, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < _FILES:
        checks.warning(
            "open files",
            f"`ulimit -n` is {files}, a worker may need {_FILES}",
            f"`ulimit -n {_FILES}` or more",
        )
    else:
        checks.ok("open files", f"`ulimit -n` is {files if files != resource.RLIM_INFINITY else 'unlimited'}")
    umask = process_umask()
    if umask & 0o700:
        checks.trouble(
            "umask",
            f"{umask:03o} takes rights from the owner: folders of the cache could not be used",
            "`umask 022` or `umask 077`",
        )
    else:
        checks.ok("umask", f"{umask:03o}")
    for name, limit, option, unit in (
        ("processor time", resource.RLIMIT_CPU, "t", "s"),
        ("file size", resource.RLIMIT_FSIZE, "f", "B"),
    ):
        soft, _hard = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            checks.warning(
                name,
                f"limited to {soft} {unit}: the system ends or fails whatever reaches it",
                f"`ulimit -{option} unlimited` for workers and servers",
            )
        else:
            checks.ok(name, "not limited")
    return checks.made


def look_at_configuration(settings: Settings) -> list[Check]:
    """What a configuration that can be read may still have wrong."""
    checks = Checks("configuration")
    checks.ok("file", settings.source or "none: everything is as by default")
    _judge_leases(checks, settings)
    _judge_quota(checks, settings)
    _judge_roots(checks, settings)
    _judge_remotes(checks, settings)
    return checks.made


def _judge_leases(checks: Checks, settings: Settings) -> None:
    leases = settings.leases
    faults = []
    if leases.operation_s < _LEAST_LEASE_S:
        faults.append(f"operation {leases.operation_s:g} s: a pause so long loses the lease")
    if leases.operation_life_s <= leases.operation_s:
        faults.append(f"operation-life {leases.operation_life_s:g} s is not longer than operation")
    if leases.session_s < _LEAST_LEASE_S:
        faults.append(f"session {leases.session_s:g} s: a build so long without a word loses its artifacts")
    if leases.clock_margin_s <= 0:
        faults.append("clock-margin 0 s: no step of the volume's clock is allowed for")
    if leases.upload_grace_s < leases.operation_s:
        faults.append(
            f"upload-grace {leases.upload_grace_s:g} s: shorter than operation, uploads may go too soon"
        )
    if faults:
        checks.warning("leases", "; ".join(faults), "take the line out of `leases`: the defaults are sane")
    else:
        checks.ok("leases", f"operation {leases.operation_s:g} s, session {leases.session_s:g} s")


def _judge_quota(checks: Checks, settings: Settings) -> None:
    """As a start does (AC-2, AC-41), on the disk on which the cache lies or would be made."""
    place = settings.cachedir
    while not os.path.isdir(place) and place != "/":
        place = os.path.dirname(place)
    try:
        disk = os.statvfs(place)
    except OSError as trouble:
        checks.trouble("quota", f"{place}: {trouble.strerror}", "correct `cachedir`")
        return
    total, available = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    try:
        # What the cache uses already counts neither way: a quota of all the disk has is never too large.
        limits = evaluate(
            settings.cache,
            total_bytes=total,
            available_bytes=total,
            used_bytes=0,
            cachedir=settings.cachedir,
        )
    except ConfigInvalid as wrong:
        checks.trouble("quota", wrong.what, wrong.way_out)
        return
    quota = pretty_size(limits.quota_bytes)
    checks.ok("quota", f"at most {quota}; the disk has {pretty_size(total)}, {pretty_size(available)} free")


def _judge_roots(checks: Checks, settings: Settings) -> None:
    for root in settings.roots:
        if root == settings.cachedir:
            continue
        if not os.path.isdir(root):
            checks.warning(
                "roots", f"{root} is no folder here", "mount it where workers run, or take it out of `roots`"
            )
        elif not os.access(root, os.R_OK | os.X_OK):
            checks.warning(
                "roots", f"{root} cannot be read by this user", "give this user the right to read it"
            )
        else:
            checks.ok("roots", root)


def _judge_remotes(checks: Checks, settings: Settings) -> None:
    specs = list(_all_remotes(settings))
    relative = {
        f"{key} {path}" for spec in specs for key, path in spec.files.items() if not os.path.isabs(path)
    }
    unreadable = {
        f"{key} {path}"
        for spec in specs
        for key, path in spec.files.items()
        if os.path.isabs(path) and not os.access(path, os.R_OK)
    }
    if relative:
        checks.warning(
            "remotes",
            f"{', '.join(sorted(relative))}: such a path begins at the folder in which a worker was started",
            "write whole paths",
        )
    if unreadable:
        checks.trouble(
            "remotes", f"{', '.join(sorted(unreadable))} cannot be read", "correct the path, or its mode"
        )
    if not relative and not unreadable:
        count = len({spec.url for spec in specs})
        checks.ok("remotes", f"{count} configured" + ("; `caskeeper remotes` asks them" if count else ""))


def _all_remotes(settings: Settings) -> Iterator[RemoteSpec]:
    for spec in (*settings.artifacts, *(one for specs in settings.projects.values() for one in specs)):
        yield spec
        yield from spec.storages
