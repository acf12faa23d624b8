"""Gather: Deployments, pods, what workers and the queue say, for one DetectionQueue."""

from collections.abc import Sequence
from dataclasses import dataclass

from detection_contract.environment import LABEL_REVISION
from detection_operator.clock import Clock
from detection_operator.kube.deployment import deployment, worker_selector
from detection_operator.kube.objects import is_owned_by, key_of
from detection_operator.kube.pods import PodView, pod_views
from detection_operator.kube.port import Cluster, Object
from detection_operator.kube.selectors import selector_text
from detection_operator.observe.ports import Address, QueueReader, Workers
from detection_operator.observe.values import WorkerState
from detection_operator.reconcile.fleet import Group, group
from detection_operator.reconcile.state import QueueState, Wish
from detection_operator.resource import known_part, parse_spec
from detection_operator.spec.queue_spec import QueueSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where everything is read from.

    Attributes:
        cluster: Kubernetes.
        reader: SQS.
        workers: The control servers.
        clock: Of the process.
    """

    cluster: Cluster
    reader: QueueReader
    workers: Workers
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What was found.

    Attributes:
        groups: The Deployments with their pods.
        selector: Of the pods, for the scale subresource.
        states: What workers said, by uid.
        problems: What was found to be wrong, a sentence each.
    """

    groups: tuple[Group, ...]
    selector: str
    states: dict[str, WorkerState]
    problems: tuple[str, ...]


def wish(queue: Object, state: QueueState) -> Wish:
    """Return what a DetectionQueue asks for, and note it in ``state``.

    Raises:
        InvalidSpec: It cannot be followed.
    """
    generation = int(queue["metadata"].get("generation", 0))
    if state.wish is None or state.wish.generation != generation:
        known, strange = known_part(queue["spec"])
        spec = parse_spec(known)
        template = spec.worker.template
        manifest = None if template is None else deployment(queue, spec, template)
        problems = tuple(
            f"spec.{path} is unknown to this version of the operator and ignored"
            for path in strange
        )
        state.wish = Wish(generation=generation, spec=spec, manifest=manifest, problems=problems)
        # The edit may be what a queue that could not be read was waiting for.
        state.poll_at_s = float("-inf")
    return state.wish


def gather(sources: Sources, queue: Object, wanted: Wish, state: QueueState) -> Gathered:
    """Return the workers of a DetectionQueue and note in ``state`` what they said.

    Raises:
        ClusterError: The API server did not answer.
    """
    manifest = wanted.manifest
    if manifest is None:
        deployments, problems = _adopted(sources.cluster, queue, wanted.spec)
        selector = selector_text(deployments[0]["spec"]["selector"]) if deployments else ""
    else:
        deployments, problems = _owned(sources.cluster, queue)
        selector = worker_selector(queue)
    namespace = queue["metadata"]["namespace"]
    pods = pod_views(sources.cluster.pods(namespace, selector)) if deployments else []
    now_s = sources.clock.wall_s()
    states = sources.workers.states([address(pod) for pod in pods if pod.ip and pod.running])
    for uid, said in states.items():
        state.hear(uid, said, now_s)
    evasive = state.avoided(sources.clock.monotonic_s())
    name = manifest["metadata"]["name"] if manifest else None
    groups = tuple(
        group(
            item,
            _of(item, pods, adopted=manifest is None),
            states,
            current=name is None or item["metadata"]["name"] == name,
            evasive=evasive,
        )
        for item in deployments
    )
    return Gathered(
        groups=groups,
        selector=selector,
        states=states,
        problems=(*wanted.problems, *problems),
    )


def address(pod: PodView) -> Address:
    """Return where the control server of a pod listens."""
    return Address(pod.uid, pod.ip or "", pod.port)


def read_queue(sources: Sources, spec: QueueSpec, state: QueueState) -> bool:
    """Read the queue if it is time to; say whether it was read."""
    if sources.clock.monotonic_s() < state.poll_at_s:
        return False
    now_s = sources.clock.wall_s()
    state.reading = sources.reader.read(spec.queue, state.reading, now_s)
    return True


def _owned(cluster: Cluster, queue: Object) -> tuple[list[Object], tuple[str, ...]]:
    found = cluster.deployments(key_of(queue))
    ours = [item for item in found if is_owned_by(item, queue)]
    strangers = sorted(item["metadata"]["name"] for item in found if item not in ours)
    problems = tuple(
        f"Deployment {name} carries this DetectionQueue's label but belongs to somebody else"
        for name in strangers
    )
    return sorted(ours, key=lambda item: str(item["metadata"]["name"])), problems


def _adopted(
    cluster: Cluster, queue: Object, spec: QueueSpec
) -> tuple[list[Object], tuple[str, ...]]:
    reference = spec.worker.deployment_ref
    name = reference.name if reference else ""
    found = cluster.deployment(queue["metadata"]["namespace"], name)
    if found is None:
        return [], (f"Deployment {name} does not exist",)
    return [found], ()


def _of(item: Object, pods: Sequence[PodView], *, adopted: bool) -> list[PodView]:
    if adopted:
        return list(pods)
    revision = item["metadata"].get("labels", {}).get(LABEL_REVISION, "")
    return [pod for pod in pods if pod.revision == revision]
