"""What the chart renders for several sets of values."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import patch

import pytest
import yaml

from detection_contract import environment as env
from detection_contract.process.probes import ProbeServer
from detection_operator import settings as operator_settings
from detection_operator.kube.manifests.deployment import worker_labels
from detection_operator.metrics import Metrics
from detection_operator.spec.parse import parse_spec
from detection_worker.config.load import load_settings

Objects = list[dict[str, Any]]
Render = Callable[..., Objects]

ROLE = "arn:aws:iam::123456789012:role/"
MEDIA_OUTBOX = {
    "name": "media",
    "queueURL": "https://sqs.eu-west-1.amazonaws.com/123456789012/media-outbox",
}
SIGNING = {
    "name": env.CALLBACK_SIGNING_SECRETS,
    "valueFrom": {"secretKeyRef": {"name": "callback-signing", "key": "secrets"}},
}
VALUE_SETS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "cluster-wide": {"clusterWide": True},
    "two namespaces": {"watchNamespaces": ["a", "b"]},
    "nodes": {"nodes": {"enabled": True, "selector": "karpenter.sh/nodepool=gpu"}},
    "IRSA": {
        "serviceAccounts": {
            "operator": {"roleArn": f"{ROLE}operator"},
            "worker": {"roleArn": f"{ROLE}worker", "annotations": {"team": "media"}},
        }
    },
    "accounts and roles of one's own": {
        "rbac": {"create": False},
        "serviceAccounts": {
            "operator": {"create": False, "name": "mine"},
            "worker": {"create": False},
        },
    },
    "environment, placement, registry": {
        "image": {"repository": "r.example/op", "digest": f"sha256:{'0' * 64}"},
        "imagePullSecrets": ["pull"],
        "operator": {
            "replicas": 1,
            "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
            "tolerations": [{"key": "infra", "operator": "Exists", "effect": "NoSchedule"}],
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "system-cluster-critical",
            "podLabels": {"team": "media", "app.kubernetes.io/name": "hijack"},
            "podAnnotations": {"sidecar.istio.io/inject": "false"},
        },
    },
    "everything on": {
        "monitoring": {
            "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "podMonitor": {"enabled": True},
            "prometheusRule": {"enabled": True},
            "dashboard": {"enabled": True, "annotations": {"grafana_folder": "Media"}},
        },
        "networkPolicy": {"enabled": True, "extraEgressPorts": [4566]},
        "rbac": {"aggregateToUserRoles": True},
        "watchNamespaces": ["a", "b"],
        "serviceAccounts": {"deliver": {"create": True}},
        "deliver": {"enabled": True, "outboxes": [MEDIA_OUTBOX]},
    },
    "deliver": {"deliver": {"enabled": True, "outboxes": [MEDIA_OUTBOX]}},
    "deliver for several outboxes": {
        "serviceAccounts": {"deliver": {"create": True, "roleArn": f"{ROLE}deliver"}},
        "imagePullSecrets": ["pull"],
        "deliver": {
            "enabled": True,
            "image": {"repository": "r.example/w", "tag": "2"},
            "replicas": 2,
            "outboxes": [
                {**MEDIA_OUTBOX, "region": "eu-west-1", "endpointURL": "http://sqs:4566"},
                {
                    "name": "audio",
                    "queueURL": "http://sqs:4566/000000000000/audio",
                    "region": "us-east-1",
                    "env": [{"name": "LOG_LEVEL", "value": "DEBUG"}],
                },
            ],
            "env": [SIGNING, {"name": "LOG_LEVEL", "value": "WARNING"}],
            "tolerations": [{"key": "infra", "operator": "Exists", "effect": "NoSchedule"}],
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "system-cluster-critical",
            "podLabels": {"team": "media", "app.kubernetes.io/component": "worker"},
            "podAnnotations": {"sidecar.istio.io/inject": "false"},
        },
    },
    "without the CRD": {"crds": {"enabled": False}},
    "CRD goes too": {"crds": {"keep": False}},
}


def of_kind(objects: Objects, kind: str) -> Objects:
    return [item for item in objects if item["kind"] == kind]


def named(objects: Objects, kind: str, name: str) -> dict[str, Any]:
    [found] = [item for item in of_kind(objects, kind) if item["metadata"]["name"] == name]
    return found


@pytest.fixture(params=list(VALUE_SETS.values()), ids=list(VALUE_SETS))
def objects(request: pytest.FixtureRequest, render: Render) -> Objects:
    return render(request.param)


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS.keys())
def test_strict_lint_finds_nothing(
    run_helm: Callable[..., subprocess.CompletedProcess[str]],
    chart: Path,
    tmp_path: Path,
    values: dict[str, Any],
) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(values))

    done = run_helm("lint", "--strict", str(chart), "--values", str(path), check=False)

    assert "0 chart(s) failed" in done.stdout, done.stdout + done.stderr


def test_every_object_is_named_once_and_labelled(objects: Objects) -> None:
    names = [
        (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])
        for item in objects
    ]

    assert len(set(names)) == len(names)
    for item in objects:
        labels = item["metadata"]["labels"]
        assert labels[env.LABEL_NAME] == env.NAME
        assert labels[env.LABEL_MANAGED_BY] == "Helm"


def test_namespaced_objects_name_their_namespace(objects: Objects) -> None:
    cluster_wide = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}

    for item in objects:
        assert ("namespace" in item["metadata"]) == (item["kind"] not in cluster_wide)


def operator_deployment(objects: Objects) -> dict[str, Any]:
    [found] = [
        item
        for item in of_kind(objects, "Deployment")
        if item["metadata"]["labels"][env.LABEL_COMPONENT] == env.COMPONENT_OPERATOR
    ]
    return found


def deliver_deployments(objects: Objects) -> dict[str, dict[str, Any]]:
    """The Deployments of `deliver` by the name of their outbox."""
    return {
        item["metadata"]["labels"]["detection-queue.dev/outbox"]: item
        for item in of_kind(objects, "Deployment")
        if item["metadata"]["labels"][env.LABEL_COMPONENT] == "deliver"
    }


def test_every_pod_is_confined_and_probed(objects: Objects) -> None:
    for deployment in of_kind(objects, "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        [container] = pod["containers"]

        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["livenessProbe"]["httpGet"]["path"] == env.HEALTH_PATH
        assert container["startupProbe"]["httpGet"]["path"] == env.HEALTH_PATH
        assert container["readinessProbe"]["httpGet"]["path"] == env.READY_PATH
        assert container["resources"]["limits"]["memory"]
        assert "cpu" not in container["resources"]["limits"]


def test_the_selector_matches_the_pods_whatever_labels_are_added(objects: Objects) -> None:
    deployment = operator_deployment(objects)
    selector = deployment["spec"]["selector"]["matchLabels"]
    [service] = of_kind(objects, "Service")

    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert selector.items() <= labels.items()
    assert service["spec"]["selector"] == selector
    assert selector[env.LABEL_COMPONENT] == env.COMPONENT_OPERATOR


def test_a_variable_of_one_s_own_replaces_the_chart_s_of_the_same_name(render: Render) -> None:
    mine = [
        {"name": "LOG_LEVEL", "value": "DEBUG"},
        {"name": "AWS_EC2_METADATA_DISABLED", "value": "false"},
        {"name": "POD_NAME", "value": "fixed"},
        {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
    ]

    def variables(values: dict[str, Any]) -> list[dict[str, Any]]:
        deployment = named(render(values), "Deployment", "detection-queue-operator")
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        found: list[dict[str, Any]] = container["env"]
        return found

    replaced = {item["name"] for item in mine}
    rest = [item for item in variables({}) if item["name"] not in replaced]

    assert variables({"operator": {"env": mine}}) == [*rest, *mine]


def test_a_proxy_on_the_way_to_aws_is_none_on_the_way_to_the_api_server(render: Render) -> None:
    env_of = render({"operator": {"env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]}})
    deployment = named(env_of, "Deployment", "detection-queue-operator")
    [container] = deployment["spec"]["template"]["spec"]["containers"]

    assert {"name": "NO_PROXY", "value": "$(KUBERNETES_SERVICE_HOST)"} in container["env"]


WORDS = ("name", "namespace", "matchNames", "resourceNames", "priorityClassName", "value")


def strings_expected(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what Kubernetes takes only as text: names, labels, annotations, variables."""
    if isinstance(value, dict):
        for name, item in value.items():
            inner = f"{path}.{name}"
            texts = name in WORDS or path.endswith(("abels", "nnotations", "matchLabels"))
            if texts and not isinstance(item, dict | list):
                yield inner, item
            yield from strings_expected(item, inner)
    elif isinstance(value, list):
        for item in value:
            if path.endswith(WORDS) and not isinstance(item, dict | list):
                yield path, item
            yield from strings_expected(item, path)


