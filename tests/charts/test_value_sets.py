"""Many sets of values, rendered by helm, against the schemas of several Kubernetes versions."""

import json
import subprocess
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource

from detection_operator.spec.parse import parse_spec

Objects = list[dict[str, Any]]
# Whatever comes first renders every set.
pytestmark = pytest.mark.timeout(600)

Render = Callable[..., Objects]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

SETS: dict[str, dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("value_sets.yaml").read_text()
)
OWN = "detection-queue.dev/v1alpha1"
SERVED = ("--api-versions", f"{OWN}/DetectionQueue", "--api-versions", f"{OWN}/WorkerPool")
VERSIONS = ("1.29.0", "1.32.0", "1.35.0", "1.37.0")
"""The oldest that the chart supports, the newest with schemas, and two between."""
OPERATOR = {
    "app.kubernetes.io/name": "detection-queue",
    "app.kubernetes.io/instance": "detection-queue",
    "app.kubernetes.io/component": "operator",
}


def of_kind(objects: Objects, kind: str) -> Objects:
    return [item for item in objects if item["kind"] == kind]


def named(objects: Objects, kind: str, name: str) -> dict[str, Any]:
    [found] = [item for item in of_kind(objects, kind) if item["metadata"]["name"] == name]
    return found


def pods(objects: Objects) -> dict[str, dict[str, Any]]:
    """Specs of all pods by component."""
    found = {}
    for item in objects:
        template = item["spec"]["template"] if item["kind"] in {"Deployment", "Job"} else item
        if item["kind"] in {"Deployment", "Job", "Pod"}:
            found[template["metadata"]["labels"]["app.kubernetes.io/component"]] = template["spec"]
    return found


@pytest.fixture(scope="module")
def by_set(render: Render) -> dict[str, Objects]:
    """The objects of every set."""
    return {name: render(values) for name, values in SETS.items()}


# -- every set ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def examples(chart: Path) -> dict[str, dict[str, Any]]:
    """Files of values that the chart offers."""
    found = sorted((chart / "examples" / "values").glob("*.yaml"))
    return {path.name: yaml.safe_load(path.read_text()) for path in found}


@pytest.mark.parametrize("name", SETS)
def test_strict_lint_finds_nothing(run_helm: Run, chart: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "values.json"
    path.write_text(json.dumps(SETS[name]))

    done = run_helm(
        "lint", "--strict", str(chart), "--values", str(path), "--kube-version", VERSIONS[0],
        check=False,
    )  # fmt: skip

    assert "0 chart(s) failed" in done.stdout, done.stdout + done.stderr


@pytest.fixture(scope="module")
def distinct(
    by_set: dict[str, Objects], examples: dict[str, dict[str, Any]], render: Render
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Every object once, as JSON, with the first set that has it."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    offered = {name: render(values) for name, values in examples.items()}
    for name, objects in {**by_set, **offered}.items():
        for item in objects:
            found.setdefault(json.dumps(item), (name, item))
    return found


def schemas(version: str) -> Callable[[dict[str, Any]], Iterator[str]]:
    """Check objects against the schemas of a Kubernetes version; unknown fields are errors."""
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}-local-strict"
    registry = Resource.from_contents(json.loads((folder / "_definitions.json").read_text())) @ (
        Registry()
    )
    validators: dict[str, jsonschema.Draft202012Validator] = {}

    def errors(item: dict[str, Any]) -> Iterator[str]:
        group, _, api = item["apiVersion"].rpartition("/")
        parts = (item["kind"].lower(), group.partition(".")[0], api)
        name = "-".join(part for part in parts if part) + ".json"
        if name not in validators:
            schema = json.loads((folder / name).read_text())
            validators[name] = jsonschema.Draft202012Validator(schema, registry=registry)
        for error in validators[name].iter_errors(item):
            yield f"{name}: {'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"

    return errors


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field_of_every_object(
    distinct: dict[str, tuple[str, dict[str, Any]]], version: str
) -> None:
    errors = schemas(version)
    checked = [
        (name, item)
        for name, item in distinct.values()
        if item["apiVersion"] not in {OWN, "monitoring.coreos.com/v1"}
    ]

    found = [(name, error) for name, item in checked for error in errors(item)]

    assert found == []
    assert len(checked) > 150


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(("spec", "replicas"), "two", id="a word for a number"),
        pytest.param(("spec", "template", "spec", "hostnetwork"), True, id="an unknown field"),
        pytest.param(("spec", "template", "spec", "containers"), {}, id="a map for a list"),
    ],
)
def test_the_schemas_refuse_what_kubernetes_does(
    by_set: dict[str, Objects], path: tuple[str, ...], value: Any
) -> None:
    item = json.loads(json.dumps(of_kind(by_set["one queue"], "Deployment")[0]))
    *parents, last = path
    inner = item
    for part in parents:
        inner = inner[part]
    inner[last] = value

    assert all(list(schemas(version)(item)) for version in VERSIONS)


