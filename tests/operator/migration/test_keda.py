"""ScaledObjects become DetectionQueues, and what does not map is told."""

import copy
import re
import shutil
import subprocess
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from detection_operator.crd.manifest import manifest
from detection_operator.migration.documents import MAX_BYTES, NoManifest, objects
from detection_operator.migration.keda import convert
from detection_operator.spec.parse import parse_spec

SCHEMA = jsonschema.Draft202012Validator(
    manifest()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
)
URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/clips"
ACCESS = "the operator reads the queue with its own IAM role"


def scaled(
    *others: dict[str, Any],
    metadata: dict[str, Any] | None = None,
    trigger: dict[str, Any] | None = None,
    annotations: dict[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """Return a ScaledObject with one SQS trigger and others."""
    queue = {"queueURL": URL, "awsRegion": "eu-west-1", **(metadata or {})}
    known = {name: value for name, value in queue.items() if value is not None}
    triggers = [{"type": "aws-sqs-queue", "metadata": known, **(trigger or {})}, *others]
    about: dict[str, Any] = {"name": "clips", "namespace": "media"}
    if annotations:
        about["annotations"] = annotations
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": about,
        "spec": {"scaleTargetRef": {"name": "clip-worker"}, "triggers": triggers, **spec},
    }


def converted(item: dict[str, Any], *more: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return spec and notes of the one object that is converted."""
    (result,) = convert([item, *more])
    assert result.manifest is not None, result.notes
    SCHEMA.validate(result.manifest)
    spec = result.manifest["spec"]
    assert spec["scaling"]["mode"] == "Shadow"
    return spec, result.notes


def refused(item: dict[str, Any]) -> str:
    (result,) = convert([item])
    assert result.manifest is None
    (why,) = result.notes
    return why


def test_the_least_that_keda_takes_maps_whole() -> None:
    (result,) = convert([scaled()])

    assert result.notes == ()
    assert result.source == "ScaledObject media/clips"
    assert result.manifest == {
        "apiVersion": "detection-queue.dev/v1alpha1",
        "kind": "DetectionQueue",
        "metadata": {"name": "clips", "namespace": "media"},
        "spec": {
            "queue": {"url": URL},
            "scaling": {
                "mode": "Shadow",
                "policy": "Backlog",
                "backlogPerReplica": 5,
                "minReplicas": 0,
                "maxReplicas": 100,
            },
            "worker": {"deploymentRef": {"name": "clip-worker"}},
        },
    }


BEHAVIOR = {
    "scaleDown": {
        "stabilizationWindowSeconds": 120,
        "policies": [{"type": "Percent", "value": 25, "periodSeconds": 60}],
    },
    "scaleUp": {"policies": [{"type": "Pods", "value": 4, "periodSeconds": 30}]},
}


@pytest.mark.parametrize(
    ("item", "where", "value"),
    [
        (scaled(metadata={"queueLength": "12"}), "scaling.backlogPerReplica", 12),
        (scaled(metadata={"queueLength": 12}), "scaling.backlogPerReplica", 12),
        (scaled(metadata={"activationQueueLength": "3"}), "scaling.activation.minMessages", 4),
        (scaled(metadata={"activationQueueLength": "0"}), "scaling.activation", None),
        (scaled(metadata={"scaleOnInFlight": "true"}), "scaling.policy", "Backlog"),
        (scaled(metadata={"scaleOnDelayed": False}), "scaling.policy", "Backlog"),
        (scaled(metadata={"identityOwner": "operator"}), "queue.url", URL),
        (scaled(metadata={"awsEndpoint": ""}), "queue.endpointURL", None),
        (
            scaled(metadata={"awsEndpoint": "http://aws.local:4566"}),
            "queue.endpointURL",
            "http://aws.local:4566",
        ),
        (scaled(minReplicaCount=2, maxReplicaCount=7), "scaling.minReplicas", 2),
        (scaled(maxReplicaCount=7), "scaling.maxReplicas", 7),
        (scaled(idleReplicaCount=0, minReplicaCount=0), "scaling.minReplicas", 0),
        (scaled(pollingInterval=20), "queue.pollIntervalSeconds", 20),
        (scaled(cooldownPeriod=90), "scaling.idle", {"policy": "Fixed", "fixedSeconds": 90}),
        (scaled(cooldownPeriod=90, minReplicaCount=1), "scaling.idle", None),
        (
            scaled(fallback={"failureThreshold": 3, "replicas": 6}),
            "scaling.fallback",
            {"afterSeconds": 60, "behavior": "Static", "replicas": 6},
        ),
        (
            scaled(fallback={"failureThreshold": 3, "replicas": 6, "behavior": "currentReplicas"}),
            "scaling.fallback",
            {"afterSeconds": 60, "behavior": "Hold"},
        ),
        (
            scaled(
                fallback={
                    "failureThreshold": 0,
                    "replicas": 6,
                    "behavior": "currentReplicasIfHigher",
                }
            ),
            "scaling.fallback",
            {"afterSeconds": 15, "behavior": "AtLeast", "replicas": 6},
        ),
        (
            scaled(advanced={"horizontalPodAutoscalerConfig": {"behavior": BEHAVIOR}}),
            "scaling.scaleDown",
            {"holdSeconds": 120, "maxPercent": 25},
        ),
        (
            scaled(advanced={"horizontalPodAutoscalerConfig": {"behavior": BEHAVIOR}}),
            "scaling.scaleUp",
            {"maxReplicasPerMinute": 8},
        ),
        (scaled(annotations={"autoscaling.keda.sh/paused": "true"}), "paused", True),
        (scaled(annotations={"autoscaling.keda.sh/paused": "false"}), "paused", None),
        (scaled(trigger={"name": "sqs", "useCachedMetrics": True}), "queue.url", URL),
        (scaled(trigger={"metricType": "AverageValue"}), "queue.url", URL),
    ],
)
def test_a_field_with_a_counterpart_maps_without_a_note(
    item: dict[str, Any], where: str, value: Any
) -> None:
    spec, notes = converted(item)

    found: Any = spec
    for name in where.split("."):
        found = found.get(name, {}) if isinstance(found, dict) else found
    assert found == (value if value is not None else {})
    assert notes == ()


@pytest.mark.parametrize(
    ("item", "note"),
    [
        (scaled(metadata={"scaleOnInFlight": "false"}), "metadata.scaleOnInFlight: messages"),
        (scaled(metadata={"scaleOnDelayed": True}), "metadata.scaleOnDelayed: delayed"),
        (scaled(metadata={"identityOwner": "pod"}), f"metadata.identityOwner: {ACCESS}"),
        (scaled(metadata={"queueLenght": "5"}), "metadata.queueLenght: has no counterpart"),
        (scaled(metadata={"queueLength": "many"}), "queueLength: 'many' is no whole number"),
        (scaled(metadata={"queueLength": 2.5}), "queueLength: 2.5 is no whole number"),
        (scaled(metadata={"queueLength": True}), "queueLength: True is no whole number"),
        (scaled(metadata={"queueLength": "0"}), "queueLength: 0 is not between 1 and 1000000"),
        (scaled(metadata={"queueLength": "9" * 5000}), "is no whole number; ignored"),
        (scaled(metadata={"awsRegion": "us-east-1"}), "us-east-1 is not the region of the URL"),
        (scaled(metadata={"awsRegion": "Ireland"}), "awsRegion: 'Ireland' is no region"),
        (scaled(metadata={"awsEndpoint": "not an address"}), "awsEndpoint: 'not an address'"),
        (scaled(metadata={"scaleOnDelayed": "maybe"}), "'maybe' is not true or false"),
        (scaled(metadata={"queueURL": "clips"}), "queueURL: names no account"),
        (scaled(metadata={"awsRoleArn": "arn:aws:iam::1:role/x"}), f"awsRoleArn: {ACCESS}"),
        (scaled(trigger={"metricType": "Value"}), "spec.triggers[0].metricType: the target"),
        (scaled(trigger={"authenticationRef": {"name": "a"}}), "'a' (not in the input)"),
        (scaled(trigger={"authenticationRef": "a"}), "authenticationRef: is str, must be an"),
        (scaled({"type": "cpu", "metadata": {}}), "spec.triggers[1].type: 'cpu': has no"),
        (scaled({"type": "aws-sqs-queue", "metadata": {}}), "[1].type: 'aws-sqs-queue': a Det"),
        (scaled({"type": "cron", "metadata": {"start": "x"}}), "[1].metadata: is no schedule"),
        (scaled(idleReplicaCount=0, minReplicaCount=3), "minReplicaCount: 3 replicas while"),
        (scaled(minReplicaCount=9, maxReplicaCount=4), "minReplicaCount: 9 is not between 0 and"),
        (scaled(maxReplicaCount=99_999), "maxReplicaCount: 99999 is not between 1 and 10000"),
        (scaled(pollingInterval=3600), "pollingInterval: 3600 is not between 1 and 300"),
        (scaled(initialCooldownPeriod=10), "spec.initialCooldownPeriod: a new DetectionQueue"),
        (scaled(fallback={"behavior": "scalingModifiers"}), "'scalingModifiers' has no"),
        (scaled(fallback={"behavior": "currentReplicasIfLower"}), "Hold is taken"),
        (scaled(fallback=3), "spec.fallback: is int, must be an object"),
        (scaled(advanced={"restoreToOriginalReplicaCount": True}), "a deleted DetectionQueue"),
        (scaled(advanced={"scalingModifiers": {"formula": "a+b"}}), "scalingModifiers: replicas"),
        (scaled(advanced={"horizontalPodAutoscalerConfig": {"name": "h"}}), "there is no Horiz"),
        (scaled(unheardOf=1), "spec.unheardOf: has no counterpart"),
        (scaled(annotations={"autoscaling.keda.sh/paused-replicas": "4"}), "replicas '4'"),
        (scaled(annotations={"autoscaling.keda.sh/paused-scale-in": "true"}), "paused-scale-in"),
    ],
)
def test_what_does_not_map_is_told_once(item: dict[str, Any], note: str) -> None:
    _, notes = converted(item)

    assert len([found for found in notes if note in found]) == 1, notes


@pytest.mark.parametrize(
    ("direction", "rules", "note"),
    [
        ("scaleUp", {"stabilizationWindowSeconds": 30}, "replicas are added at once"),
        ("scaleDown", {"selectPolicy": "Disabled"}, "one direction cannot be switched off"),
        (
            "scaleDown",
            {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
            "only a single policy of type Percent",
        ),
        (
            "scaleUp",
            {
                "policies": [
                    {"type": "Pods", "value": 4, "periodSeconds": 15},
                    {"type": "Percent", "value": 100, "periodSeconds": 15},
                ]
            },
            "only a single policy of type Pods",
        ),
        ("scaleUp", {"policies": "fast"}, "is str, must be a list"),
    ],
)
def test_a_pace_without_a_counterpart_is_told(
    direction: str, rules: dict[str, Any], note: str
) -> None:
    behavior = {direction: rules}

    spec, notes = converted(
        scaled(advanced={"horizontalPodAutoscalerConfig": {"behavior": behavior}})
    )

    assert [found for found in notes if note in found]
    assert direction not in spec["scaling"]


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ({**scaled(), "metadata": {}}, "metadata.name: '' is no name"),
        ({**scaled(), "metadata": {"name": "A b"}}, "metadata.name: 'A b' is no name"),
        ({**scaled(), "metadata": {"name": "a", "namespace": "A"}}, "metadata.namespace: 'A'"),
        ({**scaled(), "spec": None}, "spec.triggers: none of type aws-sqs-queue"),
        ({**scaled(), "spec": {"triggers": [{"type": "kafka"}]}}, "spec.triggers: none of type"),
        (scaled(scaleTargetRef={"name": "s", "kind": "StatefulSet"}), "'StatefulSet' is no Depl"),
        (scaled(scaleTargetRef={"name": "s", "apiVersion": "x/v1"}), "is no Deployment of apps"),
        (scaled(scaleTargetRef={}), "spec.worker.deploymentRef.name: "),
        (scaled(metadata={"queueURL": None}), "metadata: names no queue"),
        (scaled(metadata={"queueURL": "ftp://x/y z"}), "'ftp://x/y z' is no URL of an SQS queue"),
        (scaled(metadata={"queueURL": "https://h/" + "a" * 2000}), "is no URL of an SQS queue"),
        (scaled(metadata={"queueURL": "q", "awsRegion": None}), "awsRegion: is required"),
        (
            scaled(metadata={"queueURL": "http://aws.local/1/q", "awsRegion": None}),
            "awsRegion: is required: the URL names no region",
        ),
    ],
)
def test_what_cannot_be_converted_says_why(item: dict[str, Any], why: str) -> None:
    assert why in refused(item)


def test_a_region_is_given_only_where_the_url_names_none() -> None:
    spec, notes = converted(scaled(metadata={"queueURL": "http://aws.local:4566/1/clips"}))

    assert spec["queue"] == {"url": "http://aws.local:4566/1/clips", "region": "eu-west-1"}
    assert notes == ()


@pytest.mark.parametrize(
    ("region", "account", "url"),
    [
        ("eu-west-1", "123456789012", URL),
        ("eu-west-1", None, "https://sqs.eu-west-1.amazonaws.com/ACCOUNT_ID/clips"),
        ("cn-north-1", "1" * 12, f"https://sqs.cn-north-1.amazonaws.com.cn/{'1' * 12}/clips"),
    ],
)
def test_a_name_becomes_a_url(region: str, account: str | None, url: str) -> None:
    item = scaled(metadata={"queueURL": "clips", "awsRegion": region})

    (result,) = convert([item], account)

    assert result.manifest is not None
    assert result.manifest["spec"]["queue"]["url"] == url
    assert any("ACCOUNT_ID" in note for note in result.notes) == (account is None)


def deployment(*containers: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "clip-worker", "namespace": "media"},
        "spec": {"template": {"spec": {"containers": list(containers)}}},
    }


def container(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "env": [{"name": "QUEUE", "value": value}, {"name": "X"}]}


FROM_ENV = {"queueURL": None, "queueURLFromEnv": "QUEUE"}


@pytest.mark.parametrize(("named", "found"), [(None, URL), ("second", URL + "2")])
def test_a_url_from_the_environment_is_looked_up(named: str | None, found: str) -> None:
    target = {"name": "clip-worker", "envSourceContainerName": named}
    containers = (container("first", URL), container("second", URL + "2"))

    spec, notes = converted(
        scaled(metadata=FROM_ENV, scaleTargetRef=target), deployment(*containers)
    )

    assert spec["queue"] == {"url": found}
    assert notes == ()


@pytest.mark.parametrize(
    "more", [[], [deployment()], [{"kind": "Deployment"}], [{"kind": "Deployment", "spec": []}]]
)
def test_a_url_that_nobody_knows_is_left_to_fill_in(more: list[Any]) -> None:
    spec, notes = converted(scaled(metadata=FROM_ENV), *more)

    assert spec["queue"]["url"].endswith("/ACCOUNT_ID/QUEUE")
    assert any("fill in queue.url" in note for note in notes)


@pytest.mark.parametrize(
    ("kind", "spec", "how"),
    [
        ("TriggerAuthentication", {"podIdentity": {"provider": "aws"}}, "(pod identity 'aws')"),
        (
            "ClusterTriggerAuthentication",
            {"podIdentity": {"provider": "aws", "roleArn": "arn:aws:iam::1:role/r"}},
            "(pod identity 'aws', role 'arn:aws:iam::1:role/r')",
        ),
        (
            "TriggerAuthentication",
            {
                "secretTargetRef": [
                    {"parameter": "awsAccessKeyID", "name": "s", "key": "hidden"},
                    {"parameter": "awsSecretAccessKey", "name": "s", "key": "hidden"},
                ]
            },
            "('awsAccessKeyID', 'awsSecretAccessKey')",
        ),
        ("TriggerAuthentication", {"env": []}, "(other sources of credentials)"),
    ],
)
def test_the_kind_of_access_is_named(kind: str, spec: dict[str, Any], how: str) -> None:
    authentication = {"apiVersion": "keda.sh/v1alpha1", "kind": kind, "spec": spec}
    authentication["metadata"] = {"name": "access"}
    item = scaled(trigger={"authenticationRef": {"name": "access", "kind": kind}})

    _, notes = converted(item, authentication)

    (note,) = notes
    assert how in note
    assert ACCESS in note
    assert "hidden" not in note


def cron(**changes: Any) -> dict[str, Any]:
    metadata = {"start": "0 6 * * 1-5", "end": "0 20 * * 1-5", "desiredReplicas": "3"}
    return {"type": "cron", "metadata": {**metadata, "timezone": "Asia/Kolkata", **changes}}


def test_a_cron_trigger_becomes_a_schedule() -> None:
    spec, notes = converted(scaled(cron()))

    assert spec["scaling"]["schedules"] == [
        {
            "name": "cron-1",
            "cron": "0 6 * * 1-5",
            "durationSeconds": 14 * 3600,
            "timeZone": "Asia/Kolkata",
            "minReplicas": 3,
        }
    ]
    assert notes == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"end": "0 20 * * 1"},
        {"end": "0 0 30 2 *"},
        {"start": "every day"},
        {"timezone": "Mars/Olympus"},
        {"timezone": "../../etc/passwd"},
        {"desiredReplicas": "some"},
        {"start": "0 6 1 * *", "end": "0 6 20 * *"},
        {"start": None},
    ],
)
def test_a_cron_trigger_without_one_duration_is_told(changes: dict[str, Any]) -> None:
    spec, notes = converted(scaled(cron(**changes)))

    assert "schedules" not in spec["scaling"]
    assert any("is no schedule with one duration" in note for note in notes)


def test_a_scaled_job_maps_in_part() -> None:
    item = scaled(
        jobTargetRef={"template": {}}, scalingStrategy={"strategy": "accurate"}, maxReplicaCount=9
    )
    item["kind"] = "ScaledJob"
    del item["spec"]["scaleTargetRef"]

    spec, notes = converted(item)

    assert spec["worker"] == {"deploymentRef": {"name": "clips"}}
    assert spec["scaling"]["maxReplicas"] == 9
    assert [note.partition(":")[0] for note in notes] == [
        "spec.jobTargetRef",
        "spec.scalingStrategy",
    ]


def test_a_long_name_is_cut_and_told() -> None:
    item = scaled()
    item["metadata"]["name"] = "a" * 51 + "-tail"

    (result,) = convert([item])

    assert result.manifest is not None
    assert result.manifest["metadata"]["name"] == "a" * 51
    assert "has 56 characters, 52 fit" in result.notes[0]


def test_other_objects_are_none_of_its_business() -> None:
    assert convert([{"kind": "Secret"}, {"apiVersion": 1}, {"apiVersion": "keda.sh/v1"}]) == []


# Text of any origin.


def test_documents_and_lists_are_read_alike() -> None:
    one, two = scaled(), scaled()
    two["metadata"]["name"] = "two"
    listed = {"kind": "List", "items": [one, two]}
    text = yaml.safe_dump_all([listed, None, ["no object"], {"kind": "ScaledObjectList"}])

    found = objects(text)

    assert [item.get("metadata", {}).get("name") for item in found] == ["clips", "two", None]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("a: [", "no YAML or JSON", id="cut off"),
        pytest.param("name: {{ .Values.name }}", "templates must be rendered", id="template"),
        pytest.param("!!python/object/apply:os.system ['true']", "no YAML", id="code"),
        pytest.param("[" * 20_000, "nested too deeply", id="deep"),
        pytest.param("a: 2026-99-99", "no YAML or JSON", id="no such day"),
        pytest.param("\0", "no YAML or JSON", id="zero byte"),
        pytest.param("? [a]\n: b", "no YAML or JSON", id="list as a key"),
        pytest.param(" " * (MAX_BYTES + 1), "is larger than 16 MiB", id="large"),
    ],
)
def test_text_that_is_no_manifest_is_refused(text: str, why: str) -> None:
    with pytest.raises(NoManifest, match=why):
        objects(text)


def test_lists_that_hold_themselves_and_aliases_that_multiply_are_harmless() -> None:
    endless = "&a\nkind: List\nitems: [*a, *a]\n"
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)]
    laughs = "\n".join(["l0: &l0 [x]", *levels, "kind: ScaledObject", "apiVersion: keda.sh/v1"])

    assert convert(objects(endless)) == []
    (result,) = convert(objects(laughs))
    assert result.manifest is None


def test_no_text_of_the_source_leaves_its_comment() -> None:
    item = scaled(metadata={"queueLength": "5\nkind: Secret\n\x1b[2J"})
    item["spec"]["evil\u2028spec: {}\nkind"] = "x"

    (result,) = convert([item])

    assert yaml.safe_load(result.text()) == result.manifest
    assert "\x1b" not in result.text()
    comments = [line for line in result.text().splitlines() if line.startswith("#")]
    assert len(comments) == 1 + len(result.notes)


@pytest.mark.parametrize("name", ["y", "n", "on", "1e3", "12e45", "0o7", "0x1f", "1-2", "0777"])
def test_a_name_stays_text_for_readers_of_other_yaml(name: str) -> None:
    item = scaled()
    item["metadata"]["name"] = name

    (result,) = convert([item])

    assert result.manifest is not None
    assert re.search(rf"""^  name: (["']){name}\1$""", result.text(), re.MULTILINE)


def test_kubectl_reads_back_what_a_conversion_prints() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl on the PATH")
    names = ("y", "1e3", "0o7")
    items = [scaled() for _ in names]
    for item, name in zip(items, names, strict=True):
        item["metadata"]["name"] = name
    text = "\n---\n".join(result.text() for result in convert(items))

    command = [
        kubectl,
        "annotate",
        "--local",
        "-f",
        "-",
        "a=b",
        "-o",
        "jsonpath={.metadata.name} ",
    ]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)

    assert done.stdout.split() == list(names)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
)
PATHS = (
    ("metadata",),
    ("metadata", "name"),
    ("metadata", "annotations"),
    ("spec",),
    ("spec", "triggers"),
    ("spec", "triggers", 0),
    ("spec", "triggers", 0, "metadata"),
    ("spec", "scaleTargetRef"),
    *(("spec", "triggers", 0, "metadata", k) for k in ("queueURL", "awsRegion", "queueLength")),
    *(("spec", k) for k in ("fallback", "advanced", "cooldownPeriod", "maxReplicaCount")),
    *(("spec", "triggers", 1, "metadata", k) for k in ("start", "end", "timezone")),
)


@given(path=st.sampled_from(PATHS), value=ANYTHING)
def test_whatever_stands_in_a_field_the_result_is_valid(path: tuple[Any, ...], value: Any) -> None:
    item = copy.deepcopy(scaled(cron(), advanced={}, fallback={"replicas": 1}))
    place: Any = item
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value

    (result,) = convert([item, deployment(container("c", URL))])

    if result.manifest is None:
        assert result.notes
    else:
        parse_spec(result.manifest["spec"])
        SCHEMA.validate(result.manifest)
        assert yaml.safe_load(result.text()) == result.manifest
