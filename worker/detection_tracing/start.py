"""Tracing of one process, as its environment asks for it."""

import logging
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Final

from detection_tracing.environment import DISABLED, TracingError, asked
from detection_tracing.port import Tracing

FLUSH_S: Final = 2.0
"""Most time that the last spans get at the end of a process."""

log = logging.getLogger(__name__)


def tracing_here(service: str, *, failed: Callable[[str], Exception]) -> Tracing | None:
    """Return the tracing that this process's environment asks for; None without.

    Args:
        service: ``service.name``, unless the environment names another.
        failed: Makes the program's own error of what is wrong.

    Raises:
        Exception: What ``failed`` made: it is asked for, and cannot be.
    """
    try:
        return start_tracing(service, version("detection-queue"))
    except TracingError as exc:
        raise failed(str(exc)) from exc


def start_tracing(
    service: str, release: str, environ: Mapping[str, str] = os.environ
) -> Tracing | None:
    """Return the tracing of this process; None if nobody asks for it, and then nothing is loaded.

    Args:
        service: ``service.name``, unless the environment names another.
        release: ``service.version``.
        environ: Environment variables.

    Raises:
        TracingError: It is asked for, and cannot be.
    """
    wanted = asked(environ)
    if wanted is None:
        return None
    try:
        from detection_tracing.sdk import SdkTracing  # noqa: PLC0415 - only where it is used

        tracing = SdkTracing.exporting(wanted.protocol, service=service, version=release)
    except ImportError as exc:
        raise TracingError(
            f"{wanted.by} asks for traces, but OpenTelemetry is not installed: {exc.name}\n"
            f"Install it with pip install 'detection-queue[otel]', or set {DISABLED}=true."
        ) from exc
    except ValueError as exc:
        raise TracingError(
            f"Traces cannot be exported: {exc}\nCorrect what OTEL_* says, or set {DISABLED}=true."
        ) from exc
    log.info("traces are exported with OTLP over %s", wanted.protocol)
    return tracing