def test_every_queue_and_pool_is_one_that_the_operator_follows(
    by_set: dict[str, Objects], chart: Path
) -> None:
    crds = [yaml.safe_load(path.read_text()) for path in (chart / "files").glob("*.yaml")]
    kinds = {
        crd["spec"]["names"]["kind"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for crd in crds
        if crd.get("kind") == "CustomResourceDefinition"
    }
    own = [item for objects in by_set.values() for item in objects if item["apiVersion"] == OWN]

    for item in own:
        jsonschema.validate(item, kinds[item["kind"]])
    queues = [parse_spec(item["spec"]) for item in of_kind(own, "DetectionQueue")]

    assert len(queues) >= 8
    assert len(of_kind(own, "WorkerPool")) == 1


def test_no_set_changes_a_selector(by_set: dict[str, Objects]) -> None:
    """A Deployment's selector is immutable: an upgrade that changed it would fail."""
    for name, objects in by_set.items():
        for item in of_kind(objects, "Deployment"):
            selector = item["spec"]["selector"]["matchLabels"]
            labels = item["spec"]["template"]["metadata"]["labels"]
            outbox = {"detection-queue.dev/outbox": "media"}
            delivers = {**OPERATOR, "app.kubernetes.io/component": "deliver", **outbox}
            assert selector in (OPERATOR, delivers), name
            assert selector.items() <= labels.items(), name
        [service] = of_kind(objects, "Service")
        assert service["spec"]["selector"] == OPERATOR
        for item in of_kind(objects, "PodDisruptionBudget"):
            assert item["spec"]["selector"] == {"matchLabels": OPERATOR}


def test_every_object_has_a_name_of_its_own_that_kubernetes_takes(
    by_set: dict[str, Objects],
) -> None:
    for name, objects in by_set.items():
        keys = [
            (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])
            for item in objects
        ]
        assert len(set(keys)) == len(keys), name
        assert max(len(key[-1]) for key in keys if key[0] == "Service") <= 63
        for item in objects:
            labels = item["metadata"].get("labels", {})
            assert all(len(value) <= 63 for value in labels.values()), name


# -- images and pull secrets ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "images"),
    [
        pytest.param(
            "registry and secrets of a parent chart",
            {
                "operator": "mirror.example:5000/team/detection-operator:0.1.0",
                "test": "mirror.example:5000/team/detection-operator:0.1.0",
                "deliver": "mirror.example:5000/team/detection-worker:0.1.0",
            },
            id="global",
        ),
        pytest.param(
            "registry and digest",
            {
                "operator": "123456789012.dkr.ecr.us-east-1.amazonaws.com/detection-operator"
                f"@sha256:{'0' * 64}",
                "test": "123456789012.dkr.ecr.us-east-1.amazonaws.com/detection-operator"
                f"@sha256:{'0' * 64}",
                "deliver": f"ghcr.io/team/worker@sha256:{'1' * 64}",
            },
            id="digest",
        ),
        pytest.param(
            "a repository with a host beside a global registry",
            {"operator": "localhost:5000/operator:1e3", "test": "localhost:5000/operator:1e3"},
            id="host",
        ),
        pytest.param(
            "nothing from a parent chart",
            {"operator": "detection-operator:0.1.0", "test": "detection-operator:0.1.0"},
            id="null",
        ),
    ],
)
def test_an_image_comes_from_the_registry_that_is_meant(
    by_set: dict[str, Objects], name: str, images: dict[str, str]
) -> None:
    found = {who: pod["containers"][0]["image"] for who, pod in pods(by_set[name]).items()}

    assert found == images


