"""From the ``spec`` of a DetectionQueue to a ``QueueSpec``, or a refusal that names the field."""

import dataclasses
import datetime
import ipaddress
import re
import urllib.parse
import zoneinfo
from collections.abc import Mapping
from typing import Any, Final

from cronsim import CronSim, CronSimError

from detection_contract.aws.arns import may_be_queue, parse_destination_arn
from detection_contract.aws.s3_prefixes import is_s3_prefix, parse_s3_prefix
from detection_contract.aws.sqs_urls import is_same_queue, region_of_queue
from detection_contract.callback_urls import is_callback_url
from detection_contract.result_keys import (
    ALLOWED_TEMPLATE,
    is_key_template,
    is_plain,
    names_media,
    page_template,
)
from detection_operator.spec.fields import ADDRESS_PATTERN, ADDRESS_RULE, FROM_REDRIVE_POLICY
from detection_operator.spec.queue_spec import QueueRef, QueueSpec
from detection_operator.spec.results import Results
from detection_operator.spec.scaling import FallbackBehavior, Mode, Policy, Scaling, Schedule
from detection_operator.spec.validation import InvalidSpec, validated

_ANY_TIME: Final = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
"""Cron expressions are checked against some time; which one does not matter."""


def parse_spec(spec: Mapping[str, Any]) -> QueueSpec:
    """Return ``spec`` as a value, with defaults applied and every rule checked.

    Raises:
        InvalidSpec: A field is missing, unknown, of a wrong type, out of bounds or contradictory.
    """
    parsed = validated(QueueSpec, spec)
    _check_endpoint(parsed.queue.endpoint_url)
    _check_scaling(parsed.scaling)
    _check_budget(parsed)
    if parsed.scaling.mode is Mode.MANUAL and parsed.replicas is None:
        raise InvalidSpec("replicas", "is required when scaling.mode is Manual")
    if (parsed.worker.template is None) == (parsed.worker.deployment_ref is None):
        raise InvalidSpec("worker", "needs exactly one of template and deploymentRef")
    if parsed.queue.dead_letter_queue == parsed.queue.url:
        raise InvalidSpec("queue.deadLetterQueue", "must differ from queue.url")
    region = parsed.queue.region or region_of_queue(parsed.queue.url)
    if region is None:
        raise InvalidSpec("queue.region", "is required because queue.url does not name a region")
    queue = dataclasses.replace(parsed.queue, region=region)
    if parsed.worker.template is not None and parsed.worker.template.results is not None:
        _check_results(parsed.worker.template.results, queue)
    return dataclasses.replace(parsed, queue=queue)


def _check_endpoint(url: str | None) -> None:
    """Refuse what no client can connect to."""
    if url is None:
        return
    if not re.search(ADDRESS_PATTERN, url):
        raise InvalidSpec("queue.endpointURL", f"{url!r} is no address: {ADDRESS_RULE}")
    try:
        # Whether the groups of an IPv6 address add up is more than a pattern should say.
        host = urllib.parse.urlsplit(url).hostname or ""
        if ":" in host:
            ipaddress.IPv6Address(host)
    except ValueError as exc:
        raise InvalidSpec("queue.endpointURL", f"{url!r} is no address: {exc}") from exc


def _check_scaling(scaling: Scaling) -> None:
    low, high = scaling.min_replicas, scaling.max_replicas
    if low > high:
        raise InvalidSpec("scaling.minReplicas", f"{low} is above maxReplicas {high}")
    if scaling.headroom_replicas > high:
        raise InvalidSpec(
            "scaling.headroomReplicas", f"{scaling.headroom_replicas} is above maxReplicas {high}"
        )
    if scaling.policy is Policy.BACKLOG and scaling.backlog_per_replica is None:
        raise InvalidSpec("scaling.backlogPerReplica", "is required when policy is Backlog")
    fallback = scaling.fallback
    if fallback.behavior is not FallbackBehavior.HOLD and fallback.replicas is None:
        raise InvalidSpec("scaling.fallback.replicas", f"is required by {fallback.behavior}")
    if (fallback.replicas or 0) > high:
        raise InvalidSpec(
            "scaling.fallback.replicas", f"{fallback.replicas} is above maxReplicas {high}"
        )
    _check_pool(scaling)
    for index, schedule in enumerate(scaling.schedules):
        _check_schedule(schedule, f"scaling.schedules[{index}]", high=high)


def _check_pool(scaling: Scaling) -> None:
    pool, low, high = scaling.pool, scaling.min_replicas, scaling.max_replicas
    if pool is None:
        return
    if pool.guaranteed > high:
        raise InvalidSpec(
            "scaling.pool.guaranteed", f"{pool.guaranteed} is above maxReplicas {high}"
        )
    if pool.borrow:
        return
    if not pool.guaranteed:
        raise InvalidSpec("scaling.pool.guaranteed", "must be above 0 when borrow is false")
    if low > pool.guaranteed:
        why = f"{low} is above pool.guaranteed {pool.guaranteed}, and pool.borrow is false"
        raise InvalidSpec("scaling.minReplicas", why)


