import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from detection_operator.readers.queue import UNREADABLE_S, SqsReader, queue_settings
from detection_operator.readers.rate_limit import TokenBucket
from detection_operator.readers.values import QueueReading
from detection_operator.scaling.observation import ReadError
from detection_operator.spec.queue_spec import QueueRef
from detection_testing.aws.faults import Fault, FaultKind
from detection_testing.aws.local_aws import LocalAws
from detection_testing.scenes.fakes import FakeClock


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    with LocalAws.in_thread() as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def codes() -> list[str]:
    return []


@pytest.fixture
def reader(codes: list[str]) -> Iterator[SqsReader]:
    made = SqsReader(codes.append)
    yield made
    made.close()


def reference(aws: LocalAws, url: str, endpoint_url: str = "") -> QueueRef:
    return QueueRef(url=url, region=aws.region, endpoint_url=endpoint_url or aws.endpoint_url)


def test_depth_settings_and_dead_letters_are_read(
    aws: LocalAws, reader: SqsReader, codes: list[str]
) -> None:
    queues = aws.create_queue("video")
    aws.send(queues.queue_url, ["{}"] * 3)
    aws.send(queues.dlq_url, ["{}"] * 2)
    aws.sqs().receive_message(QueueUrl=queues.queue_url)

    reading = reader.read(reference(aws, queues.queue_url), QueueReading(), 100.0)

    assert (reading.sampled_at_s, reading.error) == (100.0, None)
    assert (reading.visible, reading.in_flight, reading.delayed) == (2, 1, 0)
    assert (reading.dead_letter, reading.dead_letter_error) == (2, None)
    assert reading.settings is not None
    assert reading.settings.max_receive_count is not None
    assert set(codes) == {"ok"}


def test_dead_letters_that_somebody_looks_at_are_still_there(
    aws: LocalAws, reader: SqsReader
) -> None:
    queues = aws.create_queue("video")
    aws.send(queues.dlq_url, ["{}"] * 3)
    aws.sqs().receive_message(QueueUrl=queues.dlq_url, MaxNumberOfMessages=2)

    reading = reader.read(reference(aws, queues.queue_url), QueueReading(), 1.0)

    assert reading.dead_letter == 3


def test_one_request_a_poll_is_the_rule(
    aws: LocalAws, reader: SqsReader, codes: list[str]
) -> None:
    queues = aws.create_queue("video")
    queue = reference(aws, queues.queue_url)
    reading = reader.read(queue, QueueReading(), 1.0)
    codes.clear()

    for number in range(5):
        reading = reader.read(queue, reading, 2.0 + number)

    assert codes == ["ok"] * 5
    assert reading.dead_letter == 0


def test_what_was_not_asked_for_longest_is_forgotten(aws: LocalAws, codes: list[str]) -> None:
    made = [aws.create_queue(name) for name in ("one", "two", "three")]
    one, two, three = (reference(aws, queues.queue_url) for queues in made)
    with contextlib.closing(SqsReader(codes.append, queues=2)) as reader:

        def requests(queue: QueueRef) -> int:
            codes.clear()
            assert reader.read(queue, QueueReading(), 1.0).dead_letter == 0
            return len(codes)

        assert [requests(queue) for queue in (one, two, one, three)] == [3, 3, 1, 3]
        # The dead letters of two are read again; where they are was asked for since those of one.
        assert [requests(queue) for queue in (one, three, two)] == [1, 1, 2]


