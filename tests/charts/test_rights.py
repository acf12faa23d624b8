"""The operator's rights on a real API server: all that its client needs, and nothing else."""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from detection_operator.crd.manifest import KIND, PLURAL, POOL_KIND, POOL_PLURAL
from detection_operator.errors import Forbidden, NotFound
from detection_operator.kube.client import APPS, QUEUES, KubernetesCluster
from detection_operator.kube.manifests.disruption import disruption_budget
from detection_operator.kube.objects import API_VERSION, micro_timestamp
from detection_operator.kube.port import EventNote, Key
from detection_operator.kube.rest import Rest, namespaced

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

ACCOUNT = "detection-queue-operator"
SETTLE_S = 20.0
SPEC = {
    "queue": {"url": "https://sqs.eu-west-1.amazonaws.com/123456789012/video"},
    "worker": {"template": {"image": "detection-worker:1"}},
}
Right = tuple[str, str, str]
"""API group, resource and verb."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A namespace with one of everything, and a client that acts in it."""

    namespace: str
    rest: Rest
    queue: Mapping[str, Any]
    deployment: Mapping[str, Any]
    case: str

    @property
    def client(self) -> KubernetesCluster:
        return KubernetesCluster(self.rest, (self.namespace,))

    def watch(self, group: str, plural: str) -> None:
        """Watch for a second, as kopf does for longer."""
        query = {"watch": "true", "timeoutSeconds": "1"}
        # A stream of events is no single JSON document.
        with contextlib.suppress(ValueError):
            self.rest.call("GET", namespaced(group, self.namespace, plural), query=query)

    def lease(self) -> dict[str, Any]:
        metadata = {"namespace": self.namespace, "name": ACCOUNT}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}

    def renew(self) -> None:
        found = self.client.lease(self.namespace, ACCOUNT)
        assert found is not None
        self.client.replace_lease({**found, "spec": {"holderIdentity": self.case}})

    def note(self) -> EventNote:
        return EventNote(
            about=self.queue, type="Normal", reason="Scaled", message="0 to 1", now_s=time.time()
        )

    def named(self, manifest: Mapping[str, Any], name: str) -> dict[str, Any]:
        return {**manifest, "metadata": {**manifest["metadata"], "name": name}}


CALLS: dict[Right, Callable[[Stage], object]] = {
    ("detection-queue.dev", "detectionqueues", "get"): lambda s: s.client.queue(
        Key(s.namespace, "video")
    ),
    ("detection-queue.dev", "detectionqueues", "list"): lambda s: s.client.queues(),
    ("detection-queue.dev", "detectionqueues", "watch"): lambda s: s.watch(QUEUES, PLURAL),
    ("detection-queue.dev", "detectionqueues/status", "patch"): lambda s: s.client.apply_status(
        Key(s.namespace, "video"), {"replicas": 1}
    ),
    ("detection-queue.dev", "workerpools", "list"): lambda s: s.client.pools(),
    ("detection-queue.dev", "workerpools", "watch"): lambda s: s.watch(QUEUES, POOL_PLURAL),
    ("detection-queue.dev", "workerpools/status", "patch"): lambda s: s.client.apply_status(
        Key(s.namespace, "gpu", POOL_KIND), {"capacity": 1}
    ),
    ("", "resourcequotas", "get"): lambda s: s.client.resource_quota(s.namespace, "gpus"),
    ("apps", "deployments", "get"): lambda s: s.client.deployment(s.namespace, "standing"),
    ("apps", "deployments", "list"): lambda s: s.client.all_deployments(),
    ("apps", "deployments", "watch"): lambda s: s.watch(APPS, "deployments"),
    ("apps", "deployments", "create"): lambda s: s.client.apply(
        s.named(s.deployment, f"new-{s.case}")
    ),
    ("apps", "deployments", "patch"): lambda s: s.client.apply(s.named(s.deployment, "standing")),
    ("apps", "deployments", "delete"): lambda s: s.client.delete_deployment(
        s.namespace, "doomed", resource_version=""
    ),
    ("apps", "deployments/scale", "patch"): lambda s: s.client.scale(
        s.namespace, "standing", 2, resource_version=None
    ),
    ("", "pods", "list"): lambda s: s.client.all_pods(),
    ("", "pods", "watch"): lambda s: s.watch("v1", "pods"),
    ("", "pods", "patch"): lambda s: s.client.annotate_pod(s.namespace, "worker", {"a": s.case}),
    ("policy", "poddisruptionbudgets", "get"): lambda s: s.client.disruption_budget(
        s.namespace, "standing"
    ),
    ("policy", "poddisruptionbudgets", "create"): lambda s: s.client.apply(
        s.named(disruption_budget(s.queue), f"new-{s.case}")
    ),
    ("policy", "poddisruptionbudgets", "patch"): lambda s: s.client.apply(
        s.named(disruption_budget(s.queue), "standing")
    ),
    ("policy", "poddisruptionbudgets", "delete"): lambda s: s.client.delete_disruption_budget(
        s.namespace, "doomed", resource_version=""
    ),
    ("", "events", "create"): lambda s: s.client.post_event(s.note()),
    ("", "events", "list"): lambda s: s.client.pod_events(s.namespace),
    ("coordination.k8s.io", "leases", "create"): lambda s: s.client.create_lease(
        {**s.lease(), "metadata": {"namespace": s.namespace, "name": f"new-{s.case}"}}
    ),
    ("coordination.k8s.io", "leases", "get"): lambda s: s.client.lease(s.namespace, ACCOUNT),
    ("coordination.k8s.io", "leases", "update"): lambda s: s.renew(),
}
"""For each right a call of the operator that needs it; kopf's watches are made by hand."""


