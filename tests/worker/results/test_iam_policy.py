"""The policy that ``iam-policy`` prints, alone and under the enforcement of moto's IAM."""

import json
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detection_contract.aws.s3_prefixes import S3PrefixLocation
from detection_contract.aws.s3_urls import S3Location
from detection_contract.error_codes import ErrorCode
from detection_testing.moto import as_moto_reads_it, enforced
from detection_worker.__main__ import main
from detection_worker.aws_session import make_session
from detection_worker.errors import JobError
from detection_worker.results.base import Notification, ResultId
from detection_worker.results.notifier import AwsNotifier
from detection_worker.results.s3_store import S3ResultStore
from detection_worker.settings import AwsSettings
from detection_worker.sources.base import QueueError
from detection_worker.sources.sqs import SqsSource
from detection_worker.storage.s3 import S3Storage

SHIPPED = Path(__file__).parents[3] / "charts" / "detection-queue" / "files" / "iam"
ACCOUNT = "123456789012"
HOST = f"https://sqs.eu-west-1.amazonaws.com/{ACCOUNT}"
QUEUE = ["--queue-url", f"{HOST}/work", "--allowed-buckets", "media"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those of the test."""
    monkeypatch.chdir(tmp_path)
    for name in ("QUEUE_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "DETECTION_ALLOWED_BUCKETS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def policy_of(capsys: Capture) -> Callable[..., dict[str, Any]]:
    def printed(*options: str) -> dict[str, Any]:
        assert main(["iam-policy", *options]) == 0
        policy: dict[str, Any] = json.loads(capsys.readouterr().out)
        return policy

    return printed


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def granted(policy: dict[str, Any]) -> dict[str, tuple[set[str], set[str]]]:
    """Actions and resources by statement."""
    return {
        s["Sid"]: (set(as_list(s["Action"])), set(as_list(s["Resource"])))
        for s in policy["Statement"]
    }


def test_a_worker_without_destinations_may_consume_and_read_only(
    policy_of: Callable[..., dict[str, Any]],
) -> None:
    assert granted(policy_of(*QUEUE)) == {
        "ConsumeQueue": (
            {
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:ChangeMessageVisibility",
                "sqs:GetQueueAttributes",
            },
            {f"arn:aws:sqs:eu-west-1:{ACCOUNT}:work"},
        ),
        "ReadMedia": ({"s3:GetObject", "s3:GetObjectVersion"}, {"arn:aws:s3:::media/*"}),
        "TellMissingFromForbidden": ({"s3:ListBucket"}, {"arn:aws:s3:::media"}),
    }


NAMES = {
    "ACCOUNT_ID": ACCOUNT,
    "REGION": "eu-west-1",
    "QUEUE_NAME": "work",
    "DEAD_LETTER_QUEUE_NAME": "work-dead",
    "BUCKET_NAME": "media",
    "RESULTS_BUCKET_NAME": "results",
    "RESULTS_PREFIX": "out/",
    "TOPIC_NAME": "told",
    "DESTINATION_QUEUE_NAME": "told",
    "EVENT_BUS_NAME": "told",
    "CACHE_BUCKET_NAME": "scores",
    "CACHE_PREFIX": "cache/",
    "OUTBOX_QUEUE_NAME": "outbox",
    "OUTBOX_DEAD_LETTER_QUEUE_NAME": "outbox-dead",
    "KEY_ID": "0a1b",
}
OUTBOX = ["--outbox", f"{HOST}/outbox", "--outbox-dead-letter-queue-url", f"{HOST}/outbox-dead"]
STORE = ["--results", "s3://results/out/", "--results-kms-key-id", "0a1b"]
ALL = [
    *QUEUE,
    *("--dead-letter-queue-url", f"{HOST}/work-dead"),
    *STORE,
    *("--cache", "s3://scores/cache"),
    *("--on-success", f"arn:aws:sns:eu-west-1:{ACCOUNT}:told"),
    *("--on-success", f"arn:aws:sqs:eu-west-1:{ACCOUNT}:told"),
    *("--on-failure", f"arn:aws:events:eu-west-1:{ACCOUNT}:event-bus/told"),
    *OUTBOX,
]


@pytest.mark.parametrize(
    ("options", "files"),
    [
        pytest.param(
            ALL,
            [
                "worker",
                "results",
                "notify-sns",
                "notify-sqs",
                "notify-events",
                "cache",
                "outbox",
                "kms",
            ],
            id="consume",
        ),
        pytest.param(["--for", "deliver", *OUTBOX, *STORE], ["deliver", "kms"], id="deliver"),
    ],
)
def test_with_every_destination_it_is_all_policies_of_the_chart_together(
    policy_of: Callable[..., dict[str, Any]], options: list[str], files: list[str]
) -> None:
    text = json.dumps(
        [
            statement
            for name in files
            for statement in json.loads((SHIPPED / f"{name}-policy.json").read_text())["Statement"]
        ]
    )
    placeholder = re.compile("|".join(sorted(NAMES, key=len, reverse=True)))
    filled = placeholder.sub(lambda found: NAMES[found[0]], text)

    assert granted(policy_of(*options)) == granted({"Statement": json.loads(filled)})


@pytest.mark.parametrize(
    ("options", "sid", "resources"),
    [
        pytest.param(
            ["--allowed-buckets", "a,b-*"],
            "ReadMedia",
            {"arn:aws:s3:::a/*", "arn:aws:s3:::b-*/*"},
            id="buckets",
        ),
        pytest.param(
            ["--allowed-buckets", f"arn:aws:s3:eu-west-1:{ACCOUNT}:accesspoint/p"],
            "ReadMedia",
            {f"arn:aws:s3:eu-west-1:{ACCOUNT}:accesspoint/p/object/*"},
            id="access point",
        ),
        pytest.param(
            ["--results", "s3://results"], "StoreResults", {"arn:aws:s3:::results/*"}, id="root"
        ),
        pytest.param(
            ["--results", "s3://results/a*b?c$d/"],
            "StoreResults",
            {"arn:aws:s3:::results/a${*}b${?}c${$}d/*"},
            id="prefix with wildcards",
        ),
        pytest.param(
            ["--queue-url", f"https://sqs.cn-north-1.amazonaws.com.cn/{ACCOUNT}/work"],
            "ConsumeQueue",
            {f"arn:aws-cn:sqs:cn-north-1:{ACCOUNT}:work"},
            id="partition of the queue",
        ),
        pytest.param(
            ["--queue-url", f"https://sqs.cn-north-1.amazonaws.com.cn/{ACCOUNT}/work"],
            "ReadMedia",
            {"arn:aws-cn:s3:::media/*"},
            id="partition of the buckets",
        ),
        pytest.param(
            ["--queue-url", f"http://localhost:9324/{ACCOUNT}/work", "--aws-region", "us-west-2"],
            "ConsumeQueue",
            {f"arn:aws:sqs:us-west-2:{ACCOUNT}:work"},
            id="region of the settings",
        ),
        pytest.param(
            [
                *("--on-success", f"arn:aws:sns:eu-west-1:{ACCOUNT}:a"),
                *("--on-failure", f"arn:aws:sns:eu-west-1:{ACCOUNT}:a"),
                *("--on-failure", f"arn:aws:sns:us-east-1:{ACCOUNT}:b"),
            ],
            "NotifyTopics",
            {f"arn:aws:sns:eu-west-1:{ACCOUNT}:a", f"arn:aws:sns:us-east-1:{ACCOUNT}:b"},
            id="topics, each once",
        ),
        pytest.param(
            ["--results-kms-key-id", f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1"],
            "UseKey",
            {f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1"},
            id="key by ARN",
        ),
        pytest.param(
            ["--results-kms-key-id", "1", "--results-bucket-owner", "999999999999"],
            "UseKey",
            {"arn:aws:kms:eu-west-1:999999999999:key/1"},
            id="key of the bucket's owner",
        ),
        pytest.param(
            ["--kms-key", f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/2"],
            "UseKey",
            {f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/2"},
            id="another key",
        ),
    ],
)
def test_resources_are_named_as_iam_names_them(
    policy_of: Callable[..., dict[str, Any]], options: list[str], sid: str, resources: set[str]
) -> None:
    assert granted(policy_of(*QUEUE, *options))[sid][1] == resources


@pytest.mark.parametrize("alias", ["alias/k", f"arn:aws:kms:eu-west-1:{ACCOUNT}:alias/k"])
def test_a_key_that_is_named_by_its_alias_is_allowed_by_it(
    policy_of: Callable[..., dict[str, Any]], alias: str
) -> None:
    policy = policy_of(*QUEUE, "--results-kms-key-id", alias)

    [statement] = [s for s in policy["Statement"] if s["Sid"] == "UseKeyByAlias"]
    assert statement["Resource"] == f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/*"
    assert statement["Condition"] == {
        "ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/k"}
    }


def test_settings_of_the_environment_count(
    policy_of: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUE_URL", f"{HOST}/work")
    monkeypatch.setenv("DETECTION_ALLOWED_BUCKETS", "media")
    monkeypatch.setenv("DETECTION_RESULTS_URL", "s3://results/out/")

    assert "StoreResults" in granted(policy_of())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["--allowed-buckets", "media"], "No SQS queue URL given", id="no queue"),
        pytest.param(QUEUE[:2], "every bucket would not be least privilege", id="any bucket"),
        pytest.param(
            [*QUEUE, "--queue-url", "http://localhost:9324/queue/work"],
            "names no account",
            id="no account",
        ),
        pytest.param([*QUEUE, "--kms-key", "alias/k"], "Allowed: the ARN of a key", id="no ARN"),
        pytest.param([*QUEUE, "--results", "results"], "--results is 'results'", id="no prefix"),
        pytest.param(["--for", "deliver"], "No outbox given", id="no outbox"),
    ],
)
def test_what_is_missing_is_said(capsys: Capture, options: list[str], message: str) -> None:
    assert main(["iam-policy", *options]) == 2
    assert message in capsys.readouterr().err


def test_queues_that_only_redrive_policies_know_are_asked_for(capsys: Capture) -> None:
    assert main(["iam-policy", *QUEUE, *OUTBOX[:2]]) == 0

    notes = capsys.readouterr().err
    assert "without --dead-letter-queue-url" in notes
    assert "without --outbox-dead-letter-queue-url" in notes
    assert "without --results" not in notes


def test_deliver_is_told_of_results_that_it_may_not_read(
    capsys: Capture,
) -> None:
    for more, told in ((), True), (("--results", "s3://results/"), False):
        assert main(["iam-policy", "--for", "deliver", *OUTBOX, *more]) == 0
        assert ("without --results" in capsys.readouterr().err) is told


# -- on moto, which enforces policies -----------------------------------------------------------


def user_with(moto: Any, policy: dict[str, Any]) -> AwsSettings:
    iam = moto.client("iam")
    name = f"user-{moto.tag}"
    iam.create_user(UserName=name)
    document = {**policy, "Statement": [as_moto_reads_it(s) for s in policy["Statement"]]}
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    aws: AwsSettings = moto.aws
    return replace(aws, access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"])


RESULT = ResultId(
    request_id="r", message_id="m", index=0, sent_at_s=0.0, media=S3Location(bucket="b", key="k")
)
NOTE = Notification(id="msg_m_0", kind="finished", body="{}", attributes={"label": "FAKE"})


def in_words(call: Callable[[], object]) -> str:
    """Return ``done``, or why a call of the worker's failed."""
    try:
        call()
    except (JobError, QueueError) as exc:
        return str(exc)
    return "done"


def everything_a_worker_does(
    aws: AwsSettings, tag: str, folder: Path
) -> dict[str, Callable[[], object]]:
    """Return the calls of a worker with all destinations, each by what it does."""
    session = make_session(aws)
    url = f"{aws.endpoint_url}/{ACCOUNT}"
    source = SqsSource(session, aws, f"{url}/work-{tag}", wait_time_s=0)
    outbox = SqsSource(session, aws, f"{url}/outbox-{tag}", wait_time_s=0)
    storage = S3Storage(session, aws)
    store = S3ResultStore(
        session, aws, prefix=S3PrefixLocation(bucket=f"results-{tag}", prefix="out/")
    )
    notifier = AwsNotifier(session, aws)
    place = f"us-east-1:{ACCOUNT}"

    def publish(arn: str) -> None:
        [error] = notifier.publish(arn, [NOTE])
        if error is not None:
            raise error

    def consume() -> None:
        source.facts()
        [message] = source.receive(max_messages=1, wait_s=0, visibility_s=30)
        assert source.delete([(message.message_id, message.receipt_handle)]) == []

    return {
        "consume": consume,
        "fetch": lambda: storage.probe(S3Location(bucket=f"media-{tag}", key="a"), folder / "a"),
        "store": lambda: store.put(RESULT, b"{}"),
        "find": lambda: store.find(RESULT),
        "topic": lambda: publish(f"arn:aws:sns:{place}:told-{tag}"),
        "queue": lambda: publish(f"arn:aws:sqs:{place}:told-{tag}"),
        "bus": lambda: publish(f"arn:aws:events:{place}:event-bus/told-{tag}"),
        "outbox": outbox.facts,
    }


@pytest.fixture
def account(moto: Any) -> Any:
    tag = moto.tag
    sqs, s3 = moto.client("sqs"), moto.client("s3")
    for name in ("work", "told", "outbox", "other"):
        sqs.create_queue(QueueName=f"{name}-{tag}")
    sqs.send_message(QueueUrl=f"{moto.aws.endpoint_url}/{ACCOUNT}/work-{tag}", MessageBody="m")
    for name in ("media", "results"):
        s3.create_bucket(Bucket=f"{name}-{tag}")
        s3.put_object(Bucket=f"{name}-{tag}", Key="a", Body=b"a")
    moto.client("sns").create_topic(Name=f"told-{tag}")
    moto.client("events").create_event_bus(Name=f"told-{tag}")
    return moto


def options_for(tag: str, *features: str) -> list[str]:
    url, place = f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}", f"us-east-1:{ACCOUNT}"
    by_feature = {
        "store": ["--results", f"s3://results-{tag}/out/"],
        "topic": ["--on-success", f"arn:aws:sns:{place}:told-{tag}"],
        "queue": ["--on-success", f"arn:aws:sqs:{place}:told-{tag}"],
        "bus": ["--on-failure", f"arn:aws:events:{place}:event-bus/told-{tag}"],
        "outbox": ["--outbox", f"{url}/outbox-{tag}"],
    }
    return [
        *("--queue-url", f"{url}/work-{tag}", "--allowed-buckets", f"media-{tag}"),
        *(option for name in features for option in by_feature[name]),
    ]