def test_pull_secrets_reach_every_pod_and_the_account_of_workers(
    by_set: dict[str, Objects],
) -> None:
    objects = by_set["registry and secrets of a parent chart"]
    expected = [{"name": name} for name in ("parent", "vault", "own")]

    assert {who: pod["imagePullSecrets"] for who, pod in pods(objects).items()} == dict.fromkeys(
        ("operator", "deliver", "test"), expected
    )
    worker = named(objects, "ServiceAccount", "detection-queue-worker")
    assert worker["imagePullSecrets"] == expected


# -- pods -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["OpenShift", "no user, by nulls"])
def test_openshift_may_choose_the_user(by_set: dict[str, Objects], name: str) -> None:
    for pod in pods(by_set[name]).values():
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }


@pytest.mark.parametrize(
    ("mode", "served", "user"),
    [
        pytest.param("auto", True, None, id="OpenShift is found"),
        pytest.param("auto", False, 10002, id="another cluster"),
        pytest.param("disabled", True, 10002, id="unwanted"),
        pytest.param("force", False, None, id="wanted"),
    ],
)
def test_openshift_is_found_by_its_api(
    run_helm: Run,
    chart: Path,
    mode: str,
    served: bool,  # noqa: FBT001 - a parameter of the test
    user: int | None,
) -> None:
    flags = ("--api-versions", "security.openshift.io/v1") if served else ()

    done = run_helm(
        "template", "x", str(chart), "--set", f"openshift.adaptSecurityContext={mode}", *flags
    )

    found = pods([item for item in yaml.safe_load_all(done.stdout) if item])
    assert {who: pod["securityContext"].get("runAsUser") for who, pod in found.items()} == (
        dict.fromkeys(("operator", "test"), user)
    )


def test_the_operator_reaches_the_dns_pods_of_openshift(by_set: dict[str, Objects]) -> None:
    policy, other = (
        named(by_set[name], "NetworkPolicy", "detection-queue-operator")["spec"]["egress"][0]
        for name in ("OpenShift", "labels and annotations for all")
    )

    assert {(item["port"], item["protocol"]) for item in policy["ports"]} == {
        (port, protocol) for port in (53, 5353) for protocol in ("TCP", "UDP")
    }
    assert {item["port"] for item in other["ports"]} == {53}


def test_null_for_a_security_context_is_the_default_and_nothing_weaker(
    by_set: dict[str, Objects],
) -> None:
    """So render stored values of an earlier release, which `helm upgrade --reuse-values` takes."""
    nulls, defaults = (
        pods(by_set[name]) for name in ("null for whole maps", "labels and annotations for all")
    )

    for who, pod in nulls.items():
        assert pod["securityContext"] == defaults[who]["securityContext"]
        [container], [default] = pod["containers"], defaults[who]["containers"]
        assert container["securityContext"] == default["securityContext"]
        grace = pod.get("terminationGracePeriodSeconds")
        assert grace == defaults[who].get("terminationGracePeriodSeconds")


