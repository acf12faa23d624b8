"""The whole CustomResourceDefinition of a kind."""

from collections.abc import Mapping
from typing import Any, Final

import yaml

from detection_operator.crd.kinds import POOL, QUEUE, Kind
from detection_operator.crd.rules import Rules
from detection_operator.spec.schema import Schema, structural_schema

GROUP: Final = "detection-queue.dev"
VERSION: Final = "v1alpha1"
KIND: Final = QUEUE.name
PLURAL: Final = QUEUE.plural
POOL_KIND: Final = POOL.name
POOL_PLURAL: Final = POOL.plural


def manifest(kind: Kind = QUEUE) -> dict[str, Any]:
    """Return the CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{GROUP}",
            # Deleting the CRD deletes every resource of it: that is never a chart's decision.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short_name],
            },
            "versions": [_version(kind)],
        },
    }


def _version(kind: Kind) -> dict[str, Any]:
    columns = (
        {"name": name, "type": type_, "jsonPath": path, "priority": priority}
        for name, type_, path, priority in kind.columns
    )
    scale = {"scale": dict(kind.scale)} if kind.scale else {}
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}, **scale},
        "additionalPrinterColumns": list(columns),
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": kind.description,
                "required": ["spec"],
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"type": "object"},
                    "spec": _ruled(structural_schema(kind.spec), "spec", kind.rules),
                    "status": structural_schema(kind.status),
                },
                "x-kubernetes-validations": _validations(kind.root_rules),
            }
        },
    }


def _ruled(schema: Schema, path: str, rules: Mapping[str, Rules]) -> Schema:
    """Return the schema with the CEL rules of each of its objects and fields."""
    if path in rules:
        schema["x-kubernetes-validations"] = _validations(rules[path])
    for name, part in schema.get("properties", {}).items():
        _ruled(part, f"{path}.{name}", rules)
    return schema


def _validations(rules: Rules) -> list[dict[str, str]]:
    return [{"rule": rule, "message": message} for rule, message in rules]


def manifest_yaml(kind: Kind = QUEUE) -> str:
    """Return the CustomResourceDefinition as YAML, as the chart carries it."""
    return yaml.dump(manifest(kind), Dumper=_PlainDumper, sort_keys=False, width=100)


class _PlainDumper(yaml.SafeDumper):
    """Without anchors: a reader should not have to look elsewhere."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
