"""The worker compared with itself: without traces, with a tenth of them, with all."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Final

from detection_testing.aws.local_aws import LocalAws
from detection_testing.otlp import Collector, http_collector
from throughput.media import MediaSet
from throughput.processes import worker
from throughput.rates import Bench, Rate

TENTH: Final = {
    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
    "OTEL_TRACES_SAMPLER_ARG": "0.1",
}


def compare(
    aws: LocalAws, media: MediaSet, folder: Path, models_dir: Path, *, turns: int
) -> dict[str, object]:
    """Measure the worker without traces, with a tenth of them, and with all; rows take turns."""
    bench = Bench(aws, media, folder)
    with http_collector() as collector:
        contenders = _contenders(collector)
        rows: dict[str, list[Rate]] = {name: [] for name in contenders}
        spans = dict.fromkeys(contenders, 0)
        for _ in range(turns):
            for name, variables in contenders.items():
                before = len(collector.spans)
                start = worker(aws, models_dir, environment=variables)
                rows[name].append(bench.measure(name, media.messages, start))
                spans[name] += len(collector.spans) - before
    return {
        "rows": [
            {
                **asdict(sorted(found, key=lambda row: row.cpu_ms or 0.0)[turns // 2]),
                "cpu_ms": median(row.cpu_ms or 0.0 for row in found),
                "spread_ms": _spread([row.cpu_ms or 0.0 for row in found]),
                "spans": spans[name] / (turns * media.messages),
            }
            for name, found in rows.items()
        ]
    }


def _spread(values: list[float]) -> float:
    return max(values) - min(values)


def _contenders(collector: Collector) -> dict[str, Mapping[str, str]]:
    on = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": collector.protocol,
    }
    return {"off": {}, "a tenth": on | TENTH, "all": on}


def show(name: str, report: Mapping[str, Any]) -> None:
    """Print the table of one media set; spans are those that the collector got."""
    print(f"\n{name}")
    print(f"  {'traces':10} {'msg/s':>8} {'CPU ms/msg':>11} {'spread':>8} {'spans/msg':>10}")
    for row in report["rows"]:
        print(
            f"  {row['name']:10} {row['per_s']:8.1f} {row['cpu_ms']:11.2f} "
            f"{row['spread_ms']:8.2f} {row['spans']:10.2f}"
        )
