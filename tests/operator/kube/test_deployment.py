from collections.abc import Callable
from typing import Any

import pytest

from detection_contract import environment as env
from detection_operator.kube.deployment import deployment
from detection_operator.kube.disruption import disruption_budget
from detection_operator.resource import parse_spec

QUEUE = {"metadata": {"name": "video", "namespace": "media", "uid": "u-1"}}
URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/video"


def built(template: dict[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
    spec = parse_spec(
        {
            "queue": {"url": URL},
            **parts,
            "worker": {"template": {"image": "worker:1", **(template or {})}},
        }
    )
    assert spec.worker.template is not None
    return deployment(QUEUE, spec, spec.worker.template)


def container_of(manifest: dict[str, Any]) -> dict[str, Any]:
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


def environment_of(manifest: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in container_of(manifest)["env"]}


def test_the_worker_learns_its_queue_region_objective_and_grace() -> None:
    manifest = built(
        slo={"queueWaitSeconds": 45}, scaling={"scaleDown": {"drainTimeoutSeconds": 600}}
    )

    variables = environment_of(manifest)

    assert variables[env.QUEUE_URL] == URL
    assert variables[env.AWS_REGION] == "eu-west-1"
    assert variables[env.QUEUE_WAIT_OBJECTIVE_S] == "45"
    assert variables[env.SHUTDOWN_GRACE_S] == "600"
    assert set(variables) <= set(env.WORKER_VARIABLES)


def test_another_sqs_endpoint_leaves_s3_where_it_is() -> None:
    endpoint = "https://vpce-1a2b3c4d.sqs.eu-west-1.vpce.amazonaws.com"
    queue = {"url": URL, "endpointURL": endpoint}

    variables = environment_of(built(queue=queue))

    assert variables["AWS_ENDPOINT_URL_SQS"] == endpoint
    assert not variables.keys() & {"AWS_ENDPOINT_URL", env.ENDPOINT_URL}


def test_kubernetes_waits_longer_than_the_worker_needs_for_its_longest_job() -> None:
    manifest = built(
        scaling={"scaleDown": {"drainTimeoutSeconds": 60}},
        serviceTime={"priors": [{"mediaType": "video", "seconds": 1800}]},
    )

    pod = manifest["spec"]["template"]["spec"]

    assert pod["terminationGracePeriodSeconds"] == 1800 + env.GRACE_MARGIN_S
    assert environment_of(manifest)[env.SHUTDOWN_GRACE_S] == "1800"


def test_pods_run_as_nobody_who_can_write_nowhere_but_tmp() -> None:
    manifest = built()

    pod, container = manifest["spec"]["template"]["spec"], container_of(manifest)

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        pytest.param(built, True, id="nothing"),
        pytest.param(lambda: built(scaling={"maxReplicas": 7}), True, id="bounds"),
        pytest.param(lambda: built({"image": "worker:2"}), False, id="image"),
        pytest.param(lambda: built({"models": {"claimName": "m"}}), False, id="models"),
        pytest.param(lambda: built(slo={"queueWaitSeconds": 9}), False, id="objective"),
    ],
)
def test_another_pod_template_is_another_deployment(
    change: Callable[[], dict[str, Any]], *, same: bool
) -> None:
    assert (change()["metadata"]["name"] == built()["metadata"]["name"]) is same


def test_models_come_from_a_claim_read_only() -> None:
    manifest = built({"models": {"claimName": "models", "mountPath": "/m"}})

    assert environment_of(manifest)[env.MODELS_DIR] == "/m"
    mount = container_of(manifest)["volumeMounts"][1]
    assert mount == {"name": "models", "mountPath": "/m", "readOnly": True}


def test_the_user_s_variables_win() -> None:
    manifest = built(
        {"env": [{"name": env.LOG_FORMAT, "value": "plain"}, {"name": "X", "value": "1"}]}
    )

    names = [item["name"] for item in container_of(manifest)["env"]]

    assert environment_of(manifest)[env.LOG_FORMAT] == "plain"
    assert names.count(env.LOG_FORMAT) == 1


def test_overrides_merge_by_name_and_cannot_leave_the_selector() -> None:
    over = {
        "metadata": {"labels": {"team": "a", env.LABEL_QUEUE: "stolen"}},
        "spec": {
            "containers": [
                {"name": "worker", "livenessProbe": {"periodSeconds": 99}},
                {"name": "sidecar", "image": "s"},
            ],
            "priorityClassName": "high",
        },
    }

    manifest = built({"podTemplate": over})

    template = manifest["spec"]["template"]
    worker, sidecar = template["spec"]["containers"]
    assert worker["image"] == "worker:1"
    assert worker["livenessProbe"]["periodSeconds"] == 99
    assert worker["livenessProbe"]["httpGet"]["path"] == env.HEALTH_PATH
    assert worker["startupProbe"]["httpGet"]["path"] == env.HEALTH_PATH
    assert worker["readinessProbe"]["httpGet"]["path"] == env.READY_PATH
    assert sidecar == {"name": "sidecar", "image": "s"}
    assert template["spec"]["priorityClassName"] == "high"
    assert template["metadata"]["labels"]["team"] == "a"
    selector = manifest["spec"]["selector"]["matchLabels"]
    assert selector.items() <= template["metadata"]["labels"].items()


def test_children_go_with_their_detectionqueue() -> None:
    for child in (built(), disruption_budget(QUEUE)):
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == ("u-1", True)


def test_names_of_the_longest_detectionqueue_fit() -> None:
    queue = {"metadata": {**QUEUE["metadata"], "name": "q" * 52}}
    spec = parse_spec({"queue": {"url": URL}, "worker": {"template": {"image": "i"}}})
    assert spec.worker.template is not None

    manifest = deployment(queue, spec, spec.worker.template)

    assert len(manifest["metadata"]["name"]) <= 63
    assert all(len(v) <= 63 for v in manifest["spec"]["template"]["metadata"]["labels"].values())
