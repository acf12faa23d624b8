"""What only a real API server can say: the CRD's rules, columns, scale, status, field owners."""

import copy
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from detection_operator.crd.manifest import PLURAL
from detection_operator.errors import Conflict, Forbidden, NotFound, Rejected
from detection_operator.kube.client import APPS, QUEUES, KubernetesCluster
from detection_operator.kube.manifests.disruption import disruption_budget
from detection_operator.kube.port import FIELD_MANAGER, Key
from detection_operator.kube.rest import MERGE_PATCH, Rest, namespaced
from detection_operator.reconcile.act.disruption import BudgetWatch, keep_budget
from detection_operator.spec.parse import parse_spec
from detection_operator.spec.validation import InvalidSpec
from detection_testing.kubernetes.apiserver import ApiServer
from detection_testing.scenes.api_scene import ApiScene
from detection_testing.scenes.world import MINIMAL

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture
def scene(api_server: ApiServer) -> Iterator[ApiScene]:
    operator, admin = Rest(api_server.configuration()), Rest(api_server.configuration())
    yield ApiScene(operator, admin, f"api-{uuid.uuid4().hex[:8]}")
    operator.close()
    admin.close()


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    spec = copy.deepcopy(dict(MINIMAL))
    change(spec)
    return spec


def with_endpoint(url: str) -> Callable[[dict[str, Any]], object]:
    return lambda spec: spec["queue"].update(endpointURL=url)


def with_results(**results: Any) -> Callable[[dict[str, Any]], object]:
    return lambda spec: spec["worker"]["template"].update(results=results)


def with_pool(pool: dict[str, Any], scaling: dict[str, Any]) -> Callable[[dict[str, Any]], object]:
    return lambda spec: spec["scaling"].update(scaling, pool=pool)


QUEUE_URL = MINIMAL["queue"]["url"]
DESTINATION = "arn:aws:sqs:eu-west-1:123456789012"
WRONG_RESULTS: list[tuple[dict[str, Any], str]] = [
    ({"url": "https://bucket/results/"}, "should match"),
    ({"url": "s3://a..b/"}, "results.url has a bucket name that S3 does not allow"),
    ({"cacheURL": "s3://10.0.0.1/c"}, "results.cacheURL has a bucket name that S3 does not allow"),
    ({"url": "s3://bucket/?x"}, "should match"),
    ({"url": "s3://bucket/../r/"}, "results.url has a folder . or .."),
    ({"cacheURL": "s3://bucket/c/."}, "results.cacheURL has a folder . or .."),
    ({"url": "s3://bucket/c/r", "cacheURL": "s3://bucket/c"}, "lies below results.cacheURL"),
    ({"keyTemplate": "{request_id}"}, "keyTemplate has no meaning without results.url"),
    (
        {"url": "s3://bucket/", "keyTemplate": "{date}.json"},
        "otherwise results overwrite each other",
    ),
    (
        {"url": "s3://bucket/", "keyTemplate": "{message_id}.json"},
        "results.keyTemplate needs {request_id}, or {message_id} and {index}",
    ),
    *(
        ({"url": "s3://bucket/", "keyTemplate": key}, "results.keyTemplate has a folder . or ..")
        for key in ("../{request_id}", "{request_id}/..", "a/./{request_id}", "{request_id} ")
    ),
    ({"url": "s3://bucket/", "keyTemplate": "{request_id}{x}"}, "should match"),
    ({"pages": True}, "results.pages has no meaning without results.url"),
    (
        {"url": "s3://bucket/", "keyTemplate": "{request_id}", "pages": True},
        "results.pages needs a results.keyTemplate that ends in .json",
    ),
    ({"kmsKeyID": "alias/results"}, "kmsKeyID has no meaning without results.url"),
    ({"bucketOwner": "123456789012"}, "bucketOwner has no meaning without"),
    ({"url": "s3://bucket/", "bucketOwner": "me"}, "should match"),
    ({"onSuccess": [QUEUE_URL]}, "should match"),
    ({"onFailure": [f"{DESTINATION}:a", f"{DESTINATION}:a"]}, "Duplicate value"),
    ({"onSuccess": [f"{DESTINATION}:q{n}" for n in range(11)]}, "at most 10 items"),
    ({"onSuccess": [f"{DESTINATION}:a", f"{DESTINATION}:video"]}, "may not notify the queue"),
    (
        {"onFailure": [f"{DESTINATION}:box"], "outboxURL": QUEUE_URL.replace("video", "box")},
        "may not notify the queue itself, its dead-letter queue or the outbox",
    ),
    ({"callbackURL": "https:///x"}, "should match"),
    ({"outboxURL": QUEUE_URL}, "results.outboxURL must differ from queue.url"),
    ({"outboxURL": f"{QUEUE_URL}-outbox.fifo"}, "results.outboxURL is a FIFO queue"),
]

