"""The numbers of one process as Prometheus reads them."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from worker.telemetry.metrics import COUNTER, GAUGE, HISTOGRAM, METRICS, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

CONTENT_TYPE = CONTENT_TYPE_LATEST
# They double the number of series, and nobody asks for them.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's stub is partial
#: Sets of labels of one name. A request may name remotes of its own: the number of these has no bound.
MOST_SETS = 200
#: What the labels of all further ones are.
OTHER = "other"


class Registry:
    """Adds samples up. ``look`` answers the gauges of the moment, asked at every scrape; it must not wait."""

    def __init__(self, look: Callable[[], Sequence[Sample]] = tuple) -> None:
        self._registry = CollectorRegistry()
        self._sums: dict[str, Counter | Histogram] = {}
        self._sets: dict[str, set[tuple[str, ...]]] = {}
        self._lock = Lock()
        for name, metric in METRICS.items():
            if metric.kind == COUNTER:
                self._sums[name] = Counter(name, metric.help, metric.labels, registry=self._registry)
            elif metric.kind == HISTOGRAM:
                self._sums[name] = Histogram(
                    name, metric.help, metric.labels, registry=self._registry, buckets=metric.buckets
                )
        self._registry.register(_Moment(look))

    def add(self, samples: Iterable[Sample]) -> None:
        """Count. A name that is not ours, of another release's child, is passed over."""
        for one in samples:
            summed, metric = self._sums.get(one.name), METRICS.get(one.name)
            if summed is None or metric is None or len(one.labels) != len(metric.labels):
                continue
            labels = self._bounded(one.name, one.labels)
            child = summed.labels(*labels) if labels else summed
            if isinstance(child, Counter):
                child.inc(max(0.0, one.value))
            else:
                child.observe(one.value)

    def render(self) -> bytes:
        """The page."""
        return generate_latest(self._registry)

    def _bounded(self, name: str, labels: tuple[str, ...]) -> tuple[str, ...]:
        with self._lock:
            known = self._sets.setdefault(name, set())
            if labels in known:
                return labels
            if len(known) < MOST_SETS:
                known.add(labels)
                return labels
        return (OTHER,) * len(labels)


class _Moment(Collector):
    """What is true now; a gauge that nobody told is not on the page."""

    def __init__(self, look: Callable[[], Sequence[Sample]]) -> None:
        self._look = look

    def describe(self) -> list[GaugeMetricFamily]:
        """Without this the registry would look once when it is made."""
        return []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One family a name."""
        found: dict[str, GaugeMetricFamily] = {}
        # A page that names a series twice is refused whole; of two the last is told.
        for one in {(one.name, one.labels): one for one in self._look()}.values():
            metric = METRICS.get(one.name)
            if metric is None or metric.kind != GAUGE:
                continue
            family = found.get(one.name)
            if family is None:
                family = found[one.name] = GaugeMetricFamily(one.name, metric.help, labels=metric.labels)
            family.add_metric(one.labels, one.value)
        return found.values()
