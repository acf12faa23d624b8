import contextlib
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.aws.arns import DESTINATION_PATTERN, parse_destination_arn
from detection_contract.aws.s3_prefixes import is_s3_prefix
from detection_contract.callback_urls import is_callback_url
from detection_contract.media_types import MediaKind
from detection_operator.spec.parse import parse_spec
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.results import (
    CALLBACK_URL_PATTERN,
    NO_BUCKET_PATTERN,
    S3_PREFIX_PATTERN,
)
from detection_operator.spec.scaling import IdlePolicy, Mode
from detection_operator.spec.validation import InvalidSpec, known_part, manifest_value


def test_a_minimal_manifest_gets_every_default(minimal: dict[str, Any]) -> None:
    spec = parse_spec(minimal)

    assert spec.queue.region == "eu-west-1"
    assert spec.queue.poll_interval_s == 5
    assert (spec.slo.queue_wait_s, spec.slo.objective_percent) == (120, 99)
    assert spec.scaling.mode is Mode.AUTO
    assert (spec.scaling.min_replicas, spec.scaling.max_replicas) == (0, 40)
    assert spec.scaling.scale_down.hold_s is None
    assert spec.scaling.idle.policy is IdlePolicy.BREAK_EVEN
    assert [prior.media_type for prior in spec.service_time.priors] == list(MediaKind)
    assert spec.budget is None


def test_money_is_exact(spec_of: Callable[..., QueueSpec]) -> None:
    spec = spec_of(budget={"replicaHourCost": "1.006", "maxPerHour": "20"})

    assert spec.budget is not None
    assert spec.budget.replica_hour_cost == Decimal("1.006")


def test_a_spec_survives_the_way_to_a_manifest_and_back(spec_of: Callable[..., QueueSpec]) -> None:
    schedule = {"name": "office", "cron": "0 7 * * 1-5", "durationSeconds": 60, "minReplicas": 2}
    spec = spec_of(
        scaling={"schedules": [schedule], "fallback": {"behavior": "Static", "replicas": 3}},
        budget={"replicaHourCost": "1.006", "maxPerDay": "20"},
        worker={"template": {"image": "x", "env": [{"name": "A", "value": "b"}]}},
    )

    assert parse_spec(manifest_value(spec)) == spec


URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/video"
VPC_HOST = "sqs.eu-west-1.vpce.amazonaws.com"
LOCAL = "http://127.0.0.1:4566/000000000000/video"
OFFICE = {"name": "office", "cron": "0 7 * * 1-5", "durationSeconds": 60, "minReplicas": 2}


