"""Which pods Kubernetes removes first when the replicas of a ReplicaSet fall. Pure.

Follows the order of the ReplicaSet controller: unscheduled, pending, not ready, lower deletion
cost. Further criteria, such as ages in coarse buckets, are not relied on.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Final

from detection_operator.kube.pods.views import PodView

LEAST_COST: Final = -(2**31)
"""Deletion cost of a pod that may be removed: the least value that Kubernetes accepts."""
ASKED_COST: Final = LEAST_COST + 1
"""Deletion cost of a pod that was asked to drain: removed after those that may be removed, whose
removal may still be under way, and before all that work."""


def removal_rank(pod: PodView) -> tuple[bool, bool, bool, int]:
    """Return the controller's sort key; lower is removed first."""
    return (pod.scheduled, pod.running, pod.ready, pod.deletion_cost)


def going(pods: Iterable[PodView], replicas: int) -> frozenset[str]:
    """Return the names of the pods that the controller is removing already.

    There are more pods than replicas for a moment after each scale-in. The surplus must be
    neither counted nor resumed.
    """
    ordered = sorted(pods, key=lambda pod: (*removal_rank(pod), -pod.created_s))
    return frozenset(pod.name for pod in ordered[: max(0, len(ordered) - replicas)])


def safe_reduction(pods: Sequence[PodView], safe: frozenset[str], most: int) -> int:
    """Return by how many replicas may fall so that only pods in ``safe`` can go.

    Pods of equal rank may go in any order, so a rank counts only as a whole.

    Args:
        pods: All pods of one ReplicaSet that are not going yet.
        safe: Names of those that may go.
        most: No more than so many.
    """
    allowed = 0
    for _, group in itertools.groupby(sorted(pods, key=removal_rank), key=removal_rank):
        peers = list(group)
        if any(peer.name not in safe for peer in peers):
            break
        allowed += len(peers)
    return min(allowed, most)
