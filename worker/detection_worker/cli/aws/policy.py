"""Least-privilege IAM policies for exactly what a worker is set up to use."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from detection_contract.aws.arns import Service, parse_destination_arn, partition_of
from detection_contract.aws.s3_prefixes import parse_s3_prefix
from detection_contract.aws.sqs_urls import region_of_queue
from detection_worker.errors import UsageError
from detection_worker.settings import ResultSettings

Statement = dict[str, object]

_ACCOUNT: Final = re.compile(r"[0-9]{12}")
_READ_QUEUE: Final = (
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibility",
    "sqs:GetQueueAttributes",
)
_SEND: Final = "sqs:SendMessage"
_NOTIFY: Final = (
    (Service.SNS, "NotifyTopics", "sns:Publish"),
    (Service.SQS, "NotifyQueues", _SEND),
    (Service.EVENTBRIDGE, "NotifyEventBuses", "events:PutEvents"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a role is for.

    Attributes:
        region: AWS region of what names none.
        results: Destinations of results.
        queue_url: Queue that is consumed; None for ``deliver``.
        dead_letter_queue_url: Where messages go that cannot succeed, if known.
        buckets: Buckets of media, with ``*`` and ``?``, or ARNs of access points.
        outbox_dead_letter_queue_url: Where callbacks go that are given up, if known.
        kms_keys: ARNs of further keys, of encrypted queues and topics.
    """

    region: str
    results: ResultSettings
    queue_url: str | None = None
    dead_letter_queue_url: str | None = None
    buckets: tuple[str, ...] = ()
    outbox_dead_letter_queue_url: str | None = None
    kms_keys: tuple[str, ...] = ()


def worker_policy(used: Used) -> dict[str, object]:
    """Return the policy document of ``consume``'s role.

    Raises:
        UsageError: A queue URL names no account, or a KMS key cannot be told.
    """
    results = used.results
    return _document(
        *_queue(used),
        *_media(used),
        *_objects(results.results_url, used, ("s3:PutObject", "s3:GetObject"), _RESULT_SIDS),
        *_notifications(results),
        *_objects(results.cache_url, used, ("s3:GetObject", "s3:PutObject"), _CACHE_SIDS),
        *_outbox(used),
        *_keys(used),
    )


def deliver_policy(used: Used) -> dict[str, object]:
    """Return the policy document of ``deliver``'s role; raises as ``worker_policy``."""
    return _document(
        *_outbox(used),
        *_objects(used.results.results_url, used, ("s3:GetObject",), _DELIVER_SIDS),
        *_keys(used),
    )


_RESULT_SIDS: Final = ("StoreResults", "TellMissingResultFromForbidden")
_CACHE_SIDS: Final = ("ShareScores", "TellMissingScoresFromForbidden")
_DELIVER_SIDS: Final = ("ReadResults", "TellGoneResultFromForbidden")


def _document(*statements: Statement) -> dict[str, object]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(sid: str, actions: Iterable[str], resources: Iterable[str]) -> Statement:
    actions, resources = list(actions), list(dict.fromkeys(resources))
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": actions if len(actions) > 1 else actions[0],
        "Resource": resources if len(resources) > 1 else resources[0],
    }


def _queue(used: Used) -> list[Statement]:
    found = []
    if used.queue_url:
        found.append(_allow("ConsumeQueue", _READ_QUEUE, [_queue_arn(used.queue_url, used)]))
    if used.dead_letter_queue_url:
        arn = _queue_arn(used.dead_letter_queue_url, used)
        found.append(_allow("DeadLetterWithReason", [_SEND], [arn]))
    return found


def _media(used: Used) -> list[Statement]:
    if not used.buckets:
        return []
    buckets = [_bucket_arn(bucket, used) for bucket in used.buckets]
    objects = [f"{arn}/object/*" if _is_point(arn) else f"{arn}/*" for arn in buckets]
    return [
        _allow("ReadMedia", ("s3:GetObject", "s3:GetObjectVersion"), objects),
        _allow("TellMissingFromForbidden", ["s3:ListBucket"], buckets),
    ]


def _objects(
    url: str | None, used: Used, actions: Iterable[str], sids: tuple[str, str]
) -> list[Statement]:
    if url is None:
        return []
    place = parse_s3_prefix(url)
    bucket = _bucket_arn(place.bucket, used)
    # Inside a policy these would be wildcards or variables.
    prefix = re.sub(r"[*?$]", lambda found: f"${{{found[0]}}}", place.prefix)
    objects, listing = sids
    return [
        _allow(objects, actions, [f"{bucket}/{prefix}*"]),
        _allow(listing, ["s3:ListBucket"], [bucket]),
    ]


def _notifications(results: ResultSettings) -> list[Statement]:
    arns = [parse_destination_arn(arn) for arn in (*results.on_success, *results.on_failure)]
    found = []
    for service, sid, action in _NOTIFY:
        if theirs := [each.arn for each in arns if each.service is service]:
            found.append(_allow(sid, [action], theirs))
    return found


def _outbox(used: Used) -> list[Statement]:
    if used.results.outbox_url is None:
        return []
    arn = _queue_arn(used.results.outbox_url, used)
    found = [_allow("KeepCallbacks", (_SEND, *_READ_QUEUE), [arn])]
    if used.outbox_dead_letter_queue_url:
        arn = _queue_arn(used.outbox_dead_letter_queue_url, used)
        found.append(_allow("GiveCallbacksUp", [_SEND], [arn]))
    return found


def _keys(used: Used) -> list[Statement]:
    named = used.results.results_kms_key_id
    alias = _alias(named)
    keys = [*([] if named is None or alias else [_key_arn(named, used)]), *used.kms_keys]
    actions = ("kms:GenerateDataKey", "kms:Decrypt")
    found = [_allow("UseKey", actions, keys)] if keys else []
    if named is not None and alias:
        # IAM knows keys by their id; an alias may come to stand for another one.
        by_alias = _allow("UseKeyByAlias", actions, [_key_arn("*", used, near=named)])
        by_alias["Condition"] = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": alias}}
        found.append(by_alias)
    return found


def _alias(key: str | None) -> str | None:
    name = (key or "").rpartition(":")[2]
    return name if name.startswith("alias/") else None


def _key_arn(key: str, used: Used, *, near: str = "") -> str:
    if key.startswith("arn:"):
        return key
    if near.startswith("arn:"):
        return f"{near.rpartition(':')[0]}:key/{key}"
    account = used.results.results_bucket_owner or _account(used)
    return f"arn:{partition_of(used.region)}:kms:{used.region}:{account}:key/{key}"


def _account(used: Used) -> str:
    url = used.queue_url or used.results.outbox_url
    if url is None:
        raise UsageError(
            "The account of the KMS key is not known\nName the key by its ARN instead of its id."
        )
    return _account_and_name(url)[0]


def _queue_arn(url: str, used: Used) -> str:
    region = region_of_queue(url) or used.region
    return f"arn:{partition_of(region)}:sqs:{region}:{':'.join(_account_and_name(url))}"


def _account_and_name(url: str) -> tuple[str, str]:
    *parents, name = urlsplit(url).path.rstrip("/").split("/")
    if not parents or not _ACCOUNT.fullmatch(parents[-1]) or not name:
        raise UsageError(
            f"The queue URL names no account: {url}\n"
            "Give it as SQS does: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME"
        )
    return parents[-1], name


def _bucket_arn(bucket: str, used: Used) -> str:
    return bucket if _is_point(bucket) else f"arn:{partition_of(used.region)}:s3:::{bucket}"


def _is_point(bucket: str) -> bool:
    return ":accesspoint/" in bucket