ARN = "arn:aws:sqs:eu-west-1:123456789012"
WRONG_RESULTS: list[tuple[str, str, dict[str, Any]]] = [
    ("a web page as a prefix", "url", {"url": "https://bucket/results/"}),
    ("no bucket", "url", {"url": "s3:///results/"}),
    ("a bucket in capitals", "url", {"url": "s3://Bucket/results/"}),
    ("two dots in a bucket", "url", {"url": "s3://a..b/"}),
    ("an address for a bucket", "cacheURL", {"cacheURL": "s3://10.0.0.1/c/"}),
    ("a line break", "url", {"url": "s3://bucket/a\n"}),
    ("results in the cache", "url", {"url": "s3://bucket/c/r", "cacheURL": "s3://bucket/c"}),
    ("results as the cache", "url", {"url": "s3://bucket/c/", "cacheURL": "s3://bucket/c"}),
    ("a key without a bucket", "keyTemplate", {"keyTemplate": "{request_id}.json"}),
    ("one key for all", "keyTemplate", {"url": "s3://bucket/", "keyTemplate": "{date}.json"}),
    *(
        (f"a key {key!r}", "keyTemplate", {"url": "s3://bucket/", "keyTemplate": key})
        for key in ("../{request_id}", "{message_id}", "a//{request_id}", "/{request_id}", "{x}")
    ),
    *(
        (f"results called {key}", "keyTemplate", {"url": "s3://bucket/", "keyTemplate": key})
        for key in ("{request_id}/{key}", "{request_id}.jpg")
    ),
    ("a parent folder", "url", {"url": "s3://bucket/../a/"}),
    ("a query", "cacheURL", {"cacheURL": "s3://bucket/a?b/"}),
    ("a control character", "keyTemplate", {"url": "s3://bucket/", "keyTemplate": "{index}\x07"}),
    (
        "an unknown part of a key",
        "keyTemplate",
        {"url": "s3://bucket/", "keyTemplate": "{request_id}{time}"},
    ),
    ("pages of nothing", "pages", {"pages": True}),
    (
        "pages that could be results",
        "pages",
        {"url": "s3://bucket/", "keyTemplate": "{request_id}", "pages": True},
    ),
    ("a word for pages", "pages", {"url": "s3://bucket/", "pages": "yes"}),
    ("a KMS key for nothing", "kmsKeyID", {"kmsKeyID": "alias/results"}),
    ("a KMS key with blanks", "kmsKeyID", {"url": "s3://bucket/", "kmsKeyID": "my key"}),
    ("an owner of nothing", "bucketOwner", {"bucketOwner": "123456789012"}),
    ("an owner by name", "bucketOwner", {"url": "s3://bucket/", "bucketOwner": "media"}),
    ("a destination by URL", "onSuccess[0]", {"onSuccess": [URL]}),
    ("a Lambda function", "onFailure[0]", {"onFailure": [ARN.replace("sqs", "lambda") + ":f"]}),
    ("the same twice", "onSuccess", {"onSuccess": [f"{ARN}:a", f"{ARN}:a"]}),
    ("too many", "onSuccess", {"onSuccess": [f"{ARN}:q{n}" for n in range(11)]}),
    ("a word for a list", "onSuccess", {"onSuccess": f"{ARN}:a"}),
    ("the queue itself", "onSuccess[1]", {"onSuccess": [f"{ARN}:a", f"{ARN}:video"]}),
    ("the dead-letter queue", "onFailure[0]", {"onFailure": [f"{ARN}:video-dlq"]}),
    (
        "the outbox notified",
        "onFailure[0]",
        {"onFailure": [f"{ARN}:outbox"], "outboxURL": URL.replace("video", "outbox")},
    ),
    ("a callback without a host", "callbackURL", {"callbackURL": "https:///x"}),
    ("a callback with a password", "callbackURL", {"callbackURL": "https://u:p@host/"}),
    ("a callback to half an address", "callbackURL", {"callbackURL": "https://[::1::2]/"}),
    ("a callback to no port", "callbackURL", {"callbackURL": "https://host:65536/"}),
    ("the queue as outbox", "outboxURL", {"outboxURL": URL}),
    (
        "the queue by its legacy host",
        "outboxURL",
        {"outboxURL": "https://eu-west-1.queue.amazonaws.com/123456789012/video"},
    ),
    (
        "the dead letters by a VPC endpoint",
        "outboxURL",
        {"outboxURL": f"https://vpce-1.{VPC_HOST}/123456789012/video-dlq"},
    ),
    ("the dead letters as outbox", "outboxURL", {"outboxURL": f"{URL}-dlq"}),
    ("a FIFO outbox", "outboxURL", {"outboxURL": f"{URL}-outbox.fifo"}),
    ("an ARN as outbox", "outboxURL", {"outboxURL": f"{ARN}:outbox"}),
    ("a typing error", "onsuccess", {"onsuccess": []}),
]


