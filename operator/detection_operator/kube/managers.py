"""Who else writes the replicas of a Deployment, by its managed fields. Pure."""

from collections.abc import Iterator
from typing import Final

from detection_operator.kube.objects import replicas_of
from detection_operator.kube.port import FIELD_MANAGER, Object

PEOPLE: Final = ("kubectl", "k9s", "Lens", "freelens", "Headlamp", "dashboard", "Mozilla")
"""Managers that a person stands behind, by their start: one edit is undone, not fought with."""


def other_writer(deployment: Object, *, written: int | None) -> str | None:
    """Return the manager that set ``spec.replicas`` against the operator, or None.

    Autoscalers write through the scale subresource. Whoever brought the Deployment along with a
    number in it (Helm, a GitOps tool) is no rival before it changes what the operator wrote.
    Times are of no help: the API server leaves them out for the scale subresource.

    Args:
        deployment: The Deployment.
        written: Replicas that the operator wrote last; None when it wrote none yet.
    """
    changed = written is not None and replicas_of(deployment) != written
    owners = list(_owners(deployment))
    ours = any(name == FIELD_MANAGER for name, _ in owners)
    for name, subresource in owners:
        if name == FIELD_MANAGER or name.startswith(PEOPLE):
            continue
        if changed or (written is None and subresource == "scale" and not ours):
            return name
    return None


def _owners(deployment: Object) -> Iterator[tuple[str, str]]:
    """Yield manager and subresource of the entries that own ``spec.replicas``."""
    for entry in deployment["metadata"].get("managedFields") or ():
        spec = (entry.get("fieldsV1") or {}).get("f:spec") or {}
        if "f:replicas" in spec:
            yield entry.get("manager", "unknown"), entry.get("subresource", "")
