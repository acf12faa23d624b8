"""Publishes results to SNS topics, SQS queues and EventBridge buses."""

import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import boto3

from detection_contract.aws.arns import DestinationArn, Service, parse_destination_arn
from detection_contract.aws.quick.operations import QuickOperation
from detection_contract.notifications import without_result
from detection_worker import aws_session
from detection_worker.aws_session import CALL_ERRORS
from detection_worker.errors import JobError
from detection_worker.results.base import Notification
from detection_worker.results.destinations import DESTINATIONS, Destination
from detection_worker.results.forms import encode_form_once
from detection_worker.results.notifier_errors import Failure, explain_call, explain_entry
from detection_worker.settings import AwsSettings

READ_TIMEOUT_S: Final = 5.0
"""Three attempts end before a message without progress is given up."""
POOL: Final = 16
_ATTEMPTS: Final = 3
"""Attempts at entries that a service refused through no fault of theirs."""
_PAUSE_S: Final = 0.1
"""Before the second attempt, doubled before the third, with jitter."""


class AwsNotifier:
    """Publishes to any number of destinations; thread-safe. See ``Notifier``."""

    def __init__(
        self,
        session: boto3.Session,
        aws: AwsSettings,
        *,
        read_timeout_s: float = READ_TIMEOUT_S,
        pool: int = POOL,
    ) -> None:
        """Connect to nothing yet.

        Args:
            session: Session from ``aws_session.make_session``.
            aws: The endpoint; without one boto3 reads AWS_ENDPOINT_URL_SNS, _SQS and
                _EVENTBRIDGE. The region is that of each ARN.
            read_timeout_s: Longest pause between two reads of a connection.
            pool: Connections kept to each service; as many as threads may publish at once.
        """
        self._session = session
        self._aws = aws
        self._read_timeout_s = read_timeout_s
        self._pool = pool
        self._lock = threading.Lock()
        self._clients: dict[tuple[Service, str], Any] = {}
        self._publishers: dict[str, Publisher] = {}

    def close(self) -> None:
        """Close all connections; no call may run."""
        for client in self._clients.values():
            client.close()

    def publish(
        self, arn: str, notifications: Sequence[Notification]
    ) -> Sequence[JobError | None]:
        """Publish to one destination; see ``Notifier.publish``."""
        return self._publisher(arn).publish(notifications)

    def _publisher(self, arn: str) -> "Publisher":
        with self._lock:
            if arn not in self._publishers:
                parts = parse_destination_arn(arn)
                kind, client = DESTINATIONS[parts.service], self._client(parts)
                quick = QuickOperation(self._session, client, kind.OPERATION)
                self._publishers[arn] = Publisher(kind(client, quick, parts))
            return self._publishers[arn]

    def _client(self, arn: DestinationArn) -> Any:
        key = (arn.service, arn.region)
        if key not in self._clients:
            made = aws_session.client(
                self._session,
                arn.service.value,
                self._aws,
                read_timeout_s=self._read_timeout_s,
                pool=self._pool,
                region=arn.region,
            )
            made.meta.events.register_last("before-call.sns", encode_form_once)
            self._clients[key] = made
        return self._clients[key]


class Publisher:
    """Publishes batches to one destination, with what can be done at once about refusals.

    Args:
        destination: Where to.
        pause_s: Before the second attempt.
    """

    def __init__(self, destination: Destination, *, pause_s: float = _PAUSE_S) -> None:
        self._destination = destination
        self._pause_s = pause_s

    def publish(self, batch: Sequence[Notification]) -> list[JobError | None]:
        """Publish up to ``MAX_ENTRIES``; return for each why it failed."""
        failed: dict[int, Failure] = {}
        pending = dict(enumerate(batch))
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(self._pause_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            failures = self._attempt(pending)
            failed = {at: f for at, f in failed.items() if at not in pending} | failures
            pending = self._again(pending, failures)
            if not pending:
                break
        return [failed[at].error if at in failed else None for at in range(len(batch))]

    def _attempt(self, pending: Mapping[int, Notification]) -> dict[int, Failure]:
        """Send; return the failures by position in the whole batch."""
        positions, arn = list(pending), self._destination.arn
        try:
            refused = self._destination.send(list(pending.values()))
        except CALL_ERRORS as exc:
            # One object for each thread that will raise it.
            failures = {at: explain_call(exc, arn) for at in positions}
            if len(positions) > 1 and failures[positions[0]].remedy in ("alone", "shorter"):
                return self._each_alone(pending)
            return failures
        return {positions[at]: explain_entry(each, arn) for at, each in refused.items()}

    def _each_alone(self, pending: Mapping[int, Notification]) -> dict[int, Failure]:
        """Send one by one what was refused together: one entry can spoil a call for all."""
        failures: dict[int, Failure] = {}
        for at, notification in pending.items():
            failures |= self._attempt({at: notification})
        return failures

    @staticmethod
    def _again(
        pending: Mapping[int, Notification], failures: Mapping[int, Failure]
    ) -> dict[int, Notification]:
        again = {at: pending[at] for at, f in failures.items() if f.remedy == "again"}
        for at, failure in failures.items():
            if failure.remedy == "shorter":
                short = without_result(pending[at].body)
                if len(short) < len(pending[at].body):
                    again[at] = replace(pending[at], body=short)
        return again
