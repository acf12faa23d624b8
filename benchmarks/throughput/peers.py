"""The worker compared with a sequential loop, pools of it, LitServe and the machine's limit."""

import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from detection_testing.aws.local_aws import LocalAws
from detection_testing.http.tunnel import TlsFront, make_certificate
from throughput.litserve_peer import BRIDGE_THREADS, why_absent
from throughput.media import MediaSet
from throughput.processes import contender, worker
from throughput.rates import Bench, Rate, show_stages

POOL_SIZES: Final = (2, 4, 8, 16, 32)
SEQUENTIAL, LITSERVE, WORKER, TLS, LIMIT = "sequential", "litserve", "worker", "with TLS", "limit"
POOLS: Final = {"pools": ("by-hand", "pool {}"), "pools-ours": ("ours", "pool {}, ours")}
"""By row the contender, and the label of each of its sizes."""
ROWS: Final = (SEQUENTIAL, *POOLS, LITSERVE, WORKER, TLS, LIMIT)


def compare(
    aws: LocalAws,
    media: MediaSet,
    folder: Path,
    models_dir: Path,
    *,
    only: tuple[str, ...],
    pool_sizes: Sequence[int] = POOL_SIZES,
) -> dict[str, object]:
    """Measure contenders on one media set.

    Args:
        aws: The local services.
        media: Files and numbers of messages.
        folder: For files.
        models_dir: Models of every contender.
        only: Which rows of ``ROWS``.
        pool_sizes: Numbers of threads; the best of each pool counts.
    """
    bench = Bench(aws, media, folder)
    absent = {LITSERVE: why_absent()} if LITSERVE in only else {}
    if SEQUENTIAL in only:
        loop = contender(aws, models_dir, "by-hand", threads=1)
        bench.measure(SEQUENTIAL, media.slow_messages, loop)
    for row, (name, label) in POOLS.items():
        for size in pool_sizes if row in only else ():
            messages = min(media.messages, media.slow_messages * size)
            pool = contender(aws, models_dir, name, threads=size)
            bench.measure(label.format(size), messages, pool)
    if LITSERVE in only and absent[LITSERVE] is None:
        bridge = contender(aws, models_dir, LITSERVE, threads=BRIDGE_THREADS)
        bench.measure(LITSERVE, media.messages, bridge)
    if WORKER in only:
        ours = worker(aws, models_dir, report=folder / "threads.json")
        bench.measure(WORKER, media.messages, ours)
    if TLS in only:
        with _tls(aws, folder) as (options, environment, url):
            ours = worker(
                aws,
                models_dir,
                *options,
                environment=environment,
                report=folder / "threads-tls.json",
            )
            bench.measure(TLS, media.messages, ours, callback_url=url)
    if LIMIT in only:
        bench.limit(models_dir)
    reasons = {name: reason for name, reason in absent.items() if reason}
    return {
        "rows": [asdict(row) for row in bench.rows],
        "absent": reasons,
        **_ratios(bench.rows),
    }


@contextmanager
def _tls(aws: LocalAws, folder: Path) -> Iterator[tuple[tuple[str, ...], Mapping[str, str], str]]:
    """Have the services behind TLS; yields options and variables of the worker, and a URL."""
    certificate = make_certificate(folder, "localhost")
    port = urllib.parse.urlsplit(aws.endpoint_url).port
    assert port is not None
    front = TlsFront(("127.0.0.1", port), certificate)
    endpoint = f"https://localhost:{front.port}"
    trusted = str(folder / "localhost.crt")
    try:
        yield (
            ("--endpoint-url", endpoint),
            {
                "AWS_ENDPOINT_URL": endpoint,
                "AWS_CA_BUNDLE": trusted,
                "SSL_CERT_FILE": trusted,
            },
            aws.callback_url("/ok").replace(aws.endpoint_url, endpoint),
        )
    finally:
        front.close()


def _ratios(rows: list[Rate]) -> dict[str, object]:
    """Return what the worker makes of the others, as far as they were measured."""
    by_name = {row.name: row for row in rows}
    pools = [row for row in rows if row.name.startswith("pool ")]
    best, best_ours = (
        max(
            (row for row in pools if row.name.endswith("ours") is with_ours),
            key=_rate,
            default=None,
        )
        for with_ours in (False, True)
    )
    ours = by_name.get(WORKER)
    if ours is None:
        return {}

    def over(peer: Rate | None) -> float | None:
        return None if peer is None else ours.per_s / peer.per_s

    def by_cpu(peer: Rate | None) -> float | None:
        return None if peer is None else (peer.cpu_ms or 0.0) / (ours.cpu_ms or 1.0)

    return {
        "times_sequential": over(by_name.get(SEQUENTIAL)),
        "times_best_pool": over(best),
        "best_pool": None if best is None else best.name,
        "times_best_pool_by_cpu": by_cpu(best),
        "times_best_pool_ours": over(best_ours),
        "best_pool_ours": None if best_ours is None else best_ours.name,
        "times_best_pool_ours_by_cpu": by_cpu(best_ours),
        "times_litserve": over(by_name.get(LITSERVE)),
        "times_litserve_by_cpu": by_cpu(by_name.get(LITSERVE)),
        "share_of_limit": over(by_name.get(LIMIT)),
        "sqs_calls_per_message": ours.sqs_calls,
    }


def _rate(row: Rate) -> float:
    return row.per_s


def show(name: str, report: Mapping[str, object]) -> None:
    """Print the table of one media set."""
    rows, absent = report["rows"], report["absent"]
    assert isinstance(rows, list)
    assert isinstance(absent, dict)
    print(f"\n{name}")
    print(
        f"  {'':14} {'msg/s':>8} {'CPU ms/msg':>11} {'SQS/msg':>8} {'S3/msg':>7} "
        f"{'local AWS, cores':>17}"
    )
    for row in rows:
        cells = [row["cpu_ms"], row["sqs_calls"], row["s3_calls"], row["local_aws_cores"]]
        shown = ["" if c is None else f"{c:.2f}" for c in cells]
        print(
            f"  {row['name']:14} {row['per_s']:8.1f} {shown[0]:>11} {shown[1]:>8} "
            f"{shown[2]:>7} {shown[3]:>17}"
        )
        show_stages(row["stages"])
    for peer, reason in absent.items():
        print(f"  {peer:14} {reason}")
    for text, key in (
        ("worker / sequential", "times_sequential"),
        (f"worker / {report.get('best_pool')}", "times_best_pool"),
        ("  by CPU", "times_best_pool_by_cpu"),
        (f"worker / {report.get('best_pool_ours')}", "times_best_pool_ours"),
        ("  by CPU", "times_best_pool_ours_by_cpu"),
        ("worker / LitServe", "times_litserve"),
        ("  by CPU", "times_litserve_by_cpu"),
        ("worker / limit", "share_of_limit"),
    ):
        if isinstance(ratio := report.get(key), float):
            print(f"  {text:32} {ratio:.2f}")
