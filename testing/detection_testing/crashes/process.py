"""Forks ``detection-worker`` commands whose ports are watched; one order a line of stdin.

The libraries are loaded once, so that a worker is there within milliseconds, and a case with two
of them within a second. Only what takes seconds is replaced: models and decoding processes.
Settings, wiring and every adapter are those of the command.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, get_args, get_type_hints

import boto3.session  # noqa: F401 - loaded here, not in every child
import botocore.endpoint  # noqa: F401

from detection_contract.media_types import MediaKind
from detection_testing.crashes.killing import Kill, Watch
from detection_testing.crashes.stubs import StubDecoder, StubDetector
from detection_worker.__main__ import main as detection_worker
from detection_worker.core.outbox import fate, hosts, schedule
from detection_worker.detectors.registry import LoadedDetectors
from detection_worker.outbox import service as outbox
from detection_worker.pipeline.service import consumer
from detection_worker.pipeline.service.pipeline import Pipeline

SERVICE = f"{consumer.__package__}."
"""Modules that start a consumer: what they import of models and decoders is replaced in them."""
OUTBOX_PORTS = {"OutboxQueue": "OutboxQueue", "HttpCallbackClient": "CallbackClient"}
"""Names of the ports that an outbox makes for itself."""
NOT_PORTS = frozenset({"QueueFacts", "int", "float", "Mapping"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One process to run.

    Attributes:
        arguments: What ``detection-worker`` is given.
        environment: Set on top of the inherited one.
        calls: File that calls of ports are noted in.
        log: File that its output is appended to.
        kill: Where it dies, as ``Kill`` writes it; None lets it live.
        outbox_factor: What the pauses of its outbox are divided by.
        freeze: Stop it there instead, with SIGSTOP, until ``resume`` lets it go on.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    calls: str
    log: str
    kill: str | None = None
    outbox_factor: float = 1.0
    freeze: bool = False


class Ended(NamedTuple):
    """How far a process has come.

    Attributes:
        pid: Its id.
        code: Its exit code, -9 if it was killed; None if it is frozen.
    """

    pid: int
    code: int | None


def run(order: Order) -> Ended:
    """Run one command in a forked process until it ends or freezes."""
    pid = os.fork()
    if pid == 0:
        # The child never returns into this program.
        code = 1
        try:
            code = _work(order)
        except BaseException:  # noqa: BLE001 - whatever it is, the log has it
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    status = os.waitpid(pid, os.WUNTRACED)[1]
    return Ended(pid, None if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status))


def resume(pid: int) -> Ended:
    """Let a frozen process go on to its end."""
    os.kill(pid, signal.SIGCONT)
    return Ended(pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _work(order: Order) -> int:
    log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ.update(order.environment)
    kill = Kill.from_text(order.kill) if order.kill else None
    number = signal.SIGSTOP if order.freeze else signal.SIGKILL
    watch = Watch(Path(order.calls), kill, number=number)
    replace_ports(watch)
    speed_up_outbox(order.outbox_factor)
    return detection_worker(list(order.arguments))


def replace_ports(watch: Watch) -> None:
    """Let every pipeline of this process work through watched ports and cheap models."""
    stub = StubDetector()
    loaded = LoadedDetectors(by_kind={MediaKind.IMAGE: stub}, cards=(stub.card,), problems=[])
    stand_ins: dict[str, Callable[..., Any]] = {
        "load_detectors": lambda *_, **__: loaded,
        "ProcessDecoder": lambda *_, **__: nullcontext(StubDecoder()),
        "Pipeline": lambda dependencies, **rest: Pipeline(watched(dependencies, watch), **rest),
    }
    for name, module in sys.modules.items():
        if name.startswith(SERVICE):
            vars(module).update({n: v for n, v in stand_ins.items() if n in vars(module)})
    for name, port in OUTBOX_PORTS.items():
        vars(outbox)[name] = _watching(port, vars(outbox)[name], watch)


def _watching(name: str, make: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    return lambda *args, **rest: watch.wrap(name, make(*args, **rest))


def speed_up_outbox(factor: float) -> None:
    """Divide the pauses between the attempts of an outbox of this process."""
    vars(schedule).update(
        PAUSES_S=tuple(pause / factor for pause in schedule.PAUSES_S),
        LONGEST_S=schedule.LONGEST_S / factor,
        LIFE_S=schedule.LIFE_S / factor,
    )
    vars(fate).update(LIFE_S=schedule.LIFE_S, OWN_PAUSE_S=fate.OWN_PAUSE_S / factor)
    for name in ("FIRST_PAUSE_S", "MAX_PAUSE_S", "MIN_DEFERRAL_S", "MAX_DEFERRAL_S"):
        vars(hosts)[name] /= factor


def watched(dependencies: Any, watch: Watch) -> Any:
    """Return the same ``PipelineDependencies``, each port of them watched under its name."""
    hints = get_type_hints(type(dependencies))
    changed: dict[str, Any] = {}
    for known in fields(dependencies):
        value = getattr(dependencies, known.name)
        port = _port_name(hints[known.name])
        if value is not None and port not in NOT_PORTS:
            changed[known.name] = watch.wrap(port, value)
    detectors = {
        kind: watch.wrap("Detector", found) for kind, found in dependencies.detectors.items()
    }
    return replace(dependencies, detectors=detectors, **changed)


def _port_name(hint: Any) -> str:
    """Return the name of a type, or of the one that is not None in a union."""
    named = [t for t in get_args(hint) if t is not type(None)]
    return str((named[0] if isinstance(hint, UnionType) else hint).__name__)


def main() -> int:
    """Obey orders until stdin ends: what to run, or the number of a process to resume."""
    for line in sys.stdin:
        told = json.loads(line)
        ended = resume(told) if isinstance(told, int) else run(Order(**told))
        print(json.dumps(ended), flush=True)  # noqa: T201 - the answer
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
