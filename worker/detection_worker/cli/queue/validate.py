"""``consume --validate-queue``: the queue's attributes, and what to change about them."""

from collections.abc import Iterator

from detection_worker.aws_session import make_session
from detection_worker.errors import UsageError
from detection_worker.results.checks import check_destinations
from detection_worker.settings import AwsSettings, ConsumerSettings, ResultSettings
from detection_worker.sources.base import QueueError, QueueFacts
from detection_worker.sources.sqs import SqsSource

FEW_RECEIVES = 5
"""With fewer deliveries, a few crashes or roll-outs dead-letter good messages: every receive
counts, also of messages that are released unprocessed."""
ENOUGH_RECEIVES = 10


def validate(consumer: ConsumerSettings, aws: AwsSettings, results: ResultSettings) -> int:
    """Print the queue's attributes and advice; 0 if it can be consumed.

    Raises:
        UsageError: It does not exist, access is denied, or results would come back to it.
    """
    source = SqsSource(
        make_session(aws), aws, consumer.queue_url, wait_time_s=consumer.wait_time_s
    )
    try:
        facts = source.facts()
    except QueueError as exc:
        raise UsageError(str(exc)) from exc
    finally:
        source.close()
    taken = (consumer.queue_url, consumer.dead_letter_queue_url, facts.dead_letter_queue_url)
    check_destinations(results, queues=taken)
    print(f"Queue is valid: {consumer.queue_url}")
    print("\n".join(f"  {line}" for line in attribute_lines(facts)))
    for advice in advise(facts, consumer):
        print(f"Advice: {advice}")
    return 0


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
        yield f"Redrive policy:     dead-lettered after {facts.max_receive_count} deliveries"
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
