"""The workers of a DetectionQueue."""

# ruff: noqa: RUF009 - the calls in class bodies return dataclasses.field

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detection_operator.spec.fields import NAME_PATTERN, listing, plain, text


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRef:
    """A Deployment of the same namespace that somebody else owns."""

    name: str = text(
        253, pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", doc="Name of the Deployment."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """Where the workers' model files come from."""

    claim_name: str | None = text(
        253, pattern=NAME_PATTERN, default=None, doc="PersistentVolumeClaim with the models."
    )
    mount_path: str = text(
        255, pattern="^/[^:]*$", default="/models", doc="Where they appear, and MODELS_DIR."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The worker pods that the operator builds. Free-form members follow Kubernetes' core/v1."""

    image: str = text(512, doc="Image of the worker.")
    image_pull_policy: str | None = text(
        16, pattern="^(Always|IfNotPresent|Never)$", default=None, doc="As in a container."
    )
    service_account_name: str | None = text(
        253, pattern=NAME_PATTERN, default=None, doc="Service account with the worker's AWS role."
    )
    resources: Mapping[str, Any] = plain(
        factory=dict, doc="Container resources, such as limits with nvidia.com/gpu."
    )
    env: tuple[Mapping[str, Any], ...] = listing(
        128, default=(), key="name", doc="More environment variables (EnvVar)."
    )
    node_selector: Mapping[str, Any] = plain(factory=dict, doc="Labels that nodes must have.")
    tolerations: tuple[Mapping[str, Any], ...] = listing(
        32, default=(), doc="Taints that are accepted (Toleration)."
    )
    models: Models = plain(factory=Models, doc="Where the model files come from.")
    pod_template: Mapping[str, Any] = plain(
        factory=dict,
        doc="Anything else: merged over the pod template that the operator builds; null leaves a"
        " default out.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """The workers: exactly one of the two."""

    template: Template | None = plain(default=None, doc="The operator makes the Deployment.")
    deployment_ref: DeploymentRef | None = plain(
        default=None, doc="The operator only sets the replicas of this Deployment."
    )