def test_a_bundle_of_certificates_is_mounted_beside_tmp(by_set: dict[str, Objects]) -> None:
    found = pods(by_set["a bundle of certificates"])

    for who in ("operator", "deliver"):
        [container] = found[who]["containers"]
        assert [item["name"] for item in found[who]["volumes"]] == ["tmp", "ca"]
        assert [item["mountPath"] for item in container["volumeMounts"]] == ["/tmp", "/etc/ca"]
        assert {"name": "AWS_CA_BUNDLE", "value": "/etc/ca/ca.crt"} in container["env"]


def test_a_volume_of_the_chart_s_name_replaces_it(by_set: dict[str, Objects]) -> None:
    operator = pods(by_set["a larger tmp"])["operator"]

    assert operator["volumes"] == [
        {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi", "medium": "Memory"}}
    ]
    assert operator["containers"][0]["volumeMounts"] == [
        {"name": "tmp", "mountPath": "/tmp", "subPath": "operator"}
    ]


def test_variables_and_arguments_follow_the_chart_s(by_set: dict[str, Objects]) -> None:
    found = pods(by_set["variables and arguments"])
    [operator], [deliver] = (found[who]["containers"] for who in ("operator", "deliver"))

    assert operator["args"] == ["run", "--threads", "16"]
    assert deliver["args"] == ["deliver", "--callback-workers", "8"]
    assert [next(iter(set(item) - {"prefix"})) for item in operator["envFrom"]] == [
        "secretRef",
        "configMapRef",
    ]
    assert deliver["envFrom"] == [{"secretRef": {"name": "proxy"}}]


def test_the_node_s_network_still_resolves_names_of_services(by_set: dict[str, Objects]) -> None:
    operator = pods(by_set["the node's network"])["operator"]
    own = pods(by_set["the node's network and names of one's own"])["operator"]

    assert (operator["hostNetwork"], operator["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
    assert own["dnsPolicy"] == "Default"


def test_a_constraint_without_a_selector_counts_the_deployment_s_pods(
    by_set: dict[str, Objects],
) -> None:
    zone, node = pods(by_set["spread of one's own"])["operator"]["topologySpreadConstraints"]
    both = pods(by_set["spread and affinity"])
    [deliver] = both["deliver"]["topologySpreadConstraints"]

    assert zone["labelSelector"] == {"matchLabels": OPERATOR}
    assert node["labelSelector"] == {"matchLabels": {"team": "media"}}
    assert len(both["operator"]["topologySpreadConstraints"]) == 1
    assert deliver["labelSelector"]["matchLabels"]["detection-queue.dev/outbox"] == "media"


def test_recreate_takes_no_settings_of_rolling_updates(by_set: dict[str, Objects]) -> None:
    for item in of_kind(by_set["one after the other"], "Deployment"):
        assert item["spec"]["strategy"] == {"type": "Recreate"}


def test_deliver_stops_before_it_is_killed(by_set: dict[str, Objects]) -> None:
    deliver = pods(by_set["deliver with everything"])["deliver"]
    [grace] = [
        item["value"]
        for item in deliver["containers"][0]["env"]
        if item["name"] == "DETECTION_SHUTDOWN_GRACE_S"
    ]

    assert (deliver["terminationGracePeriodSeconds"], grace) == (65, "60")


@pytest.mark.parametrize(
    ("name", "budget"),
    [
        ("budget by number of the evicted", {"maxUnavailable": 1}),
        ("budget that allows none", {"maxUnavailable": 0}),
        ("budget in percent", {"minAvailable": "50%"}),
        ("budget as text", {"minAvailable": 1}),
        ("null for whole maps", {"minAvailable": 1}),
    ],
)
def test_a_budget_counts_pods_or_percent(
    by_set: dict[str, Objects], name: str, budget: dict[str, Any]
) -> None:
    [found] = of_kind(by_set[name], "PodDisruptionBudget")

    assert budget.items() <= found["spec"].items()
    assert len({"minAvailable", "maxUnavailable"} & found["spec"].keys()) == 1


# -- names and labels -----------------------------------------------------------------------------


def test_labels_and_annotations_for_all_are_on_all(by_set: dict[str, Objects]) -> None:
    for item in by_set["labels and annotations for all"]:
        labels, annotations = item["metadata"]["labels"], item["metadata"]["annotations"]
        assert (labels["team"], labels["cost-centre"]) == ("media", "0123")
        assert labels["app.kubernetes.io/name"] == "detection-queue"
        assert labels["app.kubernetes.io/instance"] == "detection-queue"
        assert annotations["owner"] == "media@example.com"
        if item["kind"] == "Deployment":
            assert item["spec"]["template"]["metadata"]["labels"]["team"] == "media"
    crd = of_kind(by_set["labels and annotations for all"], "CustomResourceDefinition")[0]
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_a_name_replaces_the_chart_s_in_names_alone(by_set: dict[str, Objects]) -> None:
    deployment = named(by_set["name override"], "Deployment", "detection-queue-dq-operator")

    assert deployment["metadata"]["labels"]["app.kubernetes.io/name"] == "detection-queue"


def test_every_object_is_in_the_namespace_that_replaces_the_release_s(
    by_set: dict[str, Objects],
) -> None:
    objects = by_set["namespace override"]
    text = json.dumps(objects)
    [container] = pods(objects)["operator"]["containers"]

    assert {item["metadata"].get("namespace") for item in objects} == {"a", None}
    assert '"detection"' not in text
    assert "detection-queue-operator.a:8080" in text
    assert {"name": "DETECTION_OPERATOR_NAMESPACES", "value": "a"} in container["env"]


# -- monitoring -----------------------------------------------------------------------------------


def test_what_lives_in_another_namespace_is_named_after_its_own(
    by_set: dict[str, Objects],
) -> None:
    """Releases of one name in two namespaces may both put their monitors there."""
    objects = by_set["monitors elsewhere"]
    there = [item for item in objects if item["metadata"].get("namespace") == "monitoring"]

    assert {item["kind"] for item in there} >= {
        "ServiceMonitor",
        "PodMonitor",
        "PrometheusRule",
        "ConfigMap",
    }
    for item in there:
        assert item["metadata"]["name"].startswith("detection-detection-queue")
    [monitor] = of_kind(objects, "ServiceMonitor")
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["detection"]}
    [endpoint] = monitor["spec"]["endpoints"]
    assert (endpoint["interval"], endpoint["scrapeTimeout"]) == ("30s", "10s")


def test_relabelings_come_after_the_chart_s(by_set: dict[str, Objects]) -> None:
    objects = by_set["relabelled series"]
    [service] = of_kind(objects, "ServiceMonitor")[0]["spec"]["endpoints"]

    assert "honorLabels" not in service
    assert service["relabelings"] == [{"targetLabel": "cluster", "replacement": "prod"}]
    for item in of_kind(objects, "PodMonitor"):
        [endpoint] = item["spec"]["podMetricsEndpoints"]
        assert [rule["targetLabel"] for rule in endpoint["relabelings"]] == ["queue", "node"]
        assert endpoint["metricRelabelings"][0]["action"] == "drop"
        assert endpoint["honorLabels"] is True


def test_rules_of_one_s_own_follow_the_chart_s(by_set: dict[str, Objects]) -> None:
    [rule] = of_kind(by_set["rules of one's own"], "PrometheusRule")
    *chart, own = rule["spec"]["groups"]

    assert len(chart) >= 2
    assert own["rules"][0]["annotations"]["summary"] == "{{ $labels.name }} is long"


# -- queues, pools, objects -----------------------------------------------------------------------


def test_a_queue_gets_what_the_release_knows(by_set: dict[str, Objects]) -> None:
    [queue] = of_kind(by_set["one queue"], "DetectionQueue")

    assert queue["metadata"]["namespace"] == "detection"
    assert queue["spec"]["worker"]["template"] == {
        "image": "detection-worker:0.1.0",
        "serviceAccountName": "detection-queue-worker",
    }


def test_what_a_queue_says_itself_stays(by_set: dict[str, Objects]) -> None:
    first, second = of_kind(by_set["queues and a pool"], "DetectionQueue")
    adopted = of_kind(by_set["a queue with a Deployment of its own"], "DetectionQueue")[0]
    elsewhere = of_kind(by_set["queues in the whole cluster"], "DetectionQueue")[0]
    template = second["spec"]["worker"]["template"]

    assert (first["metadata"]["namespace"], second["metadata"]["namespace"]) == ("a", "b")
    assert first["spec"]["worker"]["template"]["image"] == "mirror.example/detection-worker:0.1.0"
    assert (template["image"], template["serviceAccountName"]) == (
        "mirror.example/team/worker:2",
        "mine",
    )
    assert second["metadata"]["labels"]["team"] == "media"
    assert adopted["spec"]["worker"] == {"deploymentRef": {"name": "worker"}}
    # The account of workers is only where the chart creates it.
    assert "serviceAccountName" not in elsewhere["spec"]["worker"]["template"]


def test_queues_are_hooks_only_where_their_kind_is_not_served_yet(
    run_helm: Run, by_set: dict[str, Objects], chart: Path, tmp_path: Path
) -> None:
    path = tmp_path / "values.json"
    path.write_text(json.dumps(SETS["queues and a pool"]))
    done = run_helm(
        "template",
        "detection-queue",
        str(chart),
        "-n",
        "detection",
        "--values",
        str(path),
        *SERVED,
    )
    later = [
        item for item in yaml.safe_load_all(done.stdout) if item and item["apiVersion"] == OWN
    ]
    first = [item for item in by_set["queues and a pool"] if item["apiVersion"] == OWN]
    [job] = of_kind(by_set["queues and a pool"], "Job")

    def hooks(item: dict[str, Any]) -> dict[str, str]:
        found = item["metadata"]["annotations"].items()
        return {name: value for name, value in found if name.startswith("helm.sh/hook")}

    assert [item["spec"] for item in later] == [item["spec"] for item in first]
    assert [hooks(item) for item in later] == [{}] * 3
    for item in first:
        assert int(hooks(item)["helm.sh/hook-weight"]) > int(hooks(job)["helm.sh/hook-weight"])
        assert item["metadata"]["annotations"]["meta.helm.sh/release-name"] == "detection-queue"
    assert "kind: Job" not in done.stdout
    assert {item["metadata"]["annotations"]["helm.sh/resource-policy"] for item in later} == {
        "keep"
    }
    unkept = of_kind(by_set["queues that go with the CRD"], "DetectionQueue")[0]
    assert "helm.sh/resource-policy" not in unkept["metadata"]["annotations"]
    given = of_kind(by_set["queues without the CRD"], "DetectionQueue")[0]
    assert hooks(given) == {}


def test_objects_of_one_s_own_are_rendered(by_set: dict[str, Objects]) -> None:
    objects = by_set["objects of one's own"]

    assert named(objects, "ConfigMap", "detection-queue-ca")["data"] == {"ca.crt": "INFO"}
    assert named(objects, "ConfigMap", "detection-queue-text")["metadata"]["namespace"] == (
        "detection"
    )


def test_more_rights_are_in_the_role_of_the_operator(by_set: dict[str, Objects]) -> None:
    roles = [
        item
        for item in of_kind(by_set["more rights"], "Role")
        if item["metadata"]["name"] == "detection-queue-operator"
    ]

    assert [item["metadata"]["namespace"] for item in roles] == ["a", "b"]
    for item in roles:
        assert item["rules"][-1] == SETS["more rights"]["rbac"]["extraRules"][0]
        assert len(item["rules"]) > 5


def test_text_that_looks_like_another_type_stays_text(by_set: dict[str, Objects]) -> None:
    objects = by_set["words that look like other types"]
    values = SETS["words that look like other types"]
    [container] = pods(objects)["operator"]["containers"]

    assert container["args"] == ["run", *values["operator"]["extraArgs"]]
    for item in objects:
        assert values["commonLabels"].items() <= item["metadata"]["labels"].items()
        assert values["commonAnnotations"].items() <= item["metadata"]["annotations"].items()


def test_a_user_of_ten_digits_stays_a_whole_number(run_helm: Run, chart: Path) -> None:
    done = run_helm(
        "template", "x", str(chart), "--set", "operator.podSecurityContext.runAsUser=1000680000"
    )

    assert "runAsUser: 1000680000\n" in done.stdout


# -- refused --------------------------------------------------------------------------------------

QUEUE = {"name": "media", "spec": {"queue": {"url": "https://sqs.eu-west-1.amazonaws.com/1/a"}}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(
            {"podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": "50%"}},
            "contradict each other",
            id="both sides of a budget",
        ),
        pytest.param(
            {"image": {"registry": "ghcr.io", "repository": "quay.io/team/operator"}},
            "begins with a host too",
            id="two registries",
        ),
        pytest.param(
            {"monitoring": {"serviceMonitor": {"enabled": True, "scrapeTimeout": "1m"}}},
            "monitoring.serviceMonitor.scrapeTimeout 1m is longer than its interval 15s",
            id="a timeout above the interval",
        ),
        pytest.param(
            {"queues": [QUEUE, QUEUE]}, "queues has the name media twice", id="a queue twice"
        ),
        pytest.param(
            {"queues": [{**QUEUE, "namespace": "other"}]},
            "media is in the namespace other, which the operator does not watch",
            id="a namespace that nobody watches",
        ),
        pytest.param({"queues": [{"name": "media"}]}, "spec", id="a queue without a spec"),
        pytest.param({"queues": [QUEUE], "deliver": None}, "deliver.image", id="no image"),
        pytest.param({"crds": None}, "crds", id="null for a group"),
        pytest.param({"serviceAccounts": {"worker": None}}, "worker", id="null for an account"),
        pytest.param({"image": {"repository": None}}, "repository", id="null for an image"),
        pytest.param(
            {"networkPolicy": {"enabled": True, "apiServerPort": None}},
            "apiServerPort",
            id="null for a port, which is all ports",
        ),
        pytest.param({"queues": [{**QUEUE, "image": "x"}]}, "image", id="a field beside the spec"),
        pytest.param(
            {"imagePullSecrets": [{"nam": "x"}]}, "imagePullSecrets", id="a nameless one"
        ),
        pytest.param({"commonLabels": {"a": "b c"}}, "commonLabels", id="no label's value"),
        pytest.param({"commonLabels": {"a": 1}}, "commonLabels", id="a number for a label"),
        pytest.param(
            {"operator": {"podSecurityContext": {"runasuser": 1}}}, "runasuser", id="misspelt"
        ),
        pytest.param(
            {"operator": {"podSecurityContext": {"runAsUser": "1000"}}}, "runAsUser", id="as text"
        ),
        pytest.param({"operator": {"hostNetwork": "true"}}, "hostNetwork", id="a word for yes"),
        pytest.param(
            {"operator": {"strategy": {"type": "Rolling"}}}, "strategy", id="no strategy"
        ),
        pytest.param({"fullnameOverride": "x" * 51}, "fullnameOverride", id="a long name"),
        pytest.param({"operator": {"extraVolumes": [{"configMap": {}}]}}, "name", id="no name"),
        pytest.param({"deliver": {"terminationGracePeriodSeconds": 3}}, "Seconds", id="no time"),
    ],
)
def test_values_that_could_not_work_are_refused(
    run_helm: Run, chart: Path, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    path = tmp_path / "values.json"
    path.write_text(json.dumps(values))

    done = run_helm(
        "template", "x", str(chart), "--values", str(path),
        "--api-versions", "monitoring.coreos.com/v1", check=False,
    )  # fmt: skip

    assert done.returncode != 0
    assert message in done.stderr
