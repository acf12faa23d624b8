"""Where the workers' results go besides the callback that a message names."""

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field

from detection_contract.aws.arns import DESTINATION_PATTERN
from detection_contract.callback_urls import MAX_CALLBACK_URL_CHARS
from detection_contract.result_keys import (
    MAX_PREFIX_BYTES,
    MAX_TEMPLATE_BYTES,
    TEMPLATE_PATTERN,
)
from detection_operator.spec.fields import QUEUE_URL_PATTERN, Flag, SpecPart, Text, Unique

MAX_DESTINATIONS: Final = 10
S3_PREFIX_PATTERN: Final = "^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[ ->@-~]*)?$"
"""In ASCII, so that characters are the bytes that S3 counts; a ? would begin a query."""
NO_BUCKET_PATTERN: Final = "^s3://([^/]*[.][.]|[0-9]{1,3}([.][0-9]{1,3}){3}(/|$))"
"""Names of a bucket's letters that S3 does not allow: two dots in a row, IPv4 addresses."""
CALLBACK_URL_PATTERN: Final = (
    r"^[hH][tT][tT][pP][sS]?://"
    r"([A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?[.]?|\[[0-9A-Fa-f:.]+\])"
    "(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
    r"([/?#][!-\[\]-~]*)?$"
)
"""As messages may name one: without user information, blanks and backslashes."""

DestinationArn = Annotated[
    Text,
    Field(
        max_length=512,
        pattern=DESTINATION_PATTERN,
        description="ARN of an SNS topic, an SQS queue or an EventBridge event bus.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results(SpecPart):
    """Where results go besides the callback that a message names."""

    url: Annotated[
        Text | None,
        Field(
            max_length=MAX_PREFIX_BYTES,
            pattern=S3_PREFIX_PATTERN,
            description="S3 prefix, such as s3://bucket/results/, under which every result is "
            "stored before its message is deleted.",
        ),
    ] = None
    key_template: Annotated[
        Text | None,
        Field(
            max_length=MAX_TEMPLATE_BYTES,
            pattern=TEMPLATE_PATTERN,
            description="Key of a result below url, by default {date}/{request_id}.json. Needs "
            "{request_id}, or {message_id} and {index}; {date}, {bucket} and {key} (of the media) "
            "are known too.",
        ),
    ] = None
    pages: Annotated[
        Flag,
        Field(
            description="Store an HTML page to read beside every result, under the same key with "
            ".html; a result does not wait for a page that fails.",
        ),
    ] = False
    kms_key_id: Annotated[
        Text | None,
        Field(
            max_length=2048,
            pattern="^[A-Za-z0-9:/_-]+$",
            description="KMS key (ID, ARN or alias) that encrypts stored results; by default the "
            "bucket decides.",
        ),
    ] = None
    bucket_owner: Annotated[
        Text | None,
        Field(
            max_length=12,
            pattern="^[0-9]{12}$",
            description="AWS account that must own the buckets of url and cacheURL.",
        ),
    ] = None
    on_success: Annotated[
        tuple[DestinationArn, ...],
        Field(
            max_length=MAX_DESTINATIONS,
            description="Destinations that are notified of every finished result.",
        ),
        Unique(),
    ] = ()
    on_failure: Annotated[
        tuple[DestinationArn, ...],
        Field(
            max_length=MAX_DESTINATIONS,
            description="Destinations that are notified of every job that failed for good.",
        ),
        Unique(),
    ] = ()
    callback_url: Annotated[
        Text | None,
        Field(
            max_length=MAX_CALLBACK_URL_CHARS,
            pattern=CALLBACK_URL_PATTERN,
            description="Callback URL of messages that name none, such as S3 events.",
        ),
    ] = None
    cache_url: Annotated[
        Text | None,
        Field(
            max_length=MAX_PREFIX_BYTES,
            pattern=S3_PREFIX_PATTERN,
            description="S3 prefix of the cache of scores that all workers share. Its objects may "
            "expire by a lifecycle rule.",
        ),
    ] = None
    outbox_url: Annotated[
        Text | None,
        Field(
            max_length=1024,
            pattern=QUEUE_URL_PATTERN,
            description="URL of the SQS queue (standard, with a dead-letter queue) from which "
            "callbacks that failed for now are retried for days. Workers send them, so nothing is "
            "sent while there are none: with minReplicas 0 also run detection-worker deliver (the "
            "chart's deliver.enabled).",
        ),
    ] = None
