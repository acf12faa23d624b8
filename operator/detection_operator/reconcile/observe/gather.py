"""Gather: Deployments, pods, what workers and the queue say, for one DetectionQueue."""

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from detection_operator.clock import Clock
from detection_operator.errors import ClusterError
from detection_operator.kube.manifests.deployment import deployment
from detection_operator.kube.pods.events import PodEvent, by_pod
from detection_operator.kube.pods.views import FailedPod, PodView
from detection_operator.kube.port import Cluster, Object
from detection_operator.readers.ports import Address, QueueReader, Workers
from detection_operator.readers.values import WorkerState
from detection_operator.reconcile.observe.deployments import deployments_of
from detection_operator.reconcile.observe.fleet import Group, group
from detection_operator.reconcile.observe.trouble import FAILED_S, REPLACED_S, needs_events
from detection_operator.reconcile.state import DesiredSpec, QueueState
from detection_operator.spec.parse import known_part, parse_spec
from detection_operator.spec.queue_spec import QueueSpec

DEAF_S: Final = 300.0
"""Where events may not be read, that is tried again after so long: rights come and go by hand."""
log = logging.getLogger(__name__)


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


def resolve_spec(queue: Object, state: QueueState) -> DesiredSpec:
    """Return what a DetectionQueue asks for, and note it in ``state``.

    Raises:
        InvalidSpec: It cannot be followed.
    """
    generation = int(queue["metadata"].get("generation", 0))
    wanted = state.desired_spec
    if wanted is None or wanted.generation != generation:
        known, strange = known_part(queue["spec"])
        spec = parse_spec(known)
        template = spec.worker.template
        manifest = None if template is None else deployment(queue, spec, template)
        problems = tuple(
            f"spec.{path} is unknown to this version of the operator and ignored"
            for path in strange
        )
        wanted = DesiredSpec(
            generation=generation, spec=spec, manifest=manifest, problems=problems
        )
        state.follow(wanted)
        # The edit may be what a queue that could not be read was waiting for.
        state.poll_at_s = float("-inf")
    return wanted


def gather(sources: Sources, queue: Object, wanted: DesiredSpec, state: QueueState) -> Gathered:
    """Return the workers of a DetectionQueue and note in ``state`` what they said.

    Raises:
        ClusterError: The API server did not answer.
    """
    found = deployments_of(sources.cluster, queue, wanted)
    pods = [pod for _, some in found.pods for pod in some]
    now_s = sources.clock.wall_s()
    states = sources.workers.states([address(pod) for pod in pods if pod.ip and pod.running])
    for uid, said in states.items():
        state.hear(uid, said, now_s)
    events = _events(sources, queue["metadata"]["namespace"], pods, state)
    evasive = state.avoided(sources.clock.monotonic_s())
    groups = tuple(
        group(
            item,
            some,
            states,
            current=item["metadata"]["name"] == found.current,
            evasive=evasive,
            events=events,
            failed=_since(found.failed.get(item["metadata"]["name"], ()), now_s - FAILED_S),
            replaced_since_s=now_s - REPLACED_S,
        )
        for item, some in found.pods
    )
    return Gathered(
        groups=groups,
        selector=found.selector,
        states=states,
        problems=(*wanted.problems, *found.problems),
    )


def _since(pods: Iterable[FailedPod], from_s: float) -> tuple[FailedPod, ...]:
    return tuple(pod for pod in pods if pod.at_s >= from_s)


def _events(
    sources: Sources, namespace: str, pods: Collection[PodView], state: QueueState
) -> dict[str, tuple[PodEvent, ...]]:
    """Return what the cluster told of pods that do not get to work; nothing depends on it."""
    clock, desired_spec = sources.clock, state.desired_spec
    if desired_spec is None or clock.monotonic_s() < state.deaf_until_s:
        return {}
    usual_s = state.start_times(desired_spec.spec).usual_s
    if not needs_events(pods, usual_s, clock.wall_s()):
        return {}
    try:
        return by_pod(sources.cluster.pod_events(namespace))
    except ClusterError as exc:
        state.deaf_until_s = clock.monotonic_s() + DEAF_S
        log.info(
            "events not read: the status says less of pods that wait",
            extra={"namespace": namespace, "error": str(exc)},
        )
        return {}


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