def _check_schedule(schedule: Schedule, path: str, *, high: int) -> None:
    if schedule.min_replicas > high:
        raise InvalidSpec(
            f"{path}.minReplicas", f"{schedule.min_replicas} is above maxReplicas {high}"
        )
    try:
        zone = zoneinfo.ZoneInfo(schedule.time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise InvalidSpec(
            f"{path}.timeZone", f"{schedule.time_zone!r} is no IANA time zone"
        ) from exc
    try:
        CronSim(schedule.cron, _ANY_TIME.replace(tzinfo=zone))
    except CronSimError as exc:
        raise InvalidSpec(f"{path}.cron", f"{schedule.cron!r}: {exc}") from exc


def _check_budget(spec: QueueSpec) -> None:
    budget = spec.budget
    if budget is None:
        return
    if not budget.replica_hour_cost:
        raise InvalidSpec("budget.replicaHourCost", "must be above 0")
    if budget.max_per_hour is None and budget.max_per_day is None:
        raise InvalidSpec("budget", "needs maxPerHour, maxPerDay or both")
    least = budget.replica_hour_cost * spec.scaling.min_replicas
    if budget.max_per_hour is not None and budget.max_per_hour < least:
        raise InvalidSpec(
            "budget.maxPerHour", f"{budget.max_per_hour} does not pay minReplicas, {least} an hour"
        )


_RESULTS: Final = "worker.template.results"


def _check_results(results: Results, queue: QueueRef) -> None:
    if results.url is None and results.key_template is not None:
        raise InvalidSpec(f"{_RESULTS}.keyTemplate", "has no meaning without url")
    if results.url is None and results.pages:
        raise InvalidSpec(f"{_RESULTS}.pages", "has no meaning without url")
    if results.url is None and results.kms_key_id is not None:
        raise InvalidSpec(f"{_RESULTS}.kmsKeyID", "has no meaning without url")
    if results.url is results.cache_url is None and results.bucket_owner is not None:
        raise InvalidSpec(f"{_RESULTS}.bucketOwner", "has no meaning without url and cacheURL")
    if results.callback_url is not None and not is_callback_url(results.callback_url):
        # Not echoed: a callback URL may carry a token.
        raise InvalidSpec(f"{_RESULTS}.callbackURL", "has a host that is no IPv6 address")
    _check_prefixes(results)
    _check_outbox(results, queue)
    _check_destinations(results, queue)


def _check_prefixes(results: Results) -> None:
    key = results.key_template
    if key is not None and not is_key_template(key):
        raise InvalidSpec(f"{_RESULTS}.keyTemplate", f"{key!r} is not {ALLOWED_TEMPLATE}")
    if key is not None and results.pages and page_template(key) is None:
        raise InvalidSpec(
            f"{_RESULTS}.pages", f"needs .json at the end of keyTemplate, not {key!r}"
        )
    for name, url in (("url", results.url), ("cacheURL", results.cache_url)):
        if url is not None and not is_s3_prefix(url):
            raise InvalidSpec(f"{_RESULTS}.{name}", f"{url!r} has a bucket that S3 does not allow")
        if url is not None and not is_plain(parse_s3_prefix(url).prefix):
            raise InvalidSpec(f"{_RESULTS}.{name}", f"{url!r} has a ? or a folder . or ..")
    beside_media = results.url is not None and not parse_s3_prefix(results.url).prefix
    if key is not None and beside_media and names_media(key):
        raise InvalidSpec(
            f"{_RESULTS}.keyTemplate", f"{key!r} names media: end it in .json, or add a prefix"
        )
    if results.url is not None and results.cache_url is not None:
        stored, cached = parse_s3_prefix(results.url), parse_s3_prefix(results.cache_url)
        if stored.bucket == cached.bucket and stored.prefix.startswith(cached.prefix):
            raise InvalidSpec(f"{_RESULTS}.url", "lies below cacheURL, where objects may expire")


def _check_outbox(results: Results, queue: QueueRef) -> None:
    outbox = results.outbox_url
    if outbox is None:
        return
    for other, url in (("url", queue.url), ("deadLetterQueue", queue.dead_letter_queue)):
        if is_same_queue(outbox, url):
            raise InvalidSpec(f"{_RESULTS}.outboxURL", f"must differ from queue.{other}")
    if outbox.endswith(".fifo"):
        why = "is a FIFO queue: SQS cannot delay its messages one by one"
        raise InvalidSpec(f"{_RESULTS}.outboxURL", why)


def _check_destinations(results: Results, queue: QueueRef) -> None:
    """Refuse to notify a queue that holds something else, as workers do at their start."""
    from_policy = queue.dead_letter_queue == FROM_REDRIVE_POLICY
    taken = {
        "the queue itself": queue.url,
        "the dead-letter queue": "" if from_policy else queue.dead_letter_queue,
        "the outbox": results.outbox_url or "",
    }
    lists = (("onSuccess", results.on_success), ("onFailure", results.on_failure))
    for name, arns in lists:
        for index, arn in enumerate(arns):
            for what, url in taken.items():
                if may_be_queue(parse_destination_arn(arn), url):
                    raise InvalidSpec(f"{_RESULTS}.{name}[{index}]", f"is {what}")
