"""Messages for many objects: their ids, bodies, and what SQS asks for them."""

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Final

from detection_contract.aws.s3_urls import s3_uri
from detection_worker.core.batch.objects import StoredObject, location_of

BATCH: Final = 10
"""Messages of one SendMessageBatch."""
STANDARD_USD: Final = 0.40
FIFO_USD: Final = 0.50
"""Price of a million requests in us-east-1 beyond the free million of each month; a request
carries up to 64 KiB. https://aws.amazon.com/sqs/pricing/, June 2026."""
PRICES_OF: Final = "us-east-1, June 2026"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to send.

    Attributes:
        url: The object's ``s3://`` URL, to name it.
        body: JSON text.
        group_id: Message group for FIFO queues.
        deduplication_id: For FIFO queues: the same for the same body.
    """

    url: str
    body: str
    group_id: str
    deduplication_id: str


def request_id_of(item: StoredObject) -> str:
    """Return the request id of an object, in the shape of a UUID.

    The same bucket, key and version give the same id, also in another submission. Where no
    version is known the ETag stands for it, so that an overwritten object gets a new id.
    """
    version = item.version_id or item.etag or ""
    named = json.dumps([item.bucket, item.key, version])
    return str(uuid.UUID(bytes=hashlib.sha256(named.encode()).digest()[:16], version=5))


def outgoing(
    item: StoredObject, *, callback_url: str | None = None, threshold: float | None = None
) -> Outgoing:
    """Return the message about an object.

    Args:
        item: An object that ``Selection.why_not`` lets pass.
        callback_url: Where its result is posted; None leaves it to the worker.
        threshold: P(fake) from which it is FAKE, in [0, 1]; None leaves it to the worker.

    Raises:
        ValueError: No URL names the object.
    """
    location = location_of(item)
    if location is None:
        raise ValueError(f"no URL names {item.key!r}")
    url, request_id = s3_uri(location), request_id_of(item)
    message = {
        "sqs_to_ml_url": url,
        "callback_url": callback_url,
        "request_id": request_id,
        "confidence_threshold": threshold,
    }
    body = json.dumps({name: value for name, value in message.items() if value is not None})
    return Outgoing(
        url=url,
        body=body,
        # A group for each object: SQS hands out one message of a group at a time.
        group_id=request_id,
        deduplication_id=hashlib.sha256(body.encode()).hexdigest(),
    )


def send_cost(messages: int, *, fifo: bool) -> tuple[int, float]:
    """Return how many requests messages take in full batches, and their price in USD."""
    requests = -(-messages // BATCH)
    return requests, requests * (FIFO_USD if fifo else STANDARD_USD) / 1_000_000
