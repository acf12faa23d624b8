"""The worker compared with itself: with the callback alone, and with more destinations."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from detection_testing.aws.local_aws import LocalAws
from throughput.media import MediaSet
from throughput.processes import worker
from throughput.rates import Bench, Rate, show_stages


def compare(
    aws: LocalAws,
    media: MediaSet,
    folder: Path,
    models_dir: Path,
    *,
    turns: int,
    core: int | None = None,
) -> dict[str, object]:
    """Measure the worker with more and more destinations, on one core or on all."""
    bench = Bench(aws, media, folder)
    contenders = _destinations(aws, media.name)
    rows: dict[str, list[Rate]] = {name: [] for name in contenders}
    for _ in range(turns):
        for name, options in contenders.items():
            start = worker(aws, models_dir, *options, core=core, report=folder / "threads.json")
            rows[name].append(bench.measure(name, media.messages, start))
    medians = {
        name: sorted(found, key=lambda row: row.per_s)[turns // 2] for name, found in rows.items()
    }
    alone, *others = medians.values()
    return {
        "rows": [asdict(row) for row in medians.values()],
        "shares": {row.name: row.per_s / alone.per_s for row in others},
        "by_cpu": {row.name: (alone.cpu_ms or 0.0) / (row.cpu_ms or 1.0) for row in others},
    }


def _destinations(aws: LocalAws, media: str) -> dict[str, tuple[str, ...]]:
    """Return the options of each row."""
    topic = aws.create_topic("results")
    queue_url, _ = aws.create_queue("results", dead_letter=False)
    aws.s3().create_bucket(Bucket="results")
    bus = f"arn:aws:events:{aws.region}:123456789012:event-bus/default"
    # A prefix for each media set: their messages have the same request ids.
    every = ("--results", f"s3://results/{media}/", "--on-success", f"{topic},{bus}")
    return {
        "callback": (),
        "S3, SNS, events": every,
        "and SQS": (*every[:-1], f"{every[-1]},{aws.queue_arn(queue_url)}"),
    }


def show(name: str, report: Mapping[str, Any]) -> None:
    """Print the table of one media set; ``by CPU`` leaves out what the local services cost."""
    print(f"\n{name}")
    print(
        f"  {'':16} {'msg/s':>8} {'share':>6} {'by CPU':>7} {'SQS/msg':>8} {'S3/msg':>7} "
        f"{'CPU ms/msg':>11} {'local AWS':>10}"
    )
    for row in report["rows"]:
        share, by_cpu = (
            f"{shares[row['name']]:.2f}" if row["name"] in shares else ""
            for shares in (report["shares"], report["by_cpu"])
        )
        print(
            f"  {row['name']:16} {row['per_s']:8.1f} {share:>6} {by_cpu:>7} "
            f"{row['sqs_calls']:8.2f} {row['s3_calls']:7.2f} {row['cpu_ms']:11.2f} "
            f"{row['local_aws_ms']:10.2f}"
        )
        show_stages(row["stages"])
