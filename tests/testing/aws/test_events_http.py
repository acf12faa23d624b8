"""EventBridge as boto3 sees it: the same on the strict local AWS and on moto."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from detection_testing.aws.eventbridge.pattern import BadPatternError, check, matches
from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws

EVENT = {
    "Source": "detection-queue",
    "DetailType": "Detection Finished",
    "Detail": '{"verdict": "fake", "score": 0.75, "nested": {"kind": "audio"}}',
    "Resources": ["arn:aws:s3:::media/a.mp4"],
}


class Site:
    """A bus with a rule and a queue, of one of the two implementations."""

    def __init__(self, client: Callable[[str], Any], name: str) -> None:
        self.events, self.sqs = client("events"), client("sqs")
        self.bus = f"bus-{name}"
        self.bus_arn: str = self.events.create_event_bus(Name=self.bus)["EventBusArn"]
        self.queue_url = self.sqs.create_queue(QueueName=f"events-{name}")["QueueUrl"]
        self.queue_arn = self.sqs.get_queue_attributes(
            QueueUrl=self.queue_url, AttributeNames=["QueueArn"]
        )["Attributes"]["QueueArn"]

    def rule(self, pattern: dict[str, Any], **target: Any) -> None:
        rule = {"EventBusName": self.bus}
        self.events.put_rule(Name="r", EventPattern=json.dumps(pattern), **rule)
        targets = [{"Id": "1", "Arn": self.queue_arn, **target}]
        self.events.put_targets(Rule="r", Targets=targets, **rule)

    def received(self) -> list[Any]:
        messages = self.sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10)
        return [json.loads(m["Body"]) for m in messages.get("Messages", [])]


@pytest.fixture
def site(client: Callable[[str], Any], name: str) -> Site:
    return Site(client, name)


def test_a_rule_sends_events_that_match_to_a_queue(site: Site) -> None:
    site.rule({"source": ["detection-queue"], "detail-type": ["Detection Finished"]})

    answer = site.events.put_events(
        Entries=[
            {**EVENT, "EventBusName": site.bus},
            {**EVENT, "EventBusName": site.bus, "DetailType": "Detection Failed"},
        ]
    )

    assert answer["FailedEntryCount"] == 0
    [event] = site.received()
    assert event["id"] == answer["Entries"][0]["EventId"]
    assert (event["source"], event["detail-type"]) == ("detection-queue", "Detection Finished")
    assert event["version"] == "0"
    assert event["resources"] == EVENT["Resources"]
    assert event["detail"]["verdict"] == "fake"


@pytest.mark.parametrize("named", ["name", "arn"])
def test_a_bus_may_be_named_by_its_arn(site: Site, named: str) -> None:
    site.rule({"source": ["detection-queue"]})
    bus = site.bus if named == "name" else site.bus_arn

    site.events.put_events(Entries=[{**EVENT, "EventBusName": bus}])

    assert len(site.received()) == 1


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ({"detail": {"verdict": ["fake"]}}, True),
        ({"detail": {"verdict": ["real"]}}, False),
        ({"detail": {"verdict": [{"prefix": "fa"}], "nested": {"kind": ["audio"]}}}, True),
        ({"detail": {"nested": {"kind": [{"anything-but": "audio"}]}}}, False),
        ({"resources": [{"prefix": "arn:aws:s3:::media/"}]}, True),
        ({"detail": {"missing": [{"exists": False}], "verdict": [{"exists": True}]}}, True),
    ],
)
def test_a_pattern_looks_at_any_field(
    site: Site, pattern: dict[str, Any], *, wanted: bool
) -> None:
    site.rule(pattern)

    site.events.put_events(Entries=[{**EVENT, "EventBusName": site.bus}])

    assert len(site.received()) == wanted


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        pytest.param({**EVENT, "Detail": "no json"}, "MalformedDetail", id="no JSON"),
        pytest.param({**EVENT, "Source": ""}, "InvalidArgument", id="no source"),
    ],
)
def test_a_bad_entry_fails_alone(site: Site, entry: dict[str, Any], code: str) -> None:
    site.rule({"source": ["detection-queue"]})
    entries = [{**entry, "EventBusName": site.bus}, {**EVENT, "EventBusName": site.bus}]

    answer = site.events.put_events(Entries=entries)

    assert answer["FailedEntryCount"] == 1
    assert answer["Entries"][0]["ErrorCode"] == code
    assert "EventId" in answer["Entries"][1]
    assert len(site.received()) == 1


def test_more_than_ten_entries_are_refused(site: Site) -> None:
    with pytest.raises(ClientError) as caught:
        site.events.put_events(Entries=[EVENT] * 11)

    assert caught.value.response["Error"]["Code"] == "ValidationException"


class TestStrict:
    """What moto does not do as EventBridge does, and what tests ask the local AWS for."""

    @pytest.fixture
    def client(self, aws: LocalAws) -> Callable[[str], Any]:
        return lambda service: {"events": aws.events(), "sqs": aws.sqs()}[service]

    def test_more_than_256_kib_in_all_are_refused(self, site: Site) -> None:
        large = {**EVENT, "Detail": json.dumps({"x": "y" * 140_000})}

        site.events.put_events(Entries=[large])
        with pytest.raises(ClientError, match="Total size of the entries") as caught:
            site.events.put_events(Entries=[large, large])

        assert caught.value.response["Error"]["Code"] == "ValidationException"

    def test_a_target_may_get_a_field_of_the_event(self, site: Site) -> None:
        site.rule({"source": ["detection-queue"]}, InputPath="$.detail.nested")

        site.events.put_events(Entries=[{**EVENT, "EventBusName": site.bus}])

        assert site.received() == [{"kind": "audio"}]

    def test_an_event_for_no_bus_is_taken_and_nobody_sees_it(
        self, aws: LocalAws, site: Site
    ) -> None:
        since = len(aws.put_events())

        answer = site.events.put_events(Entries=[{**EVENT, "EventBusName": "no-bus"}])

        assert answer["FailedEntryCount"] == 0
        [event] = aws.put_events(since=since)
        assert (event.bus, event.event_id) == ("", answer["Entries"][0]["EventId"])
        with pytest.raises(ClientError) as caught:
            site.events.describe_event_bus(Name="no-bus")
        assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"

    def test_what_was_put_can_be_read_back(self, aws: LocalAws, site: Site) -> None:
        site.rule({"source": ["detection-queue"]})
        since = len(aws.put_events())

        site.events.put_events(Entries=[{**EVENT, "EventBusName": site.bus_arn}])

        [event] = aws.put_events(since=since)
        assert (event.bus, event.detail) == (site.bus, EVENT["Detail"])
        assert (event.detail_type, event.resources) == (EVENT["DetailType"], EVENT["Resources"])
        assert event.queues == [site.queue_arn.rpartition(":")[2]]

    def test_entries_may_fail_alone(self, aws: LocalAws, site: Site) -> None:
        fault = Fault(operation="events.PutEvents", kind="partial", code="ThrottlingException")
        aws.inject(fault)

        answer = site.events.put_events(Entries=[EVENT, EVENT])

        assert answer["FailedEntryCount"] == 1
        assert [e.get("ErrorCode") for e in answer["Entries"]] == ["ThrottlingException", None]

    @pytest.mark.parametrize(
        ("kind", "code", "status"),
        [
            ("error", "InternalException", 500),
            ("throttle", "ThrottlingException", 400),
            ("access_denied", "AccessDeniedException", 400),
            ("not_found", "ResourceNotFoundException", 400),
        ],
    )
    def test_a_fault_speaks_as_eventbridge(
        self, aws: LocalAws, site: Site, kind: Any, code: str, status: int
    ) -> None:
        aws.inject(Fault(operation="events.PutEvents", kind=kind, count=1))

        with pytest.raises(ClientError) as caught:
            site.events.put_events(Entries=[EVENT])

        response = caught.value.response
        assert response["Error"]["Code"] == code
        assert response["ResponseMetadata"]["HTTPStatusCode"] == status

    @pytest.mark.parametrize("pattern", ["no json", "{}", '{"source": "text"}'])
    def test_a_pattern_that_is_none_is_refused(self, site: Site, pattern: str) -> None:
        with pytest.raises(ClientError) as caught:
            site.events.put_rule(Name="r", EventBusName=site.bus, EventPattern=pattern)

        assert caught.value.response["Error"]["Code"] == "InvalidEventPatternException"


@pytest.mark.parametrize(
    ("pattern", "event", "fits"),
    [
        ({"a": [1]}, {"a": 1}, True),
        ({"a": [1]}, {"a": True}, False),
        ({"a": [1]}, {"a": "1"}, False),
        ({"a": [None]}, {"a": None}, True),
        ({"a": [None]}, {}, False),
        ({"a": ["x"]}, {"a": ["x", "y"]}, True),
        ({"a": [{"suffix": ".mp4"}]}, {"a": "b.mp4"}, True),
        ({"a": [{"equals-ignore-case": "FAKE"}]}, {"a": "fake"}, True),
        ({"a": [{"anything-but": {"prefix": "b"}}]}, {"a": "abc"}, True),
        ({"a": [{"anything-but": "b"}]}, {}, False),
        ({"a": {"b": ["x"]}}, {"a": "x"}, False),
    ],
)
def test_a_pattern_compares_values_and_their_types(
    pattern: dict[str, Any], event: dict[str, Any], *, fits: bool
) -> None:
    check(pattern)

    assert matches(pattern, event) == fits


@pytest.mark.parametrize("pattern", [[], {}, {"a": []}, {"a": [[1]]}, {"a": [{"wildcard": "*"}]}])
def test_an_unknown_pattern_is_told(pattern: object) -> None:
    with pytest.raises(BadPatternError):
        check(pattern)