def test_a_queue_that_does_not_exist_keeps_the_last_counts(
    aws: LocalAws, reader: SqsReader
) -> None:
    queues = aws.create_queue("video")
    before = QueueReading(sampled_at_s=5.0, visible=7)

    reading = reader.read(reference(aws, f"{queues.queue_url}-gone"), before, 100.0)

    assert reading == dataclasses.replace(before, error=ReadError.NO_SUCH_QUEUE)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param("access_denied", ReadError.ACCESS_DENIED, id="denied"),
        pytest.param("throttle", ReadError.THROTTLED, id="throttled"),
        pytest.param("error", ReadError.UNREACHABLE, id="server error"),
        pytest.param("reset", ReadError.UNREACHABLE, id="connection reset"),
    ],
)
def test_errors_become_values(
    aws: LocalAws, reader: SqsReader, kind: FaultKind, expected: ReadError
) -> None:
    queues = aws.create_queue("video")
    aws.inject(Fault(operation="sqs.GetQueueAttributes", kind=kind))

    reading = reader.read(reference(aws, queues.queue_url), QueueReading(visible=4), 1.0)

    assert (reading.error, reading.visible) == (expected, 4)


def test_nobody_there_is_unreachable(aws: LocalAws, reader: SqsReader) -> None:
    queue = reference(
        aws, "http://127.0.0.1:1/123456789012/video", endpoint_url="http://127.0.0.1:1"
    )

    assert reader.read(queue, QueueReading(), 1.0).error is ReadError.UNREACHABLE


