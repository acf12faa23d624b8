"""The PodDisruptionBudget of a DetectionQueue's workers. Pure."""

from typing import Any, Final

from detection_contract.environment import LABEL_QUEUE
from detection_operator.kube.deployment import worker_labels
from detection_operator.kube.objects import owner_reference
from detection_operator.kube.port import Object

MAX_UNAVAILABLE: Final = "25%"
"""Rounded up by Kubernetes: a node with the only worker can still be emptied."""


def disruption_budget(queue: Object) -> dict[str, Any]:
    """Return the manifest: evictions take a quarter of the workers at a time."""
    labels = worker_labels(queue)
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": queue["metadata"]["name"],
            "namespace": queue["metadata"]["namespace"],
            "labels": labels,
            "ownerReferences": [owner_reference(queue)],
        },
        "spec": {
            "maxUnavailable": MAX_UNAVAILABLE,
            "selector": {"matchLabels": {LABEL_QUEUE: labels[LABEL_QUEUE]}},
            # A worker that never became ready holds no message.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
