"""Judges a history: reads the journal, and what was found on the volume when all was over; nothing else."""

from __future__ import annotations

import re
from collections import Counter

from harness.histories_fleet import LEASE_S

#: What an honest job may answer while others clean, remove, lie and die around it.
REFUSALS = {
    "ArtifactNotFound",
    "BlobMissing",
    "Busy",
    "CacheTooFull",
    "Cancelled",
    "CoordinatorUnavailable",
    "LeaseLost",
    "NoSpace",
    "RemoteUnavailable",
}
#: Only while a remote lies, or of whoever has to do with one.
_OF_REMOTES = {"DigestMismatch", "DeadlineExceeded"}
_YOUNG_S = 20.0
FORGOTTEN = "the queue has forgotten this job"
_POISON = "times and its worker ended each time"
#: What `verify` may never find where nobody has put a hand on the volume: a kill leaves garbage, no more.
_DAMAGE = {
    "damaged-object",
    "damaged-executable",
    "dangling-ref",
    "unreadable-ref",
    "closure-list",
    "wrong-mode",
    "wrong-time",
    "wrong-kind",
    "stranger",
    "damaged-pin",
}
_LOSSES = {"redis emptied": 0, "redis started": 0, "old redis started": 0}
#: Of a log: an error that is only the echo of a fault, or the library's word for a job that failed.
_ECHOES = re.compile(
    r"WorkerLostError|exited with 'signal 9|Timed out waiting for UP message|timed out|TimeoutError|"
    r"ConnectionError|ConnectionRefusedError|Broken ?[Pp]ipe|Connection (refused|reset|closed)|"
    r"Connection to (broker|Redis) lost|Retrying inf more times|loading the dataset|LOADING|"
    r"No such file or directory: '.*/s'"
)
_RECORD = re.compile(r"(?m)^(?=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z )")


def violations(lines, final, logs):
    """Everything that must not be, as sentences. ``logs``: text by name; ``final``: what the end found."""
    return [
        *(f"{line['kind']}: {line.get('ref', '')} {line['text']}" for line in _of(lines, "violation")),
        *(f"bug in {line['actor']}: {line['text']}" for line in _of(lines, "bug", "harness failed")),
        *_counted(lines, final["quota_bytes"]),
        *_deleted_too_soon(lines),
        *_jobs(lines, final.get("states", {})),
        *_at_the_end(final),
        *_ended_by_themselves(lines),
        *(
            f"verify found {kind}: {line['found']['findings'][:3]}"
            for line in _of(lines, "verified")
            for kind in sorted(_DAMAGE & line["found"]["counts"].keys())
        ),
        *(
            f"{line['actor']}: {line['verb']} ended with {line['outcome']}: {line['error']}"
            for line in _of(lines, "cleaned")
            if line["outcome"] not in REFUSALS | {"StateLost", "done"}
        ),
        *(f"log of {name}: {text}" for name, log in logs.items() for text in bugs_in(log)),
    ]


def _of(lines, *events):
    return [line for line in lines if line["event"] in events]


def _counted(lines, quota_bytes):
    for sample in _of(lines, "sample"):
        if "used" in sample and sample["used"] + sample["reserved"] < sample["actual"]:
            yield f"understated at {sample['at']}: {sample}"
        if sample["actual"] > quota_bytes:
            yield f"above the quota of {quota_bytes} at {sample['at']}: {sample}"


def _deleted_too_soon(lines):
    """What went within a lease after Redis had lost its state, under the new one."""
    lost_ms = None
    for line in lines:
        kind = line.get("kind") if line["event"] == "fault" else line["event"]
        if kind in _LOSSES:
            lost_ms = line["wall_ms"]
        elif kind == "sample" and line.get("gone") and lost_ms is not None:
            after_s = (line["now_ms"] - lost_ms) / 1000
            if after_s < LEASE_S:
                yield f"deleted {after_s:.2f} s after a loss of Redis: {line['gone'][:5]}"


