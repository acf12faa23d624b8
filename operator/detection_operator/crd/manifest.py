"""The whole CustomResourceDefinition."""

from collections.abc import Iterable
from typing import Any, Final

import yaml

from detection_operator.crd.rules import ROOT_RULES, RULES
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.schema import Schema, structural_schema
from detection_operator.spec.status import Status

GROUP: Final = "detection-queue.dev"
VERSION: Final = "v1alpha1"
KIND: Final = "DetectionQueue"
PLURAL: Final = "detectionqueues"
SHORT_NAME: Final = "dq"

COLUMNS: Final = (
    ("Mode", "string", ".spec.scaling.mode", 0),
    ("Desired", "integer", ".status.desiredReplicas", 0),
    ("Ready", "integer", ".status.readyReplicas", 0),
    ("Busy", "integer", ".status.busyReplicas", 0),
    ("Visible", "integer", ".status.queue.visible", 0),
    ("Age(s)", "integer", ".status.queue.oldestAgeSeconds", 0),
    ("SLO", "string", ".status.slo.attainmentPercent", 0),
    ("Why", "string", ".status.plan.binding", 0),
    ("Max", "integer", ".spec.scaling.maxReplicas", 1),
    ("Message", "string", ".status.plan.message", 1),
)
"""Columns of ``kubectl get``: name, type, path, and 1 for those that only ``-o wide`` shows."""


def manifest() -> dict[str, Any]:
    """Return the CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{PLURAL}.{GROUP}",
            # Deleting the CRD deletes every DetectionQueue: that is never a chart's decision.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": [SHORT_NAME],
            },
            "versions": [_version()],
        },
    }


def _version() -> dict[str, Any]:
    columns = (
        {"name": name, "type": kind, "jsonPath": path, "priority": priority}
        for name, kind, path, priority in COLUMNS
    )
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": list(columns),
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": "Detection workers that are scaled to the load of an SQS queue.",
                "required": ["spec"],
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"type": "object"},
                    "spec": _ruled(structural_schema(QueueSpec), "spec"),
                    "status": structural_schema(Status),
                },
                "x-kubernetes-validations": _validations(ROOT_RULES),
            }
        },
    }


def _ruled(schema: Schema, path: str) -> Schema:
    """Return the schema with the CEL rules of each of its objects and fields."""
    if path in RULES:
        schema["x-kubernetes-validations"] = _validations(RULES[path])
    for name, part in schema.get("properties", {}).items():
        _ruled(part, f"{path}.{name}")
    return schema


def _validations(rules: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"rule": rule, "message": message} for rule, message in rules]


def manifest_yaml() -> str:
    """Return the CustomResourceDefinition as YAML, as the chart carries it."""
    return yaml.dump(manifest(), Dumper=_PlainDumper, sort_keys=False, width=100)


class _PlainDumper(yaml.SafeDumper):
    """Without anchors: a reader should not have to look elsewhere."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