def rights(rules: list[dict[str, Any]]) -> set[Right]:
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def rules_of(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        rule
        for item in objects
        if item["kind"] in {"Role", "ClusterRole"}
        for rule in item["rules"]
    ]


def without(rules: list[dict[str, Any]], right: Right) -> list[dict[str, Any]]:
    """Return the rules with one verb of one resource less."""
    group, resource, verb = right
    left = []
    for rule in rules:
        hit = group in rule["apiGroups"] and resource in rule["resources"]
        verbs = [item for item in rule["verbs"] if not (hit and item == verb)]
        left.append({**rule, "verbs": verbs})
    return [rule for rule in left if rule["verbs"]]


@pytest.fixture
def stage(
    cluster: Any,
    installed: Callable[..., str],
    operator_rest: Callable[[str, str], Rest],
    worker_deployment: Callable[..., dict[str, Any]],
) -> Callable[..., Stage]:
    """A namespace with the chart and one of everything, seen by its operator."""
    namespace = installed()
    queue_of = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "video"}}
    apply = ("-n", namespace, "apply", "-f", "-")
    cluster.run(*apply, stdin=yaml.safe_dump({**queue_of, "spec": SPEC}))
    pool = {"apiVersion": API_VERSION, "kind": POOL_KIND, "metadata": {"name": "gpu"}}
    cluster.run(*apply, stdin=yaml.safe_dump({**pool, "spec": {"capacity": {"replicas": 1}}}))
    queue = cluster.get("-n", namespace, "dq", "video")
    manifest = worker_deployment(queue, replicas=0)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "worker"},
        "spec": {"containers": [{"name": "worker", "image": "detection-worker:1"}]},
    }
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": ACCOUNT},
    }
    for name in ("standing", "doomed"):
        named = {**manifest, "metadata": {**manifest["metadata"], "name": name}}
        cluster.run(*apply, stdin=yaml.safe_dump(named))
    budget = disruption_budget(queue)
    budgets = [
        {**budget, "metadata": {**budget["metadata"], "name": name}}
        for name in ("standing", "doomed")
    ]
    cluster.run(*apply, stdin=yaml.safe_dump_all([pod, lease, *budgets]))

    def seen_by(account: str = ACCOUNT, case: str = "all") -> Stage:
        rest = operator_rest(namespace, account)
        return Stage(namespace, rest, queue, manifest, case)

    return seen_by


def test_the_role_grants_exactly_what_the_calls_need(
    render: Callable[..., list[dict[str, Any]]],
) -> None:
    assert rights(rules_of(render())) == CALLS.keys()
    assert rights(rules_of(render({"clusterWide": True}))) == CALLS.keys()


def test_with_the_chart_s_role_every_call_succeeds(stage: Callable[..., Stage]) -> None:
    seen = stage()

    for right, call in CALLS.items():
        if right[2] != "delete":
            call(seen)
    doomed = seen.client.deployment(seen.namespace, "doomed")
    assert doomed is not None
    version = doomed["metadata"]["resourceVersion"]
    seen.client.delete_deployment(seen.namespace, "doomed", resource_version=version)
    assert seen.client.deployment(seen.namespace, "doomed") is None
    budget = seen.client.disruption_budget(seen.namespace, "doomed")
    assert budget is not None
    version = budget["metadata"]["resourceVersion"]
    seen.client.delete_disruption_budget(seen.namespace, "doomed", resource_version=version)
    assert seen.client.disruption_budget(seen.namespace, "doomed") is None


def test_each_right_is_needed(
    cluster: Any, stage: Callable[..., Stage], render: Callable[..., list[dict[str, Any]]]
) -> None:
    rules = rules_of(render())
    namespace = stage().namespace
    cases = {f"lacks-{index}": right for index, right in enumerate(CALLS)}
    documents = [
        item
        for case, right in cases.items()
        for item in reduced_account(case, namespace, without(rules, right))
    ]
    cluster.run("-n", namespace, "apply", "-f", "-", stdin=yaml.safe_dump_all(documents))

    for case, right in cases.items():
        seen = stage(case, case)
        wait_for_rights(seen, rights(rules) - {right})
        with pytest.raises(Forbidden):
            CALLS[right](seen)


