"""What the notifier does about refusals that neither emulator gives on request."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, NoCredentialsError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.aws.arns import DestinationArn, parse_destination_arn
from detection_contract.error_codes import ErrorCode
from detection_worker.errors import JobError
from detection_worker.results.base import Notification
from detection_worker.results.destinations import DESTINATIONS, Refused
from detection_worker.results.notifier import Publisher
from detection_worker.results.notifier_errors import explain_call, explain_entry

TOPIC = parse_destination_arn("arn:aws:sns:eu-west-1:123456789012:told")
QUEUE = parse_destination_arn("arn:aws:sqs:eu-west-1:123456789012:told.fifo")
BUS = parse_destination_arn("arn:aws-cn:events:cn-north-1:123456789012:event-bus/told")
ARNS = {arn.service: arn for arn in (TOPIC, QUEUE, BUS)}
NOTE = Notification(id="msg_m_0", kind="finished", body='{"result":{}}', attributes={"label": "x"})
NOTES = [
    replace(NOTE, id=f"msg_{n}_0", body=f'{{"n":{n},"result":{{"media":"whatever it is"}}}}')
    for n in range(4)
]
Answer = Callable[[Sequence[Notification]], Mapping[int, Refused]]


class Scripted:
    """A destination that gives the answers of a list, then takes everything."""

    def __init__(self, *answers: Answer, arn: DestinationArn = TOPIC) -> None:
        self.arn = arn
        self.answers = list(answers)
        self.sent: list[list[Notification]] = []

    def send(self, batch: Sequence[Notification]) -> Mapping[int, Refused]:
        self.sent.append(list(batch))
        return self.answers.pop(0)(batch) if self.answers else {}

    @property
    def ids(self) -> list[list[str]]:
        return [[each.id for each in batch] for batch in self.sent]


def refusing(**codes: str) -> Answer:
    """Refuse entries by position: ``at1="InternalError"``."""
    refused = {int(at[2:]): Refused(code=code, message="m") for at, code in codes.items()}
    return lambda _: refused


def client_error(code: str, status: int = 400, message: str = "m") -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}},
    }
    return ClientError(response, "PublishBatch")


def raising(error: Exception) -> Answer:
    def answer(_: Sequence[Notification]) -> Mapping[int, Refused]:
        raise error

    return answer


def publish(destination: Scripted) -> list[JobError | None]:
    return Publisher(destination, pause_s=0.0).publish(NOTES)


def test_entries_that_the_service_failed_are_sent_again_and_no_others() -> None:
    destination = Scripted(
        refusing(at1="InternalError", at3="ThrottlingException"), refusing(at1="InternalFailure")
    )

    assert publish(destination) == [None] * 4
    assert destination.ids == [
        ["msg_0_0", "msg_1_0", "msg_2_0", "msg_3_0"],
        ["msg_1_0", "msg_3_0"],
        ["msg_3_0"],
    ]


def test_after_three_attempts_an_entry_fails_alone() -> None:
    destination = Scripted(*[refusing(at2="InternalError")], *[refusing(at0="InternalError")] * 2)

    first, second, third, fourth = publish(destination)

    assert first is second is fourth is None
    assert third is not None
    assert third.code is ErrorCode.NOTIFICATION_FAILED
    assert not third.environment
    assert len(destination.sent) == 3


def test_an_entry_that_is_at_fault_is_not_sent_again() -> None:
    destination = Scripted(refusing(at0="InvalidParameter", at1="MalformedDetail"))

    errors = publish(destination)

    assert [error is None for error in errors] == [False, False, True, True]
    assert len(destination.sent) == 1


def test_one_entry_that_spoils_the_call_is_sent_alone_and_the_others_arrive() -> None:
    def judge(batch: Sequence[Notification]) -> Mapping[int, Refused]:
        if any(note.id == "msg_2_0" for note in batch):
            raise client_error("InvalidParameterValue")
        return {}

    destination = Scripted(*[judge] * 5)

    errors = publish(destination)

    assert [error is None for error in errors] == [True, True, False, True]
    assert [len(batch) for batch in destination.sent] == [4, 1, 1, 1, 1]


def test_an_entry_that_is_too_long_is_sent_in_its_short_form_once() -> None:
    too_long = Refused(code="InvalidParameterValue", message="Message must be shorter than 9")

    def judge(batch: Sequence[Notification]) -> Mapping[int, Refused]:
        return {at: too_long for at, note in enumerate(batch) if note.id == "msg_1_0"}

    destination = Scripted(*[judge] * 9)

    errors = publish(destination)

    assert [error is None for error in errors] == [True, False, True, True]
    assert [note.body for batch in destination.sent[1:] for note in batch] == [
        '{"n":1,"result":null,"truncated":true}'
    ]


@pytest.mark.parametrize(
    "error",
    [client_error("RequestEntityTooLarge", 413), client_error("BatchRequestTooLong")],
    ids=["by status", "by code"],
)
def test_a_call_that_is_too_long_is_split(error: ClientError) -> None:
    destination = Scripted(raising(error))

    assert publish(destination) == [None] * 4
    assert [len(batch) for batch in destination.sent] == [4, 1, 1, 1, 1]


@pytest.mark.parametrize("quick", [None, {"ResponseMetadata": {}}], ids=["botocore", "quick"])
@pytest.mark.parametrize("service", DESTINATIONS)
def test_an_entry_that_the_answer_omits_is_not_taken_for_published(
    service: Any, quick: Any
) -> None:
    """As from any other web server that answers 200."""

    class Client:
        meta = SimpleNamespace(endpoint_url="http://h")

        def call(self, **_: Any) -> dict[str, Any]:
            assert quick is None
            return {}

        publish_batch = send_message_batch = put_events = call

    operation: Any = SimpleNamespace(post=lambda _: quick)
    destination = DESTINATIONS[service](Client(), operation, ARNS[service])

    errors = Publisher(destination, pause_s=0.0).publish(NOTES[:2])

    assert ["NoAnswer" in str(error) for error in errors] == [True, True]


codes = st.sampled_from(["", "InternalError", "InvalidParameter", "Throttled", "NotFound"])
calls = st.lists(
    st.one_of(
        st.lists(codes, min_size=4, max_size=4),
        st.sampled_from(["InternalError", "InvalidParameterValue", "BatchRequestTooLong"]),
    ),
    max_size=12,
)


@given(calls)
def test_whatever_a_service_answers_each_entry_is_published_once_or_fails(
    script: list[list[str] | str],
) -> None:
    accepted: list[str] = []

    def send(batch: Sequence[Notification]) -> Mapping[int, Refused]:
        answer = script.pop(0) if script else [""] * 4
        if isinstance(answer, str):
            raise client_error(answer)
        refused = {at: Refused(code=c, message="m") for at, c in enumerate(answer) if c}
        accepted.extend(note.id for at, note in enumerate(batch) if at not in refused)
        return {at: each for at, each in refused.items() if at < len(batch)}

    errors = publish(Scripted(*[send] * 99))

    told = [note.id for note, error in zip(NOTES, errors, strict=True) if error is None]
    assert sorted(accepted) == told


def test_every_thread_gets_an_error_of_its_own() -> None:
    errors = publish(Scripted(raising(client_error("NotFound", 404))))

    assert all(isinstance(error, JobError) and error.environment for error in errors)
    assert len({id(error) for error in errors}) == 4


@pytest.mark.parametrize("service", DESTINATIONS)
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AccessDenied", "Access Denied"),
        ("AccessDeniedException", "Access Denied"),
        ("KMSAccessDeniedException", "its KMS key cannot be used (KMSAccessDenied)"),
        ("KMSDisabledException", "its KMS key cannot be used (KMSDisabled)"),
        ("KmsAccessDenied", "its KMS key cannot be used"),
        ("KMSNotFound", "its KMS key cannot be used"),
        ("ExpiredToken", "AWS credentials do not work: ExpiredToken"),
        ("InvalidClientTokenId", "AWS credentials do not work: InvalidClientTokenId"),
        ("SignatureDoesNotMatch", "AWS credentials do not work: SignatureDoesNotMatch"),
    ],
)
def test_what_would_meet_every_notification_is_the_environments_fault(
    service: Any, code: str, words: str
) -> None:
    failure = explain_call(client_error(code, 403), ARNS[service])

    assert failure.error.environment
    assert failure.remedy == "none"
    assert words in failure.error.message
    assert failure.error.message.startswith(
        ("SNS topic told was", "SQS queue told.fifo was", "EventBridge bus told was")
    )


@pytest.mark.parametrize(
    ("code", "arn", "words"),
    [
        ("NotFound", TOPIC, "does not exist in account 123456789012, region eu-west-1"),
        ("NotFoundException", TOPIC, "does not exist"),
        ("AWS.SimpleQueueService.NonExistentQueue", QUEUE, "does not exist"),
        ("QueueDoesNotExist", QUEUE, "does not exist"),
        ("ResourceNotFoundException", BUS, "does not exist in account 123456789012, region cn-"),
        ("AuthorizationError", TOPIC, "allow sns:Publish on arn:aws:sns:eu-west-1:123456789012:t"),
        ("AccessDenied", QUEUE, "allow sqs:SendMessage on arn:aws:sqs:"),
        ("NotAuthorizedForSourceException", BUS, "allow events:PutEvents on arn:aws-cn:events:"),
    ],
)
def test_a_destination_that_is_gone_or_denied_is_told_with_what_to_do(
    code: str, arn: DestinationArn, words: str
) -> None:
    for failure in (
        explain_call(client_error(code), arn),
        explain_entry(Refused(code=code, message=""), arn),
    ):
        assert failure.error.environment
        assert words in failure.error.message


def test_an_arn_that_sns_cannot_read_is_a_topic_that_does_not_exist() -> None:
    error = client_error("InvalidParameter", 400, "Invalid parameter: TopicArn")

    assert "does not exist" in explain_call(error, TOPIC).error.message


@pytest.mark.parametrize(
    "error",
    [
        client_error("Throttled", 429),
        client_error("KMSThrottlingException", 400),
        client_error("InternalError", 500),
        client_error("ServiceUnavailable", 503),
        ReadTimeoutError(endpoint_url="https://sns"),
    ],
    ids=["throttled", "KMS throttled", "internal", "unavailable", "timeout"],
)
def test_what_may_pass_is_left_to_the_backoff_of_the_message(error: Exception) -> None:
    """botocore has tried it three times already."""
    failure = explain_call(error, TOPIC)

    assert not failure.error.environment
    assert failure.remedy == "none"


def test_a_wrong_clock_and_missing_credentials_say_what_to_do() -> None:
    clock = client_error("SignatureDoesNotMatch", 403, "Signature expired: 20250101T000000Z")

    assert "The clock of this machine" in explain_call(clock, QUEUE).error.message
    assert "AWS credentials not found" in explain_call(NoCredentialsError(), BUS).error.message
