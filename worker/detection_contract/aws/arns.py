"""ARNs of the services that results are published to, and the partitions of AWS."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from detection_contract.aws.sqs_urls import region_of_queue


class Service(StrEnum):
    """A service that takes notifications, as in the third part of an ARN."""

    SNS = "sns"
    SQS = "sqs"
    EVENTBRIDGE = "events"


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationArn:
    """The parts of an ARN.

    Attributes:
        arn: The whole of it.
        partition: ``aws``, ``aws-cn``, ``aws-us-gov`` …
        service: Who takes the notification.
        region: AWS region.
        account: Twelve digits.
        name: Name of the topic, queue or event bus.
    """

    arn: str
    partition: str
    service: Service
    region: str
    account: str
    name: str

    @property
    def fifo(self) -> bool:
        """Topic or queue keeps the order within a message group."""
        return self.name.endswith(".fifo")


_ARN: Final = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):(?P<service>sns|sqs|events):(?P<region>[a-z0-9-]+)"
    r":(?P<account>[0-9]{12}):(?P<name>[A-Za-z0-9_./-]+)"
)
_NAME_PATTERN: Final = "[A-Za-z0-9_-]{1,256}([.]fifo)?"
_BUS_PATTERN: Final = "event-bus/[A-Za-z0-9._/-]{1,256}"
_NAME: Final = re.compile(_NAME_PATTERN)
_BUS: Final = re.compile(_BUS_PATTERN)
_PLACE: Final = "[a-z0-9-]+:[0-9]{12}"
DESTINATION_PATTERN: Final = (
    f"^arn:aws[a-z-]*:((sns|sqs):{_PLACE}:{_NAME_PATTERN}|events:{_PLACE}:{_BUS_PATTERN})$"
)
"""What ``parse_destination_arn`` takes, for RE2 too and without backslashes."""


_PARTITIONS: Final = (
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-isof-", "aws-iso-f"),
    ("eusc-", "aws-eusc"),
)


def partition_of(region: str) -> str:
    """Return the partition of a region, such as ``aws`` or ``aws-cn``."""
    return next((name for prefix, name in _PARTITIONS if region.startswith(prefix)), "aws")


def parse_destination_arn(text: str) -> DestinationArn:
    """Return the parts of the ARN of an SNS topic, an SQS queue or an EventBridge bus.

    Raises:
        ValueError: It is none of these.
    """
    found = _ARN.fullmatch(text)
    shape = _BUS if found and found["service"] == Service.EVENTBRIDGE else _NAME
    if found is None or not shape.fullmatch(found["name"]):
        raise ValueError(f"{text} is no ARN of an SNS topic, SQS queue or EventBridge bus")
    return DestinationArn(
        arn=text,
        partition=found["partition"],
        service=Service(found["service"]),
        region=found["region"],
        account=found["account"],
        name=found["name"].removeprefix("event-bus/"),
    )


def may_be_queue(arn: DestinationArn, url: str) -> bool:
    """Return whether an ARN is that of a queue URL, as far as the URL says.

    URLs of emulators and of some proxies name no region or no account.
    """
    *parents, name = urlsplit(url).path.rstrip("/").split("/")
    account = parents[-1] if parents else ""
    return (
        arn.service is Service.SQS
        and arn.name == name
        and region_of_queue(url) in (None, arn.region)
        and (not account.isdigit() or account in (arn.account, "000000000000"))
    )


def is_destination_arn(text: str) -> bool:
    """Return whether ``text`` is the ARN of an SNS topic, an SQS queue or an EventBridge bus."""
    try:
        parse_destination_arn(text)
    except ValueError:
        return False
    return True
