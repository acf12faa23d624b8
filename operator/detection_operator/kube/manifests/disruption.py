"""The PodDisruptionBudget of a DetectionQueue's workers. Pure."""

from typing import Any, Final

from detection_contract.environment import LABEL_QUEUE
from detection_operator.kube.manifests.deployment import worker_labels
from detection_operator.kube.objects import is_owned_by, owner_reference
from detection_operator.kube.port import FIELD_MANAGER, Object

MAX_UNAVAILABLE: Final = "25%"
"""Rounded up by Kubernetes: a node with the only worker can still be emptied."""
SUFFIX: Final = "-workers"
"""Keeps it apart from a user's budget with the name of the DetectionQueue. Names of budgets have
at most 253 characters, those of DetectionQueues 52."""


def budget_name(queue: Object) -> str:
    """Return the name of the budget of a DetectionQueue's workers."""
    return f"{queue['metadata']['name']}{SUFFIX}"


def as_wanted(budget: Object, manifest: Object) -> bool:
    """Say whether a budget has the manifest's values; the server may add fields."""
    return all(budget["spec"].get(name) == value for name, value in manifest["spec"].items())


def is_of_an_earlier_version(budget: Object, queue: Object) -> bool:
    """Say whether a budget of the DetectionQueue's own name is what the operator once applied."""
    entries = budget["metadata"].get("managedFields") or ()
    applied = any(
        entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"
        for entry in entries
    )
    return applied and is_owned_by(budget, queue)


def disruption_budget(queue: Object) -> dict[str, Any]:
    """Return the manifest: at most a quarter of the workers are evicted at a time."""
    labels = worker_labels(queue)
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": budget_name(queue),
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
