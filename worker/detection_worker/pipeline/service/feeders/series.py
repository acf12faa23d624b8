"""The metrics of all processes of a worker as one: what ``/metrics`` shows.

Counters and histograms add up, those of feeders that have died as they were last seen, so that
none goes back. What a gauge of the whole is, a table says.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from detection_worker.core.feeders.state import service_seconds

Family = dict[str, Any]
"""A metric as JSON: name, documentation, type, and samples as lists of name, labels, value and
exemplar (labels, value, Unix seconds) or None."""

_Rule = Callable[[Sequence[float], int], float]
"""The gauge of the worker, of those of its processes (at least one) and the number of feeders."""


def _own(values: Sequence[float], _feeders: int) -> float:
    """Only the main process, which comes first, knows it."""
    return values[0]


def _sum(values: Sequence[float], _feeders: int) -> float:
    return sum(values)


def _max(values: Sequence[float], _feeders: int) -> float:
    return max(values)


def _cost(values: Sequence[float], feeders: int) -> float:
    return service_seconds([{"": v} for v in values], feeders=feeders)[""]


def _rate(values: Sequence[float], feeders: int) -> float:
    return sum(values) / len(values) * feeders


GAUGES: Final[Mapping[str, _Rule]] = {
    "detection_worker_stage_waiting": _sum,
    "detection_worker_stage_busy": _sum,
    "detection_worker_last_poll_age_seconds": _max,
    "detection_worker_in_flight": _sum,
    "detection_worker_held_work_seconds": _max,
    "detection_worker_service_seconds": _cost,
    "detection_worker_sustainable_messages_per_second": _rate,
    "detection_worker_draining": _own,
    "detection_worker_ready": _own,
    "detection_worker_model_info": _own,
    # All feeders call back the same hosts.
    "detection_worker_callback_circuits_open": _max,
}
"""What a gauge of the worker is, by name."""


def families_of(registry: CollectorRegistry) -> list[Family]:
    """Return every metric of a registry."""
    return [_as_family(metric) for metric in registry.collect()]


def lasting(families: Iterable[Family]) -> list[Family]:
    """Return what stays of a feeder that has died: all but its gauges."""
    return [family for family in families if family["type"] != "gauge"]


def added(*sources: Sequence[Family]) -> list[Family]:
    """Return the sums of counters and histograms of several feeders."""
    return [_as_family(metric) for metric in merged(sources, feeders=1)]


def merged(sources: Iterable[Sequence[Family]], *, feeders: int) -> Iterator[Metric]:
    """Return the metrics of a worker.

    Args:
        sources: Those of the main process, then those of its feeders.
        feeders: How many feeders the worker has, >= 1.
    """
    by_name: dict[str, list[Family]] = {}
    for families in sources:
        for family in families:
            by_name.setdefault(family["name"], []).append(family)
    for name, found in by_name.items():
        metric = Metric(name, found[0]["documentation"], found[0]["type"])
        for (sample, labels), samples in _by_series(found).items():
            values = [value for value, _ in samples]
            exemplars = [Exemplar(*e) for _, e in samples if e is not None]
            metric.add_sample(
                sample,
                dict(labels),
                _value(metric, sample, values, feeders),
                exemplar=max(exemplars, key=lambda e: e.timestamp or 0.0, default=None),
            )
        yield metric


_Series = tuple[str, tuple[tuple[str, str], ...]]


def _by_series(found: Iterable[Family]) -> dict[_Series, list[tuple[float, Any]]]:
    series: dict[_Series, list[tuple[float, Any]]] = {}
    for family in found:
        for name, labels, value, exemplar in family["samples"]:
            series.setdefault((name, tuple(labels.items())), []).append((value, exemplar))
    return series


def _value(metric: Metric, sample: str, values: Sequence[float], feeders: int) -> float:
    if metric.type == "gauge":
        return GAUGES[metric.name](values, feeders)
    return min(values) if sample.endswith("_created") else sum(values)


def _as_family(metric: Metric) -> Family:
    samples = [
        [s.name, s.labels, s.value, list(s.exemplar) if s.exemplar else None]
        for s in metric.samples
    ]
    return {
        "name": metric.name,
        "documentation": metric.documentation,
        "type": metric.type,
        "samples": samples,
    }


class MergedSeries(Collector):
    """A collector of all processes' metrics.

    Args:
        sources: Returns those of the main process, then those of its feeders, dead ones included.
        feeders: How many feeders the worker has.
    """

    def __init__(self, sources: Callable[[], Sequence[Sequence[Family]]], *, feeders: int) -> None:
        self._sources = sources
        self._feeders = feeders

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are not to be collected to be registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Return the metrics of the worker."""
        return merged(self._sources(), feeders=self._feeders)