@pytest.mark.parametrize("word", ["123", "1e3", "0x10", "true", "null", "no"])
@pytest.mark.parametrize("scope", ["own", "list", "cluster"])
def test_a_name_that_looks_like_another_type_stays_text(
    run_helm: Callable[..., subprocess.CompletedProcess[str]],
    chart: Path,
    tmp_path: Path,
    word: str,
    scope: str,
) -> None:
    values = {
        **VALUE_SETS["everything on"],
        "watchNamespaces": [word] if scope == "list" else [],
        "clusterWide": scope == "cluster",
        "fullnameOverride": word,
        "imagePullSecrets": [word],
        "serviceAccounts": {
            "operator": {"name": word},
            "worker": {"name": word},
            "deliver": {"create": True, "name": f"{word}d"},
        },
        "operator": {"priorityClassName": word, "podLabels": {"team": word}},
        "deliver": {
            "enabled": True,
            "outboxes": [{**MEDIA_OUTBOX, "name": word, "env": [{"name": "X", "value": word}]}],
            "priorityClassName": word,
            "podLabels": {"team": word},
        },
    }
    path = tmp_path / "values.json"
    # Not yaml.safe_dump: 1e3 is text for YAML 1.1.
    path.write_text(json.dumps(values))

    done = run_helm(
        "template", word, str(chart), "--namespace", word, "--values", str(path),
        "--api-versions", "monitoring.coreos.com/v1",
    )  # fmt: skip

    found = [pair for item in yaml.safe_load_all(done.stdout) for pair in strings_expected(item)]
    assert [pair for pair in found if not isinstance(pair[1], str)] == []
    assert sum(text == word for _, text in found) > 30


