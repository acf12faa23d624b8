"""Switching the process's log on, once, as the settings say."""

from typing import cast

from detection_contract.logs import LogFormat, configure
from detection_worker.settings import Settings


def start_logging(settings: Settings) -> None:
    """Send log records to stderr in the format that the settings name."""
    configure(
        level=settings.logging.level,
        fmt=cast("LogFormat", settings.logging.format),
        to_console=settings.logging.log_to_console,
    )
