"""``consume --validate-queue``: attributes of queue and outbox, and what to change about them."""

from collections.abc import Iterator
from contextlib import closing
from typing import Final

from botocore.exceptions import ClientError

from detection_contract.aws.arns import DestinationArn, Service, parse_destination_arn
from detection_contract.aws.errors import error_code
from detection_contract.user_messages import counted
from detection_worker import aws_session
from detection_worker.aws_session import CALL_ERRORS, make_session
from detection_worker.errors import UsageError
from detection_worker.outbox.queue import check_outbox_url
from detection_worker.results.checks import check_destinations
from detection_worker.settings import AwsSettings, ConsumerSettings, ResultSettings
from detection_worker.sources.base import QueueError, QueueFacts
from detection_worker.sources.sqs import SqsSource

FEW_RECEIVES = 5
"""With fewer deliveries, a few crashes or roll-outs dead-letter good messages: every receive
counts, also of messages that are released unprocessed."""
ENOUGH_RECEIVES = 10
BUS_TIMEOUT_S: Final = 5.0


def validate(consumer: ConsumerSettings, aws: AwsSettings, results: ResultSettings) -> int:
    """Print the queue's attributes and advice; 0 if it can be consumed.

    Raises:
        UsageError: It or the outbox does not exist, access is denied, or results would come back
            to one of them.
    """
    facts = _facts(consumer.queue_url, aws)
    taken = [consumer.queue_url, consumer.dead_letter_queue_url, facts.dead_letter_queue_url]
    outbox = None
    if results.outbox_url is not None:
        check_outbox_url(results.outbox_url, others=taken)
        outbox = _facts(results.outbox_url, aws)
        taken.append(outbox.dead_letter_queue_url)
    check_destinations(results, queues=taken)
    print(f"Queue is valid: {consumer.queue_url}")
    print("\n".join(f"  {line}" for line in attribute_lines(facts)))
    if outbox is not None:
        print(f"Outbox is valid: {results.outbox_url}")
        print("\n".join(f"  {line}" for line in attribute_lines(outbox)))
    buses = advise_buses(results, aws)
    for advice in (*advise(facts, consumer), *advise_outbox(outbox), *buses):
        print(f"Advice: {advice}")
    return 0


def _facts(queue_url: str, aws: AwsSettings) -> QueueFacts:
    try:
        with closing(SqsSource(make_session(aws), aws, queue_url, wait_time_s=0)) as source:
            return source.facts()
    except QueueError as exc:
        raise UsageError(str(exc)) from exc


def attribute_lines(facts: QueueFacts) -> Iterator[str]:
    """Yield the attributes in words."""
    yield f"Type:               {'FIFO' if facts.fifo else 'standard'}"
    yield f"Messages waiting:   about {facts.visible}"
    yield f"Messages in flight: about {facts.in_flight}"
    yield f"Messages delayed:   about {facts.delayed}"
    yield f"Visibility timeout: {facts.visibility_timeout_s} s"
    if facts.max_receive_count is None:
        yield "Redrive policy:     none"
    else:
        deliveries = counted(facts.max_receive_count, "delivery", "deliveries")
        yield f"Redrive policy:     dead-lettered after {deliveries}"
        yield f"Dead-letter queue:  {facts.dead_letter_queue_url}"


def advise(facts: QueueFacts, consumer: ConsumerSettings) -> Iterator[str]:
    """Yield recommended changes of the queue or the options."""
    if facts.max_receive_count is None and consumer.dead_letter_queue_url is None:
        yield (
            "there is no dead-letter queue: messages that cannot be processed stay in the queue "
            "until they expire; set a redrive policy or --dead-letter-queue-url"
        )
    if facts.max_receive_count is not None and facts.max_receive_count < FEW_RECEIVES:
        yield (
            f"maxReceiveCount is {facts.max_receive_count}: a crash and a slow network can "
            f"dead-letter good messages; use {ENOUGH_RECEIVES} or more"
        )
    if facts.fifo:
        yield "a FIFO queue hands out one message of a group at a time: use many groups"
    if consumer.wait_time_s == 0:
        yield "--wait-time 0 polls without waiting, which costs requests; use 20"
    if facts.visibility_timeout_s < consumer.visibility_timeout_s:
        yield (
            f"the queue's own visibility timeout of {facts.visibility_timeout_s} s is not used: "
            f"this worker asks for {consumer.visibility_timeout_s} s and extends it while it works"
        )


def advise_outbox(facts: QueueFacts | None) -> Iterator[str]:
    """Yield recommended changes of the outbox, if there is one."""
    if facts is not None and facts.max_receive_count is None:
        yield (
            "the outbox has no dead-letter queue: callbacks that cannot be delivered stay in it, "
            "with an attempt a day; set a redrive policy"
        )


def advise_buses(results: ResultSettings, aws: AwsSettings) -> Iterator[str]:
    """Yield what EventBridge says of the buses that are told of results, if it is no good.

    PutEvents takes events for a bus that does not exist, and nobody ever sees them, so only
    DescribeEventBus can tell. Workers do without its permission.
    """
    for arn in map(
        parse_destination_arn, dict.fromkeys((*results.on_success, *results.on_failure))
    ):
        problem = _bus_problem(arn, aws) if arn.service is Service.EVENTBRIDGE else None
        if problem is not None:
            yield f"{problem}; events for a bus that does not exist are lost: {arn.arn}"


def _bus_problem(arn: DestinationArn, aws: AwsSettings) -> str | None:
    session = make_session(aws)
    with closing(
        aws_session.client(session, "events", aws, read_timeout_s=BUS_TIMEOUT_S, region=arn.region)
    ) as events:
        try:
            events.describe_event_bus(Name=arn.arn)
        except ClientError as exc:
            code = error_code(exc.response)
            missing = code == "ResourceNotFound"
            return "EventBridge has no such bus" if missing else _unknown_bus(code)
        except CALL_ERRORS as exc:
            return _unknown_bus(type(exc).__name__)
    return None


def _unknown_bus(why: str) -> str:
    return f"whether the event bus exists is not known (DescribeEventBus: {why})"