@pytest.mark.parametrize(
    ("values", "namespaces"),
    [
        pytest.param({}, ("detection",), id="its own by default"),
        pytest.param({"watchNamespaces": ["a", "b"]}, ("a", "b"), id="those that are listed"),
        pytest.param({"clusterWide": True}, (), id="all"),
    ],
)
def test_the_operator_understands_its_scope(
    render: Render, values: dict[str, Any], namespaces: tuple[str, ...]
) -> None:
    deployment = operator_deployment(render(values))
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    fields = {"metadata.name": "operator-0", "metadata.namespace": "detection"}
    environ = {
        item["name"]: item.get("value") or fields[item["valueFrom"]["fieldRef"]["fieldPath"]]
        for item in container["env"]
    }

    with patch.dict(os.environ, environ, clear=True):
        found = operator_settings.from_environment()

    assert found.namespaces == namespaces
    assert found.namespace == "detection"
    assert found.identity == "operator-0"
    assert found.lease_name == found.deployment == "detection-queue-operator"
    assert found.port == container["ports"][0]["containerPort"]
    known = set(operator_settings.variables().values())
    assert {name for name in environ if name.startswith("DETECTION_OPERATOR_")} <= known


def test_contradicting_scopes_are_refused(
    run_helm: Callable[..., subprocess.CompletedProcess[str]], chart: Path
) -> None:
    done = run_helm(
        "template", "x", str(chart), "--set", "clusterWide=true,watchNamespaces={a}", check=False
    )

    assert "clusterWide and watchNamespaces contradict each other" in done.stderr


