"""Other writers of a Deployment's replicas, from its managed fields. Pure."""

from collections.abc import Iterator
from typing import Final

from detection_operator.kube.objects import replicas_of
from detection_operator.kube.port import FIELD_MANAGER, Object

PEOPLE: Final = ("kubectl", "k9s", "Lens", "freelens", "Headlamp", "dashboard", "Mozilla")
"""Prefixes of interactive tools' managers: a single edit is overwritten and no conflict."""


def other_writer(deployment: Object, *, written: int | None) -> str | None:
    """Return the manager that set ``spec.replicas`` against the operator, or None.

    Autoscalers write through the scale subresource. A tool that created the Deployment with a
    number of replicas (Helm, GitOps) is no conflict until it changes what the operator wrote.
    Times do not help: the API server leaves them out for the scale subresource.

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
