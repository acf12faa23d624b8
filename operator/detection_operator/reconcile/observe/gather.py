"""Gather: Deployments, pods, what workers and the queue say, for one DetectionQueue."""

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from detection_operator.clock import Clock
from detection_operator.errors import ClusterError
from detection_operator.kube.nodes import NodeView, node_view
from detection_operator.kube.pods.events import PodEvent, by_pod, with_claims
from detection_operator.kube.pods.views import FailedPod, PodView
from detection_operator.kube.port import Cluster, Object
from detection_operator.readers.ports import Address, QueueReader, Workers
from detection_operator.readers.values import WorkerState
from detection_operator.reconcile.observe.deployments import deployments_of
from detection_operator.reconcile.observe.desired import DesiredSpec
from detection_operator.reconcile.observe.fleet import Group, group
from detection_operator.reconcile.observe.observed import Observed
from detection_operator.reconcile.observe.trouble import FAILED_S, REPLACED_S, needs_events
from detection_operator.spec.queue_spec import QueueSpec

EVENTS_RETRY_S: Final = 300.0
"""Reading events is retried after this time: administrators grant rights by hand."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What reconciling reads from and writes to.

    Attributes:
        cluster: Kubernetes.
        reader: SQS.
        workers: The workers' control servers.
        clock: Wall and monotonic time.
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
        selector: Label selector of the pods, for the scale subresource.
        states: Answers of workers, by uid.
        problems: What is wrong with the spec or the Deployments, a sentence each.
    """

    groups: tuple[Group, ...]
    selector: str
    states: dict[str, WorkerState]
    problems: tuple[str, ...]


def gather(
    sources: Sources,
    queue: Object,
    desired: DesiredSpec,
    observed: Observed,
    *,
    refused_drain: Collection[str] = (),
) -> Gathered:
    """Return the workers of a DetectionQueue and note in ``observed`` what they answered.

    Args:
        sources: The cluster, the workers and a clock.
        queue: The DetectionQueue.
        desired: Its parsed spec.
        observed: Takes the answers of workers.
        refused_drain: Uids of workers that recently refused to drain.

    Raises:
        ClusterError: The API server did not answer.
    """
    found = deployments_of(sources.cluster, queue, desired)
    pods = [pod for _, some in found.pods for pod in some]
    now_s, namespace = sources.clock.wall_s(), queue["metadata"]["namespace"]
    states = sources.workers.states([address(pod) for pod in pods if pod.ip and pod.running])
    for uid, state in states.items():
        observed.note_state(uid, state, now_s)
    events: dict[str, tuple[PodEvent, ...]] = {}
    if needs_events(pods, observed.starts.times(desired.spec).usual_s, sources.clock.wall_s()):
        events = _events(sources, namespace, observed)
    if any(map(observed.starts.measures, pods)):
        for uid, pulls in _events(sources, namespace, observed, pulls=True).items():
            events[uid] = (*events.get(uid, ()), *pulls)
    nodes = _going(sources.cluster, {pod.node for pod in pods if pod.node})
    groups = tuple(
        group(
            item,
            some,
            states,
            current=item["metadata"]["name"] == found.current,
            refused_drain=refused_drain,
            events=events,
            failed=_since(found.failed.get(item["metadata"]["name"], ()), now_s - FAILED_S),
            replaced_since_s=now_s - REPLACED_S,
            nodes=nodes,
        )
        for item, some in found.pods
    )
    return Gathered(
        groups=groups,
        selector=found.selector,
        states=states,
        problems=(*desired.problems, *found.problems),
    )


def _going(cluster: Cluster, names: Iterable[str]) -> dict[str, NodeView]:
    """Return those of the nodes that are going."""
    found = (cluster.node(name) for name in names)
    views = (node_view(node) for node in found if node is not None)
    return {view.name: view for view in views if view.leaving}


def _since(pods: Iterable[FailedPod], from_s: float) -> tuple[FailedPod, ...]:
    return tuple(pod for pod in pods if pod.at_s >= from_s)


def _events(
    sources: Sources, namespace: str, observed: Observed, *, pulls: bool = False
) -> dict[str, tuple[PodEvent, ...]]:
    """Return the events about pods of a namespace; without them only messages say less."""
    now_s = sources.clock.monotonic_s()
    if now_s < observed.events_at_s:
        return {}
    try:
        found = by_pod(sources.cluster.pod_events(namespace, pulls=pulls))
        return found if pulls else with_claims(found, sources.cluster.claim_events())
    except ClusterError as exc:
        observed.events_at_s = sources.clock.monotonic_s() + EVENTS_RETRY_S
        log.info(
            "Kubernetes events cannot be read: the status says less about waiting pods",
            extra={"namespace": namespace, "error": str(exc)},
        )
        return {}


def address(pod: PodView) -> Address:
    """Return where the control server of a pod listens."""
    return Address(pod.uid, pod.ip or "", pod.port)


def read_queue(sources: Sources, spec: QueueSpec, observed: Observed) -> bool:
    """Read the queue if that is due; say whether it was read."""
    if not observed.poll.is_due(sources.clock.monotonic_s()):
        return False
    now_s = sources.clock.wall_s()
    observed.reading = sources.reader.read(spec.queue, observed.reading, now_s, outbox=spec.outbox)
    return True