@pytest.mark.parametrize("monitor", ["serviceMonitor", "podMonitor", "prometheusRule"])
def test_monitors_stop_where_the_prometheus_operator_is_missing(
    run_helm: Callable[..., subprocess.CompletedProcess[str]], chart: Path, monitor: str
) -> None:
    done = run_helm(
        "template", "x", str(chart), "--set", f"monitoring.{monitor}.enabled=true", check=False
    )

    assert f"monitoring.{monitor}.enabled is true, but the cluster does not serve" in done.stderr


def test_each_role_goes_to_its_own_account(render: Render) -> None:
    objects = render(VALUE_SETS["IRSA"])
    arn = "eks.amazonaws.com/role-arn"
    operator = named(objects, "ServiceAccount", "detection-queue-operator")
    worker = named(objects, "ServiceAccount", "detection-queue-worker")

    assert operator["metadata"]["annotations"] == {arn: f"{ROLE}operator"}
    assert worker["metadata"]["annotations"][arn] == f"{ROLE}worker"
    assert worker["metadata"]["annotations"]["team"] == "media"
    assert worker["automountServiceAccountToken"] is False


def test_another_role_makes_other_pods(render: Render) -> None:
    def template(role: str) -> Any:
        values = {"serviceAccounts": {"operator": {"roleArn": role}}}
        return operator_deployment(render(values))["spec"]["template"]

    assert template(f"{ROLE}one") != template(f"{ROLE}two")
    assert template(f"{ROLE}one") != template("")


def test_without_a_role_no_account_names_one(render: Render) -> None:
    for account in of_kind(render(), "ServiceAccount"):
        assert "eks.amazonaws.com/role-arn" not in account["metadata"].get("annotations", {})


def test_no_cluster_role_by_default(render: Render) -> None:
    kinds = {item["kind"] for item in render()}

    assert not kinds & {"ClusterRole", "ClusterRoleBinding"}


def test_no_rule_has_a_wildcard_secrets_or_a_way_to_more_rights(objects: Objects) -> None:
    forbidden = {"*", "secrets", "escalate", "bind", "impersonate", "pods/exec", "configmaps"}
    rules = [
        rule
        for kind in ("Role", "ClusterRole")
        for item in of_kind(objects, kind)
        for rule in item["rules"]
    ]

    for rule in rules:
        assert not forbidden & {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}


@pytest.mark.parametrize("plural", ["detectionqueues", "workerpools"])
def test_the_crd_is_the_one_that_the_operator_generates(
    render: Render, chart: Path, plural: str
) -> None:
    generated = yaml.safe_load((chart / "files" / f"{plural}.yaml").read_text())

    crds = of_kind(render(), "CustomResourceDefinition")

    [crd] = [crd for crd in crds if crd["metadata"]["name"] == generated["metadata"]["name"]]
    assert crd["spec"] == generated["spec"]
    assert len(crds) == 2


@pytest.mark.parametrize("keep", [pytest.param(True, id="kept"), pytest.param(False, id="not")])
def test_what_is_kept_on_uninstall_is_a_choice(render: Render, keep: bool) -> None:  # noqa: FBT001 - a parameter of the test
    objects = render({"crds": {"keep": keep}})
    kept = {
        (item["kind"], item["metadata"]["name"])
        for item in objects
        if (item["metadata"].get("annotations") or {}).get("helm.sh/resource-policy") == "keep"
    }

    expected = {
        ("CustomResourceDefinition", "detectionqueues.detection-queue.dev"),
        ("CustomResourceDefinition", "workerpools.detection-queue.dev"),
        ("ServiceAccount", "detection-queue-worker"),
    }
    assert kept == (expected if keep else set())


