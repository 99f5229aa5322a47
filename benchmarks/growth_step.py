"""One operation on a cache of some size, in a process of its own; JSON in, JSON out."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # with -P a script finds no neighbours

from growth_volume import fill
from measuring import answer, request, timed

from caskeeper.config import load_settings
from caskeeper.contract import CleanupRequest, ComputeSizeRequest, Progress, VerifyRequest
from tasks.process import tune_memory
from worker.protocols import Context, quiet
from worker.wiring import Services, build

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    asked = request()
    tune_memory()
    settings = load_settings(asked["config"], environ={})
    found: list[Services] = []
    started, _ = timed(lambda: found.append(build(settings, redis_url=settings.redis or "")))
    services = found[0]
    try:
        operation = asked["operation"]
        if operation == "start":
            answer(**started)
        elif operation == "fill":
            fill(services.layout, asked["objects"], simulated=asked["simulated"])
            answer()
        elif operation in {"evict one", "evict half"}:
            _evict(services, half=operation == "evict half")
        else:
            measured, _ = timed(_work(services, operation))
            answer(**measured)
    finally:
        services.close()


def _work(services: Services, operation: str) -> Callable[[], Any]:
    used_bytes = services.space.used_bytes()
    works: dict[str, Callable[[], Any]] = {
        "status": services.status,
        "list": services.listing.list,
        "list one": lambda: services.listing.list("growth/element-7/*"),
        "plan one": lambda: services.run(CleanupRequest(target_bytes=used_bytes - 1, dry_run=True), quiet()),
        "plan half": lambda: services.run(
            CleanupRequest(target_bytes=used_bytes // 2, dry_run=True), quiet()
        ),
        "recount": lambda: services.run(ComputeSizeRequest(), quiet()),
        "verify": lambda: services.run(VerifyRequest(), quiet()),
    }
    return works[operation]


def _evict(services: Services, *, half: bool) -> None:
    """From the first word of progress, which ends the plan, until the lease is free."""
    began: list[float] = []
    ended: list[float] = []
    maintenance = services.coordination.maintenance
    release = maintenance.release

    def progress(_progress: Progress) -> None:
        if not began:
            began.append(time.perf_counter())

    def released(holder: str) -> None:
        release(holder)
        ended.append(time.perf_counter())

    maintenance.release = released  # type: ignore[method-assign]  # only to look at the clock
    used_bytes = services.space.used_bytes()
    wanted = CleanupRequest(target_bytes=used_bytes // 2 if half else used_bytes - 1)
    measured, result = timed(lambda: services.run(wanted, Context(progress=progress, check=lambda: None)))
    answer(**{**measured, "wall_s": ended[0] - began[0]}, evicted=result.evicted_refs)


if __name__ == "__main__":
    main()