@pytest.mark.parametrize(
    ("part", "field"),
    [
        pytest.param({"queue": {}}, "queue.url", id="no queue URL"),
        pytest.param({"queue": {"url": "video"}}, "queue.url", id="a name is no URL"),
        pytest.param({"queue": {"url": URL + "\n"}}, "queue.url", id="a newline at the end"),
        pytest.param({"queue": {"url": LOCAL}}, "queue.region", id="no region anywhere"),
        pytest.param({"queue": {"url": URL, "region": "mars"}}, "queue.region", id="no region"),
        *(
            pytest.param(
                {"queue": {"url": URL, "endpointURL": endpoint}}, "queue.endpointURL", id=endpoint
            )
            for endpoint in (
                "http://local_stack:4566",
                "https://*.x",
                "http://[::1",
                "http://[::g]:4566",
                "http://127.0.0.1:99999",
                "http://127.0.0.1:http",
                "http://sqs..local",
                "http://-sqs.local",
            )
        ),
        pytest.param(
            {"queue": {"url": URL, "deadLetterQueue": URL}},
            "queue.deadLetterQueue",
            id="its own dead-letter queue",
        ),
        pytest.param({"worker": {}}, "worker", id="no worker"),
        pytest.param(
            {"worker": {"template": {"image": "a"}, "deploymentRef": {"name": "b"}}},
            "worker",
            id="two workers",
        ),
        *(
            pytest.param(
                {"worker": {"template": {"image": "a", name: number}}},
                f"worker.template.{name}",
                id=f"{name} {number}",
            )
            for name, number in (
                ("frames", 0),
                ("frames", 257),
                ("frames", 1.5),
                ("windows", "8"),
                ("windows", 1025),
            )
        ),
        pytest.param({"scaling": {"mode": "auto"}}, "scaling.mode", id="a word in lower case"),
        pytest.param({"scaling": {"mode": "Manual"}}, "replicas", id="Manual without replicas"),
        pytest.param({"scaling": {"minReplicas": 41}}, "scaling.minReplicas", id="min above max"),
        pytest.param({"scaling": {"minReplicas": -1}}, "scaling.minReplicas", id="negative"),
        pytest.param({"scaling": {"minReplicas": 1.5}}, "scaling.minReplicas", id="a fraction"),
        pytest.param({"scaling": {"minReplicas": True}}, "scaling.minReplicas", id="true is no 1"),
        pytest.param(
            {"scaling": {"headroomReplicas": 41}}, "scaling.headroomReplicas", id="headroom"
        ),
        pytest.param({"scaling": {"minReplica": 1}}, "scaling.minReplica", id="a typing error"),
        pytest.param({"scaling": []}, "scaling", id="a list for an object"),
        pytest.param(
            {"scaling": {"policy": "Backlog"}}, "scaling.backlogPerReplica", id="no backlog"
        ),
        pytest.param(
            {"scaling": {"fallback": {"behavior": "Static"}}},
            "scaling.fallback.replicas",
            id="Static without replicas",
        ),
        pytest.param(
            {"scaling": {"fallback": {"behavior": "AtLeast", "replicas": 41}}},
            "scaling.fallback.replicas",
            id="fallback above max",
        ),
        pytest.param(
            {"scaling": {"schedules": [{**OFFICE, "minReplicas": 41}]}},
            "scaling.schedules[0].minReplicas",
            id="schedule above max",
        ),
        pytest.param(
            {"scaling": {"schedules": [{**OFFICE, "timeZone": "Mars/Olympus"}]}},
            "scaling.schedules[0].timeZone",
            id="no such time zone",
        ),
        pytest.param(
            {"scaling": {"schedules": [{**OFFICE, "cron": "0 25 * * *"}]}},
            "scaling.schedules[0].cron",
            id="hour 25",
        ),
        pytest.param(
            {"scaling": {"schedules": [{**OFFICE, "cron": "0 0 30 2 *"}]}},
            "scaling.schedules[0].cron",
            id="a date that never comes",
        ),
        pytest.param(
            {"scaling": {"schedules": [OFFICE, OFFICE]}}, "scaling.schedules", id="twice the name"
        ),
        pytest.param({"scaling": {"schedules": {}}}, "scaling.schedules", id="object for a list"),
        pytest.param(
            {"scaling": {"schedules": [{**OFFICE, "name": f"s{i}"} for i in range(17)]}},
            "scaling.schedules",
            id="too many schedules",
        ),
        pytest.param({"budget": {"replicaHourCost": "1"}}, "budget", id="budget without a limit"),
        pytest.param(
            {"budget": {"replicaHourCost": "0.0", "maxPerHour": "1"}},
            "budget.replicaHourCost",
            id="free replicas",
        ),
        pytest.param(
            {"budget": {"replicaHourCost": 1, "maxPerHour": "1"}},
            "budget.replicaHourCost",
            id="money as a number",
        ),
        pytest.param(
            {"scaling": {"minReplicas": 2}, "budget": {"replicaHourCost": "2", "maxPerHour": "3"}},
            "budget.maxPerHour",
            id="minReplicas above the budget",
        ),
        pytest.param({"paused": "yes"}, "paused", id="a word for a boolean"),
        pytest.param(
            {
                "queue": {"url": LOCAL, "region": "eu-west-1"},
                "worker": {"template": {"image": "x", "results": {"onSuccess": [f"{ARN}:video"]}}},
            },
            "worker.template.results.onSuccess[0]",
            id="results: the queue of an emulator",
        ),
        *(
            pytest.param(
                {
                    "queue": {"url": URL, "deadLetterQueue": f"{URL}-dlq"},
                    "worker": {"template": {"image": "x", "results": results}},
                },
                f"worker.template.results.{field}",
                id=f"results: {case}",
            )
            for case, field, results in WRONG_RESULTS
        ),
    ],
)
def test_a_wrong_spec_is_refused_by_the_name_of_its_field(
    minimal: dict[str, Any], part: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidSpec) as refusal:
        parse_spec({**minimal, **part})

    assert refusal.value.field == field
    assert str(refusal.value).startswith(f"spec.{field}: ")


@given(arn=st.from_regex(re.compile(DESTINATION_PATTERN, re.ASCII), fullmatch=True))
def test_every_destination_that_the_api_server_takes_is_one_for_the_worker(arn: str) -> None:
    assert parse_destination_arn(arn).arn == arn


@given(url=st.from_regex(re.compile(CALLBACK_URL_PATTERN, re.ASCII), fullmatch=True))
def test_every_callback_url_that_the_api_server_takes_is_one_for_the_worker(url: str) -> None:
    assert is_callback_url(url) or "[" in url


@given(url=st.from_regex(re.compile(S3_PREFIX_PATTERN, re.ASCII), fullmatch=True))
def test_every_prefix_that_the_api_server_takes_is_one_for_the_worker(url: str) -> None:
    assert is_s3_prefix(url) is not bool(re.search(NO_BUCKET_PATTERN, url))