@pytest.mark.parametrize(
    "credentials",
    [
        pytest.param(
            {
                "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/operator",
                "AWS_WEB_IDENTITY_TOKEN_FILE": "token",
            },
            id="IRSA",
        ),
        pytest.param(
            {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "token",
            },
            id="Pod Identity",
        ),
    ],
)
def test_a_missing_token_file_is_denied_access_and_named(
    reader: SqsReader,
    credentials: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    file = str(tmp_path / "token")
    for name, value in credentials.items():
        monkeypatch.setenv(name, file if value == "token" else value)
    queue = QueueRef(url="https://sqs.eu-west-1.amazonaws.com/1/video", region="eu-west-1")
    before = QueueReading(sampled_at_s=5.0, visible=4)

    reading = reader.read(queue, before, 10.0)

    assert (reading.error, reading.visible) == (ReadError.ACCESS_DENIED, 4)
    assert file in reading.error_why


@pytest.mark.parametrize(
    "endpoint_url",
    [
        pytest.param("http://local_stack:4566", id="an underscore"),
        pytest.param("https://*.x", id="an asterisk"),
        pytest.param("http://[::1", id="half an IPv6 address"),
        pytest.param("http://127.0.0.1:99999", id="no such port"),
        pytest.param("http://127.0.0.1:http", id="a word for a port"),
    ],
)
def test_an_endpoint_that_is_no_address_is_unreachable_and_named(
    reader: SqsReader, codes: list[str], endpoint_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    queue = QueueRef(
        url="https://sqs.eu-west-1.amazonaws.com/1/video",
        region="eu-west-1",
        endpoint_url=endpoint_url,
    )

    reading = reader.read(queue, QueueReading(visible=4), 1.0)

    assert (reading.error, reading.visible) == (ReadError.UNREACHABLE, 4)
    assert endpoint_url in reading.error_why
    assert codes == ["ValueError"]


def test_what_passes_by_itself_leaves_nothing_to_mend(aws: LocalAws, reader: SqsReader) -> None:
    queues = aws.create_queue("video")
    aws.inject(Fault(operation="sqs.GetQueueAttributes", kind="error"))
    before = QueueReading(error=ReadError.ACCESS_DENIED, error_why="the token is missing")

    failed = reader.read(reference(aws, queues.queue_url), before, 1.0)

    assert (failed.error, failed.error_why) == (ReadError.UNREACHABLE, "")


def test_a_policy_that_is_no_json_is_no_policy() -> None:
    settings = queue_settings({"RedrivePolicy": "{", "VisibilityTimeout": "x"})

    assert (settings.max_receive_count, settings.visibility_timeout_s) == (None, 30)


def test_the_rate_limit_lets_a_burst_through_and_then_paces() -> None:
    clock = FakeClock()
    bucket = TokenBucket(2.0, 3.0, clock.monotonic_s)

    waits = [bucket.take() for _ in range(5)]

    assert waits == [0.0, 0.0, 0.0, 0.5, 1.0]
    clock.advance(10)
    assert bucket.take() == 0.0
    bucket.punish()
    assert bucket.take() == 0.5


# -- the outbox -----------------------------------------------------------------------------------


def outbox_of(aws: LocalAws) -> tuple[QueueRef, QueueRef]:
    """Return a work queue and its outbox."""
    queue = reference(aws, aws.create_queue("video").queue_url)
    return queue, queue.beside(aws.create_queue("outbox").queue_url)


def test_due_and_delayed_callbacks_are_in_the_outbox(aws: LocalAws, reader: SqsReader) -> None:
    queue, outbox = outbox_of(aws)
    aws.send(outbox.url, ["{}"] * 2)
    aws.sqs().send_message(QueueUrl=outbox.url, MessageBody="{}", DelaySeconds=900)

    reading = reader.read(queue, QueueReading(), 1.0, outbox=outbox)

    assert (reading.outbox, reading.outbox_due) == (3, 2)
    assert reader.read(queue, reading, 2.0).outbox is None


def test_the_outbox_is_read_as_rarely_as_the_dead_letters(aws: LocalAws, codes: list[str]) -> None:
    queue, outbox = outbox_of(aws)
    clock = FakeClock()
    with contextlib.closing(SqsReader(codes.append, monotonic_s=clock.monotonic_s)) as reader:
        reader.read(queue, QueueReading(), 1.0, outbox=outbox)
        codes.clear()
        for _ in range(5):
            reader.read(queue, QueueReading(), 1.0, outbox=outbox)
        assert codes == ["ok"] * 5
        clock.advance(30)
        reader.read(queue, QueueReading(), 1.0, outbox=outbox)
        assert codes == ["ok"] * 8


def test_callbacks_are_idle_while_they_are_due_and_nothing_receives_them(aws: LocalAws) -> None:
    queue, outbox = outbox_of(aws)
    clock = FakeClock()
    with contextlib.closing(SqsReader(monotonic_s=clock.monotonic_s)) as reader:

        def idle_s() -> float:
            clock.advance(60)
            return reader.read(queue, QueueReading(), 1.0, outbox=outbox).outbox_idle_s

        assert idle_s() == 0
        aws.send(outbox.url, ["{}"] * 2)
        assert [idle_s(), idle_s(), idle_s()] == [0, 60, 120]
        [held] = aws.sqs().receive_message(QueueUrl=outbox.url)["Messages"]
        assert [idle_s(), idle_s()] == [0, 0], "one is being sent, the other waits its turn"
        aws.sqs().change_message_visibility(
            QueueUrl=outbox.url, ReceiptHandle=held["ReceiptHandle"], VisibilityTimeout=0
        )
        assert [idle_s(), idle_s()] == [0, 60]
        aws.sqs().purge_queue(QueueUrl=outbox.url)
        assert idle_s() == 0


def test_an_outbox_that_cannot_be_read_stays_unknown(aws: LocalAws, reader: SqsReader) -> None:
    queue, _ = outbox_of(aws)

    reading = reader.read(queue, QueueReading(), 1.0, outbox=queue.beside(f"{queue.url}-gone"))

    assert (reading.error, reading.outbox, reading.outbox_idle_s) == (None, None, 0.0)


def test_an_outbox_that_cannot_be_read_is_tried_again_now_and_then(
    aws: LocalAws, codes: list[str]
) -> None:
    queue, _ = outbox_of(aws)
    gone, clock = queue.beside(f"{queue.url}-later"), FakeClock()
    with contextlib.closing(SqsReader(codes.append, monotonic_s=clock.monotonic_s)) as reader:
        reader.read(queue, QueueReading(), 1.0, outbox=gone)
        codes.clear()
        clock.advance(UNREADABLE_S - 1)
        assert reader.read(queue, QueueReading(), 1.0, outbox=gone).outbox is None
        assert codes == ["ok"] * 2, "the queue and its dead letters alone"
        aws.create_queue("video-later")
        clock.advance(1)
        assert reader.read(queue, QueueReading(), 1.0, outbox=gone).outbox == 0


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.us-west-2.amazonaws.com/123456789012/outbox", "us-west-2"),
        ("http://localhost:4566/000000000000/outbox", "eu-west-1"),
    ],
)
def test_an_outbox_lies_where_its_url_says_or_beside_the_queue(url: str, region: str) -> None:
    queue = QueueRef(url="https://sqs.eu-west-1.amazonaws.com/1/video", region="eu-west-1")

    assert queue.beside(url) == QueueRef(url=url, region=region)


