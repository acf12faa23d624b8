"""Callbacks that failed for now, from the outbox to the receiver: on a strict SQS, with days in no time."""

import json
import time
from typing import Any

import pytest

from detection_contract import signing
from detection_contract.error_codes import ErrorCode
from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws, Queues
from detection_worker.core.outbox.schedule import PAUSES_S
from detection_worker.errors import JobError

from .conftest import SECRET, Outbox, Receiver, Time, aws_of, make_outbox, pending, until


def counts(local: LocalAws, url: str) -> tuple[int, int, int]:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    names.append("ApproximateNumberOfMessagesDelayed")
    shown = local.sqs().get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    visible, held, delayed = (int(shown[name]) for name in names)
    return visible, held, delayed


def dead_letters(local: LocalAws, url: str) -> list[dict[str, Any]]:
    found = local.sqs().receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=0
    )
    messages: list[dict[str, Any]] = found.get("Messages", [])
    return messages


def is_empty(local: LocalAws, queues: Queues) -> bool:
    return counts(local, queues.queue_url) == (0, 0, 0)
