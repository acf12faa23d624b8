"""Reading Kubernetes objects: times, names, conditions. Pure."""

import re
from datetime import UTC, datetime
from typing import Any

from detection_contract.environment import LABEL_QUEUE
from detection_operator.crd.manifest import GROUP, KIND, VERSION
from detection_operator.kube.port import Key, Object

API_VERSION = f"{GROUP}/{VERSION}"
_COMPARABLE = re.compile(r"[1-9][0-9]*")


def is_going(obj: Object) -> bool:
    """Say whether an object is being deleted, and only waits for its finalizers."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def seniority(obj: Object) -> tuple[str, str, str]:
    """Return what the oldest of several objects has least of: of equally old ones the first."""
    metadata = obj["metadata"]
    made_at = str(metadata.get("creationTimestamp", ""))
    return (made_at, str(metadata.get("namespace", "")), str(metadata["name"]))


def key_of(obj: Object, kind: str = KIND) -> Key:
    """Return the key of a DetectionQueue, or of an object of another kind."""
    return Key(obj["metadata"]["namespace"], obj["metadata"]["name"], kind)


def served_key(obj: Object) -> Key | None:
    """Return the key of the DetectionQueue that a Deployment or pod says it serves, or None."""
    metadata = obj.get("metadata", {})
    name = metadata.get("labels", {}).get(LABEL_QUEUE)
    return Key(metadata["namespace"], name) if name else None


def version_of(obj: Object) -> int | None:
    """Return the resource version of an object or a list; None if versions cannot be compared.

    Versions of one kind are positive integers that grow, without leading zeros
    (https://kubernetes.io/docs/reference/using-api/api-concepts/, "Resource versions", since
    Kubernetes 1.35; kube-apiserver has done so since it stores in etcd 3). Another server's may be
    any text, which can be compared for equality only.
    """
    text = str(obj["metadata"].get("resourceVersion") or "")
    return int(text) if _COMPARABLE.fullmatch(text) else None


def queue_url(queue: Object) -> str | None:
    """Return the URL of the SQS queue of a DetectionQueue, None if it has none."""
    url = ((queue.get("spec") or {}).get("queue") or {}).get("url")
    return url if isinstance(url, str) else None


def owner_reference(queue: Object) -> dict[str, Any]:
    """Return the reference by which a child of a DetectionQueue goes with it."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": queue["metadata"]["name"],
        "uid": queue["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }


def is_owned_by(obj: Object, queue: Object) -> bool:
    """Say whether the DetectionQueue is the controller of the object."""
    references = obj["metadata"].get("ownerReferences", ())
    uid = queue["metadata"]["uid"]
    return any(item.get("controller") and item["uid"] == uid for item in references)


def condition(obj: Object, name: str) -> Object | None:
    """Return a condition of the object's status, or None."""
    conditions = obj.get("status", {}).get("conditions") or ()
    return next((item for item in conditions if item["type"] == name), None)


def time_s(text: str | None) -> float | None:
    """Return an RFC 3339 time, with or without fractions, as seconds since the epoch."""
    if not text:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    # Kubernetes always writes a zone; a time without one can only come from another client.
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def replicas_of(deployment: Object) -> int:
    """Return the replicas that a Deployment asks for; absent means 1, as for the API server."""
    return int(deployment.get("spec", {}).get("replicas", 1))


def made_replicas(deployment: Object) -> int | None:
    """Return how many pods a Deployment says it has; None until it has seen its newest spec."""
    status = deployment.get("status", {})
    observed = int(status.get("observedGeneration", 0))
    if observed < int(deployment["metadata"].get("generation", 0)):
        return None
    return int(status.get("replicas", 0))


def timestamp(at_s: float) -> str:
    """Return seconds since the epoch as a Kubernetes ``Time``: RFC 3339, UTC, whole seconds."""
    return datetime.fromtimestamp(int(at_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(at_s: float) -> str:
    """Return seconds since the epoch as a ``MicroTime``, with microseconds, as leases need it."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
