"""Options of the demo, and the extras it needs."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

NEEDED: Final = {
    "operator": ("cronsim", "kopf", "kubernetes", "yaml"),
    "testing": ("h11",),
    "worker": ("av", "numpy", "PIL", "torch", "torchaudio", "torchvision"),
}
"""Modules by the extra that brings them."""


class Backend(StrEnum):
    """The Kubernetes API that the operator talks to."""

    AUTO = "auto"
    SERVER = "server"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A demonstration.

    Attributes:
        messages: To send, at least 1.
        max_replicas: Most workers, at least 1.
        backend: Kubernetes API to use.
        logs: Folder that keeps the logs; None keeps none.
        pool: Two queues share a pool of ``max_replicas``.
    """

    messages: int = 400
    max_replicas: int = 3
    backend: Backend = Backend.AUTO
    logs: Path | None = None
    pool: bool = False


def is_installed(module: str) -> bool:
    """Say whether a top-level module can be found, without loading it."""
    return importlib.util.find_spec(module) is not None


def missing_extras(installed: Callable[[str], bool] = is_installed) -> list[str]:
    """Return the extras of which some module is not installed."""
    return [name for name, modules in NEEDED.items() if not all(map(installed, modules))]


def advice(extras: Sequence[str]) -> str:
    """Return how to install these extras, at least one."""
    return (
        f"the demo runs real workers and the real operator; the extra {' and '.join(extras)}"
        " is not installed\n"
        "Install it: pip install 'detection-queue[operator,testing,worker]'"
    )
