"""Reads queues from SQS: depth, attributes, dead-letter queue. Errors become values."""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from detection_contract.aws.errors import QueueFault, queue_fault
from detection_contract.aws.quick.operations import QuickOperation
from detection_contract.aws.redrive import parse_redrive_policy
from detection_operator.caches import LruCache
from detection_operator.readers.rate_limit import TokenBucket
from detection_operator.readers.values import QueueReading, QueueSettings
from detection_operator.scaling.observation import ReadError
from detection_operator.scaling.polling import CALLS_PER_S
from detection_operator.spec.fields import FROM_REDRIVE_POLICY
from detection_operator.spec.queue_spec import QueueRef

BURST: Final = 100.0
LONGEST_WAIT_S: Final = 5.0
SIDE_QUEUE_S: Final = 30.0
"""Dead-letter queue and outbox are read this often: each is a request more and changes slowly."""
UNREADABLE_S: Final = 300.0
"""An outbox that cannot be read: one out of reach holds a reconcile for two timeouts each time."""
CLIENTS: Final = 64
"""Regions and endpoints with a client; each takes some megabytes."""
QUEUES: Final = 10_000
"""Queues that are remembered, including those whose DetectionQueue was deleted."""
VISIBLE: Final = "ApproximateNumberOfMessages"
IN_FLIGHT: Final = "ApproximateNumberOfMessagesNotVisible"
DELAYED: Final = "ApproximateNumberOfMessagesDelayed"
_COUNTS: Final = (VISIBLE, IN_FLIGHT, DELAYED)
_CONFIG: Final = Config(
    connect_timeout=3,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=16,
)
_READ_ERRORS: Final = {
    QueueFault.MISSING: ReadError.NO_SUCH_QUEUE,
    QueueFault.DENIED: ReadError.ACCESS_DENIED,
    QueueFault.CREDENTIALS: ReadError.ACCESS_DENIED,
    QueueFault.THROTTLED: ReadError.THROTTLED,
    None: ReadError.UNREACHABLE,
}
_Answer = TypeVar("_Answer")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a request failed; ``why`` says what an administrator has to fix, if anything."""

    error: ReadError
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outbox:
    """The last read of an outbox.

    Attributes:
        read_at_s: When, by the reader's clock.
        depth: All callbacks in it; None if it cannot be read.
        due: Those that are visible; None if it cannot be read.
        idle_since_s: Since when every read has found some due and none in flight; None if the last
            did not.
    """

    read_at_s: float
    depth: int | None
    due: int | None
    idle_since_s: float | None

    @property
    def every_s(self) -> float:
        """Seconds between two reads."""
        return UNREADABLE_S if self.depth is None else SIDE_QUEUE_S


class _Service:
    """SQS in one region or at one endpoint. Safe to use from several threads.

    Attributes are read without botocore, which would take most of the operator's CPU, as long as
    that works; see ``QuickOperation``.

    Args:
        session: With the credentials of ``client``.
        client: One of boto3.
    """

    def __init__(self, session: Any, client: Any) -> None:
        self.client = client
        self._quick = QuickOperation(session, client, "GetQueueAttributes")
        self._plain = True

    def attributes(self, url: str) -> Mapping[str, str]:
        """Return all attributes of a queue.

        Raises:
            Exception: botocore's.
        """
        request: dict[str, Any] = {"QueueUrl": url, "AttributeNames": ["All"]}
        answer = self._quick.post(json.dumps(request).encode()) if self._plain else None
        if answer is None:
            # Until botocore has an answer again it alone is asked: an endpoint out of reach costs
            # its timeouts only, and one that throttles gets no request more.
            self._plain = False
            answer = self.client.get_queue_attributes(**request)
            self._plain = True
        found: Mapping[str, str] = answer.get("Attributes", {})
        return found

    def url(self, name: str, account: str) -> str:
        """Return the URL of a queue.

        Raises:
            Exception: botocore's.
        """
        answer = self.client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)
        return str(answer["QueueUrl"])


class SqsReader:
    """Implements ``QueueReader``. Safe to use from several threads.

    Args:
        observer: Called with the code of each request: ``ok`` or the error's.
        monotonic_s: A clock.
        sleep: Waits for the rate limit.
        queues: Dead-letter queues, and outboxes, that are remembered between two reads.
    """

    def __init__(
        self,
        observer: Callable[[str], None] = lambda _: None,
        monotonic_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        queues: int = QUEUES,
    ) -> None:
        self._observer = observer
        self._monotonic_s = monotonic_s
        self._sleep = sleep
        self._lock = threading.Lock()
        self._session: Any = None
        self._services: LruCache[tuple[str, str | None], _Service] = LruCache(CLIENTS)
        self._buckets: LruCache[tuple[str, str], TokenBucket] = LruCache(queues)
        self._urls: LruCache[str, str] = LruCache(queues)
        self._outboxes: LruCache[str, _Outbox] = LruCache(queues)
        self._dead: LruCache[str, tuple[float, QueueReading]] = LruCache(queues)

    def read(
        self,
        queue: QueueRef,
        before: QueueReading,
        now_s: float,
        *,
        outbox: QueueRef | None = None,
    ) -> QueueReading:
        """Return a new reading; on failure ``before`` with its error set."""
        attributes = self._attributes(queue, queue.url)
        if isinstance(attributes, _Failure):
            return replace(before, error=attributes.error, error_why=attributes.why)
        settings = queue_settings(attributes)
        depth = QueueReading(
            sampled_at_s=now_s,
            visible=_count(attributes, VISIBLE),
            in_flight=_count(attributes, IN_FLIGHT),
            delayed=_count(attributes, DELAYED),
            settings=settings,
        )
        reading = self._with_dead_letters(queue, depth, settings)
        return reading if outbox is None else self._with_outbox(outbox, reading)

    def close(self) -> None:
        """Close the connections."""
        for service in self._services.clear():
            service.client.close()

    def _with_dead_letters(
        self, queue: QueueRef, depth: QueueReading, settings: QueueSettings
    ) -> QueueReading:
        named = queue.dead_letter_queue
        place = settings.dead_letter_arn if named == FROM_REDRIVE_POLICY else named
        if place is None:
            return depth
        read_at_s, dead = self._dead.get(place) or (float("-inf"), QueueReading())
        if self._monotonic_s() - read_at_s >= SIDE_QUEUE_S:
            dead = self._read_dead(queue, place, dead)
            self._dead.put(place, (self._monotonic_s(), dead))
        return replace(
            depth,
            dead_letter=dead.dead_letter,
            dead_letter_retention_s=dead.dead_letter_retention_s,
            dead_letter_error=dead.dead_letter_error,
        )

    def _with_outbox(self, outbox: QueueRef, reading: QueueReading) -> QueueReading:
        """Add the outbox; what the operator may not read stays unknown, which harms no worker."""
        now_s = self._monotonic_s()
        known = self._outboxes.get(outbox.url)
        if known is None or now_s - known.read_at_s >= known.every_s:
            attributes = self._attributes(outbox, outbox.url)
            since_s = known.idle_since_s if known else None
            known = _outbox(attributes, read_at_s=now_s, idle_since_s=since_s)
            self._outboxes.put(outbox.url, known)
        idle_s = 0.0 if known.idle_since_s is None else known.read_at_s - known.idle_since_s
        return replace(reading, outbox=known.depth, outbox_due=known.due, outbox_idle_s=idle_s)

    def _read_dead(self, queue: QueueRef, place: str, before: QueueReading) -> QueueReading:
        url = self._url(queue, place)
        attributes = url if isinstance(url, _Failure) else self._attributes(queue, url)
        if isinstance(attributes, _Failure):
            return replace(before, dead_letter_error=attributes.error)
        return QueueReading(
            dead_letter=sum(_count(attributes, name) for name in _COUNTS),
            dead_letter_retention_s=_count(attributes, "MessageRetentionPeriod"),
        )

    def _url(self, queue: QueueRef, place: str) -> str | _Failure:
        """Return the URL of a queue that is named by URL or ARN."""
        if not place.startswith("arn:"):
            return place
        url = self._urls.get(place)
        if url is None:
            *_, account, name = place.split(":")
            found = self._call(queue, lambda service: service.url(name, account))
            if isinstance(found, _Failure):
                return found
            url = found
            self._urls.put(place, url)
        return url

    def _attributes(self, queue: QueueRef, url: str) -> Mapping[str, str] | _Failure:
        return self._call(queue, lambda service: service.attributes(url))

    def _call(self, queue: QueueRef, call: Callable[[_Service], _Answer]) -> _Answer | _Failure:
        bucket = self._bucket(queue)
        wait_s = bucket.take()
        if wait_s > LONGEST_WAIT_S:
            return _Failure(ReadError.THROTTLED)
        if wait_s:
            self._sleep(wait_s)
        try:
            answer = call(self._service(queue))
        except (BotoCoreError, ClientError, OSError, ValueError) as exc:
            code, failure = _failure(exc, queue)
            self._observer(code)
            if failure.error is ReadError.THROTTLED:
                bucket.punish()
            log.debug("queue not read", extra={"queue_url": queue.url, "code": code})
            return failure
        self._observer("ok")
        return answer

    def _service(self, queue: QueueRef) -> _Service:
        place = (queue.region or "", queue.endpoint_url)
        with self._lock:
            service = self._services.get(place)
            if service is None:
                # One session: its credentials (IRSA, Pod Identity) are refreshed in one place.
                self._session = self._session or boto3.session.Session()
                client = self._session.client(
                    "sqs",
                    region_name=queue.region,
                    endpoint_url=queue.endpoint_url,
                    config=_CONFIG,
                )
                service = _Service(self._session, client)
                idle = self._services.put(place, service)
                if idle is not None:
                    idle.client.close()
            return service

    def _bucket(self, queue: QueueRef) -> TokenBucket:
        place = queue.account
        with self._lock:
            bucket = self._buckets.get(place)
            if bucket is None:
                bucket = TokenBucket(CALLS_PER_S, BURST, self._monotonic_s)
                self._buckets.put(place, bucket)
            return bucket


def _outbox(
    attributes: Mapping[str, str] | _Failure, *, read_at_s: float, idle_since_s: float | None
) -> _Outbox:
    if isinstance(attributes, _Failure):
        return _Outbox(read_at_s=read_at_s, depth=None, due=None, idle_since_s=None)
    due = _count(attributes, VISIBLE)
    # While something receives them, however slowly, some are in flight.
    idle = due > 0 and _count(attributes, IN_FLIGHT) == 0
    since_s = read_at_s if idle_since_s is None else idle_since_s
    return _Outbox(
        read_at_s=read_at_s,
        depth=sum(_count(attributes, name) for name in _COUNTS),
        due=due,
        idle_since_s=since_s if idle else None,
    )


def queue_settings(attributes: Mapping[str, str]) -> QueueSettings:
    """Return the settings among the attributes of a queue."""
    policy = parse_redrive_policy(attributes.get("RedrivePolicy"))
    defaults = QueueSettings()
    return QueueSettings(
        visibility_timeout_s=_count(
            attributes, "VisibilityTimeout", defaults.visibility_timeout_s
        ),
        retention_s=_count(attributes, "MessageRetentionPeriod", defaults.retention_s),
        receive_wait_s=_count(attributes, "ReceiveMessageWaitTimeSeconds"),
        fifo=attributes.get("FifoQueue") == "true",
        max_receive_count=policy.max_receive_count if policy else None,
        dead_letter_arn=policy.dead_letter_arn if policy else None,
    )


def _count(attributes: Mapping[str, str], name: str, default: int = 0) -> int:
    text = attributes.get(name, "")
    return int(text) if text.isdecimal() else default


def _failure(exc: Exception, queue: QueueRef) -> tuple[str, _Failure]:
    """Return the code of an error, for the metrics, and what it means."""
    kind = type(exc).__name__
    if isinstance(exc, NoCredentialsError | PartialCredentialsError):
        return kind, _Failure(ReadError.ACCESS_DENIED)
    if isinstance(exc, ClientError):
        code = str(exc.response.get("Error", {}).get("Code", "unknown"))
        return code, _Failure(_READ_ERRORS[queue_fault(exc.response)])
    if isinstance(exc, OSError) and exc.filename:
        # botocore reads the token files of IRSA and Pod Identity, and lets their errors through.
        return kind, _Failure(ReadError.ACCESS_DENIED, f"{exc.filename}: {exc.strerror}")
    if isinstance(exc, ValueError):
        why = f"{queue.endpoint_url or queue.url} is no address: {exc}"
        return kind, _Failure(ReadError.UNREACHABLE, why)
    return kind, _Failure(ReadError.UNREACHABLE)