ALL_RESULTS = {
    "url": "s3://media-results/detection/",
    "keyTemplate": "{date}/{bucket}/{key}/{request_id}-{index}.json",
    "pages": True,
    "kmsKeyID": "arn:aws:kms:eu-west-1:123456789012:alias/results",
    "bucketOwner": "123456789012",
    "onSuccess": [
        "arn:aws:sns:eu-west-1:123456789012:done",
        "arn:aws:sqs:eu-west-1:123456789012:done.fifo",
        "arn:aws:events:eu-west-1:123456789012:event-bus/default",
    ],
    "onFailure": ["arn:aws-us-gov:sns:us-gov-west-1:123456789012:failed"],
    "callbackURL": "https://hooks.example.com:8443/detection?t=1",
    "cacheURL": "s3://media-results/cache",
    "outboxURL": "https://sqs.eu-west-1.amazonaws.com/123456789012/outbox",
}


def test_results_may_go_everywhere_at_once(spec_of: Callable[..., QueueSpec]) -> None:
    spec = spec_of(worker={"template": {"image": "x", "results": ALL_RESULTS}})

    assert spec.worker.template is not None
    results = spec.worker.template.results
    assert results is not None
    assert results.kms_key_id == ALL_RESULTS["kmsKeyID"]
    assert list(results.on_success) == ALL_RESULTS["onSuccess"]
    assert manifest_value(spec)["worker"]["template"]["results"] == ALL_RESULTS


@pytest.mark.parametrize(
    "results",
    [
        pytest.param({"onSuccess": [f"{ARN.replace('eu-west', 'us-east')}:video"]}, id="region"),
        pytest.param({"onSuccess": ["arn:aws:sqs:eu-west-1:210987654321:video"]}, id="account"),
        pytest.param({"onFailure": ["arn:aws:sns:eu-west-1:123456789012:video"]}, id="topic"),
        pytest.param({"url": "s3://bucket/r/", "cacheURL": "s3://bucket/r/cache/"}, id="cache"),
        pytest.param({"url": "s3://bucket/cached/", "cacheURL": "s3://bucket/cache"}, id="prefix"),
        pytest.param({"cacheURL": "s3://bucket", "bucketOwner": "123456789012"}, id="owner"),
        pytest.param({"onSuccess": None, "outboxURL": None}, id="null"),
        pytest.param({}, id="nothing"),
    ],
)
def test_what_only_looks_like_the_queue_or_the_cache_is_taken(
    spec_of: Callable[..., QueueSpec], results: dict[str, Any]
) -> None:
    spec = spec_of(worker={"template": {"image": "x", "results": results}})

    assert spec.worker.template is not None
    assert spec.worker.template.results is not None


@pytest.mark.parametrize(
    "endpoint_url",
    [
        "https://vpce-0a1.sqs.us-east-1.vpce.amazonaws.com",
        "http://localstack:4566/",
        "http://localstack.tools.svc.cluster.local.:4566",
        "http://[::1]:4566",
        "http://127.1",
    ],
)
def test_an_endpoint_may_be_any_address(
    spec_of: Callable[..., QueueSpec], endpoint_url: str
) -> None:
    spec = spec_of(queue={"url": URL, "endpointURL": endpoint_url})

    assert spec.queue.endpoint_url == endpoint_url


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=12,
)


@given(
    spec=st.dictionaries(st.sampled_from(["queue", "worker", "scaling", "slo", "budget"]), JSON)
)
def test_anything_is_either_parsed_or_refused(spec: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidSpec):
        assert parse_spec(spec).queue.region


def test_what_this_version_does_not_know_is_set_aside_with_its_path(
    minimal: dict[str, Any],
) -> None:
    strange = {
        **minimal,
        "colour": "red",
        "scaling": {"maxReplicas": 3, "schedules": [{**OFFICE, "weight": 2}]},
        "worker": {"template": {"image": "x", "resources": {"limits": {"gpu": 1}}}},
    }

    known, paths = known_part(QueueSpec, strange)

    assert sorted(paths) == ["colour", "scaling.schedules[0].weight"]
    assert parse_spec(known).worker.template is not None
    assert known["worker"] == strange["worker"]
    assert known_part(QueueSpec, known) == (known, ())
    with pytest.raises(InvalidSpec, match=r"spec\.colour: unknown"):
        parse_spec(strange)


@given(JSON)
def test_setting_aside_never_breaks_on_a_wrong_shape(raw: Any) -> None:
    known, _ = known_part(QueueSpec, {"scaling": raw, "worker": raw, "queue": raw})

    with contextlib.suppress(InvalidSpec):
        parse_spec(known)
