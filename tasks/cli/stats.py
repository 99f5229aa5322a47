"""stats: hits, misses, errors and bytes of the whole fleet, since they were last set to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tasks.cli import wording
from tasks.cli.lazy import command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tasks.cli.invocation import Invocation


@command("stats")
@click.option("--reset", is_flag=True, help="Set all of them to nothing, after they were shown.")
@click.pass_obj
def stats(invocation: Invocation, *, reset: bool) -> None:
    """Hits, misses, errors and bytes: totals of the jobs that all workers did, and of what was evicted.

    They are kept in Redis and lost with it; numbers over time are what /metrics is for.
    """
    coordination = invocation.client.coordination
    document = grouped(coordination.stats.read(), now_ms=coordination.now_ms())
    if reset:
        coordination.stats.reset()
    invocation.emit(document, "\n".join(_lines(document)))


def grouped(totals: Mapping[str, int], *, now_ms: int) -> dict[str, Any]:
    """The totals by what they are about."""
    hits = {source: totals.get(f"hits {source}", 0) for source in ("local", "remote")}
    misses = totals.get("misses", 0)
    asked = sum(hits.values()) + misses
    moved: dict[str, dict[str, dict[str, int]]] = {}
    jobs: dict[str, dict[str, int]] = {}
    for name, value in sorted(totals.items()):
        kind, _, rest = name.partition(" ")
        what, _, more = rest.partition(" ")
        if kind in {"bytes", "blobs"}:
            moved.setdefault(what, {}).setdefault(more, {"bytes": 0, "blobs": 0})[kind] = value
        elif kind == "jobs":
            jobs.setdefault(what, {"done": 0, "failed": 0, "ms": 0})[more] = value
        elif kind == "ms":
            jobs.setdefault(what, {"done": 0, "failed": 0, "ms": 0})["ms"] = value
    return {
        "since_s": round(max(0, now_ms - totals["since_ms"]) / 1000, 3) if "since_ms" in totals else None,
        "hits": hits,
        "misses": misses,
        "hit_percent": round(100 * sum(hits.values()) / asked, 1) if asked else None,
        "errors": _named(totals, "errors"),
        "moved": moved,
        "pushes": _named(totals, "pushes"),
        "evicted": {
            "refs": totals.get("evicted refs", 0),
            "bytes": totals.get("evicted bytes", 0),
        },
        "findings": _named(totals, "findings"),
        "drift_bytes": totals.get("drift_bytes"),
        "jobs": jobs,
    }


def _named(totals: Mapping[str, int], kind: str) -> dict[str, int]:
    start = f"{kind} "
    return {name.removeprefix(start): n for name, n in sorted(totals.items()) if name.startswith(start)}


def _lines(document: Mapping[str, Any]) -> list[str]:
    if document["since_s"] is None:
        return ["no job has ended yet"]
    hits, misses = document["hits"], document["misses"]
    rate = "" if document["hit_percent"] is None else f" ({document['hit_percent']:g} % of the pulls)"
    lines = [
        f"since       {wording.duration(document['since_s'])} ago",
        f"hits        {hits['local']} here, {hits['remote']} from remotes{rate}",
        f"misses      {misses}",
        f"errors      {_list(document['errors']) or 0}",
    ]
    for direction, remotes in document["moved"].items():
        for remote, of in remotes.items():
            blobs = f", {wording.count(of['blobs'], 'blob')}" if of["blobs"] else ""
            where = f" {wording.printable(remote)}" if remote else ""
            lines.append(f"{direction:<11} {wording.size(of['bytes'])}{blobs}{where}")
    if document["pushes"]:
        lines.append(f"pushes      {_list(document['pushes'])}")
    gone = document["evicted"]
    lines.append(f"evicted     {wording.count(gone['refs'], 'ref')}, {wording.size(gone['bytes'])}")
    if document["findings"]:
        lines.append(f"findings    {_list(document['findings'])}")
    for task, of in document["jobs"].items():
        number = of["done"] + of["failed"]
        mean = wording.duration(of["ms"] / 1000 / number) if number else "-"
        lines.append(f"jobs        {task}: {of['done']} done, {of['failed']} failed, {mean} each")
    return lines


def _list(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {wording.printable(name)}" for name, n in numbers.items())
