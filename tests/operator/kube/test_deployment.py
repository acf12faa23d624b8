import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection_contract import environment as env
from detection_operator.crd.manifest import manifest as crd
from detection_operator.kube.manifests.deployment import deployment, digest
from detection_operator.kube.manifests.disruption import disruption_budget
from detection_operator.spec.parse import parse_spec
from detection_operator.spec.validation import InvalidSpec
from detection_worker.config.load import load_settings
from detection_worker.config.table import setting
from detection_worker.settings import AnalysisSettings, ResultSettings

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


def unrevised(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the pod template without the revision, which follows all the rest."""
    revision = manifest["metadata"]["labels"][env.LABEL_REVISION]
    text = json.dumps(manifest["spec"]["template"]).replace(revision, "revision")
    found: dict[str, Any] = json.loads(text)
    return found


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


@pytest.mark.parametrize(
    ("template", "parts", "name", "sha256"),
    [
        pytest.param(
            {},
            {},
            "video-5628f6c1",
            "3f255843c22cb1a9aec7ffaec03acadc24fb80dc2a94d5b2222041438aed6ca2",
            id="the minimum",
        ),
        pytest.param(
            {
                "models": {"claimName": "m"},
                "env": [{"name": "A", "value": "b"}],
                "resources": {"limits": {"nvidia.com/gpu": 1}},
                "serviceAccountName": "w",
            },
            {},
            "video-cefafc11",
            "1eb7cad1d1a23d0861188e72d5184e9a217846453c5953d622bce096e3ddbb71",
            id="models, variables, a GPU",
        ),
        pytest.param(
            {},
            {
                "queue": {
                    "url": URL,
                    "endpointURL": "http://sqs:4566",
                    "deadLetterQueue": f"{URL}-dlq",
                },
                "slo": {"queueWaitSeconds": 45},
            },
            "video-b57f2667",
            "64e491495b5b4f6eb0fb82e784744fd10824462c87002be1e7dd1b4061a48514",
            id="an endpoint, a dead-letter queue, an objective",
        ),
    ],
)
def test_an_upgrade_of_the_operator_rolls_no_worker_out(
    template: dict[str, Any], parts: dict[str, Any], name: str, sha256: str
) -> None:
    """Names and digests are those of version 0.1.0."""
    manifest = built(template, **parts)

    assert manifest["metadata"]["name"] == name
    assert digest(manifest) == sha256


@pytest.mark.parametrize(
    ("template", "value"), [({}, None), ({"feeders": 0}, "0"), ({"feeders": 4}, "4")]
)
def test_the_worker_learns_how_many_feeders_it_is_to_have(
    template: dict[str, Any], value: str | None
) -> None:
    assert environment_of(built(template)).get(env.FEEDERS) == value


RESULTS: dict[str, Any] = {
    "url": "s3://bucket/results/",
    "keyTemplate": "{request_id}.json",
    "pages": True,
    "kmsKeyID": "alias/results",
    "bucketOwner": "123456789012",
    "onSuccess": [
        "arn:aws:sns:eu-west-1:123456789012:done",
        "arn:aws:sqs:eu-west-1:123456789012:done",
    ],
    "onFailure": ["arn:aws:events:eu-west-1:123456789012:event-bus/default"],
    "callbackURL": "https://example.com/hook",
    "cacheURL": "s3://bucket/cache/",
    "outboxURL": f"{URL}-outbox",
}


def test_the_worker_takes_the_variables_of_every_result_setting(tmp_path: Path) -> None:
    variables = environment_of(built({"results": RESULTS}))

    settings = load_settings({}, variables, tmp_path).settings

    assert set(variables) <= set(env.WORKER_VARIABLES)
    assert settings.results == ResultSettings(
        results_url="s3://bucket/results/",
        results_key="{request_id}.json",
        results_pages=True,
        results_kms_key_id="alias/results",
        results_bucket_owner="123456789012",
        on_success=tuple(RESULTS["onSuccess"]),
        on_failure=tuple(RESULTS["onFailure"]),
        cache_url="s3://bucket/cache/",
        outbox_url=f"{URL}-outbox",
    )
    assert settings.callback.url == "https://example.com/hook"


def test_the_worker_takes_how_much_of_a_file_to_look_at(tmp_path: Path) -> None:
    variables = environment_of(built({"frames": 64, "windows": 128, "precision": "auto"}))
    own = environment_of(
        built({"frames": 64, "env": [{"name": "DETECTION_FRAMES", "value": "8"}]})
    )

    settings = load_settings({}, variables, tmp_path).settings

    assert set(variables) <= set(env.WORKER_VARIABLES)
    assert settings.analysis == AnalysisSettings(frames=64, windows=128, precision="auto")
    assert own[env.FRAMES] == "8"
    assert not {env.FRAMES, env.WINDOWS} & environment_of(built()).keys()


def test_the_worker_trusts_the_issuers_of_a_config_map(tmp_path: Path) -> None:
    listed = {"trustList": {"configMapName": "issuers", "key": "cameras.pem"}}
    manifest = built({"provenance": {**listed, "trustDeclared": True}})

    [mount] = [m for m in container_of(manifest)["volumeMounts"] if m["name"] == "trust-list"]
    [volume] = [
        v for v in manifest["spec"]["template"]["spec"]["volumes"] if v["name"] == "trust-list"
    ]
    found = load_settings({}, environment_of(manifest), tmp_path).settings.provenance
    assert found.trust_list is not None
    assert found.trust_declared
    assert mount == {"name": "trust-list", "mountPath": str(found.trust_list.parent),
                     "readOnly": True}  # fmt: skip
    assert volume["configMap"] == {
        "name": "issuers",
        "items": [{"key": "cameras.pem", "path": found.trust_list.name}],
    }
    quiet = environment_of(built({"provenance": listed}))
    assert not load_settings({}, quiet, tmp_path).settings.provenance.trust_declared


def test_nobody_is_trusted_without_a_list() -> None:
    assert not {env.TRUST_LIST, env.TRUST_DECLARED} & environment_of(built()).keys()
    with pytest.raises(InvalidSpec, match=r"provenance.trustList: is required"):
        built({"provenance": {"trustDeclared": True}})


@pytest.mark.parametrize(
    "name", ["nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-1g.10gb"]
)
def test_whole_shared_and_sliced_gpus_are_asked_for_as_written(name: str) -> None:
    deployment = built({"resources": {"limits": {name: 1, "memory": "16Gi"}}})

    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"limits": {name: 1, "memory": "16Gi"}}


def test_the_precisions_are_the_worker_s() -> None:
    spec = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    template = spec["properties"]["worker"]["properties"]["template"]["properties"]

    assert tuple(template["precision"]["enum"]) == setting("analysis", "precision").words


@pytest.mark.parametrize("name", ["frames", "windows"])
def test_frames_and_windows_have_the_worker_s_range(name: str) -> None:
    spec = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    template = spec["properties"]["worker"]["properties"]["template"]["properties"]

    assert setting("analysis", name).bounds == (
        template[name]["minimum"],
        template[name]["maximum"],
    )


@pytest.mark.parametrize("results", [None, {}, {"onSuccess": [], "onFailure": []}])
def test_results_that_go_nowhere_else_change_nothing(results: dict[str, Any] | None) -> None:
    assert built({"results": results}) == built()


def test_kubernetes_expands_nothing_in_result_settings() -> None:
    """The kubelet turns $(NAME) into that variable's value, and $$ into $."""
    variables = environment_of(
        built({"results": {"url": "s3://bucket/$(QUEUE_URL)/", "callbackURL": "https://x/a$$b"}})
    )

    assert variables[env.RESULTS_URL] == "s3://bucket/$$(QUEUE_URL)/"
    assert variables[env.CALLBACK_URL] == "https://x/a$$$$b"


def test_the_user_s_own_result_variable_wins() -> None:
    own = [{"name": env.RESULTS_URL, "value": "s3://mine/"}]

    manifest = built({"results": RESULTS, "env": own})

    assert environment_of(manifest)[env.RESULTS_URL] == "s3://mine/"
    names = [item["name"] for item in container_of(manifest)["env"]]
    assert names.count(env.RESULTS_URL) == 1
    assert environment_of(manifest)[env.CACHE_URL] == "s3://bucket/cache/"


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
        pytest.param(lambda: built({"results": RESULTS}), False, id="results"),
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


@pytest.mark.parametrize(
    "over",
    [
        pytest.param({"metadata": None}, id="metadata"),
        pytest.param({"metadata": {"labels": None, "annotations": None}}, id="labels"),
        pytest.param({"spec": None}, id="spec"),
        pytest.param({"spec": {"containers": None}}, id="containers"),
        pytest.param({"spec": {"affinity": None}}, id="what has no default"),
    ],
)
def test_null_where_the_operator_needs_its_own_adds_nothing(over: dict[str, Any]) -> None:
    assert built({"podTemplate": over}) == built()


@pytest.mark.parametrize(
    ("over", "gone"),
    [
        pytest.param(
            {"spec": {"topologySpreadConstraints": None}},
            lambda pod: pod["spec"].pop("topologySpreadConstraints"),
            id="spread",
        ),
        pytest.param(
            {"spec": {"securityContext": {"runAsUser": None}}},
            lambda pod: pod["spec"]["securityContext"].pop("runAsUser"),
            id="member of an object",
        ),
        pytest.param(
            {"spec": {"containers": [{"name": "worker", "livenessProbe": None}]}},
            lambda pod: pod["spec"]["containers"][0].pop("livenessProbe"),
            id="member of a container",
        ),
        pytest.param(
            {"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": None}}},
            lambda pod: pod["metadata"]["annotations"].pop("karpenter.sh/do-not-disrupt"),
            id="annotation",
        ),
    ],
)
def test_null_leaves_a_default_out(
    over: dict[str, Any], gone: Callable[[dict[str, Any]], Any]
) -> None:
    wanted = unrevised(built())
    gone(wanted)

    assert unrevised(built({"podTemplate": over})) == wanted