def test_under_its_policy_a_worker_can_do_all_that_it_is_set_up_for(
    account: Any, policy_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    options = options_for(account.tag, "store", "topic", "queue", "bus", "outbox")
    aws = user_with(account, policy_of(*options))

    with enforced(account.aws.endpoint_url):
        calls = everything_a_worker_does(aws, account.tag, tmp_path)
        done = {name: in_words(call) for name, call in calls.items()}

    assert done == dict.fromkeys(calls, "done")


@pytest.mark.parametrize("lacking", ["store", "topic", "queue", "bus", "outbox"])
def test_what_a_worker_is_not_set_up_for_is_denied_and_the_message_says_what_to_allow(
    account: Any, policy_of: Callable[..., dict[str, Any]], tmp_path: Path, lacking: str
) -> None:
    features = [n for n in ("store", "topic", "queue", "bus", "outbox") if n != lacking]
    aws = user_with(account, policy_of(*options_for(account.tag, *features)))

    with enforced(account.aws.endpoint_url):
        calls = everything_a_worker_does(aws, account.tag, tmp_path)
        done = {name: in_words(call) for name, call in calls.items()}

    denied = {"store", "find"} if lacking == "store" else {lacking}
    refused = {name for name, words in done.items() if words != "done"}
    # A find that is denied finds nothing.
    assert refused == denied - {"find"}
    words = done[lacking]
    assert "denied" in words or "Access Denied" in words


def test_under_its_policy_a_worker_can_do_nothing_else(
    account: Any, policy_of: Callable[..., dict[str, Any]]
) -> None:
    tag = account.tag
    options = options_for(tag, "store", "topic", "queue", "bus", "outbox")
    aws = user_with(account, policy_of(*options))
    session, here = make_session(aws), {"endpoint_url": aws.endpoint_url}
    s3, sqs = session.client("s3", **here), session.client("sqs", **here)
    sns = session.client("sns", **here)
    url = f"{aws.endpoint_url}/{ACCOUNT}"
    body = {"Body": b"x"}
    foreign: list[Callable[[], object]] = [
        lambda: s3.put_object(Bucket=f"media-{tag}", Key="a", **body),
        lambda: s3.put_object(Bucket=f"results-{tag}", Key="elsewhere", **body),
        lambda: s3.get_object(Bucket=f"results-{tag}", Key="a"),
        lambda: s3.delete_object(Bucket=f"results-{tag}", Key="out/1970/01/01/r.json"),
        lambda: sqs.send_message(QueueUrl=f"{url}/work-{tag}", MessageBody="x"),
        lambda: sqs.receive_message(QueueUrl=f"{url}/told-{tag}"),
        lambda: sqs.send_message(QueueUrl=f"{url}/other-{tag}", MessageBody="x"),
        lambda: sqs.purge_queue(QueueUrl=f"{url}/outbox-{tag}"),
        lambda: sns.delete_topic(TopicArn=f"arn:aws:sns:us-east-1:{ACCOUNT}:told-{tag}"),
    ]

    with enforced(account.aws.endpoint_url), closing(s3), closing(sqs), closing(sns):
        for call in foreign:
            with pytest.raises(Exception, match="AccessDenied"):
                call()


def test_a_denied_store_is_told_with_its_step(
    account: Any, policy_of: Callable[..., dict[str, Any]]
) -> None:
    aws = user_with(account, policy_of(*options_for(account.tag)))
    place = S3PrefixLocation(bucket=f"results-{account.tag}", prefix="out/")

    with (
        enforced(account.aws.endpoint_url),
        closing(S3ResultStore(make_session(aws), aws, prefix=place)) as store,
        pytest.raises(JobError) as caught,
    ):
        store.put(RESULT, b"{}")

    assert caught.value.code is ErrorCode.RESULT_NOT_STORED
    assert caught.value.environment
    assert "`detection-worker iam-policy` prints one" in caught.value.message
