"""What may happen to a stage at any moment: each is a context, as long as the trouble."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

from detection_operator.errors import ClusterError, Conflict, Forbidden, Overloaded, Rejected
from detection_operator.kube.objects import condition
from detection_operator.kube.rest import namespaced
from detection_operator.kube.store import DEPLOYMENT, POD
from detection_operator.scaling.observation import ReadError
from detection_testing.scenes.api_scene import ApiScene
from detection_testing.scenes.stage import LISTS, WATCHED, Stage

SERVED: Final = "/apis/detection-queue.dev/v1alpha1/detectionqueues"
RETRY_S: Final = 60.0
"""After some seconds of failures a controller pauses for about as long."""
WRITES: Final = ("apply", "scale", "annotate_pod", "apply_status")
QUOTA: Final = "exceeded quota: gpus, requested: pods=1, used: pods=6, limited: pods=6"
Disturbance = Callable[[Stage], AbstractContextManager[None]]


@contextlib.contextmanager
def api_server_restarts(stage: Stage) -> Iterator[None]:
    """There is no API server for a while; then every watch begins with a list."""
    stage.dark = True
    if stage.server is None:
        stage.wire.down = True
    else:
        stage.server.process.kill()
    yield
    if stage.server is None:
        stage.wire.down = False
    else:
        stage.server.restart(SERVED)
    stage.dark = False
    for operator in stage.operators():
        operator.listed_s = float("-inf")


@contextlib.contextmanager
def lists_are_slow(stage: Stage) -> Iterator[None]:
    """Lists arrive long after the API server made them, and watches overtake them."""
    late = [(operator, operator.lists()) for operator in stage.operators()]
    yield
    for operator, lists in late:
        operator.deliver(lists)


@contextlib.contextmanager
def watches_fail(stage: Stage, *kinds: str) -> Iterator[None]:
    """Watches tell nothing for a while, then end with 410 and begin again with a list."""
    with watches_are_late(stage, *kinds):
        yield
    for operator in stage.operators():
        operator.listed_s = float("-inf")


@contextlib.contextmanager
def watches_are_late(stage: Stage, *kinds: str) -> Iterator[None]:
    """Watches tell nothing for a while, then everything at once."""
    operators = list(stage.operators())
    for operator in operators:
        operator.deaf.update(kinds)
    yield
    for operator in operators:
        operator.deaf.difference_update(kinds)


@contextlib.contextmanager
def two_operators(stage: Stage) -> Iterator[None]:
    """A second operator believes that it leads."""
    stage.others.append(stage.informed())
    yield
    stage.others.clear()


@contextlib.contextmanager
def no_operator(stage: Stage) -> Iterator[None]:
    """The operator is killed, and started again later."""
    stage.kill()
    yield
    stage.start()


@contextlib.contextmanager
def writes_are_refused(
    stage: Stage, error: Callable[[], ClusterError], *calls: str
) -> Iterator[None]:
    """Calls fail with an error of the API server."""
    stage.wire.refusals.update(dict.fromkeys(calls, error))
    yield
    for call in calls:
        del stage.wire.refusals[call]


def denied() -> Rejected:
    """Return the answer of a webhook that refuses."""
    return Rejected('admission webhook "policy.example.com" denied the request', status=400)


def forbidden() -> Forbidden:
    """Return the answer of a policy that refuses."""
    return Forbidden("is forbidden: ValidatingAdmissionPolicy denied request", status=403)


def overloaded() -> Overloaded:
    """Return the answer of an API server with too many requests."""
    return Overloaded("too many requests", status=429, retry_after_s=1.0)


def conflict() -> Conflict:
    """Return the answer to a write that comes second."""
    return Conflict("the object has been modified", status=409)


@contextlib.contextmanager
def quota_is_used_up(stage: Stage) -> Iterator[None]:
    """No more pods may be created."""
    if stage.server is None:
        stage.nodes.refused = QUOTA  # type: ignore[union-attr]
        yield
        stage.nodes.refused = None  # type: ignore[union-attr]
        return
    scene: Any = stage.cluster
    path = namespaced("v1", scene.namespace, "resourcequotas")
    hard = {"pods": "0"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "gpus"}}
    scene.admin.call("POST", path, {**quota, "spec": {"hard": hard}})
    _wait_for_count(scene, f"{path}/gpus")
    yield
    scene.admin.call("DELETE", f"{path}/gpus")
    _wait_for_retry(scene)
    stage.nodes.unfinished = True


def _wait_for_count(scene: ApiScene, path: str) -> None:
    """Wait until the controller has counted a quota: from then on it forbids pods."""
    end_s = time.monotonic() + RETRY_S
    while not scene.admin.call("GET", path).get("status", {}).get("hard"):
        if time.monotonic() > end_s:
            raise TimeoutError("no controller counted the quota")
        time.sleep(0.1)


def _wait_for_retry(scene: ApiScene) -> None:
    """Wait until a ReplicaSet tries again to create pods; its pauses grow, and take real time."""
    end_s = time.monotonic() + RETRY_S
    while any(
        (condition(item, "ReplicaFailure") or {}).get("status") == "True"
        for item in scene.of_kind(DEPLOYMENT)
    ):
        if time.monotonic() > end_s:
            raise TimeoutError("no ReplicaSet tried again to create pods")
        time.sleep(0.1)


@contextlib.contextmanager
def nodes_are_full(stage: Stage) -> Iterator[None]:
    """No further pod finds a node."""
    stage.nodes.slots = len(stage.cluster.of_kind(POD))
    yield
    stage.nodes.slots = None
    stage.nodes.unfinished = True


@contextlib.contextmanager
def nodes_come_and_go(stage: Stage) -> Iterator[None]:
    """Two pods go with their nodes, busy or not, and their ReplicaSet replaces them."""
    pods = sorted(stage.cluster.of_kind(POD), key=lambda pod: str(pod["metadata"]["name"]))
    for pod in pods[:2]:
        metadata = pod["metadata"]
        stage.taken.add(metadata["uid"])
        stage.cluster.delete((POD, metadata["namespace"], metadata["name"]))
    yield


@contextlib.contextmanager
def queue_is_unreadable(stage: Stage) -> Iterator[None]:
    """SQS throttles the operator."""
    for queue, _ in stage.loads:
        queue.error = ReadError.THROTTLED
    yield
    for queue, _ in stage.loads:
        queue.error = None


@contextlib.contextmanager
def workers_are_silent(stage: Stage) -> Iterator[None]:
    """No worker answers."""
    silenced = [worker for _, workers in stage.loads for worker in workers.workers.values()]
    for worker in silenced:
        worker.silent = True
    yield
    for worker in silenced:
        worker.silent = False


def _watches() -> Iterator[tuple[str, Disturbance]]:
    for name, kinds in {**{kind: (kind,) for kind in WATCHED}, "all": WATCHED}.items():
        yield f"watch gap {name}", functools.partial(_deaf, watches_fail, kinds)
        yield f"late watch {name}", functools.partial(_deaf, watches_are_late, kinds)


def _refusals() -> Iterator[tuple[str, Disturbance]]:
    for call in WRITES:
        yield f"webhook {call}", functools.partial(_refused, denied, (call,))
    yield "policy all writes", functools.partial(_refused, forbidden, WRITES)
    yield "overload", functools.partial(_refused, overloaded, (*WRITES, *LISTS.values()))
    yield "conflict scale", functools.partial(_refused, conflict, ("scale",))
    yield "conflict apply", functools.partial(_refused, conflict, ("apply",))


def _deaf(
    how: Callable[..., AbstractContextManager[None]], kinds: tuple[str, ...], stage: Stage
) -> AbstractContextManager[None]:
    return how(stage, *kinds)


def _refused(
    error: Callable[[], ClusterError], calls: tuple[str, ...], stage: Stage
) -> AbstractContextManager[None]:
    return writes_are_refused(stage, error, *calls)


DISTURBANCES: Final[dict[str, Disturbance]] = {
    "API server restarts": api_server_restarts,
    "slow lists": lists_are_slow,
    **dict(_watches()),
    "two operators": two_operators,
    "operator killed": no_operator,
    **dict(_refusals()),
    "quota used up": quota_is_used_up,
    "nodes full": nodes_are_full,
    "nodes come and go": nodes_come_and_go,
    "queue unreadable": queue_is_unreadable,
    "workers silent": workers_are_silent,
}
"""By name, as tests show them."""
