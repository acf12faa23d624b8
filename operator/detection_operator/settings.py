"""Settings of the running operator as one checked, frozen value."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detection_operator.errors import InvalidSettings

NAMESPACES: Final = "DETECTION_OPERATOR_NAMESPACES"
CLUSTER_WIDE: Final = "DETECTION_OPERATOR_CLUSTER_WIDE"
PORT: Final = "DETECTION_OPERATOR_PORT"
HOST: Final = "DETECTION_OPERATOR_HOST"
LEADER_ELECTION: Final = "DETECTION_OPERATOR_LEADER_ELECTION"
LEASE_NAME: Final = "DETECTION_OPERATOR_LEASE_NAME"
DEPLOYMENT: Final = "DETECTION_OPERATOR_DEPLOYMENT"
DECISIONS: Final = "DETECTION_OPERATOR_DECISIONS"
WORKERS: Final = "DETECTION_OPERATOR_THREADS"
POD_NAME: Final = "POD_NAME"
POD_NAMESPACE: Final = "POD_NAMESPACE"
KUBECONFIG: Final = "KUBECONFIG"
SERVICE_ACCOUNT_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

HOST_DEFAULT: Final = "0.0.0.0"  # noqa: S104 - the kubelet and Prometheus reach it by the pod's address
PORT_DEFAULT: Final = 8080
THREADS_DEFAULT: Final = 8
LEASE_DEFAULT: Final = "detection-queue-operator"

_WORDS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    """How the operator runs.

    Attributes:
        namespaces: To serve; empty means the whole cluster.
        namespace: Of the operator itself, for its lease.
        identity: Of this process among its replicas.
        host: Where metrics and health are served.
        port: Of metrics and health; 0 picks one.
        leader_election: False where only one process can ever run.
        lease_name: Of the lease.
        deployment: That this process is a pod of, in its own namespace: the lease goes with it.
            None leaves the lease.
        decisions: File for decision records; None writes none.
        threads: Reconciles at a time.
        resync_s: Everything is listed and reconciled anew this often.
        watch_s: The API server is asked to end a watch after so long.
        kubeconfig: None means in the cluster, else the default file.
        context: Of the kubeconfig; None means its current one.
    """

    namespaces: tuple[str, ...] = ()
    namespace: str = "default"
    identity: str = "detection-operator"
    host: str = HOST_DEFAULT
    port: int = PORT_DEFAULT
    leader_election: bool = True
    lease_name: str = LEASE_DEFAULT
    deployment: str | None = None
    decisions: Path | None = None
    threads: int = THREADS_DEFAULT
    resync_s: float = 300.0
    watch_s: int = 300
    kubeconfig: Path | None = None
    context: str | None = None


def from_environment(environ: Mapping[str, str]) -> OperatorSettings:
    """Return the settings that the environment asks for; defaults fill the rest.

    Without ``DETECTION_OPERATOR_NAMESPACES`` the operator serves its own namespace, unless
    ``DETECTION_OPERATOR_CLUSTER_WIDE`` is true.

    Raises:
        InvalidSettings: A variable has a value that cannot be followed.
    """
    own = environ.get(POD_NAMESPACE) or _account_namespace() or "default"
    names = tuple(n for n in re.split(r"[\s,]+", environ.get(NAMESPACES, "")) if n)
    wide = _boolean(environ, CLUSTER_WIDE, default=False)
    if wide and names:
        raise InvalidSettings(f"{CLUSTER_WIDE} and {NAMESPACES} contradict each other")
    path = environ.get(DECISIONS)
    config = environ.get(KUBECONFIG)
    return OperatorSettings(
        namespaces=() if wide else names or (own,),
        namespace=own,
        identity=environ.get(POD_NAME) or f"{os.uname().nodename}-{os.getpid()}",
        host=environ.get(HOST) or HOST_DEFAULT,
        port=_integer(environ, PORT, PORT_DEFAULT, most=65_535),
        leader_election=_boolean(environ, LEADER_ELECTION, default=True),
        lease_name=environ.get(LEASE_NAME) or LEASE_DEFAULT,
        deployment=environ.get(DEPLOYMENT) or None,
        decisions=Path(path) if path else None,
        threads=_integer(environ, WORKERS, THREADS_DEFAULT, least=1, most=256),
        kubeconfig=Path(config) if config else None,
    )


def _account_namespace() -> str:
    try:
        return SERVICE_ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _boolean(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = environ.get(name, "").strip().lower()
    if not text:
        return default
    if text not in _WORDS:
        raise InvalidSettings(f"{name} is {text!r}, must be true or false")
    return _WORDS[text]


def _integer(
    environ: Mapping[str, str], name: str, default: int, *, most: int, least: int = 0
) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or not least <= int(text) <= most:
        raise InvalidSettings(f"{name} is {text!r}, must be between {least} and {most}")
    return int(text)
