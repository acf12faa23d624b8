"""Keep the PodDisruptionBudget of a DetectionQueue's workers as it should be."""

import contextlib
from dataclasses import dataclass
from typing import Final

from detection_operator.errors import Forbidden, NotFound, Rejected
from detection_operator.kube.manifests.disruption import (
    as_wanted,
    budget_name,
    disruption_budget,
    is_of_an_earlier_version,
)
from detection_operator.kube.objects import is_owned_by
from detection_operator.kube.port import Cluster, Object

LOOK_S: Final = 300.0
"""Budgets are not watched: one that was deleted or edited is restored after this at most."""
RETRY_S: Final = 60.0
"""Interval of retries while the budget cannot be applied."""


@dataclass(slots=True)
class BudgetWatch:
    """What is known of one DetectionQueue's budget.

    Attributes:
        look_at_s: Monotonic time of the next check.
        problem: Why the operator's budget does not exist, a sentence; None when it does.
    """

    look_at_s: float = float("-inf")
    problem: str | None = None


def keep_budget(cluster: Cluster, queue: Object, watch: BudgetWatch, now_s: float) -> None:
    """Apply the budget if a check is due; note in ``watch`` what prevents it.

    Raises:
        ClusterError: The API server did not answer, or the budget changed since it was read.
    """
    if now_s < watch.look_at_s:
        return
    try:
        watch.problem = _kept(cluster, queue)
    except (Forbidden, Rejected) as exc:
        # Workers without a budget are better than none.
        name = budget_name(queue)
        watch.problem = f"PodDisruptionBudget {name} cannot be applied: {exc}"
    watch.look_at_s = now_s + (RETRY_S if watch.problem else LOOK_S)


def budget_problems(watch: BudgetWatch, manifest: Object | None) -> tuple[str, ...]:
    """Return what prevents the budget; empty for an adopted Deployment, which gets none."""
    return () if watch.problem is None or manifest is None else (watch.problem,)


def _kept(cluster: Cluster, queue: Object) -> str | None:
    manifest = disruption_budget(queue)
    metadata = manifest["metadata"]
    found = cluster.disruption_budget(metadata["namespace"], metadata["name"])
    if found is None:
        # First: pods under two budgets cannot be evicted at all.
        _remove_former(cluster, queue)
        cluster.apply(manifest)
    elif not is_owned_by(found, queue):
        return (
            f"PodDisruptionBudget {metadata['name']} is not owned by this DetectionQueue and"
            " stays as it is: give it another name"
        )
    elif not as_wanted(found, manifest):
        version = {"resourceVersion": found["metadata"]["resourceVersion"]}
        cluster.apply({**manifest, "metadata": {**metadata, **version}})
    return None


def _remove_former(cluster: Cluster, queue: Object) -> None:
    """Delete the budget that an earlier version made under the DetectionQueue's own name."""
    namespace, name = queue["metadata"]["namespace"], queue["metadata"]["name"]
    found = cluster.disruption_budget(namespace, name)
    if found is None or not is_of_an_earlier_version(found, queue):
        return
    version = found["metadata"]["resourceVersion"]
    with contextlib.suppress(NotFound):
        cluster.delete_disruption_budget(namespace, name, resource_version=version)
