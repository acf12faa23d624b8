"""The annotations by which a pod says whether an autoscaler may evict it. Pure."""

from collections.abc import Collection, Mapping
from typing import Final

from detection_operator.kube.port import Object

KARPENTER: Final = "karpenter.sh/do-not-disrupt"
CLUSTER_AUTOSCALER: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"
PROTECTED: Final = {CLUSTER_AUTOSCALER: "false", KARPENTER: "true"}
"""For a pod that must not be moved: a busy one, or one that is starting."""
RELEASED: Final[Mapping[str, str | None]] = {CLUSTER_AUTOSCALER: "true", KARPENTER: None}
"""For a pod that may be moved. The Cluster Autoscaler moves no pod with an ``emptyDir``, which
workers have, unless it says so."""


def protection_of(annotations: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return those of a pod's annotations that concern eviction."""
    return tuple((key, annotations[key]) for key in PROTECTED if key in annotations)


def change(
    present: Collection[tuple[str, str]], *, protected: bool, keys: Collection[str]
) -> dict[str, str | None]:
    """Return the annotations to set, None removes one; empty when they are right.

    Args:
        present: What the pod has, by ``protection_of``.
        protected: Whether it should be protected.
        keys: Annotations that are the operator's to write.
    """
    has, wanted = dict(present), PROTECTED if protected else RELEASED
    return {key: wanted[key] for key in keys if has.get(key) != wanted[key]}


def own_keys(annotations: Object | None) -> tuple[str, ...]:
    """Return the annotations that are the operator's to write: those that no user has set.

    Args:
        annotations: Annotations in the user's pod template; null members count as set.
    """
    return tuple(key for key in PROTECTED if key not in (annotations or {}))