def test_monitors_and_policies_select_the_pods_that_the_operator_makes(render: Render) -> None:
    objects = render(VALUE_SETS["everything on"])
    labels = worker_labels({"metadata": {"name": "video", "namespace": "a"}})
    monitor = named(objects, "PodMonitor", "detection-queue-workers")
    policies = [
        item
        for item in of_kind(objects, "NetworkPolicy")
        if item["metadata"]["name"] == "detection-queue-workers"
    ]

    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert monitor["spec"]["podMetricsEndpoints"][0]["port"] == env.CONTROL_PORT_NAME
    assert monitor["spec"]["podMetricsEndpoints"][0]["path"] == env.METRICS_PATH
    relabelled = env.LABEL_QUEUE.replace(".", "_").replace("/", "_").replace("-", "_")
    [rule] = monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]
    assert rule["sourceLabels"] == [f"__meta_kubernetes_pod_label_{relabelled}"]
    assert [item["metadata"]["namespace"] for item in policies] == ["a", "b"]
    for item in policies:
        assert item["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
        assert item["spec"]["ingress"][0]["ports"] == [
            {"port": env.CONTROL_PORT_DEFAULT, "protocol": "TCP"}
        ]


def test_only_the_operator_and_prometheus_reach_the_workers(render: Render) -> None:
    objects = render({"networkPolicy": {"enabled": True}})
    policy = named(objects, "NetworkPolicy", "detection-queue-workers")
    deployment = operator_deployment(objects)
    [rule] = policy["spec"]["ingress"]
    operator, prometheus = rule["from"]

    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert operator["podSelector"]["matchLabels"] == deployment["spec"]["selector"]["matchLabels"]
    assert operator["namespaceSelector"] == {
        "matchLabels": {"kubernetes.io/metadata.name": "detection"}
    }
    assert prometheus["namespaceSelector"]["matchLabels"]


# -- deliver --------------------------------------------------------------------------------------


def delivering(**outbox: Any) -> dict[str, Any]:
    return {"deliver": {"enabled": True, "outboxes": [{**MEDIA_OUTBOX, **outbox}]}}


def variables_of(deployment: dict[str, Any]) -> dict[str, Any]:
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    names = [item["name"] for item in container["env"]]
    assert len(names) == len(set(names))
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}


def test_nothing_delivers_unless_it_is_wanted(render: Render) -> None:
    assert deliver_deployments(render()) == {}
    assert "deliver" not in json.dumps([item["metadata"]["name"] for item in render()])


def test_stored_values_of_a_release_without_deliver_still_render(render: Render) -> None:
    """Those are what `helm upgrade --reuse-values` renders with: no default of this chart."""
    missing = {"deliver": None, "serviceAccounts": {"deliver": None}}
    monitored = {
        "monitoring": {"podMonitor": {"enabled": True}},
        "networkPolicy": {"enabled": True},
    }

    assert render({**monitored, **missing}) == render(monitored)


def test_each_outbox_has_a_deployment_of_its_own(render: Render) -> None:
    found = deliver_deployments(render(VALUE_SETS["deliver for several outboxes"]))

    assert found.keys() == {"media", "audio"}
    selectors = [item["spec"]["selector"]["matchLabels"] for item in found.values()]
    for name, item in found.items():
        labels = item["spec"]["template"]["metadata"]["labels"]
        matching = [each for each in selectors if each.items() <= labels.items()]
        assert matching == [item["spec"]["selector"]["matchLabels"]], name
        assert item["spec"]["replicas"] == 2
        [container] = item["spec"]["template"]["spec"]["containers"]
        assert (container["image"], container["args"]) == ("r.example/w:2", ["deliver"])
        assert labels["team"] == "media"


