"""Series over time, and their text for ``promtool tsdb create-blocks-from openmetrics``."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

Labels = tuple[tuple[str, str], ...]


class History:
    """Samples of series, one series after the other; counters add up by themselves."""

    def __init__(self) -> None:
        self._samples: defaultdict[tuple[str, Labels], list[tuple[float, float]]]
        self._samples = defaultdict(list)

    def put(self, at_s: float, name: str, value: float, labels: dict[str, str]) -> None:
        """Add a sample of a gauge.

        Args:
            at_s: Unix time, later than the series' last.
            name: Name of the series.
            value: Its value.
            labels: Its labels; empty ones are left out, as Prometheus leaves them out.
        """
        self._samples[name, _sorted(labels)].append((at_s, value))

    def add(self, at_s: float, name: str, more: float, labels: dict[str, str]) -> None:
        """Add a sample of a counter that has grown by ``more``, >= 0, since the last."""
        samples = self._samples[name, _sorted(labels)]
        samples.append((at_s, more + (samples[-1][1] if samples else 0)))

    def names(self) -> dict[str, set[str]]:
        """Return the names of all series with the names of their labels."""
        found: dict[str, set[str]] = {}
        for name, labels in self._samples:
            found.setdefault(name, set()).update(key for key, _ in labels)
        return found

    def write(self, path: Path) -> None:
        """Write everything as OpenMetrics text with timestamps."""
        path.write_text("".join(self._lines()) + "# EOF\n")

    def _lines(self) -> Iterator[str]:
        for (name, labels), samples in self._samples.items():
            inner = ",".join(f'{key}="{value}"' for key, value in labels)
            for at_s, value in samples:
                yield f"{name}{{{inner}}} {value:.6g} {at_s:.0f}\n"


def _sorted(labels: dict[str, str]) -> Labels:
    return tuple(sorted((key, value) for key, value in labels.items() if value))
