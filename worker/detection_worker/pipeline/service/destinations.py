"""The real destinations of results, made of the settings; without settings there are none."""

from dataclasses import dataclass

import boto3

from detection_contract.aws.s3_prefixes import parse_s3_prefix
from detection_worker.cache.base import EntryStore
from detection_worker.cache.s3 import S3Entries
from detection_worker.pipeline.service.dependencies import delivery_threads
from detection_worker.results.base import Notifier
from detection_worker.results.notifier import AwsNotifier
from detection_worker.results.s3_store import S3ResultStore
from detection_worker.settings import ConsumerSettings, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Destinations:
    """Where results go besides the callback.

    Attributes:
        store: Keeps every envelope, and pages; None without ``results_url``.
        notifier: Publishes notifications; None without ``on_success`` and ``on_failure``.
        entries: Keeps the entries of the cache of scores; None without ``cache_url``.
    """

    store: S3ResultStore | None = None
    notifier: Notifier | None = None
    entries: EntryStore | None = None


def make_destinations(
    session: boto3.Session, settings: Settings, consumer: ConsumerSettings
) -> Destinations:
    """Return the destinations that the settings name; calls nothing yet."""
    # With as many connections kept none is thrown away.
    pool = delivery_threads(settings.results, callback_workers=consumer.callback_workers)
    return Destinations(
        store=_store(session, settings, pool=pool),
        notifier=_notifier(session, settings, pool=pool),
        entries=_entries(session, settings, pool=pool),
    )


def _entries(session: boto3.Session, settings: Settings, *, pool: int) -> EntryStore | None:
    results = settings.results
    if results.cache_url is None:
        return None
    return S3Entries(
        session,
        settings.aws,
        parse_s3_prefix(results.cache_url),
        expected_bucket_owner=results.results_bucket_owner,
        pool=pool,
    )


def _store(session: boto3.Session, settings: Settings, *, pool: int) -> S3ResultStore | None:
    results = settings.results
    if results.results_url is None:
        return None
    return S3ResultStore(
        session,
        settings.aws,
        prefix=parse_s3_prefix(results.results_url),
        template=results.results_key,
        kms_key_id=results.results_kms_key_id,
        bucket_owner=results.results_bucket_owner,
        pool=pool,
    )


def _notifier(session: boto3.Session, settings: Settings, *, pool: int) -> Notifier | None:
    if not (settings.results.on_success or settings.results.on_failure):
        return None
    return AwsNotifier(session, settings.aws, pool=pool)
