"""One operation by our services in a process of its own, as a worker's child does it; JSON in, JSON out.

The process has loaded the code and opened its connections, by the same operation on one small file, before
the clock starts, and its companion process runs, as a worker's does that has met a large tree before.
"""

from __future__ import annotations

import cProfile
import os
import shutil
import statistics
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # with -P a script finds no neighbours

from measuring import answer, compare, request, timed_with_children

from caskeeper.config import load_settings
from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ExtractRequest,
    Progress,
    PullRequest,
    PushRequest,
)
from tasks.process import tune_memory
from worker.protocols import Context, quiet
from worker.wiring import Services, build

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.contract import Request

_WAKE = "bench/wake/file"


def main() -> None:
    asked = request()
    tune_memory()
    settings = load_settings(asked["config"], environ={})
    services = build(settings, redis_url=settings.redis or "")
    try:
        if asked["operation"] == "fill":
            _fill(services, asked)
            answer()
            return
        _wake(services, asked)
        _wake_companion(services)
        work = _work(services, asked)
        profiled = asked.get("profile")
        if profiled:
            profile = cProfile.Profile()
            measured, result = timed_with_children(lambda: profile.runcall(work))
            profile.dump_stats(profiled)
        else:
            measured, result = timed_with_children(work)
        if asked.get("compare") and asked["operation"] in {"links", "copy"}:
            compare(asked["tree"], str(result["path"]))
        answer(**measured, result=result)
    finally:
        services.close()


def _work(services: Services, asked: dict[str, Any]) -> Callable[[], dict[str, object]]:
    operation = asked["operation"]
    if operation == "found":
        return lambda: _found_often(services, asked["ref"])
    if operation in {"plan one", "evict one"}:
        return lambda: _evict_one(services, only_plan=operation == "plan one")

    def run() -> dict[str, object]:
        result: dict[str, object] = services.run(_request(services, asked), quiet()).to_json()
        result.pop("groups", None)
        return result

    return run


def _request(services: Services, asked: dict[str, Any]) -> Request:
    match asked["operation"]:
        case "commit" | "again":
            return CommitRequest(path=asked["tree"], refs=(asked["ref"],))
        case "push" | "push again":
            return PushRequest(refs=(asked["ref"],))
        case "pull":
            return PullRequest(ref=asked["ref"])
        case "links":
            return ExtractRequest(ref=asked["ref"])
        case "copy":
            return ExtractRequest(ref=asked["ref"], destination=asked["destination"])
        case "cleanup":
            return CleanupRequest(target_bytes=services.space.used_bytes() // 2)
        case other:
            raise SystemExit(f"no operation {other!r}")


def _found_often(services: Services, ref: str, often: int = 100) -> dict[str, object]:
    """How long a pull of what is there takes: half of them less."""
    seconds = []
    for _ in range(often):
        began = time.perf_counter()
        services.run(PullRequest(ref=ref), quiet())
        seconds.append(time.perf_counter() - began)
    return {"part_s": statistics.median(seconds)}


def _evict_one(services: Services, *, only_plan: bool) -> dict[str, object]:
    """How long the plan took, and how long to carry it out: from the first word of progress to the end."""
    began: list[float] = []

    def progress(_progress: Progress) -> None:
        if not began:
            began.append(time.perf_counter())

    start = time.perf_counter()
    target = services.space.used_bytes() - 1
    wanted = CleanupRequest(target_bytes=target, dry_run=only_plan)
    result = services.run(wanted, Context(progress=progress, check=lambda: None))
    end = time.perf_counter()
    if only_plan:
        return {"part_s": end - start}
    return {"part_s": end - began[0], "evicted_refs": result.to_json()["evicted_refs"]}


def _wake(services: Services, asked: dict[str, Any]) -> None:
    """The same operation once before: nothing is loaded or connected for the first time afterwards."""
    operation, verb = asked["operation"], {"tree": "", "ref": _WAKE, **asked}
    with tempfile.TemporaryDirectory(prefix="wake-", dir=os.path.dirname(asked["config"])) as folder:
        os.makedirs(f"{folder}/tree")
        with open(f"{folder}/tree/file", "w", encoding="ascii") as file:
            file.write("wake")
        own = {**verb, "tree": f"{folder}/tree", "ref": _WAKE, "destination": f"{folder}/copy"}
        if operation == "found":
            return
        if operation in {"cleanup", "plan one", "evict one"}:
            services.run(CleanupRequest(dry_run=True), quiet())
            return
        if operation != "pull":
            services.run(_request(services, {**own, "operation": "commit"}), quiet())
        services.run(_request(services, {**own, "operation": operation}), quiet())
        shutil.rmtree(f"{folder}/copy", ignore_errors=True)


def _wake_companion(services: Services) -> None:
    companion = services.companion
    if companion.take():
        companion.line()
        before: int | None = None
        while (ticks := companion.busy_ticks()) != before:  # until it has loaded what it needs
            before = ticks
            time.sleep(0.1)
        companion.give_back(lost=False, heard=True)


def _fill(services: Services, asked: dict[str, Any]) -> None:
    """An artifact of every folder of the tree."""
    for name in sorted(os.listdir(asked["tree"])):
        request_ = CommitRequest(path=f"{asked['tree']}/{name}", refs=(f"bench/{name}/key",))
        services.run(request_, quiet())


if __name__ == "__main__":
    main()
