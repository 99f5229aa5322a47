"""worker, server, beat, flower: the long-running parts. A signal is their normal end: exit 0."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from caskeeper.config.settings import MetricsSettings, NamedFile
from caskeeper.contract import LANES
from tasks.cli.failures import Ended
from tasks.cli.interrupt import unwound_by_sigterm
from tasks.cli.lazy import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caskeeper.config import Settings
    from caskeeper.config.settings import ServerSettings
    from tasks.cli.invocation import Invocation

#: How long running calls may take after a server was told to end.
_GRACE_S = 10.0


_METRICS = click.option(
    "--metrics",
    metavar="HOST:PORT",
    help="Answer /metrics, /healthz and /readyz there, to everybody; `none`: nowhere. "
    "Default: `metrics: listen`, else nowhere.",
)


@command("worker")
@click.option(
    "--lane",
    "lanes",
    multiple=True,
    type=click.Choice(LANES),
    help="Serve only this lane; repeats. Default: all, in this order.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    metavar="N",
    help="Jobs at the same time, each in a process of its own.",
)
@_METRICS
@click.pass_obj
def worker(invocation: Invocation, *, lanes: tuple[str, ...], concurrency: int, metrics: str | None) -> int:
    """Serve the queue until SIGTERM or Ctrl-C; what is not finished then goes to another worker."""
    from tasks.app import run_worker

    return run_worker(
        _logging(invocation),
        invocation.client.redis_url,
        lanes=lanes or LANES,
        concurrency=concurrency,
        metrics=told_at(invocation.settings.metrics, metrics),
    )


@command("server")
@click.option("--listen", metavar="HOST:PORT", help="Port 0 takes any free one. Default: `server: listen`.")
@click.option("--read-only", is_flag=True, help="Refuse every write.")
@click.option(
    "--index",
    "indexes",
    metavar="LIST",
    help="Offer only these of reference-storage, remote-asset and action-cache, with commas between them.",
)
@click.option("--tls-key", metavar="FILE", help="The server's private key; `server: tls-key`.")
@click.option("--tls-cert", metavar="FILE", help="Its certificate, and those above it; `server: tls-cert`.")
@click.option(
    "--client-ca", metavar="FILE", help="Only clients with a certificate by one in it; `server: client-ca`."
)
@click.option(
    "--token-file", metavar="FILE", help="Only clients with a token, one a line, in it; `server: token-file`."
)
@_METRICS
@click.pass_obj
def server(
    invocation: Invocation,
    /,
    *,
    listen: str | None,
    read_only: bool,
    indexes: str | None,
    metrics: str | None,
    **files: str | None,
) -> int:
    """Serve the volume over gRPC until SIGTERM or Ctrl-C; running calls get time to end.

    Certificates and tokens are read again when their files change.
    """
    settings = invocation.settings.server
    if listen is not None:
        parse_listen(listen)
    listen = listen or settings.listen
    if listen is None:
        raise click.UsageError("give --listen HOST:PORT, or `server: listen` in the configuration")
    with _grpc_logging(wanted=invocation.verbose):
        from worker.server.app import serve
    offered = parse_indexes(indexes)
    from tasks.process import tune_memory
    from tasks.server_metrics import ServerMetrics
    from worker.server.security import Security
    from worker.telemetry.log import configure

    log = _logging(invocation).log
    configure(log.level, log.format)
    tune_memory()
    security = Security(_with_files(settings, files))
    told = ServerMetrics(told_at(invocation.settings.metrics, metrics), invocation)
    try:
        with unwound_by_sigterm():
            services = invocation.services  # waits, half a minute at most, where Redis has lost its state
    except (Ended, KeyboardInterrupt):
        return 0
    stop = stop_by_signal()
    running = serve(services, listen=listen, read_only=read_only, security=security, indexes=offered)
    try:
        told.start()
        shown = [f"index {' and '.join(offered)}"] if indexes else []
        mode = ", ".join(["read-only" if read_only else "read-write", *shown, *security.words])
        invocation.tell(
            {
                "event": "listening",
                "address": running.address,
                "read_only": read_only,
                "indexes": list(offered),
                "security": list(security.words),
            },
            f"listening on {running.address} ({mode})",
        )
        stop.wait()
    finally:
        told.stopping()
        running.stop(_GRACE_S)
        told.close()
    return 0


@command("beat")
@click.pass_obj
def beat(invocation: Invocation) -> int:
    """Put the periodic upkeep into the queue until SIGTERM or Ctrl-C.

    Of several one leads, and another one takes over when it ends or dies.
    """
    from tasks.beat import run_beat

    return run_beat(_logging(invocation), _answering_redis(invocation))


@command("flower")
@click.option(
    "--listen", default="127.0.0.1:5555", show_default=True, metavar="HOST:PORT", help="Where to answer."
)
@click.pass_obj
def flower(invocation: Invocation, *, listen: str) -> int:
    """The window on the queue, in a browser, until SIGTERM or Ctrl-C.

    It only shows. Beyond loopback it needs CASKEEPER_FLOWER_AUTH=USER:PASSWORD.
    """
    address, port = parse_listen(listen)
    from tasks.flower import run_flower

    if os.environ.get("CASKEEPER_FLOWER_AUTH"):
        os.environ["FLOWER_BASIC_AUTH"] = os.environ["CASKEEPER_FLOWER_AUTH"]
    redis_url = _answering_redis(invocation)
    return run_flower(invocation.settings, redis_url, address=address, port=port)


def _logging(invocation: Invocation) -> Settings:
    """What is a stream is JSON lines with --json: the log is all that these have to tell."""
    settings = invocation.settings
    return replace(settings, log=replace(settings.log, format="json")) if invocation.json else settings


@contextmanager
def _grpc_logging(*, wanted: bool) -> Iterator[None]:
    """Loaded in this block, gRPC writes no log of its own to stderr, unless the environment asks for it."""
    if wanted or "GRPC_VERBOSITY" in os.environ:
        yield
        return
    os.environ["GRPC_VERBOSITY"] = "NONE"
    try:
        yield
    finally:
        del os.environ["GRPC_VERBOSITY"]  # what is started from here decides for itself


def _with_files(settings: ServerSettings, files: dict[str, str | None]) -> ServerSettings:
    """What the command line names instead of the configuration; paths start at the current folder."""
    named: dict[str, Any] = {
        name: NamedFile(os.path.abspath(path), f"argument --{name.replace('_', '-')}")
        for name, path in files.items()
        if path
    }
    return replace(settings, **named)


def _answering_redis(invocation: Invocation) -> str:
    """The Redis, asked once: what runs on it would try for ever. Raises CoordinatorUnavailable."""
    invocation.client.queue.taken()
    return invocation.client.redis_url


def parse_listen(text: str, option: str = "--listen") -> tuple[str, int]:
    """HOST:PORT. Raises click's usage error."""
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise click.BadParameter(f"{text!r} is no HOST:PORT", param_hint=option)
    return host, int(port)


def told_at(configured: MetricsSettings, argument: str | None) -> MetricsSettings:
    """Where numbers are told: as the command line says, else as configured. Raises click's usage error."""
    if argument is None:
        return configured
    if argument == "none":
        return MetricsSettings()
    host, port = parse_listen(argument, "--metrics")
    return MetricsSettings(f"{host}:{port}", "argument --metrics")


def parse_indexes(text: str | None) -> tuple[str, ...]:
    """The ref indexes in a list with commas; None = all. Raises click's usage error."""
    from worker.server.indexes import INDEXES

    named = INDEXES if text is None else [name.strip() for name in text.split(",")]
    for name in named:
        if name not in INDEXES:
            raise click.BadParameter(f"{name!r} is none of {', '.join(INDEXES)}", param_hint="--index")
    return tuple(name for name in INDEXES if name in named)


def stop_by_signal() -> threading.Event:
    """An event that SIGTERM and SIGINT set, from now on."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