def _jobs(lines, states):
    """Every job that was sent has ended; forgotten is only what Redis has lost."""
    losses = [line["at"] for line in lines if line["event"] in _LOSSES or line.get("kind") in _LOSSES]
    sent = {line["job"]: line for line in _of(lines, "sent")}
    ended = {line["job"]: line for line in _of(lines, "ended")}
    for job, line in sent.items():
        end = ended.get(job)
        if end is None:
            yield f"{line['verb']} {job} of {line['actor']} never ended"
            continue
        outcome, error = end["outcome"], end.get("error", "")
        if outcome == "done" or _POISON in error:
            continue
        if FORGOTTEN in error and not any(line["at"] - 30 <= at <= end["at"] for at in losses):
            yield f"{line['verb']} {job} was forgotten, and Redis had lost nothing"
        if outcome == "DeadlineExceeded" and "has not ended after" in error:
            yield f"{line['verb']} {job} has not ended: {error}"
        elif outcome in _OF_REMOTES and line["verb"] in {"pull", "push"}:
            continue
        elif outcome not in REFUSALS:
            yield f"{line['verb']} of {line.get('ref', '')} ended with {outcome}: {error}"
    yield from (f"job {job} is left in state {state}" for job, state in states.items())


def _ended_by_themselves(lines):
    """Who starts while Redis or the disk is away may say so and end: whoever started it tries again."""
    killed = {}  # process -> when a child of it was
    for line in lines:
        if line.get("kind") == "kill child":
            killed[line["process"]] = line["at"]
        # The library ends a worker whose child dies before it has begun: that is no fault of ours.
        young = line["event"] == "ended by itself" and line["at"] - killed.get(line["process"], 0) < _YOUNG_S
        if line["event"] == "ended by itself" and not young and not 20 <= line["code"] < 30:
            yield f"{line['process']} ended by itself with {line['code']}"


def _at_the_end(final):
    if "failed" in final:
        yield f"the end was not reached: {final['failed']}"
        return
    yield from (f"at the end: {trouble}" for trouble in final["troubles"])
    yield from (f"left over: {path}" for path in final["leavings"])
    yield from (f"{name} ended with {code}" for name, code in final["codes"].items() if code not in {0, -15})
    for when, (used, reserved, actual) in final["counted"].items():
        if (used, reserved) != (actual, 0):
            yield f"{when}: {used} used and {reserved} reserved are counted, {actual} are there"
    yield from (f"kept after a cleanup of everything: {ref}" for ref in final["kept"])


def bugs_in(log):
    """The records of a log that no fault explains."""
    found = []
    for record in _RECORD.split(log):
        first = record.partition("\n")[0]
        serious = re.search(r"Z (ERROR|CRITICAL) ", first) or "Traceback (most recent call last)" in record
        if serious and not _ECHOES.search(record):
            found.append(record[-3000:])
    return found


def figures(lines, final, found):
    """The tables of the report."""
    verbs = {}
    for line in _of(lines, "ended", "call", "cleaned"):
        name = {"call": "gRPC ", "cleaned": "cleaner: "}.get(line["event"], "") + line["verb"]
        verbs.setdefault(name, Counter())[line["outcome"]] += 1
    operations = {}
    for name, outcomes in sorted(verbs.items()):
        done = outcomes.pop("done", 0) + outcomes.pop("OK", 0)
        refused = ", ".join(f"{why} {times}" for why, times in outcomes.most_common())
        operations[name] = {"done": done, "refused": outcomes.total(), "with": refused}
    samples = _of(lines, "sample")
    judged = sum("used" in sample for sample in samples)
    looks = Counter(line["event"] for line in lines)
    return {
        "Run": {
            "seconds": round(final["seconds"]),
            "seed": final["seed"],
            "workers, with two children each": 4,
            "competing cleaners": 2,
            "quota, bytes": final["quota_bytes"],
            "working set, bytes": final["working_set_bytes"],
            "small file system": final["small_disk"],
            "operations": sum(row["done"] + row["refused"] for row in operations.values()),
            "faults": looks["fault"],
            "violations": len(found),
        },
        "Operations": operations,
        "Faults": dict(sorted(Counter(line["kind"] for line in _of(lines, "fault")).items())),
        "Looks": {
            "frozen moments": len(samples),
            "of these with a known count": judged,
            "highest actual, bytes": max((sample["actual"] for sample in samples), default=0),
            "epochs": len({sample["epoch"] for sample in samples} - {None}),
            "promised artifacts read whole": looks["read"],
            "promises that a session told to be lost": looks["told lost"],
            "promised only in a place that moved": looks["read again"],
            "looks at what a server promised": looks["grace checked"],
            "sessions refused": looks["session refused"],
            "starts refused for want of Redis or room": looks["ended by itself"],
        },
        "Violations": dict(Counter(text.partition(":")[0] for text in found)) or {"none": 0},
    }
