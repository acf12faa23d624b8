"""``run``: follow the queues of a cluster until told to stop."""

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
    parser = commands.add_parser("run", help="scale the workers of a cluster")
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument(
        "-n",
        "--namespace",
        action="append",
        metavar="NAME",
        help="namespace to serve, several times for several; default: the operator's own",
    )
    scope.add_argument("-A", "--all-namespaces", action="store_true", help="serve all of them")
    parser.add_argument("--kubeconfig", type=Path, help="default: the pod's service account")
    parser.add_argument("--context", help="of the kubeconfig")
    parser.add_argument("--host", help="address of metrics and health")
    parser.add_argument("--port", type=int, help="of metrics and health; 0 picks one")
    parser.add_argument("--threads", type=int, help="reconciles at a time")
    parser.add_argument("--decisions", type=Path, metavar="FILE", help="record for `replay`")
    parser.add_argument(
        "--no-leader-election",
        dest="leader_election",
        action="store_false",
        default=None,
        help="for a single process",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    # kopf and the Kubernetes client take a second to load: only this command pays for them.
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
    names = ("kubeconfig", "context", "host", "port", "threads", "decisions", "leader_election")
    given = {name: getattr(arguments, name) for name in names}
    changes = {name: value for name, value in given.items() if value is not None}
    if arguments.all_namespaces:
        changes["namespaces"] = ()
    elif arguments.namespace:
        changes["namespaces"] = tuple(arguments.namespace)
    return dataclasses.replace(settings, **changes)
