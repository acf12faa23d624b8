"""``run``: scale the workers of a cluster until stopped."""

import argparse
import dataclasses
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detection_contract import environment as env
from detection_contract.process.logs import configure, log_format_from_environment
from detection_operator.errors import Failure, InvalidSettings, LeaseLost

if TYPE_CHECKING:
    from detection_operator.settings import OperatorSettings

log = logging.getLogger(__name__)


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("run", help="run the operator: scale the workers of a cluster")
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument(
        "-n",
        "--namespace",
        action="append",
        metavar="NAME",
        help="namespace to watch, may be repeated; default: the operator's own",
    )
    scope.add_argument("-A", "--all-namespaces", action="store_true", help="watch all namespaces")
    parser.add_argument(
        "--kubeconfig", type=Path, help="kubeconfig file; default: the pod's service account"
    )
    parser.add_argument("--context", help="context of the kubeconfig; default: its current one")
    parser.add_argument("--host", help="address that metrics and probes listen on")
    parser.add_argument("--port", type=int, help="port of metrics and probes; 0 picks a free one")
    parser.add_argument("--threads", type=int, help="number of concurrent reconciles")
    parser.add_argument(
        "--decisions", type=Path, metavar="FILE", help="append decision records for `replay`"
    )
    parser.add_argument(
        "--emf-namespace",
        metavar="NAME",
        help="CloudWatch namespace: write metrics to stdout, lines in EMF each minute",
    )
    parser.add_argument(
        "--no-leader-election",
        dest="leader_election",
        action="store_false",
        default=None,
        help="only where a single process can run",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    # kopf and the Kubernetes client take a second to import: only this command needs them.
    from detection_operator.runtime.operator import Operator  # noqa: PLC0415

    configure(
        level=os.environ.get(env.LOG_LEVEL, "INFO"),
        fmt=log_format_from_environment(),
        facts=True,
    )
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        operator = Operator(_settings(arguments))
    except (InvalidSettings, OSError) as exc:
        raise Failure(str(exc)) from exc
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: operator.stop())
    try:
        operator.run()
    except LeaseLost as exc:
        raise Failure(str(exc), code=env.EXIT_FAILED) from exc
    return env.EXIT_OK


def _settings(arguments: argparse.Namespace) -> "OperatorSettings":
    from detection_operator.settings import from_environment  # noqa: PLC0415 - pydantic's time

    settings = from_environment()
    names = (
        *("kubeconfig", "context", "host", "port", "threads", "decisions", "leader_election"),
        "emf_namespace",
    )
    given = {name: getattr(arguments, name) for name in names}
    changes = {name: value for name, value in given.items() if value is not None}
    if arguments.all_namespaces:
        changes["namespaces"] = ()
    elif arguments.namespace:
        changes["namespaces"] = tuple(arguments.namespace)
    return dataclasses.replace(settings, **changes)
