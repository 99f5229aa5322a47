"""The worker: a long-running process around the queue.

A worker forks children for its jobs. What it must know before it starts (is the volume ours, does Redis
fit) is found out in a process that then ends, so there are no threads, channels or locks when it forks.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.exceptions import SecurityWarning

from caskeeper.contract import LANES, REQUESTS, queue_of
from caskeeper.coordination import Coordination
from caskeeper.errors import CaskeeperError, InvalidRequest, Transient, from_json
from tasks.celery_app import make_application
from tasks.delivery import DeliveryHeartbeat
from tasks.ending import end_in_order
from tasks.metering import meter_jobs
from tasks.process import Report, end_with_parent, tune_memory
from tasks.transport import guard
from tasks.watch import PulseStep, Watch
from worker.telemetry.endpoint import bind
from worker.telemetry.happenings import hear
from worker.telemetry.log import Log, configure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caskeeper.config import Settings
    from caskeeper.config.settings import MetricsSettings
    from caskeeper.contract import Request
    from caskeeper.coordination.flights import Flights
    from tasks.celery_app import Application
    from tasks.delivery import DeliverySettings
    from worker.wiring import Services

log = Log("caskeeper.worker")

#: A file whose age says when the worker last heard of its Redis, for a container's health check.
HEARTBEAT_FILE = "CASKEEPER_HEARTBEAT_FILE"


def run_worker(
    settings: Settings,
    redis_url: str,
    *,
    lanes: Sequence[str] = LANES,
    concurrency: int = 2,
    delivery: DeliverySettings | None = None,
    metrics: MetricsSettings | None = None,
) -> int:
    """Serve lanes until SIGTERM or Ctrl-C; answers the exit code. ``metrics``: other than the settings'.

    Raises before it takes a job: ConfigInvalid (volume, owner, Redis), CoordinatorUnavailable and
    whatever else keeps the services from being built.
    """
    report = Report.inherited()
    configure(settings.log.level, settings.log.format)
    tune_memory()
    try:
        lanes = chosen_lanes(lanes)
        build = _builder(settings, redis_url)
        volume_id, wanted = _rehearse(build)
        told = metrics or settings.metrics
        bound = bind(told.listen, told.where) if told.listen else None
    except CaskeeperError as error:
        report.send(error.to_json())
        raise

    coordination: list[Coordination] = []

    def coordinator() -> Coordination:
        # Connected once; it makes new connections by itself in every forked child.
        if not coordination:
            connected = Coordination.connect(redis_url, volume_id=volume_id, leases=settings.leases)
            coordination.append(connected)
        return coordination[0]

    def flights() -> Flights:
        return coordinator().flights

    made = make_application(settings, redis_url, flights=flights, build=build, delivery=delivery)
    meter_jobs(lambda: coordinator().stats)
    watch = Watch(
        redis_url=redis_url,
        build=_builder(settings, redis_url, looks=True),
        lanes=lanes,
        children=concurrency,
        stopping=made.delivery.stopping,
        bound=bound,
    )
    return serve(
        made, settings, lanes=lanes, concurrency=concurrency, report=report, watch=watch, wanted=wanted
    )


def serve(
    made: Application,
    settings: Settings,
    *,
    lanes: Sequence[str],
    concurrency: int,
    report: Report,
    watch: Watch | None = None,
    wanted: Request | None = None,
) -> int:
    """Run the worker of an application that is made; ``wanted`` is put into the queue first."""
    guard()
    end_in_order()
    if watch is not None:
        watch.start()  # first: nothing is connected yet, and no thread runs
        made.app.steps["consumer"].add(type("Pulse", (PulseStep,), {"beat": staticmethod(watch.beat)}))
    if wanted is not None:
        # Over-full from before: clean first, not when the first write meets the limit (D-33).
        made.wish.ask(wanted)
    # About root and messages that are programs: only JSON is accepted here.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    parent = os.getpid()

    def child_begins(**_: Any) -> None:
        end_with_parent(parent)
        tune_memory()

    def configure_logging(**_: Any) -> None:
        configure(settings.log.level, settings.log.format)
        # Said by the library at every reconnect; what it proposes throws work away (queue.md 2.1).
        warnings.filterwarnings("ignore", category=PendingDeprecationWarning, module="celery")
        warnings.filterwarnings("ignore", message="Call to deprecated setex", category=DeprecationWarning)

    def child_ends(**_: Any) -> None:
        made.provider.close()

    def ready(**_: Any) -> None:
        log.info("taking jobs", lanes=",".join(lanes), children=concurrency)
        report.send({})

    signals.setup_logging.connect(configure_logging, weak=False)
    signals.worker_process_init.connect(child_begins, weak=False)
    signals.worker_process_shutdown.connect(child_ends, weak=False)
    signals.worker_shutting_down.connect(made.delivery.stopping.set, weak=False)
    signals.worker_ready.connect(ready, weak=False)
    DeliveryHeartbeat.touch = staticmethod(_renewal(watch, os.environ.get(HEARTBEAT_FILE)))
    worker: Any = made.app.Worker(
        hostname=f"worker-{parent}@{socket.gethostname()}",
        pool_cls="prefork",
        concurrency=concurrency,
        queues=[queue_of(lane) for lane in lanes],
        quiet=True,
        without_mingle=True,  # half the time of a start, for what we do not use
        without_gossip=True,
        optimization="fair",
        loglevel=settings.log.level.upper(),
    )
    try:
        worker.start()
    finally:
        if watch is not None:
            watch.stop()
    # The library calls Ctrl-C a failure; being told to end is how a worker ends.
    return 0 if made.delivery.stopping.is_set() else int(worker.exitcode or 0)


def chosen_lanes(lanes: Sequence[str]) -> tuple[str, ...]:
    """Lanes in the order in which they are served, whatever the order they were named in."""
    for lane in lanes:
        if lane not in LANES:
            raise InvalidRequest(
                f"there is no lane {lane[:40]!r}", "argument --lane", f"choose of {', '.join(LANES)}"
            )
    return tuple(lane for lane in LANES if lane in lanes) or LANES


def _builder(settings: Settings, redis_url: str, *, looks: bool = False) -> Callable[[], Services]:
    from worker import wiring  # noqa: PLC0415 -- for a worker, not for whoever looks at its lanes
    from worker.everything import load_everything  # noqa: PLC0415 -- as above

    load_everything()  # here, so that the children share the memory of what they all use

    def build() -> Services:
        services = wiring.build(settings, redis_url=redis_url, looks=looks)
        services.make_all()  # it has threads
        services.coordination.events.heard = hear
        return services

    return build


def _rehearse(build: Callable[[], Services]) -> tuple[str, Request | None]:
    """Build the services once, in a process that ends. Raises what it raised.

    The volume's id, and the upkeep that the cache wants from the start.
    """
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(ours)
            os.write(theirs, json.dumps(_rehearsal(build)).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(theirs)
    with open(ours, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    document = json.loads(text) if text else {"what": "the worker could not look at its volume"}
    if "volume_id" not in document:
        raise from_json(document) if "error" in document else CaskeeperError(str(document["what"]))
    wanted = document["wanted"]
    return str(document["volume_id"]), None if wanted is None else REQUESTS[wanted]()


def _rehearsal(build: Callable[[], Services]) -> dict[str, object]:
    try:
        services = build()
        volume_id, wanted = services.coordination.volume_id, None
        with suppress(Transient):  # Redis was emptied this moment: the first task looks again
            wanted = services.upkeep_wanted()
        services.close()
    except CaskeeperError as error:
        return error.to_json()
    except Exception as bug:  # noqa: BLE001 -- the other side of the pipe has to hear of it
        traceback.print_exc(file=sys.stderr)
        return {"what": f"a fault of caskeeper: {bug!r}"}
    return {"volume_id": volume_id, "wanted": None if wanted is None else wanted.TASK}


def _renewal(watch: Watch | None, path: str | None) -> Callable[[], None]:
    """What is done when Redis has taken what the worker's heartbeat writes."""

    def renewed() -> None:
        if watch is not None:
            watch.renewed()
        if path:
            _touch(path)

    return renewed


def _touch(path: str) -> None:
    """A disk that takes no file is no trouble with the queue: the health check tells of it."""
    try:
        with open(path, "a", encoding="utf-8"):
            os.utime(path)
    except OSError as refused:
        log.warning("the heartbeat file cannot be written", path=path, error=refused)
