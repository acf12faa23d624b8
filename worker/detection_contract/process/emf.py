"""Metrics as lines in CloudWatch's Embedded Metric Format, for those without Prometheus.

Made from the registry that ``/metrics`` shows, but a chosen, bounded part of it: every combination
of dimensions costs. Counters become what was added since the last line, because CloudWatch sums
what all pods send. Lines go to standard output, apart from the log, which goes to standard error.
"""

import json
import logging
import math
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

INTERVAL_S: Final = 60.0
"""CloudWatch's standard resolution: a line more often would not be seen."""
LAST_S: Final = 5.0
"""Seconds that the end waits for the last lines at most."""
_NAMESPACE: Final = re.compile(r"(?!AWS/)[\w.\-/#:]{1,255}", re.ASCII)
_UNITS: Final = (
    ("_seconds", "Seconds"),
    ("_bytes_total", "Bytes"),
    ("_per_second", "Count/Second"),
    ("_total", "Count"),
)
"""Units by the end of the name; what has another end has none."""

log = logging.getLogger(__name__)


class Sample(Protocol):
    """One value of a family, as prometheus_client has it."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def labels(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def value(self) -> float: ...  # noqa: D102


class Family(Protocol):
    """A metric with all its series, as prometheus_client has it."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def type(self) -> str: ...  # noqa: D102
    @property
    def samples(self) -> Sequence[Sample]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Chosen:
    """A family that is sent.

    Attributes:
        name: As Prometheus stores it, with ``_total`` for a counter.
        by: Labels that become dimensions; series that differ in others add up.
    """

    name: str
    by: tuple[str, ...] = ()


def is_namespace(text: str) -> bool:
    """Say whether CloudWatch takes ``text`` as a namespace of custom metrics."""
    return _NAMESPACE.fullmatch(text) is not None


@dataclass
class Lines:
    """Makes the lines of one process.

    Attributes:
        namespace: Namespace of the metrics in CloudWatch.
        chosen: What is sent.
        dimensions: Dimensions of all of it, such as the queue.
    """

    namespace: str
    chosen: Sequence[Chosen]
    dimensions: Mapping[str, str] = field(default_factory=dict)
    _last: dict[tuple[object, ...], float] = field(default_factory=dict)

    def make(self, families: Iterable[Family], *, now_ms: int) -> list[str]:
        """Return a line for each combination of dimensions.

        Args:
            families: The whole registry.
            now_ms: Milliseconds since 1970.
        """
        wanted = {each.name: each for each in self.chosen}
        groups: dict[tuple[tuple[str, str], ...], dict[str, object]] = {}
        for family in families:
            name = f"{family.name}_total" if family.type == "counter" else family.name
            if name in wanted:
                for labels, value in self._values(family, name, wanted[name].by):
                    groups.setdefault(labels, {})[name] = value
        return [self._line(labels, values, now_ms) for labels, values in groups.items()]

    def _values(
        self, family: Family, name: str, by: tuple[str, ...]
    ) -> Iterator[tuple[tuple[tuple[str, str], ...], object]]:
        if family.type == "histogram":
            yield from self._histograms(family, name, by)
            return
        sums: dict[tuple[tuple[str, str], ...], float] = {}
        for sample in family.samples:
            if sample.name == name and math.isfinite(sample.value):
                place = tuple((label, sample.labels[label]) for label in by)
                sums[place] = sums.get(place, 0.0) + sample.value
        for place, value in sums.items():
            yield place, self._added((name, place), value) if family.type == "counter" else value

    def _histograms(
        self, family: Family, name: str, by: tuple[str, ...]
    ) -> Iterator[tuple[tuple[tuple[str, str], ...], object]]:
        """Yield the observations since the last line, each as its bucket's upper bound."""
        buckets: dict[tuple[tuple[str, str], ...], dict[float, float]] = {}
        for sample in family.samples:
            if sample.name == f"{name}_bucket":
                place = tuple((label, sample.labels[label]) for label in by)
                bounds = buckets.setdefault(place, {})
                bound = float(sample.labels["le"])
                bounds[bound] = bounds.get(bound, 0.0) + sample.value
        for place, bounds in buckets.items():
            shown = self._observed((name, place), bounds)
            if shown:
                yield place, _distribution(shown)

    def _observed(
        self, key: tuple[object, ...], cumulative: Mapping[float, float]
    ) -> dict[float, float]:
        found: dict[float, float] = {}
        below, largest = 0.0, 0.0
        for bound in sorted(cumulative):
            added = self._added((*key, bound), cumulative[bound] - below)
            below = cumulative[bound]
            # Beyond the last bound nothing is known but that.
            largest = bound if math.isfinite(bound) else largest
            if added > 0:
                found[largest] = found.get(largest, 0.0) + added
        return found

    def _added(self, key: tuple[object, ...], value: float) -> float:
        last, self._last[key] = self._last.get(key, 0.0), value
        # A total that fell began again from zero.
        return value - last if value >= last else value

    def _line(
        self, labels: tuple[tuple[str, str], ...], values: Mapping[str, object], now_ms: int
    ) -> str:
        # CloudWatch drops a whole line for an empty dimension.
        dimensions = {name: text or "-" for name, text in (*self.dimensions.items(), *labels)}
        metrics = [{"Name": name, **_unit(name)} for name in values]
        directive = {
            "Namespace": self.namespace,
            "Dimensions": [list(dimensions)],
            "Metrics": metrics,
        }
        about = {"Timestamp": now_ms, "CloudWatchMetrics": [directive]}
        return json.dumps({"_aws": about, **dimensions, **values}, separators=(",", ":"))


def _distribution(counts: Mapping[float, float]) -> dict[str, object]:
    """Return values and counts with their statistics: CloudWatch's agents send both."""
    return {
        "Values": list(counts),
        "Counts": list(counts.values()),
        "Max": max(counts),
        "Min": min(counts),
        "Count": sum(counts.values()),
        "Sum": sum(value * count for value, count in counts.items()),
    }


def _unit(name: str) -> dict[str, str]:
    return next(({"Unit": unit} for end, unit in _UNITS if name.endswith(end)), {})


@contextmanager
def reporting(
    lines: Lines | None,
    collect: Callable[[], Iterable[Family]],
    *,
    interval_s: float = INTERVAL_S,
) -> Iterator[None]:
    """Write lines every minute while the block runs, and what is left at its end.

    Args:
        lines: Makes them; None writes nothing.
        collect: Returns the registry's families, brought up to date.
        interval_s: Seconds between lines.
    """
    if lines is None:
        yield
        return
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(interval_s):
            _write(lines, collect)
        _write(lines, collect)

    thread = threading.Thread(target=repeat, name="emf", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        # A reader that has stopped, and a pipe that is full, must not keep the process.
        thread.join(LAST_S)
        if thread.is_alive():
            log.warning("nobody reads standard output: the last metrics are lost")


def _write(lines: Lines, collect: Callable[[], Iterable[Family]]) -> None:
    try:
        made = lines.make(collect(), now_ms=time.time_ns() // 1_000_000)
        _print("".join(f"{line}\n" for line in made))
    except Exception:  # metrics must never stop the work
        log.exception("metrics were not written")


def _print(text: str) -> None:
    try:
        # One write: lines of other threads do not come between.
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as exc:
        log.warning(
            "metrics were not written to standard output, which must lead to CloudWatch: %s", exc
        )