def reduced_account(
    name: str, namespace: str, rules: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    authorization = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    meta = {"metadata": {"name": name}}
    yield {"apiVersion": "v1", "kind": "ServiceAccount", **meta}
    yield {"apiVersion": f"{authorization}/v1", "kind": "Role", **meta, "rules": rules}
    yield {
        "apiVersion": f"{authorization}/v1",
        "kind": "RoleBinding",
        **meta,
        "roleRef": {"apiGroup": authorization, "kind": "Role", "name": name},
        "subjects": [subject],
    }


def wait_for_rights(seen: Stage, wanted: set[Right]) -> None:
    """Wait until the API server has taken in the role: before that everything is refused."""
    end_s = time.monotonic() + SETTLE_S
    while granted(seen) != wanted:
        assert time.monotonic() < end_s, granted(seen) ^ wanted
        time.sleep(0.05)


def granted(seen: Stage) -> set[Right]:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": seen.namespace},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    found = rights(seen.rest.call("POST", path, review)["status"]["resourceRules"])
    return {item for item in found if not item[0].startswith("auth")}


REFUSED: dict[str, Callable[[Stage], object]] = {
    "read secrets": lambda s: s.rest.call("GET", namespaced("v1", s.namespace, "secrets")),
    "read config maps": lambda s: s.rest.call("GET", namespaced("v1", s.namespace, "configmaps")),
    "delete a pod": lambda s: s.rest.call(
        "DELETE", namespaced("v1", s.namespace, "pods", "worker")
    ),
    "run a pod": lambda s: s.rest.call("POST", namespaced("v1", s.namespace, "pods"), {}),
    "change a spec": lambda s: s.rest.call(
        "PUT", namespaced(QUEUES, s.namespace, PLURAL, "video"), dict(s.queue)
    ),
    "delete a DetectionQueue": lambda s: s.rest.call(
        "DELETE", namespaced(QUEUES, s.namespace, PLURAL, "video")
    ),
    "take another's lease": lambda s: s.rest.call(
        "PUT", namespaced("coordination.k8s.io/v1", s.namespace, "leases", "other"), {}
    ),
    "give itself rights": lambda s: s.rest.call(
        "POST", namespaced("rbac.authorization.k8s.io/v1", s.namespace, "rolebindings"), {}
    ),
    "look into another namespace": lambda s: s.rest.call(
        "GET", namespaced(QUEUES, "default", PLURAL)
    ),
    "look into all namespaces": lambda s: s.rest.call("GET", namespaced(QUEUES, None, PLURAL)),
    "read the CRD": lambda s: s.rest.call(
        "GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    ),
    "list namespaces": lambda s: s.rest.call("GET", "/api/v1/namespaces"),
}


def test_everything_else_is_refused(stage: Callable[..., Stage]) -> None:
    seen = stage()

    for what, call in REFUSED.items():
        try:
            call(seen)
        except Forbidden:
            continue
        except NotFound:
            pytest.fail(f"was allowed to {what}")
        pytest.fail(f"was allowed to {what}")


def test_cluster_wide_rights_reach_every_namespace(
    cluster: Any, installed: Callable[..., str], operator_rest: Callable[[str, str], Rest]
) -> None:
    namespace = installed("clusterWide=true")
    elsewhere = cluster.namespace(f"other-{uuid.uuid4().hex[:6]}")
    queue = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "v"}, "spec": SPEC}
    cluster.run("-n", elsewhere, "apply", "-f", "-", stdin=yaml.safe_dump(queue))
    client = KubernetesCluster(operator_rest(namespace, ACCOUNT))

    assert [item["metadata"]["namespace"] for item in client.queues()] == [elsewhere]
    assert client.apply_status(Key(elsewhere, "v"), {"replicas": 1})["status"] == {"replicas": 1}
    client.all_deployments()
    client.all_pods()


def test_watched_namespaces_get_a_role_each_and_the_release_s_own_none(
    cluster: Any, installed: Callable[..., str], operator_rest: Callable[[str, str], Rest]
) -> None:
    served = [cluster.namespace(f"served-{uuid.uuid4().hex[:6]}") for _ in range(2)]
    namespace = installed(f"watchNamespaces={{{','.join(served)}}}")
    rest = operator_rest(namespace, ACCOUNT)

    assert KubernetesCluster(rest, tuple(served)).queues() == []
    with pytest.raises(Forbidden):
        KubernetesCluster(rest, (namespace,)).queues()
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"namespace": namespace, "name": ACCOUNT},
        "spec": {"holderIdentity": "me", "renewTime": micro_timestamp(time.time())},
    }
    assert KubernetesCluster(rest).create_lease(lease)
