"""Faults: the plan, and what a client sees of each kind."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ResponseStreamingError

from detection_contract.aws.errors import QueueFault, queue_fault
from detection_testing.aws.faults import Fault, FaultPlan, Injection
from detection_testing.aws.local_aws import LocalAws


def test_a_fault_with_a_count_is_spent_after_it() -> None:
    plan = FaultPlan()
    fault = Fault(operation="sqs.*", kind="error", count=2)
    plan.add(fault)

    drawn = [plan.draw("sqs.SendMessage", "/") for _ in range(3)]

    assert drawn == [Injection(fault=fault), Injection(fault=fault), None]
    assert plan.faults() == []


@pytest.mark.parametrize(
    ("operation", "path", "hit"),
    [
        ("s3.GetObject", "/b/bad.mp4", True),
        ("s3.GetObject", "/b/good.mp4", False),
        ("s3.PutObject", "/b/bad.mp4", False),
    ],
)
def test_a_fault_hits_the_operation_and_path_it_names(
    operation: str, path: str, *, hit: bool
) -> None:
    plan = FaultPlan()
    plan.add(Fault(operation="s3.Get*", kind="reset", path="/b/bad*"))

    assert (plan.draw(operation, path) is not None) is hit


def test_a_rate_is_kept_and_repeats_with_its_seed() -> None:
    def hits(seed: int) -> list[bool]:
        plan = FaultPlan(seed=seed)
        plan.add(Fault(operation="*", kind="error", rate=0.2))
        return [plan.draw("sqs.SendMessage", "/") is not None for _ in range(2000)]

    assert hits(1) == hits(1) != hits(2)
    assert 300 < sum(hits(1)) < 500


def test_latencies_add_up_beside_one_other_fault() -> None:
    plan = FaultPlan()
    plan.add(Fault(operation="*", kind="latency", seconds=0.5))
    plan.add(Fault(operation="*", kind="latency", seconds=1.0, seconds_max=2.0))
    plan.add(Fault(operation="*", kind="reset"))
    plan.add(Fault(operation="*", kind="error", count=1))

    drawn = plan.draw("s3.GetObject", "/")

    assert drawn is not None
    assert 1.5 <= drawn.delay_s <= 2.5
    assert drawn.fault == Fault(operation="*", kind="reset")
    assert len(plan.faults()) == 4


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"operation": "*"}, id="no kind"),
        pytest.param({"operation": "*", "kind": "flood"}, id="unknown kind"),
        pytest.param({"operation": "*", "kind": "error", "often": True}, id="unknown field"),
        pytest.param({"operation": "*", "kind": "error", "rate": 2}, id="rate over 1"),
        pytest.param({"operation": "*", "kind": "latency", "seconds": -1}, id="negative time"),
    ],
)
def test_a_fault_that_means_nothing_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"allowed|unknown|seconds"):
        Fault.from_json(document)


def test_a_fault_survives_its_json() -> None:
    fault = Fault(operation="sqs.*", kind="stall", seconds=1.5, after_bytes=3, count=2)

    assert Fault.from_json(fault.to_json()) == fault


class TestSeenByBoto3:
    """Each kind over the wire."""

    @pytest.mark.parametrize(
        ("kind", "code", "status"),
        [
            ("error", "ServiceUnavailable", 503),
            ("throttle", "RequestThrottled", 403),
            ("access_denied", "AccessDenied", 403),
        ],
    )
    def test_sqs_refuses_with_its_codes(
        self, aws: LocalAws, name: str, kind: Any, code: str, status: int
    ) -> None:
        url = aws.create_queue(name).queue_url
        aws.inject(Fault(operation="sqs.SendMessage", kind=kind, count=1))

        with pytest.raises(ClientError) as caught:
            aws.sqs().send_message(QueueUrl=url, MessageBody="a")
        aws.sqs().send_message(QueueUrl=url, MessageBody="b")

        response = caught.value.response
        assert response["Error"]["Code"] == code
        assert response["ResponseMetadata"]["HTTPStatusCode"] == status
        assert aws.stats()["queues"][name]["visible"] == 1

    @pytest.mark.parametrize(
        ("kind", "code", "status"),
        [
            ("error", "InternalError", 500),
            ("throttle", "SlowDown", 503),
            ("access_denied", "AccessDenied", 403),
        ],
    )
    def test_s3_refuses_with_its_codes(
        self, aws: LocalAws, kind: Any, code: str, status: int
    ) -> None:
        aws.put_object("faulty", "k", b"data")
        aws.inject(Fault(operation="s3.GetObject", kind=kind, count=1))

        with pytest.raises(ClientError) as caught:
            aws.s3().get_object(Bucket="faulty", Key="k")

        response = caught.value.response
        assert response["Error"]["Code"] == code
        assert response["ResponseMetadata"]["HTTPStatusCode"] == status

    def test_a_code_and_status_may_be_given(self, aws: LocalAws, name: str) -> None:
        fault = Fault(operation="sqs.*", kind="error", code="KmsThrottled", status=400, count=1)
        url = aws.create_queue(name).queue_url
        aws.inject(fault)

        with pytest.raises(ClientError, match=r"KMS\.ThrottlingException"):
            aws.sqs().send_message(QueueUrl=url, MessageBody="a")

    @pytest.mark.parametrize(("kind", "stored"), [("reset", 0), ("drop_response", 1)])
    def test_a_reset_comes_before_the_operation_and_a_lost_answer_after(
        self, aws: LocalAws, name: str, kind: Any, stored: int
    ) -> None:
        url = aws.create_queue(name).queue_url
        aws.inject(Fault(operation="sqs.SendMessage", kind=kind, count=1))

        with pytest.raises(ConnectionClosedError):
            aws.sqs().send_message(QueueUrl=url, MessageBody="a")

        assert aws.stats()["queues"][name]["visible"] == stored

    def test_a_truncated_object_announces_its_whole_length(self, aws: LocalAws) -> None:
        aws.put_object("faulty", "cut", b"x" * 1000)
        aws.inject(Fault(operation="s3.GetObject", kind="truncate", after_bytes=100, count=1))

        got = aws.s3().get_object(Bucket="faulty", Key="cut")

        assert got["ContentLength"] == 1000
        with pytest.raises(ResponseStreamingError):
            got["Body"].read()

    def test_a_stall_pauses_inside_the_body(self, aws: LocalAws) -> None:
        aws.put_object("faulty", "slow", b"x" * 1000)
        aws.inject(Fault(operation="s3.GetObject", kind="stall", seconds=0.2, count=1))

        got = aws.s3().get_object(Bucket="faulty", Key="slow")

        assert got["Body"].read() == b"x" * 1000

    def test_latency_delays_and_hits_are_counted(self, aws: LocalAws, name: str) -> None:
        url = aws.create_queue(name).queue_url
        counted = "sqs.SendMessage (fault)"
        before = aws.stats()["requests"].get(counted, 0)
        aws.inject(Fault(operation="sqs.SendMessage", kind="latency", seconds=0.05, count=2))

        for _ in range(3):
            aws.sqs().send_message(QueueUrl=url, MessageBody="a")

        assert aws.stats()["requests"][counted] == before + 2

    @pytest.mark.parametrize(
        ("kind", "code", "status", "text"),
        [
            ("not_found", "NoSuchBucket", 404, "does not exist"),
            ("kms_denied", "AccessDenied", 403, "not authorized to perform: kms:GenerateDataKey"),
            ("conflict", "ConditionalRequestConflict", 409, "conflicting operation"),
            ("wrong_region", "PermanentRedirect", 301, "addressed using the specified endpoint"),
            ("clock_skew", "RequestTimeTooSkewed", 403, "current time is too large"),
        ],
    )
    def test_a_bucket_refuses_with_s3_s_words(
        self, aws: LocalAws, kind: Any, code: str, status: int, text: str
    ) -> None:
        aws.put_object("faulty", "other", b"data")
        aws.inject(Fault(operation="s3.PutObject", kind=kind))

        with pytest.raises(ClientError, match=text) as caught:
            aws.s3().put_object(Bucket="faulty", Key="refused", Body=b"x")

        response = caught.value.response
        assert response["Error"]["Code"] == code
        assert response["ResponseMetadata"]["HTTPStatusCode"] == status
        assert aws.s3().list_objects_v2(Bucket="faulty", Prefix="refused")["KeyCount"] == 0

    def test_boto3_follows_a_bucket_to_its_region(self, aws: LocalAws) -> None:
        aws.put_object("faulty", "k", b"data")
        aws.inject(Fault(operation="s3.GetObject", kind="wrong_region", count=1))

        assert aws.s3().get_object(Bucket="faulty", Key="k")["Body"].read() == b"data"

    @pytest.mark.parametrize(
        ("kind", "code", "fault"),
        [
            ("not_found", "AWS.SimpleQueueService.NonExistentQueue", QueueFault.MISSING),
            ("kms_denied", "KMS.AccessDeniedException", QueueFault.DENIED),
            ("clock_skew", "SignatureDoesNotMatch", QueueFault.CREDENTIALS),
        ],
    )
    def test_a_queue_refuses_with_sqs_s_codes(
        self, aws: LocalAws, name: str, kind: Any, code: str, fault: QueueFault
    ) -> None:
        url = aws.create_queue(name).queue_url
        aws.inject(Fault(operation="sqs.SendMessage", kind=kind, count=1))

        with pytest.raises(ClientError) as caught:
            aws.sqs().send_message(QueueUrl=url, MessageBody="a")

        assert caught.value.response["Error"]["Code"] == code
        assert queue_fault(caught.value.response) == fault

    def test_a_fault_of_another_service_leaves_a_request_alone(
        self, aws: LocalAws, name: str
    ) -> None:
        url = aws.create_queue(name).queue_url
        aws.inject(Fault(operation="*", kind="conflict"))

        assert aws.sqs().send_message(QueueUrl=url, MessageBody="a")["MessageId"]
