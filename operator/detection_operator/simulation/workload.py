"""What happens to a simulated queue: arrivals, and troubles by the clock."""

import csv
import math
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final


class InvalidTrace(ValueError):  # noqa: N818 - says what it is
    """A trace file that cannot be read, with the line and the reason."""


LEAD_S: Final = 300.0
"""Every workload starts quiet, so that even the clairvoyant has time for a cold start."""


@dataclass(frozen=True, slots=True)
class Window:
    """A time of trouble, from ``start_s`` to ``end_s``, with its ``amount``."""

    start_s: float
    end_s: float
    amount: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Messages and troubles, in seconds from the start.

    Attributes:
        name: Shown in the table.
        arrivals_s: Ascending.
        services_s: Service time of each arrival.
        poison: Indices of the arrivals that fail every attempt.
        phantoms: Times when the count of in-flight messages is too high by ``amount``.
        no_room: Times when no new pod finds a node.
    """

    name: str
    arrivals_s: tuple[float, ...]
    services_s: tuple[float, ...]
    poison: frozenset[int] = frozenset()
    phantoms: tuple[Window, ...] = ()
    no_room: tuple[Window, ...] = ()


def with_services(
    name: str, arrivals_s: Iterable[float], *, mean_s: float, cv: float, seed: int
) -> Workload:
    """Return a workload with lognormal service times of mean ``mean_s`` and spread ``cv``."""
    times = tuple(LEAD_S + time_s for time_s in sorted(arrivals_s))
    rng = random.Random(seed)  # noqa: S311 - a simulation, not a secret
    sigma = math.sqrt(math.log(1.0 + cv * cv))
    mu = math.log(mean_s) - sigma * sigma / 2
    services = tuple(rng.lognormvariate(mu, sigma) for _ in times)
    return Workload(name=name, arrivals_s=times, services_s=services)


def read_trace(
    path: Path, *, mean_s: float, cv: float = 0.5, size_column: str | None = None, seed: int = 1
) -> Workload:
    """Return the arrivals of a CSV file: a TIMESTAMP column, or seconds in the first column.

    Args:
        path: The file; the header line is optional when the first column is numeric.
        mean_s: Mean service time.
        cv: Its coefficient of variation, unless ``size_column`` is given.
        size_column: Column whose value the service time is proportional to.
        seed: Seed of the service times.

    Raises:
        InvalidTrace: The file has no row, or a row that is no time.
        OSError: The file cannot be read.
    """
    with path.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.reader(lines) if row]
    if not rows:
        raise InvalidTrace(f"{path}: no rows")
    header = [cell.strip() for cell in rows[0]] if _seconds(rows[0][0]) is None else []
    body = rows[1:] if header else rows
    column = header.index("TIMESTAMP") if "TIMESTAMP" in header else 0
    times = [_cell(path, number, row, column) for number, row in enumerate(body, 1 + bool(header))]
    if not times:
        raise InvalidTrace(f"{path}: no rows below the header")
    first_s = min(times)
    arrivals = [time_s - first_s for time_s in times]
    if size_column is None:
        return with_services(path.stem, arrivals, mean_s=mean_s, cv=cv, seed=seed)
    if size_column not in header:
        raise InvalidTrace(f"{path}: no column {size_column!r}; there are {', '.join(header)}")
    sizes = [_size(path, row, header.index(size_column)) for row in body]
    scale = mean_s * len(sizes) / sum(sizes)
    pairs = sorted(
        zip((LEAD_S + at_s for at_s in arrivals), (size * scale for size in sizes), strict=True)
    )
    return Workload(
        name=path.stem,
        arrivals_s=tuple(pair[0] for pair in pairs),
        services_s=tuple(pair[1] for pair in pairs),
    )


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        pass
    else:
        return value if math.isfinite(value) else None
    try:
        # Azure writes seven digits of a second, fromisoformat of Python 3.11 takes six.
        when = datetime.fromisoformat(text.strip()[:26])
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _cell(path: Path, number: int, row: list[str], column: int) -> float:
    value = _seconds(row[column]) if column < len(row) else None
    if value is None:
        raise InvalidTrace(f"{path} line {number}: {row[column : column + 1]} is no time")
    return value


def _size(path: Path, row: list[str], column: int) -> float:
    try:
        return max(float(row[column]), 1e-9)
    except (ValueError, IndexError) as exc:
        raise InvalidTrace(f"{path}: {row} has no size in column {column + 1}") from exc


Rate = Callable[[float], float]


def poisson(rate: Rate, *, length_s: float, peak_per_s: float, seed: int) -> list[float]:
    """Return arrivals of an inhomogeneous Poisson process, by thinning (Lewis and Shedler)."""
    rng = random.Random(seed)  # noqa: S311 - a simulation, not a secret
    times: list[float] = []
    now_s = rng.expovariate(peak_per_s)
    while now_s < length_s:
        if rng.random() * peak_per_s < rate(now_s):
            times.append(now_s)
        now_s += rng.expovariate(peak_per_s)
    return times


def _on_off(now_s: float) -> float:
    return 2.0 if now_s % 180.0 < 20.0 else 0.0


def _spikes(now_s: float) -> float:
    return 12.0 if now_s % 900.0 < 30.0 else 0.5


def _bursty(now_s: float) -> float:
    """Each minute has a rate of its own: lognormal, mean 2, as wide as its mean."""
    rng = random.Random(int(now_s // 60.0) * 7919)  # noqa: S311 - a simulation, not a secret
    return min(12.0, 2.0 * rng.lognormvariate(-0.5, 1.0))


def _poisoned(arrivals_s: Iterable[float], seed: int) -> frozenset[int]:
    """Return nine of ten arrivals between 10 and 30 minutes."""
    rng = random.Random(seed)  # noqa: S311 - a simulation, not a secret
    storm = (index for index, at_s in enumerate(arrivals_s) if 600.0 <= at_s < 1800.0)
    return frozenset(index for index in storm if rng.random() < 0.9)


SHAPES: Final[Mapping[str, tuple[Rate, float]]] = {
    "steady": (lambda _: 1.0, 1.0),
    "step": (lambda now_s: 0.5 if now_s < 1200.0 else 3.0, 3.0),
    "ramp": (lambda now_s: min(4.0, now_s / 600.0), 4.0),
    "spikes": (_spikes, 12.0),
    "bursty": (_bursty, 12.0),
    "on-off": (_on_off, 2.0),
    "phantom": (lambda _: 0.0, 1.0),
    "poison": (lambda _: 1.0, 1.0),
    "no-room": (lambda now_s: 0.5 if now_s < 1200.0 else 2.0, 2.0),
}
"""Arrivals per second by time, and their peak. One hour each."""
HOUR_S: Final = 3600.0


def generated(name: str, *, mean_s: float, cv: float = 0.5, seed: int = 1) -> Workload:
    """Return one of ``SHAPES`` as a workload of one hour.

    Raises:
        KeyError: There is no such shape.
    """
    rate, peak = SHAPES[name]
    arrivals = poisson(rate, length_s=HOUR_S, peak_per_s=peak, seed=seed)
    plain = with_services(name, arrivals, mean_s=mean_s, cv=cv, seed=seed + 1)
    return Workload(
        name=name,
        arrivals_s=plain.arrivals_s,
        services_s=plain.services_s,
        poison=_poisoned(arrivals, seed) if name == "poison" else frozenset(),
        phantoms=(Window(LEAD_S + 300.0, LEAD_S + 3000.0, 5.0),) if name == "phantom" else (),
        no_room=(Window(LEAD_S + 900.0, LEAD_S + 2700.0),) if name == "no-room" else (),
    )