def test_no_selector_of_the_operator_matches_what_delivers(render: Render) -> None:
    """The operator would count and drain it as a worker, the Service call it."""
    objects = render(VALUE_SETS["everything on"])
    [pod] = deliver_deployments(objects).values()
    labels = pod["spec"]["template"]["metadata"]["labels"]
    selectors = [
        operator_deployment(objects)["spec"]["selector"]["matchLabels"],
        of_kind(objects, "Service")[0]["spec"]["selector"],
        named(objects, "PodMonitor", "detection-queue-workers")["spec"]["selector"]["matchLabels"],
        *(
            item["spec"]["podSelector"]["matchLabels"]
            for item in of_kind(objects, "NetworkPolicy")
        ),
    ]

    assert env.LABEL_QUEUE not in labels
    assert [each for each in selectors if each.items() <= labels.items()] == [
        named(objects, "NetworkPolicy", "detection-queue-deliver")["spec"]["podSelector"][
            "matchLabels"
        ]
    ]
    monitor = named(objects, "PodMonitor", "detection-queue-deliver")
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    [rule] = endpoint["relabelings"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert (endpoint["port"], endpoint["path"]) == (env.CONTROL_PORT_NAME, env.METRICS_PATH)
    [source] = rule["sourceLabels"]
    shown = {re.sub(r"\W", "_", name): value for name, value in labels.items()}
    assert shown[source.removeprefix("__meta_kubernetes_pod_label_")] == MEDIA_OUTBOX["name"]


def test_the_worker_s_program_understands_the_variables_of_an_outbox(
    render: Render, tmp_path: Path
) -> None:
    values = delivering(region="eu-central-1", endpointURL="http://sqs:4566")
    [deployment] = deliver_deployments(render(values)).values()
    variables = variables_of(deployment)

    settings = load_settings({}, variables, tmp_path).settings

    assert settings.results.outbox_url == MEDIA_OUTBOX["queueURL"]
    assert settings.aws.region == "eu-central-1"
    assert variables[env.SQS_ENDPOINT_URL] == "http://sqs:4566"
    assert variables[env.AWS_EC2_METADATA_DISABLED] == "true"
    pod = deployment["spec"]["template"]["spec"]
    [port] = pod["containers"][0]["ports"]
    assert (port["name"], str(port["containerPort"])) == (
        env.CONTROL_PORT_NAME,
        variables[env.CONTROL_PORT],
    )
    assert pod["terminationGracePeriodSeconds"] == (
        int(variables[env.SHUTDOWN_GRACE_S]) + env.GRACE_MARGIN_S
    )


def test_variables_of_an_outbox_win_over_those_of_all_and_these_over_the_chart_s(
    render: Render,
) -> None:
    found = deliver_deployments(render(VALUE_SETS["deliver for several outboxes"]))
    media, audio = variables_of(found["media"]), variables_of(found["audio"])

    assert (media[env.LOG_LEVEL], audio[env.LOG_LEVEL]) == ("WARNING", "DEBUG")
    assert media[env.CALLBACK_SIGNING_SECRETS] == audio[env.CALLBACK_SIGNING_SECRETS]
    assert media[env.CALLBACK_SIGNING_SECRETS] == SIGNING["valueFrom"]


@pytest.mark.parametrize(
    ("accounts", "account", "role"),
    [
        pytest.param({}, "detection-queue-worker", None, id="the workers'"),
        pytest.param(
            {"worker": {"roleArn": f"{ROLE}worker"}},
            "detection-queue-worker",
            f"{ROLE}worker",
            id="the workers' and their role",
        ),
        pytest.param(
            {"deliver": {"create": True, "roleArn": f"{ROLE}deliver"}},
            "detection-queue-deliver",
            f"{ROLE}deliver",
            id="its own",
        ),
        pytest.param({"deliver": {"name": "mine"}}, "mine", None, id="one that exists"),
    ],
)
def test_deliver_runs_under_the_account_that_is_chosen(
    render: Render, accounts: dict[str, Any], account: str, role: str | None
) -> None:
    objects = render({**delivering(), "serviceAccounts": accounts})
    [deployment] = deliver_deployments(objects).values()
    template = deployment["spec"]["template"]
    arn = "eks.amazonaws.com/role-arn"

    assert template["spec"]["serviceAccountName"] == account
    assert template["metadata"]["annotations"].get(arn) == role
    if account != "mine":
        found = named(objects, "ServiceAccount", account)
        assert found["metadata"]["namespace"] == "detection"
        assert (found["metadata"].get("annotations") or {}).get(arn) == role


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"deliver": {"enabled": True}}, "outboxes is empty", id="nothing"),
        pytest.param(
            {"deliver": {"enabled": True, "outboxes": [MEDIA_OUTBOX, MEDIA_OUTBOX]}},
            "has the name media twice",
            id="a name twice",
        ),
        pytest.param(
            {**delivering(), "watchNamespaces": ["a"]},
            "the workers have no service account because watchNamespaces does not list it",
            id="no account",
        ),
        pytest.param(
            {**delivering(), "serviceAccounts": {"worker": {"create": False}}},
            "serviceAccounts.worker.create=false does not create",
            id="an account that nothing creates",
        ),
        pytest.param(
            {"deliver": {**delivering()["deliver"], "image": None}},
            "use --reset-then-reuse-values",
            id="stored values of an earlier chart",
        ),
        pytest.param(
            {**delivering(), "serviceAccounts": {"deliver": None}},
            "use --reset-then-reuse-values",
            id="stored accounts of an earlier chart",
        ),
    ],
)
def test_a_deliver_that_could_not_run_is_refused(
    run_helm: Callable[..., subprocess.CompletedProcess[str]],
    chart: Path,
    tmp_path: Path,
    values: dict[str, Any],
    message: str,
) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(values))

    done = run_helm("template", "x", str(chart), "--values", str(path), check=False)

    assert done.returncode != 0
    assert message in done.stderr