@pytest.mark.parametrize(
    ("over", "field"),
    [
        pytest.param({"metadata": "m"}, "metadata", id="metadata"),
        pytest.param({"metadata": {"labels": ["a"]}}, "metadata.labels", id="labels"),
        pytest.param({"metadata": {"annotations": 3}}, "metadata.annotations", id="annotations"),
        pytest.param({"spec": []}, "spec", id="spec"),
        pytest.param({"spec": {"containers": {}}}, "spec.containers", id="containers"),
        pytest.param({"spec": {"containers": ["w"]}}, "spec.containers[0]", id="container"),
        pytest.param(
            {"spec": {"containers": [{"name": "worker"}, {"name": []}]}},
            "spec.containers[1].name",
            id="name",
        ),
        pytest.param({"spec": {"volumes": [None]}}, "spec.volumes[0]", id="null in a list"),
        pytest.param(
            {"spec": {"topologySpreadConstraints": "x"}},
            "spec.topologySpreadConstraints",
            id="spread",
        ),
        pytest.param(
            {"spec": {"topologySpreadConstraints": [{"maxSkew": 1}, 7]}},
            "spec.topologySpreadConstraints[1]",
            id="constraint",
        ),
        pytest.param(
            {"spec": {"containers": [{"name": "worker", "image": {}}]}},
            "spec.containers[0].image",
            id="object for a word",
        ),
        pytest.param(
            {"spec": {"containers": [{"name": "worker", "livenessProbe": {"httpGet": "/"}}]}},
            "spec.containers[0].livenessProbe.httpGet",
            id="deep",
        ),
    ],
)
def test_a_wrong_shape_in_an_override_is_refused_by_the_name_of_its_field(
    over: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidSpec) as refusal:
        built({"podTemplate": over})

    assert refusal.value.field == f"worker.template.podTemplate.{field}"
    assert "must be" in refusal.value.why


MEMBERS = st.sampled_from(
    ("labels", "annotations", "containers", "volumes", "env", "name", "worker", "other")
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(ANYTHING, ANYTHING)
def test_any_override_is_either_merged_or_refused(metadata: Any, spec: Any) -> None:
    try:
        manifest = built({"podTemplate": {"metadata": metadata, "spec": spec}})
    except InvalidSpec as refusal:
        field = refusal.field
    else:
        field = "worker.template.podTemplate"
        labels = manifest["spec"]["template"]["metadata"]["labels"]
        assert manifest["spec"]["selector"]["matchLabels"].items() <= labels.items()

    assert field.startswith("worker.template.podTemplate")


def test_a_spread_of_the_user_s_own_counts_the_revision_s_pods_and_stays_as_written() -> None:
    constraint = {"maxSkew": 1, "topologyKey": "t", "whenUnsatisfiable": "DoNotSchedule"}
    over = {"spec": {"topologySpreadConstraints": [constraint]}}

    first, second = built({"podTemplate": over}), built({"podTemplate": over})

    (spread,) = first["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert spread == {**constraint, "labelSelector": first["spec"]["selector"]}
    assert "labelSelector" not in constraint
    assert first == second


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