REFUSED = [
    *(
        pytest.param(with_results(**results), message, id=f"results: {message} {number}")
        for number, (results, message) in enumerate(WRONG_RESULTS)
    ),
    pytest.param(
        lambda s: (
            s["queue"].update(deadLetterQueue=f"{QUEUE_URL}-dlq"),
            with_results(onFailure=[f"{DESTINATION}:video-dlq"])(s),
        ),
        "may not notify the queue itself, its dead-letter queue or the outbox",
        id="notified dead letters",
    ),
    pytest.param(
        lambda s: (
            s["queue"].update(deadLetterQueue=f"{QUEUE_URL}-dlq"),
            with_results(outboxURL=f"{QUEUE_URL}-dlq")(s),
        ),
        "results.outboxURL must differ from queue.deadLetterQueue",
        id="the dead letters as outbox",
    ),
    pytest.param(
        lambda s: (
            s["queue"].update(url="http://sqs:4566/123456789012/video", region="eu-west-1"),
            with_results(onSuccess=[f"{DESTINATION}:video"])(s),
        ),
        "may not notify the queue",
        id="the queue of an emulator",
    ),
    pytest.param(lambda s: s.pop("worker"), "spec.worker: Required value", id="no worker"),
    pytest.param(
        lambda s: s["worker"].update(deploymentRef={"name": "x"}),
        "exactly one of template and deploymentRef",
        id="both workers",
    ),
    pytest.param(
        lambda s: s["queue"].update(url="https://example.com/123/video"),
        "queue.region is required",
        id="no region",
    ),
    pytest.param(lambda s: s["queue"].update(url="sqs"), "should match", id="no URL"),
    pytest.param(
        lambda s: s["scaling"].update(minReplicas=21), "is above scaling.maxReplicas", id="min"
    ),
    pytest.param(
        lambda s: s["scaling"].update(mode="Manual"), "replicas is required", id="manual"
    ),
    pytest.param(
        lambda s: s["scaling"].update(policy="Backlog"), "backlogPerReplica", id="backlog"
    ),
    pytest.param(
        lambda s: s["scaling"].update(fallback={"behavior": "Static"}), "fallback", id="fallback"
    ),
    pytest.param(
        lambda s: s.update(budget={"replicaHourCost": "0", "maxPerHour": "1"}),
        "must be above 0",
        id="free replicas",
    ),
    pytest.param(
        lambda s: (
            s["scaling"].update(minReplicas=2),
            s.update(budget={"replicaHourCost": "1.5", "maxPerHour": "2.99"}),
        ),
        "budget.maxPerHour does not pay scaling.minReplicas",
        id="budget below the minimum",
    ),
    pytest.param(
        lambda s: s.update(budget={"replicaHourCost": "1"}),
        "budget needs maxPerHour, maxPerDay or both",
        id="budget without a limit",
    ),
    pytest.param(
        lambda s: s["queue"].update(deadLetterQueue=s["queue"]["url"]),
        "queue.deadLetterQueue must differ from queue.url",
        id="its own dead letters",
    ),
    pytest.param(
        lambda s: s["scaling"].update(headroomReplicas=21),
        "scaling.headroomReplicas is above scaling.maxReplicas",
        id="headroom",
    ),
    pytest.param(
        lambda s: s["scaling"].update(
            schedules=[
                {"name": "day", "cron": "0 7 * * *", "durationSeconds": 60, "minReplicas": 21}
            ]
        ),
        "a schedule's minReplicas is above scaling.maxReplicas",
        id="schedule",
    ),
    pytest.param(
        lambda s: s["scaling"].update(fallback={"behavior": "AtLeast", "replicas": 21}),
        "scaling.fallback.replicas is above scaling.maxReplicas",
        id="fallback above the maximum",
    ),
    pytest.param(
        lambda s: s.update(worker={}),
        "worker needs exactly one of template and deploymentRef",
        id="empty worker",
    ),
    *(
        pytest.param(
            with_endpoint(url),
            "queue.endpointURL is no address: a host name without",
            id=url,
        )
        for url in (
            "http://local_stack:4566",
            "https://*.x",
            "http://[::1",
            "http://::1",
            "http://[::g]:4566",
            "http://127.0.0.1:65536",
            "http://127.0.0.1:99999",
            "http://127.0.0.1:http",
            "http://sqs..local",
            "http://-sqs.local",
            "http://sqs-.local",
            "http://" + "a" * 64,
        )
    ),
    pytest.param(
        with_endpoint("http://localhost/path"),
        "should match",
        id="endpoint with a path",
    ),
    *(
        pytest.param(with_pool(*given), message, id=f"pool: {message}")
        for given, message in (
            (({}, {}), "scaling.pool.name: Required value"),
            (({"name": "A10"}, {}), "should match"),
            (({"name": "a", "priority": 1001}, {}), "less than or equal to 1000"),
            (({"name": "a", "weight": 0}, {}), "greater than or equal to 1"),
            (({"name": "a", "guaranteed": 41}, {}), "guaranteed is above scaling.maxReplicas"),
            (({"name": "a", "borrow": False}, {}), "guaranteed must be above 0"),
            (
                ({"name": "a", "borrow": False, "guaranteed": 1}, {"minReplicas": 2}),
                "scaling.minReplicas is above scaling.pool.guaranteed",
            ),
        )
    ),
    pytest.param(lambda s: s["scaling"].update(mode="Often"), "Unsupported value", id="mode"),
    pytest.param(lambda s: s.update(slo={"objectivePercent": 100}), "less than or", id="percent"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_a_wrong_spec_is_refused_with_words(
    scene: ApiScene, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(Rejected, match=message):
        scene.create_queue("video", changed(change))


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_the_operator_refuses_what_the_api_server_does(
    change: Callable[[dict[str, Any]], object], message: str
) -> None:
    assert message

    with pytest.raises(InvalidSpec):
        parse_spec(changed(change))


def test_an_endpoint_may_be_any_address_that_the_operator_takes(scene: ApiScene) -> None:
    urls = (
        "https://vpce-0a1.sqs.us-east-1.vpce.amazonaws.com",
        "http://localhost:4566",
        "http://LocalStack:4566/",
        "http://localstack.tools.svc.cluster.local.:4566",
        "http://user:word@proxy:65535",
        "http://[::1]:4566",
        "http://[::ffff:127.0.0.1]/",
        "http://[fe80::1%25eth0]:080",
        "http://127.0.0.1:",
        "http://127.1",
    )
    for number, url in enumerate(urls):
        spec = changed(with_endpoint(url))

        scene.create_queue(f"video-{number}", spec)

        assert parse_spec(spec).queue.endpoint_url == url
    assert len(scene.queues()) == len(urls)


def test_results_may_go_everywhere_at_once(scene: ApiScene) -> None:
    results = {
        "url": "s3://media-results/detection/",
        "keyTemplate": "{date}/{bucket}/{key}/{request_id}-{index}.json",
        "pages": True,
        "kmsKeyID": "arn:aws:kms:eu-west-1:123456789012:alias/results",
        "bucketOwner": "123456789012",
        "onSuccess": [
            "arn:aws:sns:eu-west-1:123456789012:video",
            f"{DESTINATION}:video.fifo",
            "arn:aws:sqs:us-east-1:123456789012:video",
            "arn:aws:events:eu-west-1:123456789012:event-bus/default",
        ],
        "onFailure": [f"{DESTINATION}:failed"],
        "callbackURL": "https://hooks.example.com:8443/detection?t=1",
        "cacheURL": "s3://media-results/cache",
        "outboxURL": f"{QUEUE_URL}-outbox",
    }

    key = scene.create_queue("video", changed(with_results(**results)))

    made = scene.queue(key)
    assert made is not None
    assert made["spec"]["worker"]["template"]["results"] == results
    assert parse_spec(made["spec"]).worker.template is not None


def test_the_queue_s_url_cannot_change(scene: ApiScene) -> None:
    key = scene.create_queue("video", MINIMAL)
    other = "https://sqs.eu-west-1.amazonaws.com/123456789012/other"
    path = namespaced(QUEUES, key.namespace, PLURAL, key.name)

    with pytest.raises(Rejected, match="url cannot change"):
        scene.admin.call(
            "PATCH", path, {"spec": {"queue": {"url": other}}}, content_type=MERGE_PATCH
        )


def test_a_name_that_pods_could_not_bear_is_refused(scene: ApiScene) -> None:
    with pytest.raises(Rejected, match="at most 52 characters"):
        scene.create_queue("v" * 53, MINIMAL)


def test_kubectl_scale_reaches_spec_replicas_and_reads_status(scene: ApiScene) -> None:
    key = scene.create_queue("video", changed(lambda s: s.update(replicas=1)))
    scene.apply_status(key, {"replicas": 4, "selector": "a=b"})
    path = namespaced(QUEUES, key.namespace, PLURAL, key.name, "scale")

    scene.admin.call("PATCH", path, {"spec": {"replicas": 3}}, content_type=MERGE_PATCH)

    scale = scene.admin.call("GET", path)
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (3, 4)
    assert scale["status"]["selector"] == "a=b"


def test_a_scale_of_many_labels_keeps_its_whole_selector(scene: ApiScene) -> None:
    key = scene.create_queue("video", changed(lambda s: s.update(replicas=1)))
    selector = ",".join(f"example.com/label-{number}={'v' * 63}" for number in range(40))

    scene.apply_status(key, {"replicas": 1, "selector": selector})

    path = namespaced(QUEUES, key.namespace, PLURAL, key.name, "scale")
    assert len(selector) > 3000
    assert scene.admin.call("GET", path)["status"]["selector"] == selector


def test_status_is_owned_by_the_operator_and_changes_no_generation(scene: ApiScene) -> None:
    key = scene.create_queue("video", MINIMAL)
    before = scene.queue(key)
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Reconciled",
        "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }

    after = scene.apply_status(key, {"desiredReplicas": 2, "conditions": [condition]})
    again = scene.apply_status(key, {"desiredReplicas": 2, "conditions": [condition]})

    assert before is not None
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert again["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]
    owners = {entry["manager"] for entry in after["metadata"]["managedFields"]}
    assert FIELD_MANAGER in owners


def test_a_number_from_an_older_deployment_is_refused(scene: ApiScene) -> None:
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": scene.namespace},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    }
    made = scene.apply(manifest)
    version = made["metadata"]["resourceVersion"]
    scene.scale_by("kubectl", scene.namespace, "d", 5)

    with pytest.raises(Conflict):
        scene.scale(scene.namespace, "d", 1, resource_version=version)
    with pytest.raises(Conflict):
        scene.delete_deployment(scene.namespace, "d", resource_version=version)
    scene.scale(scene.namespace, "d", 1, resource_version=None)

    found = scene.deployment(scene.namespace, "d")
    assert found is not None
    assert found["spec"]["replicas"] == 1


def test_the_budget_of_an_earlier_version_gives_way_and_the_new_one_is_mended(
    scene: ApiScene,
) -> None:
    queue = scene.queue(scene.create_queue("video", MINIMAL))
    assert queue is not None
    manifest = disruption_budget(queue)
    scene.apply({**manifest, "metadata": {**manifest["metadata"], "name": "video"}})

    keep_budget(scene, queue, BudgetWatch(), 0.0)
    slot = ("PodDisruptionBudget", scene.namespace, "video-workers")
    scene.edit(slot, lambda obj: obj["spec"].update(maxUnavailable=3))
    keep_budget(scene, queue, BudgetWatch(), 0.0)
    written = scene.writes.total()
    keep_budget(scene, queue, BudgetWatch(), 0.0)

    (left,) = scene.of_kind("PodDisruptionBudget")
    assert left["metadata"]["name"] == "video-workers"
    assert left["spec"]["maxUnavailable"] == "25%"
    assert scene.writes.total() == written


def test_more_objects_than_a_page_are_all_listed(scene: ApiScene) -> None:
    for number in range(3):
        scene.create_queue(f"video-{number}", MINIMAL)

    assert len(scene.queues()) == 3
    assert scene.queue(Key(scene.namespace, "nobody")) is None


def test_who_may_not_is_told_so(api_server: ApiServer, scene: ApiScene) -> None:
    key = scene.create_queue("video", MINIMAL)
    rest = Rest(api_server.configuration("operator-token"))
    try:
        cluster = KubernetesCluster(rest, (scene.namespace,))
        with pytest.raises(Forbidden, match="cannot list"):
            cluster.queues()
        with pytest.raises(Forbidden):
            cluster.apply_status(key, {})
    finally:
        rest.close()


def test_what_is_not_there_is_not_found(scene: ApiScene) -> None:
    with pytest.raises(NotFound):
        scene.scale(scene.namespace, "nobody", 1, resource_version=None)
    with pytest.raises(NotFound):
        scene.annotate_pod(scene.namespace, "nobody", {"a": "b"})
    assert scene.deployment(scene.namespace, "nobody") is None
    assert scene.admin.call("GET", namespaced(APPS, scene.namespace, "deployments"))["items"] == []
