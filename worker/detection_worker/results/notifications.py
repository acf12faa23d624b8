"""The notification about one result."""

from collections.abc import Mapping
from dataclasses import replace

from detection_contract.aws.s3_urls import S3Location, object_arn
from detection_contract.notifications import notification_attributes, notification_body
from detection_tracing.port import Span
from detection_worker.results.base import Notification


def notification_of(
    result: Mapping[str, object],
    *,
    notification_id: str,
    result_url: str | None,
    media: S3Location | None,
    region: str,
    encoded: bytes | None = None,
) -> Notification:
    """Return what destinations are told of a result.

    Args:
        result: The envelope.
        notification_id: The same for every publication of it.
        result_url: ``s3://`` URL of the stored envelope; None without a store.
        media: The object that was analysed; None if the message names none.
        region: The worker's.
        encoded: The envelope as it is stored and posted, if it is at hand.
    """
    queue_url = result.get("queue_url")
    return Notification(
        id=notification_id,
        kind="failed" if result.get("status") == "failed" else "finished",
        body=notification_body(
            result, notification_id=notification_id, result_url=result_url, encoded=encoded
        ),
        attributes=notification_attributes(
            result, queue_url=queue_url if isinstance(queue_url, str) else None
        ),
        media_arn=None if media is None else object_arn(media, region=region),
    )


def traced(notification: Notification, span: Span) -> Notification:
    """Return a notification that carries the context of a span.

    It has two more attributes at most, eight in all: a message may have ten.
    """
    return replace(notification, attributes={**notification.attributes, **span.carrier})
