"""Who else writes the replicas of a Deployment, by its managed fields. Pure."""

from collections.abc import Iterator
from typing import Final

from detection_operator.kube.objects import replicas_of, time_s
from detection_operator.kube.port import FIELD_MANAGER, Object

QUIET_S: Final = 600.0
"""A writer that has been silent for so long is taken for gone. The next write of the operator
finds out: an autoscaler that is still there answers within its own period."""
PEOPLE: Final = ("kubectl", "k9s", "Lens", "freelens", "Headlamp", "dashboard", "Mozilla")
"""Managers that a person stands behind, by their start: one edit is undone, not fought with."""


def other_writer(deployment: Object, now_s: float, *, written: int | None) -> str | None:
    """Return the manager that also sets ``spec.replicas``, or None.

    Autoscalers write through the scale subresource. Whoever brought the Deployment along with a
    number in it (Helm, a GitOps tool) is no rival before it changes what the operator wrote.

    Args:
        deployment: The Deployment.
        now_s: The present.
        written: Replicas that the operator wrote last; None when it wrote none yet.
    """
    changed = written is not None and replicas_of(deployment) != written
    writers = list(_writers(deployment))
    ours = max((at_s for name, _, at_s in writers if name == FIELD_MANAGER), default=-1.0)
    for name, subresource, at_s in writers:
        if name == FIELD_MANAGER or name.startswith(PEOPLE) or now_s - at_s > QUIET_S:
            continue
        if changed or (subresource == "scale" and at_s > ours):
            return name
    return None


def _writers(deployment: Object) -> Iterator[tuple[str, str, float]]:
    """Yield manager, subresource and time of the entries that own ``spec.replicas``."""
    for entry in deployment["metadata"].get("managedFields") or ():
        spec = (entry.get("fieldsV1") or {}).get("f:spec") or {}
        if "f:replicas" in spec:
            at_s = time_s(entry.get("time")) or 0.0
            yield entry.get("manager", "unknown"), entry.get("subresource", ""), at_s
