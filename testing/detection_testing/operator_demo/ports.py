"""Interfaces between the demo and a Kubernetes cluster with the operator on it."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from detection_operator.kube.port import Object

NAMESPACE: Final = "demo"
QUEUE_NAME: Final = "media"
NODE: Final = "this-machine"


class OperatorEnded(Exception):  # noqa: N818 - says what happened
    """The operator stopped by itself; the message says why."""


class Pods(Protocol):
    """What a node does with pods. Every method may raise a ``ClusterError``."""

    def pods(self) -> list[Object]:
        """Return all pods."""
        ...

    def bind(self, pod: Object) -> None:
        """Give a pod to the node of this machine."""
        ...

    def annotate(self, pod: Object, annotations: Mapping[str, str]) -> None:
        """Set annotations of a pod."""
        ...

    def set_status(self, pod: Object, status: Mapping[str, Any]) -> None:
        """Set members of the status of a pod; a pod that is gone is no error."""
        ...

    def remove(self, pod: Object) -> None:
        """Remove a pod that has ended; one that is gone is no error."""
        ...


class Kubernetes(Pods, Protocol):
    """A cluster that the operator serves."""

    @property
    def description(self) -> str:
        """Human-readable description."""
        ...

    def create_queue(self, spec: Mapping[str, Any], name: str = QUEUE_NAME) -> None:
        """Create a DetectionQueue."""
        ...

    def create_pool(self, spec: Mapping[str, Any], name: str) -> None:
        """Create a WorkerPool."""
        ...

    def status(self, name: str = QUEUE_NAME) -> Object:
        """Return the status of a DetectionQueue, empty before the operator wrote one."""
        ...

    def pool_status(self, name: str) -> Object:
        """Return the status of a WorkerPool, empty before the operator wrote one."""
        ...

    def replicas(self, name: str = QUEUE_NAME) -> int:
        """Return what the Deployments of a DetectionQueue ask for together."""
        ...

    def control(self) -> None:
        """Let controllers act that are no processes of their own.

        Raises:
            OperatorEnded: The operator is gone.
        """
        ...
