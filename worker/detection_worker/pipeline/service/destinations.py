"""The real destinations of results, made of the settings; without settings there are none."""

from dataclasses import dataclass

import boto3

from detection_worker.outbox.base import Outbox
from detection_worker.results.base import Notifier, ResultStore
from detection_worker.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Destinations:
    """Where results go besides the callback.

    Attributes:
        store: Keeps every envelope; None without ``results_url``.
        notifier: Publishes notifications; None without ``on_success`` and ``on_failure``.
        outbox: Takes over callbacks that failed for now; None without ``outbox_url``.
    """

    store: ResultStore | None = None
    notifier: Notifier | None = None
    outbox: Outbox | None = None


def make_destinations(session: boto3.Session, settings: Settings) -> Destinations:
    """Return the destinations that the settings name; calls nothing yet."""
    del session, settings
    return Destinations()