def sent_by_botocore(reader: SqsReader) -> list[str]:
    """Return where botocore sends requests from now on, of the one service that was read."""
    (service,) = reader._services.clear()
    sent: list[str] = []
    service.client.meta.events.register(
        "before-send.sqs", lambda request, **_: sent.append(request.url)
    )
    reader._services.put(
        (service.client.meta.region_name, service.client.meta.endpoint_url), service
    )
    return sent


def test_after_the_first_read_botocore_is_not_needed(
    aws: LocalAws, reader: SqsReader, codes: list[str]
) -> None:
    queues = aws.create_queue("video")
    queue = dataclasses.replace(reference(aws, queues.queue_url), dead_letter_queue=queues.dlq_url)
    first = reader.read(queue, QueueReading(), 1.0)
    sent, told = sent_by_botocore(reader), len(codes)
    aws.send(queues.queue_url, ["{}"] * 3)

    readings = [reader.read(queue, first, 2.0) for _ in range(3)]

    expected = dataclasses.replace(first, sampled_at_s=2.0, visible=3)
    assert readings == [expected] * 3
    assert (sent, codes[told:]) == ([], ["ok"] * 3)


@pytest.mark.parametrize(
    ("kind", "requests"), [("throttle", 2), ("error", 2), ("access_denied", 1)]
)
def test_errors_are_left_to_botocore_until_it_has_an_answer(
    aws: LocalAws, reader: SqsReader, kind: FaultKind, requests: int
) -> None:
    queue = reference(aws, aws.create_queue("video").queue_url)
    good = reader.read(queue, QueueReading(), 1.0)
    sent = sent_by_botocore(reader)
    aws.inject(Fault(operation="sqs.GetQueueAttributes", kind=kind))

    failed = [reader.read(queue, good, 2.0) for _ in range(2)]
    assert all(reading.error is not None for reading in failed)
    assert len(sent) == 2 * requests

    aws.clear_faults()
    mended = [reader.read(queue, good, 3.0) for _ in range(3)]
    assert [reading.error for reading in mended] == [None] * 3
    assert len(sent) == 2 * requests + 1


def test_one_queue_that_is_gone_changes_nothing_for_the_others(
    aws: LocalAws, reader: SqsReader
) -> None:
    queue = reference(aws, aws.create_queue("video").queue_url)
    gone = dataclasses.replace(queue, url=f"{queue.url}-gone")
    good = reader.read(queue, QueueReading(), 1.0)
    assert reader.read(gone, QueueReading(), 1.0).error is ReadError.NO_SUCH_QUEUE

    assert reader.read(queue, good, 1.0) == good
    sent = sent_by_botocore(reader)
    assert reader.read(queue, good, 1.0) == good
    assert sent == []


def test_new_credentials_are_used_at_once(aws: LocalAws, reader: SqsReader) -> None:
    queue = reference(aws, aws.create_queue("video").queue_url)
    good = reader.read(queue, QueueReading(), 1.0)
    sent = sent_by_botocore(reader)
    keys = reader._session.get_credentials()
    known = keys.access_key

    keys.access_key = "AKIDREVOKED"
    revoked = reader.read(queue, good, 2.0)
    told = len(sent)
    keys.access_key = known
    readings = [reader.read(queue, good, 3.0) for _ in range(3)]

    assert (revoked.error, told) == (ReadError.ACCESS_DENIED, 1)
    assert [reading.error for reading in readings] == [None] * 3
    assert len(sent) == told + 1
