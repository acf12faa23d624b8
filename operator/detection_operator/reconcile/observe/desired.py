"""What a generation of a DetectionQueue asks for, parsed once. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detection_operator.kube.manifests.deployment import deployment
from detection_operator.kube.port import Object
from detection_operator.spec.parse import parse_spec
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.validation import known_part


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredSpec:
    """A parsed generation.

    Attributes:
        generation: ``metadata.generation``.
        spec: The parsed spec.
        manifest: The Deployment that should exist; None for an adopted one.
        problems: Parts of the spec that are ignored, a sentence each.
    """

    generation: int
    spec: QueueSpec
    manifest: Mapping[str, Any] | None
    problems: tuple[str, ...] = ()

    @property
    def adopts(self) -> str | None:
        """Name of the Deployment in ``deploymentRef``; None when the operator makes one."""
        reference = self.spec.worker.deployment_ref
        return None if reference is None else reference.name


def resolve_spec(queue: Object, known: DesiredSpec | None) -> DesiredSpec:
    """Return what a DetectionQueue asks for.

    Args:
        queue: The DetectionQueue.
        known: The result for an earlier generation. Returned as it is if the generation is the
            same: parsing costs more than everything else in a reconcile without changes.

    Raises:
        InvalidSpec: The spec cannot be followed.
    """
    generation = int(queue["metadata"].get("generation", 0))
    if known is not None and known.generation == generation:
        return known
    fields, unknown = known_part(QueueSpec, queue["spec"])
    spec = parse_spec(fields)
    template = spec.worker.template
    return DesiredSpec(
        generation=generation,
        spec=spec,
        manifest=None if template is None else deployment(queue, spec, template),
        problems=tuple(
            f"spec.{path} is unknown to this version of the operator and ignored"
            for path in unknown
        ),
    )
