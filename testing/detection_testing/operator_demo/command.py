"""``demo``: the operator and its workers on this machine, from an empty queue to an empty one."""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from detection_operator.errors import Failure
from detection_testing.operator_demo.options import Backend, Options, advice, missing_extras

UNDER_WATCH = "--under-watch"


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "demo", help="watch the operator scale real workers on this machine"
    )
    default = Options()
    parser.add_argument(
        "--messages",
        type=_whole,
        default=default.messages,
        metavar="N",
        help=f"messages to send ({default.messages})",
    )
    parser.add_argument(
        "--max-replicas",
        type=_whole,
        default=default.max_replicas,
        metavar="N",
        help=f"maximum workers ({default.max_replicas})",
    )
    parser.add_argument(
        "--kubernetes",
        type=Backend,
        choices=list(Backend),
        default=default.backend,
        help="server: a real API server from KUBEBUILDER_ASSETS; memory: an in-memory cluster; "
        "auto: server if its binaries are found, else memory",
    )
    parser.add_argument(
        "--pool",
        action="store_true",
        help="let two queues share a WorkerPool of --max-replicas: the urgent one takes over",
    )
    parser.add_argument("--logs", type=Path, metavar="DIR", help="directory that keeps the logs")
    parser.add_argument(UNDER_WATCH, action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    lacking = missing_extras()
    if lacking:
        raise Failure(advice(lacking))
    options = Options(
        messages=arguments.messages,
        max_replicas=arguments.max_replicas,
        backend=arguments.kubernetes,
        logs=arguments.logs,
        pool=arguments.pool,
    )
    if not arguments.under_watch:
        _check(options)
        return _watched(options)
    # These take a second to load: the process that only watches does without.
    from detection_testing.operator_demo import run, supervisor  # noqa: PLC0415

    supervisor.end_when_asked()
    return run.run(options)


def _check(options: Options) -> None:
    if options.backend is not Backend.SERVER:
        return
    from detection_testing.operator_demo.server import reason_against  # noqa: PLC0415

    why = reason_against()
    if why:
        raise Failure(why)


def _watched(options: Options) -> int:
    from detection_testing.operator_demo.local_aws import CREDENTIALS  # noqa: PLC0415
    from detection_testing.operator_demo.supervisor import supervise  # noqa: PLC0415

    command = [sys.executable, "-P", "-m", "detection_operator", "demo", UNDER_WATCH]
    command += ["--messages", str(options.messages)]
    command += ["--max-replicas", str(options.max_replicas)]
    command += ["--kubernetes", options.backend]
    command += ["--pool"] if options.pool else []
    command += ["--logs", str(options.logs.absolute())] if options.logs else []
    # The user's shell may hold real keys; the demo needs none, and passes none on.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    # Here, so that nothing is left in it even when the process that fills it is killed.
    with tempfile.TemporaryDirectory(prefix="detection-demo-") as folder:
        return supervise(command, {**kept, **CREDENTIALS, "TMPDIR": folder})


def _whole(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to 100000")
    return int(text)