@pytest.mark.parametrize(
    ("replicas", "budgets"),
    [pytest.param(1, 0, id="one could never be evicted"), pytest.param(2, 1, id="two")],
)
def test_a_budget_never_blocks_the_drain_of_a_node(
    render: Render, replicas: int, budgets: int
) -> None:
    objects = render({"operator": {"replicas": replicas}})

    assert len(of_kind(objects, "PodDisruptionBudget")) == budgets


def test_every_link_of_the_readme_leads_somewhere(chart: Path) -> None:
    readme = chart / "README.md"
    for target in re.findall(r"\]\(([^)\s]+)\)", readme.read_text()):
        name, _, anchor = target.partition("#")
        page = (chart / name).resolve() if name else readme
        assert page.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in slugs, target


def example_files(chart: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((chart / "examples").glob("*.yaml")):
        for item in yaml.safe_load_all(path.read_text()):
            yield path.name, item


def test_every_example_is_a_spec_that_the_operator_follows(chart: Path) -> None:
    queues = [item for _, item in example_files(chart) if item["kind"] == "DetectionQueue"]

    assert len(queues) >= 4
    for item in queues:
        assert parse_spec(item["spec"]).queue.region


def test_an_example_of_a_deployment_restarts_no_worker_that_waits_for_its_queue(
    chart: Path,
) -> None:
    deployments = [item for _, item in example_files(chart) if item["kind"] == "Deployment"]

    assert deployments
    for item in deployments:
        pod = item["spec"]["template"]["spec"]
        [container] = pod["containers"]
        paths = {
            name: container[name]["httpGet"]["path"]
            for name in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        environ = {entry["name"]: entry["value"] for entry in container["env"]}
        assert paths == {
            "startupProbe": env.HEALTH_PATH,
            "livenessProbe": env.HEALTH_PATH,
            "readinessProbe": env.READY_PATH,
        }
        assert "replicas" not in item["spec"]
        assert [port["name"] for port in container["ports"]] == [env.CONTROL_PORT_NAME]
        assert pod["terminationGracePeriodSeconds"] == (
            int(environ[env.SHUTDOWN_GRACE_S]) + env.GRACE_MARGIN_S
        )
        assert set(environ) - {env.AWS_EC2_METADATA_DISABLED} <= {
            *env.WORKER_VARIABLES,
            "DETECTION_DECODERS",
            "DETECTION_TORCH_THREADS",
        }


def test_every_example_and_alert_is_in_the_readme(chart: Path) -> None:
    readme = (chart / "README.md").read_text()
    alerts = re.findall(r"- alert: (\w+)", (chart / "files" / "alerts.yaml").read_text())

    assert [name for name, _ in example_files(chart) if f"`{name}`" not in readme] == []
    assert [name for name in alerts if f"| [`{name}`](" not in readme] == []


@contextmanager
def operator_server(*, leads: bool) -> Iterator[int]:
    metrics = Metrics()
    metrics.leader.set(int(leads))
    server = ProbeServer(
        "detection-operator",
        host="127.0.0.1",
        port=0,
        health=lambda: {"reconciling": True},
        readiness=lambda: {"running": True},
        registry=metrics.registry,
    )
    try:
        yield server.port
    finally:
        server.close()


@contextmanager
def failing_server() -> Iterator[int]:
    class Failing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Failing) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def run_test_pod(objects: Objects, port: int) -> subprocess.CompletedProcess[str]:
    """Run what the pod of `helm test` runs, once."""
    [pod] = of_kind(objects, "Pod")
    [container] = pod["spec"]["containers"]
    assert container["command"] == ["python", "-c"]
    code, url, _ = container["args"]
    assert url == "http://detection-queue-operator.detection:8080"
    return subprocess.run(
        [sys.executable, "-c", code, f"http://127.0.0.1:{port}", "1"],
        check=False,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_helm_test_passes_on_an_operator_that_leads(render: Render) -> None:
    with operator_server(leads=True) as port:
        done = run_test_pod(render(), port)

    assert (done.returncode, done.stdout) == (0, "the operator is ready and leads\n")


def test_helm_test_fails_without_a_leader(render: Render) -> None:
    with operator_server(leads=False) as port:
        done = run_test_pod(render(), port)

    assert (done.returncode, done.stdout) == (1, "no leader answered; 0 tries left\n")


def test_helm_test_fails_when_the_operator_does(render: Render) -> None:
    with failing_server() as port:
        done = run_test_pod(render(), port)

    assert done.returncode == 1
    assert "503" in done.stdout


def test_nodes_are_read_only_if_asked_for(render: Render) -> None:
    values = {"nodes": {"enabled": True, "selector": "karpenter.sh/nodepool=gpu"}}

    assert nodes_part(render({})) == nodes_part(render({"nodes": None})) == ([], {})
    events = named(render(values), "Role", "detection-detection-queue-operator-nodes")
    assert events["metadata"]["namespace"] == "default"
    assert events["rules"] == [{"apiGroups": [""], "resources": ["events"], "verbs": ["list"]}]
    assert nodes_part(render(values)) == (
        ["get", "list", "watch"],
        {
            "DETECTION_OPERATOR_NODES": "true",
            "DETECTION_OPERATOR_NODE_SELECTOR": "karpenter.sh/nodepool=gpu",
        },
    )


def nodes_part(objects: Objects) -> tuple[list[str], dict[str, str]]:
    """Return the verbs on nodes that are granted, and the operator's variables about them."""
    rules = [rule for o in objects if o["kind"] == "ClusterRole" for rule in o["rules"]]
    verbs = [verb for rule in rules if "nodes" in rule["resources"] for verb in rule["verbs"]]
    [container] = operator_deployment(objects)["spec"]["template"]["spec"]["containers"]
    variables = {
        item["name"]: item["value"] for item in container["env"] if "_NODE" in item["name"]
    }
    return verbs, variables
