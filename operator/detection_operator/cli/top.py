"""``top``: a table of DetectionQueues, once or refreshed."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from detection_operator.errors import ClusterError, Failure, InvalidSettings
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
CLEAR: Final = "\x1b[H\x1b[2J"
ALWAYS_BAD: Final = "False"


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("top", help="show DetectionQueues as a table")
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
            print(f"{CLEAR}{text}" if arguments.watch else text, flush=True)
            if not arguments.watch:
                return 0
            time.sleep(arguments.watch)
    except ClusterError as exc:
        raise Failure(str(exc), code=1) from exc
    finally:
        rest.close()


def table(queues: Sequence[Object]) -> str:
    """Return the table; the column TROUBLE names the conditions that are False."""
    if not queues:
        return "no DetectionQueues"
    ordered = sorted(queues, key=lambda q: (q["metadata"]["namespace"], q["metadata"]["name"]))
    rows = [COLUMNS, *(_row(queue) for queue in ordered)]
    # The last column is a sentence and needs no padding.
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS) - 1)]
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


def _trouble(status: Object) -> list[str]:
    conditions = status.get("conditions", ())
    return [item["type"] for item in conditions if item["status"] == ALWAYS_BAD]


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
