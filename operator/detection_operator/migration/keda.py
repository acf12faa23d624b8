"""ScaledObjects and ScaledJobs of KEDA as DetectionQueues in Shadow mode."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from detection_operator.crd.manifest import GROUP, KIND, VERSION
from detection_operator.crd.rules import NAME_MAX
from detection_operator.migration.converted import Converted, NotConvertible
from detection_operator.migration.keda_queue import POLL_MAX_S, Surroundings, queue_of
from detection_operator.migration.keda_scaling import (
    bounds_of,
    demand_of,
    fallback_of,
    idle_of,
    pace_of,
    schedule_of,
)
from detection_operator.migration.parts import Part, one_line, shown
from detection_operator.spec.fields import NAME_PATTERN, OBJECT_NAME_PATTERN
from detection_operator.spec.parse import parse_spec
from detection_operator.spec.validation import InvalidSpec

SQS: Final = "aws-sqs-queue"
OBJECT: Final = "ScaledObject"
JOB: Final = "ScaledJob"
AUTHENTICATIONS: Final = ("TriggerAuthentication", "ClusterTriggerAuthentication")
_PREFIX: Final = "autoscaling.keda.sh/"
_JOB_FIELDS: Final = (
    "successfulJobsHistoryLimit",
    "failedJobsHistoryLimit",
    "rolloutStrategy",
    "rollout",
    "scalingStrategy",
)
Manifest = Mapping[Any, Any]


def convert(objects: Sequence[Manifest], account: str | None = None) -> list[Converted]:
    """Return what becomes of each ScaledObject and ScaledJob; other objects only inform.

    Args:
        objects: Kubernetes objects that nobody checked.
        account: AWS account of queues that are given by name; None if unknown.
    """
    keda = [item for item in objects if str(item.get("apiVersion")).startswith("keda.sh/")]
    authentications = {
        (str(item["kind"]), str(Part(item, "", []).part("metadata").text("name"))): item
        for item in keda
        if item.get("kind") in AUTHENTICATIONS
    }
    return [
        _converted(item, objects, account, authentications)
        for item in keda
        if item.get("kind") in (OBJECT, JOB)
    ]


def _converted(
    item: Manifest,
    objects: Sequence[Manifest],
    account: str | None,
    authentications: Mapping[tuple[str, str], Manifest],
) -> Converted:
    notes: list[str] = []
    root = Part(item, "", notes)
    metadata, spec = root.part("metadata"), root.part("spec")
    name, namespace = metadata.text("name") or "", metadata.text("namespace")
    source = one_line(f"{item['kind']} {f'{namespace}/' if namespace else ''}{name or '?'}")
    try:
        target = _target(spec, item["kind"], name)
        around = Surroundings(
            account=account,
            environment=_environment(objects, namespace, target, spec),
            authentications=authentications,
        )
        manifest = _manifest(metadata, spec, target, around)
        parse_spec(manifest["spec"])
    except (NotConvertible, InvalidSpec) as exc:
        return Converted(source, None, (str(exc),))
    spec.tell_rest()
    return Converted(source, manifest, tuple(notes))


def _target(spec: Part, kind: str, name: str) -> str:
    """Return the name of the Deployment to scale."""
    if kind == JOB:
        why = f"each message is a Job; workers of a Deployment {shown(name)} are needed instead"
        spec.note("jobTargetRef", why)
        for field in _JOB_FIELDS:
            spec.unmapped(field, "belongs to Jobs")
        return name
    target = spec.part("scaleTargetRef")
    of = target.text("kind") or "Deployment"
    if of != "Deployment" or (target.text("apiVersion") or "apps/v1") != "apps/v1":
        raise NotConvertible(f"spec.scaleTargetRef: {shown(of)} is no Deployment of apps/v1")
    target.skip("envSourceContainerName")
    return target.text("name") or ""


def _manifest(metadata: Part, spec: Part, target: str, around: Surroundings) -> dict[str, Any]:
    triggers = spec.items("triggers")
    trigger = next((item for item in triggers if item.text("type") == SQS), None)
    if trigger is None:
        raise NotConvertible(f"spec.triggers: none of type {SQS}")
    trigger.skip("name", "useCachedMetrics")
    bounds = bounds_of(spec)
    fewest, most = bounds["minReplicas"], bounds["maxReplicas"]
    queue = queue_of(trigger, around)
    poll_s = spec.integer("pollingInterval", 1, POLL_MAX_S)
    if poll_s is not None:
        queue["pollIntervalSeconds"] = poll_s
    made = {
        "queue": queue,
        "scaling": {
            "mode": "Shadow",
            **demand_of(trigger),
            **bounds,
            **pace_of(spec),
            **idle_of(spec, fewest),
            **_schedules(triggers, trigger, most),
            **fallback_of(spec, most),
        },
        "worker": {"deploymentRef": {"name": target}},
        **_paused(metadata),
    }
    head = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "metadata": _metadata(metadata)}
    return {**head, "spec": made}


def _metadata(metadata: Part) -> dict[str, str]:
    name, namespace = metadata.text("name") or "", metadata.text("namespace")
    if not re.search(OBJECT_NAME_PATTERN, name) or len(name) > 253:
        raise NotConvertible(f"metadata.name: {shown(name)} is no name of an object")
    if namespace is not None and (not re.search(NAME_PATTERN, namespace) or len(namespace) > 63):
        raise NotConvertible(f"metadata.namespace: {shown(namespace)} is no name of a namespace")
    if len(name) > NAME_MAX:
        metadata.note("name", f"has {len(name)} characters, {NAME_MAX} fit; it is cut")
    short = name[:NAME_MAX].rstrip("-.")
    return {"name": short} | ({"namespace": namespace} if namespace else {})


def _schedules(triggers: Sequence[Part], taken: Part, most: int) -> dict[str, Any]:
    """Return the ``cron`` triggers as schedules; note every other trigger but the taken one."""
    found = []
    for number, trigger in enumerate(triggers):
        kind = trigger.text("type")
        if kind == "cron":
            trigger.skip("name")
            found.append(schedule_of(trigger, f"cron-{number}", most))
        elif trigger is not taken:
            also = "a DetectionQueue reads one queue" if kind == SQS else "has no counterpart"
            trigger.note("type", f"{shown(kind)}: {also}; KEDA takes the largest of all triggers")
            trigger.skip(*map(str, trigger.raw))
    schedules = [item for item in found if item is not None]
    return {"schedules": schedules[:16]} if schedules else {}


def _paused(metadata: Part) -> dict[str, bool]:
    annotations = metadata.part("annotations")
    replicas = annotations.text(f"{_PREFIX}paused-replicas")
    if replicas is not None:
        why = f"set scaling.mode Manual and replicas {shown(replicas)} to keep this number"
        annotations.note(f"{_PREFIX}paused-replicas", why)
    for name in ("paused-scale-in", "paused-scale-out", "force-activation"):
        annotations.unmapped(f"{_PREFIX}{name}", "has no counterpart")
    paused = bool(annotations.flag(f"{_PREFIX}paused")) or replicas is not None
    return {"paused": True} if paused else {}


def _environment(
    objects: Sequence[Manifest], namespace: str | None, name: str, spec: Part
) -> dict[str, str]:
    """Return the plain environment variables of the target's first container, or the one named."""
    named = spec.part("scaleTargetRef").text("envSourceContainerName")
    named = named or spec.text("envSourceContainerName")
    for item in objects:
        metadata = Part(item, "", []).part("metadata")
        place = (metadata.text("namespace"), metadata.text("name"))
        if item.get("kind") == "Deployment" and place == (namespace, name):
            template = Part(item, "", []).part("spec").part("template").part("spec")
            containers = template.items("containers")
            chosen = [c for c in containers if named in (None, c.text("name"))][:1]
            entries = [entry for each in chosen for entry in each.items("env")]
            pairs = ((entry.text("name"), entry.text("value")) for entry in entries)
            return {key: value for key, value in pairs if key and value}
    return {}
