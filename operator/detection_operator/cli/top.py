"""``top``: tables of DetectionQueues and WorkerPools, once or refreshed."""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from detection_operator.errors import ClusterError, Failure, Forbidden, InvalidSettings, NotFound
from detection_operator.kube.port import Object

COLUMNS: Final = (
    "NAMESPACE",
    "NAME",
    "MODE",
    "WANT",
    "READY",
    "BUSY",
    "DRAIN",
    "VISIBLE",
    "FLIGHT",
    "AGE",
    "ARRIVALS/MIN",
    "SLO",
    "COST/H",
    "TROUBLE",
    "WHY",
)
POOL_COLUMNS: Final = (
    "NAMESPACE",
    "POOL",
    "SHARING",
    "CAPACITY",
    "WANT",
    "GRANTED",
    "HELD",
    "QUEUES",
    "TROUBLE",
    "WHY",
)
CLEAR: Final = "\x1b[H\x1b[2J"
ALWAYS_BAD: Final = "False"


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("top", help="show DetectionQueues and WorkerPools as tables")
    parser.add_argument(
        "-n",
        "--namespace",
        action="append",
        metavar="NAME",
        default=[],
        help="namespace to show, may be repeated; default: all",
    )
    parser.add_argument(
        "--kubeconfig", type=Path, help="kubeconfig file; default: the pod's service account"
    )
    parser.add_argument("--context", help="context of the kubeconfig; default: its current one")
    parser.add_argument(
        "-w",
        "--watch",
        type=float,
        metavar="SECONDS",
        help="refresh interval; without it the table is printed once",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    # The Kubernetes client takes a second to import: only this command needs it.
    from detection_operator.kube.client import KubernetesCluster  # noqa: PLC0415
    from detection_operator.kube.rest import Rest, configuration  # noqa: PLC0415

    try:
        rest = Rest(configuration(arguments.kubeconfig, arguments.context))
    except InvalidSettings as exc:
        raise Failure(str(exc)) from exc
    cluster = KubernetesCluster(rest, tuple(arguments.namespace))
    try:
        while True:
            text = table(cluster.queues())
            if pools := _pools(cluster.pools):
                text = f"{text}\n\n{pool_table(pools)}"
            print(f"{CLEAR}{text}" if arguments.watch else text, flush=True)
            if not arguments.watch:
                return 0
            time.sleep(arguments.watch)
    except ClusterError as exc:
        raise Failure(str(exc), code=1) from exc
    finally:
        rest.close()


def _pools(read: Callable[[], list[Object]]) -> list[Object]:
    """Return the pools; none where their kind is not installed or may not be read."""
    try:
        return read()
    except (NotFound, Forbidden):
        return []


def table(queues: Sequence[Object]) -> str:
    """Return the table; the column TROUBLE names the conditions that are False."""
    if not queues:
        return "no DetectionQueues"
    return _aligned([COLUMNS, *(_row(queue) for queue in _ordered(queues))])


def pool_table(pools: Sequence[Object]) -> str:
    """Return the table of WorkerPools, in units."""
    return _aligned([POOL_COLUMNS, *(_pool_row(pool) for pool in _ordered(pools))])


def _ordered(objects: Sequence[Object]) -> list[Object]:
    return sorted(objects, key=lambda o: (o["metadata"]["namespace"], o["metadata"]["name"]))


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    # The last column is a sentence and needs no padding.
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]
        )
        for row in rows
    )


def _row(queue: Object) -> tuple[str, ...]:
    status, scaling = queue.get("status", {}), queue["spec"].get("scaling", {})
    counts, plan = status.get("queue", {}), status.get("plan", {})
    percent = status.get("slo", {}).get("attainmentPercent")
    age = counts.get("oldestAgeSeconds")
    return (
        queue["metadata"]["namespace"],
        queue["metadata"]["name"],
        "Paused" if queue["spec"].get("paused") else scaling.get("mode", "Auto"),
        _text(status.get("desiredReplicas")),
        _text(status.get("readyReplicas")),
        _text(status.get("busyReplicas")),
        _text(status.get("drainingReplicas")),
        _text(counts.get("visible")),
        _text(counts.get("inFlight")),
        "-" if age is None else f"{age}s",
        _text(counts.get("arrivalsPerMinute")),
        "-" if percent is None else f"{percent}%",
        _text(status.get("cost", {}).get("perHour")),
        ",".join(_trouble(status)) or "-",
        plan.get("message", "not reconciled yet"),
    )


def _pool_row(pool: Object) -> tuple[str, ...]:
    status = pool.get("status", {})
    counts = (status.get(name) for name in ("capacity", "wanted", "granted", "held", "members"))
    return (
        pool["metadata"]["namespace"],
        pool["metadata"]["name"],
        pool["spec"].get("sharing", "Priority"),
        *map(_text, counts),
        ",".join(_trouble(status)) or "-",
        status.get("message", "not reconciled yet"),
    )


def _trouble(status: Object) -> list[str]:
    conditions = status.get("conditions", ())
    return [item["type"] for item in conditions if item["status"] == ALWAYS_BAD]


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
