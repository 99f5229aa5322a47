"""What the processes of a fleet hold in memory, sampled while the number of jobs grows."""

from __future__ import annotations

from typing import NamedTuple

from harness.process_tree import descendants


class Sample(NamedTuple):
    """After so many jobs. Processes by their proportional share of resident memory, Redis by its own count.

    ``lasting_keys``: keys of Redis without a time to live.
    """

    jobs: int
    workers_bytes: int
    flower_bytes: int
    redis_bytes: int
    keys: int
    lasting_keys: int


def sample(jobs, fleet, flower_pid):
    with fleet.valkey.client() as client:
        memory, keys = client.info("memory"), client.info("keyspace")
        counted = [group for group in keys.values() if isinstance(group, dict)]
    return Sample(
        jobs,
        sum(family_bytes(worker.pid) for worker in fleet.workers),
        family_bytes(flower_pid) if flower_pid else 0,
        int(memory["used_memory"]),
        sum(group["keys"] for group in counted),
        sum(group["keys"] - group["expires"] for group in counted),
    )


def family_bytes(pid):
    """Of a process and all below it, shared pages counted once."""
    return sum(map(proportional_bytes, descendants(pid)))


def proportional_bytes(pid):
    """Pss: 0 for a process that is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
            lines = file.readlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def growth(samples, name, *, since):
    """(bytes more at the end than after ``since`` jobs, how many of them a job)."""
    first = next(one for one in samples if one.jobs >= since)
    more = getattr(samples[-1], name) - getattr(first, name)
    return more, more / max(1, samples[-1].jobs - first.jobs)


def table(samples):
    """Rows for the report, in megabytes."""
    names = {"workers": "workers_bytes", "Flower": "flower_bytes", "Redis": "redis_bytes"}
    return {
        f"after {one.jobs:,} jobs": {
            **{f"{word}, MB": round(getattr(one, name) / 1e6, 1) for word, name in names.items()},
            "keys": one.keys,
            "keys without an end": one.lasting_keys,
        }
        for one in samples
    }
