"""The redrive policy of an SQS queue: its dead-letter queue, and when messages go there."""

import json
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class RedrivePolicy:
    """Where SQS moves a message, and after how many receives.

    Attributes:
        max_receive_count: Deliveries after which a message is moved, >= 1.
        dead_letter_arn: ARN of the dead-letter queue.
    """

    max_receive_count: int
    dead_letter_arn: str


def parse_redrive_policy(text: str | None) -> RedrivePolicy | None:
    """Return the policy in a queue's ``RedrivePolicy`` attribute; None if there is none.

    Args:
        text: JSON as SQS returns it; None and other text count as no policy.
    """
    try:
        policy = json.loads(text or "")
        arn, count = str(policy["deadLetterTargetArn"]), int(policy["maxReceiveCount"])
    except (ValueError, KeyError, TypeError):
        return None
    usable = arn.count(":") == 5 and not arn.endswith(":")
    return RedrivePolicy(max_receive_count=count, dead_letter_arn=arn) if usable else None


def dead_letter_url(policy: RedrivePolicy, *, source_url: str) -> str:
    """Return the URL of the dead-letter queue without a call, which would need a permission.

    A queue and its dead-letter queue have the same account and region, so their URLs differ in
    the name only, on AWS and on emulators.

    Args:
        policy: The queue's policy.
        source_url: URL of the queue.
    """
    *_, account, name = policy.dead_letter_arn.split(":")
    source = urlsplit(source_url)
    parents = source.path.rstrip("/").split("/")[:-1]
    if parents and parents[-1].isdigit() and account:
        parents[-1] = account
    return source._replace(path="/".join([*parents, name]), query="", fragment="").geturl()
