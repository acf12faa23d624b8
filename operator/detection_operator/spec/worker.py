"""The workers of a DetectionQueue."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from detection_operator.spec.fields import (
    OBJECT_NAME_PATTERN,
    Integer,
    Name,
    Object,
    SpecPart,
    Text,
    UniqueBy,
)
from detection_operator.spec.results import Results


class Protection(StrEnum):
    """Which workers bear the annotations that keep autoscalers from evicting them."""

    WHILE_BUSY = "WhileBusy"
    ALWAYS = "Always"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRef(SpecPart):
    """A Deployment in the same namespace that is managed elsewhere."""

    name: Annotated[
        Text,
        Field(
            max_length=253,
            pattern=OBJECT_NAME_PATTERN,
            description="Name of the Deployment.",
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Models(SpecPart):
    """Where the workers' model files come from."""

    claim_name: Annotated[
        Name | None,
        Field(max_length=253, description="PersistentVolumeClaim that holds the model files."),
    ] = None
    mount_path: Annotated[
        Text,
        Field(
            max_length=255,
            pattern="^/[^:]*$",
            description="Where the claim is mounted; also the value of MODELS_DIR.",
        ),
    ] = "/models"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustList(SpecPart):
    """Certificates of issuers whose C2PA signatures are trusted."""

    config_map_name: Annotated[
        Name,
        Field(max_length=253, description="ConfigMap that holds them, in the same namespace."),
    ]
    key: Annotated[
        Text,
        Field(
            max_length=253,
            pattern="^[-._a-zA-Z0-9]+$",
            description="Its key, whose value is in PEM.",
        ),
    ] = "trust-list.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance(SpecPart):
    """Whose statements about the making of a file are trusted."""

    trust_list: Annotated[
        TrustList,
        Field(
            description="Certificates of issuers whose C2PA signatures are trusted. Workers read "
            "them when they start."
        ),
    ]
    trust_declared: Annotated[
        bool,
        Field(
            description="What a trusted signer declares as made or edited by AI gets the verdict "
            "fake, whatever its score."
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Template(SpecPart):
    """The worker pods that the operator builds. Free-form members follow Kubernetes' core/v1."""

    image: Annotated[Text, Field(max_length=512, description="Image of the worker.")]
    image_pull_policy: Annotated[
        Text | None,
        Field(
            max_length=16,
            pattern="^(Always|IfNotPresent|Never)$",
            description="When the image is pulled: Always, IfNotPresent or Never.",
        ),
    ] = None
    service_account_name: Annotated[
        Name | None,
        Field(max_length=253, description="Service account with the worker's AWS role."),
    ] = None
    resources: Annotated[
        Object,
        Field(description="Container resources, for example limits with nvidia.com/gpu."),
    ] = field(default_factory=dict)
    env: Annotated[
        tuple[Object, ...],
        Field(max_length=128, description="Additional environment variables (EnvVar)."),
        UniqueBy("name"),
    ] = ()
    node_selector: Annotated[Object, Field(description="Labels that nodes must have.")] = field(
        default_factory=dict
    )
    tolerations: Annotated[
        tuple[Object, ...],
        Field(max_length=32, description="Node taints that the pods tolerate (Toleration)."),
    ] = ()
    feeders: Annotated[
        int | None,
        Field(
            ge=0,
            le=32,
            description="Processes of a worker that feed its device; 0 for none. Left out, the "
            "worker chooses by cores and device.",
        ),
    ] = None
    models: Annotated[Models, Field(description="Where the model files come from.")] = field(
        default_factory=Models
    )
    frames: Annotated[
        Integer | None,
        Field(
            ge=1,
            le=256,
            description="Most frames of a video that are looked at; without it the model decides.",
        ),
    ] = None
    windows: Annotated[
        Integer | None,
        Field(
            ge=1,
            le=1024,
            description="Most windows of sound that are looked at; without it the model decides.",
        ),
    ] = None
    precision: Annotated[
        Literal["auto", "float32", "float16", "bfloat16"] | None,
        Field(
            description="Precision of the networks: auto takes half precision on a GPU for "
            "models whose scores hold. Default: float32.",
        ),
    ] = None
    provenance: Annotated[
        Provenance | None,
        Field(description="Whose statements about the making of a file are trusted."),
    ] = None
    results: Annotated[
        Results | None,
        Field(description="Where results go besides the callback that a message names."),
    ] = None
    pod_template: Annotated[
        Object,
        Field(
            description="Merged over the pod template that the operator builds; null removes a "
            "default."
        ),
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker(SpecPart):
    """The workers: exactly one of template and deploymentRef."""

    template: Annotated[
        Template | None,
        Field(description="Pod template of a Deployment that the operator manages."),
    ] = None
    deployment_ref: Annotated[
        DeploymentRef | None,
        Field(description="Existing Deployment, of which the operator sets only the replicas."),
    ] = None
    protection: Annotated[
        Protection,
        Field(
            description="Which workers neither Karpenter (do-not-disrupt) nor the Cluster "
            "Autoscaler (safe-to-evict) may evict: those that are starting, or were busy in the "
            "last five minutes, or all of them always."
        ),
    ] = Protection.WHILE_BUSY
