"""Settings of the running operator as one checked, frozen value."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, AliasGenerator, BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    SettingsConfigDict,
)

from detection_contract.process.emf import is_namespace
from detection_operator.errors import InvalidSettings

PREFIX: Final = "DETECTION_OPERATOR_"
SERVICE_ACCOUNT_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    """How the operator runs.

    Attributes:
        namespaces: Namespaces to serve; empty means the whole cluster.
        namespace: The operator's own namespace, which holds its lease.
        identity: Name of this process among its replicas.
        host: Address of metrics and health checks.
        port: Port of metrics and health checks, 0 to 65,535; 0 picks a free one.
        leader_election: False where only one process can ever run.
        lease_name: Name of the Lease.
        deployment: Deployment in ``namespace`` that owns the Lease, so that deleting it deletes
            the Lease; None sets no owner.
        decisions: File for decision records; None writes none.
        emf_namespace: CloudWatch namespace of metrics written to standard output; None for none.
        threads: Reconciles that run at once, 1 to 256.
        resync_s: Interval of a full list and reconcile, in seconds.
        watch_s: How long the API server is asked to keep a watch open, in seconds.
        nodes: Read and watch nodes, to drain workers on nodes that are going.
        node_selector: Label selector of the nodes to read; empty means all.
        kubeconfig: None means the pod's service account, else the default file.
        context: Context of the kubeconfig; None means its current one.
    """

    namespaces: tuple[str, ...] = ()
    namespace: str = "default"
    identity: str = "detection-operator"
    host: str = "0.0.0.0"  # noqa: S104 - the kubelet and Prometheus reach it by the pod's address
    port: int = 8080
    leader_election: bool = True
    lease_name: str = "detection-queue-operator"
    deployment: str | None = None
    decisions: Path | None = None
    emf_namespace: str | None = None
    threads: int = 8
    resync_s: float = 300.0
    watch_s: int = 300
    nodes: bool = False
    node_selector: str = ""
    kubeconfig: Path | None = None
    context: str | None = None


def from_environment() -> OperatorSettings:
    """Return the settings that the environment asks for; defaults fill the rest.

    Without ``DETECTION_OPERATOR_NAMESPACES`` the operator serves its own namespace, unless
    ``DETECTION_OPERATOR_CLUSTER_WIDE`` is true. An empty variable counts as not set.

    Raises:
        InvalidSettings: A variable has a value that is not allowed.
    """
    try:
        found = _Environment().model_dump(exclude_none=True)
    except ValidationError as exc:
        raise InvalidSettings(_sentence(exc)) from None
    own = found.setdefault("namespace", _account_namespace() or OperatorSettings().namespace)
    found.setdefault("identity", f"{os.uname().nodename}-{os.getpid()}")
    wide, names = found.pop("cluster_wide", False), found.pop("namespaces")
    if wide and names:
        raise InvalidSettings(f"{PREFIX}CLUSTER_WIDE and {PREFIX}NAMESPACES contradict each other")
    return OperatorSettings(namespaces=() if wide else names or (own,), **found)


def variables() -> dict[str, str]:
    """Return the environment variable of each setting that has one."""
    return {name: str(field.validation_alias) for name, field in _Environment.model_fields.items()}


def _names(given: object) -> object:
    return tuple(re.findall(r"[^\s,]+", given)) if isinstance(given, str) else given


def _stripped(given: object) -> object:
    return given.strip() or None if isinstance(given, str) else given


def _namespace(given: str | None) -> str | None:
    if given is not None and not is_namespace(given):
        raise ValueError(given)
    return given


_Stripped: Final = BeforeValidator(_stripped)
_Flag = Annotated[bool | None, _Stripped, Field(description="true or false")]
_Number = Annotated[int | None, _Stripped]


class _Environment(BaseSettings):
    """What the variables say; None where one is not set.

    Apart from ``OperatorSettings``, so that its constructor does not read the environment: a
    process may make several, as tests and benchmarks do.
    """

    model_config = SettingsConfigDict(
        alias_generator=AliasGenerator(validation_alias=lambda name: f"{PREFIX}{name.upper()}"),
        # A script's own `kubeconfig` is not KUBECONFIG.
        case_sensitive=True,
        env_ignore_empty=True,
        extra="ignore",
    )

    namespaces: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)] = ()
    cluster_wide: _Flag = None
    namespace: str | None = Field(default=None, validation_alias="POD_NAMESPACE")
    identity: str | None = Field(default=None, validation_alias="POD_NAME")
    host: str | None = None
    port: _Number = Field(default=None, ge=0, le=65_535, description="between 0 and 65535")
    leader_election: _Flag = None
    lease_name: str | None = None
    deployment: str | None = None
    decisions: Path | None = None
    emf_namespace: Annotated[str | None, _Stripped, AfterValidator(_namespace)] = Field(
        default=None,
        description="letters, digits and . - _ / # :, at most 255, not beginning with AWS/",
    )
    threads: _Number = Field(default=None, ge=1, le=256, description="between 1 and 256")
    nodes: _Flag = None
    node_selector: str | None = None
    kubeconfig: Path | None = Field(default=None, validation_alias="KUBECONFIG")


def _sentence(exc: ValidationError) -> str:
    wrong = exc.errors()[0]
    variable = wrong["loc"][0]
    fields = _Environment.model_fields.values()
    must = next(field.description for field in fields if field.validation_alias == variable)
    return f"{variable} is {wrong['input']!r}, must be {must}"


def _account_namespace() -> str:
    try:
        return SERVICE_ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
