"""What can be chosen about a demonstration, and what it needs to be installed."""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

NEEDED: Final = {
    "operator": ("cronsim", "kopf", "kubernetes", "yaml"),
    "worker": ("av", "numpy", "PIL", "torch", "torchaudio", "torchvision"),
}
"""Modules by the extra that brings them."""


class Place(StrEnum):
    """Which Kubernetes the operator talks to."""

    AUTO = "auto"
    SERVER = "server"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A demonstration.

    Attributes:
        messages: To send, at least 1.
        max_replicas: Most workers, at least 1.
        place: Which Kubernetes.
        logs: Folder that keeps the logs; None keeps none.
    """

    messages: int = 400
    max_replicas: int = 3
    place: Place = Place.AUTO
    logs: Path | None = None


def missing_extras(extras: Iterable[str] = NEEDED) -> list[str]:
    """Return the extras of which some module is not installed."""
    return [name for name in extras if not all(map(_installed, NEEDED[name]))]


def advice(extras: Iterable[str]) -> str:
    """Return what to tell somebody who lacks these extras."""
    names = list(extras)
    wanted = ",".join(sorted({"operator", *names}))
    return (
        f"the demo runs the real thing, and parts of it are not installed: {', '.join(names)}\n"
        f"Install them: pip install 'detection-queue[{wanted}]'"
    )


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
