"""The Deployment of a DetectionQueue's workers, from its spec. Pure.

A Deployment's pod template never changes: another template is another Deployment, named by its
revision. Each then has exactly one ReplicaSet, so that only the operator chooses which pods go.
A new image is rolled out by scaling one Deployment out and the other in, by the same rules.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from detection_contract import environment as env
from detection_operator.kube.manifests.overrides import overridden
from detection_operator.kube.objects import owner_reference
from detection_operator.kube.pods.protection import PROTECTED
from detection_operator.kube.port import Object
from detection_operator.spec.fields import FROM_REDRIVE_POLICY
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.results import Results
from detection_operator.spec.worker import Template

REVISION_CHARS: Final = 8
USER_ID: Final = 10_001
"""User of the worker's image."""
FS_GROUP_POLICY: Final = "OnRootMismatch"
"""Changing the group of every model file on every start takes minutes on large volumes."""
STARTUP_PERIOD_S: Final = 5
STARTUP_MIN_S: Final = 300
"""Loading models from a slow volume takes minutes; a restart would begin again."""
PROGRESS_DEADLINE_S: Final = 3600
"""A GPU node may take long; the operator reports that itself."""
SPREAD: Final = "topologySpreadConstraints"
_TRUST_LIST_PATH: Final = "/etc/detection-queue/provenance/trust-list.pem"
_STRATEGY: Final = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
"""Used only if a user edits the Deployment."""


def worker_labels(queue: Object) -> dict[str, str]:
    """Return the labels that all workers of a DetectionQueue share."""
    return {
        env.LABEL_NAME: env.NAME,
        env.LABEL_INSTANCE: queue["metadata"]["name"],
        env.LABEL_COMPONENT: env.COMPONENT_WORKER,
        env.LABEL_MANAGED_BY: f"{env.NAME}-{env.COMPONENT_OPERATOR}",
        env.LABEL_QUEUE: queue["metadata"]["name"],
    }


def worker_selector(queue: Object) -> str:
    """Return the selector of a DetectionQueue's Deployments and pods."""
    return f"{env.LABEL_QUEUE}={queue['metadata']['name']}"


def deployment(queue: Object, spec: QueueSpec, template: Template) -> dict[str, Any]:
    """Return the manifest of the Deployment, without replicas.

    Args:
        queue: The DetectionQueue.
        spec: Its parsed spec.
        template: ``spec.worker.template``.

    Raises:
        InvalidSpec: ``template.pod_template`` has a shape that no pod template has.
    """
    labels = worker_labels(queue)
    pod = overridden(_pod_template(spec, template, labels), template.pod_template)
    revision = digest(pod)[:REVISION_CHARS]
    own = {env.LABEL_QUEUE: labels[env.LABEL_QUEUE], env.LABEL_REVISION: revision}
    # An override must not take the pods out of the selector.
    pod["metadata"]["labels"] = {**pod["metadata"]["labels"], **own}
    spread = pod["spec"].get(SPREAD)
    if spread is not None:
        pod["spec"][SPREAD] = [{"labelSelector": {"matchLabels": own}, **one} for one in spread]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": f"{queue['metadata']['name']}-{revision}",
            "namespace": queue["metadata"]["namespace"],
            "labels": {**labels, env.LABEL_REVISION: revision},
            "annotations": {env.ANNOTATION_SPEC_HASH: digest(pod)},
            "ownerReferences": [owner_reference(queue)],
        },
        "spec": {
            "selector": {"matchLabels": own},
            "strategy": _STRATEGY,
            "progressDeadlineSeconds": PROGRESS_DEADLINE_S,
            "revisionHistoryLimit": 1,
            "template": pod,
        },
    }


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def worker_grace_s(spec: QueueSpec) -> int:
    """Return the seconds that a worker has after SIGTERM: the longest job may finish."""
    return max(
        env.SHUTDOWN_GRACE_DEFAULT_S,
        spec.scaling.scale_down.drain_timeout_s,
        *(prior.seconds for prior in spec.service_time.priors),
    )


def _pod_template(
    spec: QueueSpec, template: Template, labels: Mapping[str, str]
) -> dict[str, Any]:
    pod_spec: dict[str, Any] = {
        "containers": [_container(spec, template)],
        "terminationGracePeriodSeconds": worker_grace_s(spec) + env.GRACE_MARGIN_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": FS_GROUP_POLICY,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # AWS roles need their own projected token, never the token for the Kubernetes API.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        SPREAD: [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
            }
        ],
        "volumes": _volumes(template),
    }
    if template.service_account_name is not None:
        pod_spec["serviceAccountName"] = template.service_account_name
    if template.node_selector:
        pod_spec["nodeSelector"] = dict(template.node_selector)
    if template.tolerations:
        pod_spec["tolerations"] = [dict(item) for item in template.tolerations]
    annotations = {
        # Pods that are starting stay; later the operator annotates them by what they do.
        **PROTECTED,
        "kubectl.kubernetes.io/default-container": env.CONTAINER_WORKER,
    }
    return {"metadata": {"labels": dict(labels), "annotations": annotations}, "spec": pod_spec}


def _container(spec: QueueSpec, template: Template) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": env.CONTAINER_WORKER,
        "image": template.image,
        "env": _environment(spec, template),
        "ports": [
            {
                "name": env.CONTROL_PORT_NAME,
                "containerPort": env.CONTROL_PORT_DEFAULT,
                "protocol": "TCP",
            }
        ],
        # Alive, not ready: a queue that cannot be reached must not become a crash loop.
        "startupProbe": _probe(
            env.HEALTH_PATH,
            period_s=STARTUP_PERIOD_S,
            failures=-(
                -max(STARTUP_MIN_S, 3 * spec.service_time.cold_start_s) // STARTUP_PERIOD_S
            ),
        ),
        "readinessProbe": _probe(env.READY_PATH, period_s=10, failures=3),
        "livenessProbe": _probe(env.HEALTH_PATH, period_s=15, failures=4),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": _mounts(template),
    }
    if template.image_pull_policy is not None:
        container["imagePullPolicy"] = template.image_pull_policy
    if template.resources:
        container["resources"] = dict(template.resources)
    return container


def _probe(path: str, *, period_s: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": env.CONTROL_PORT_NAME},
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _environment(spec: QueueSpec, template: Template) -> list[dict[str, Any]]:
    """Return the container's variables: the user's win over the operator's of the same name."""
    ours = {
        env.QUEUE_URL: spec.queue.url,
        env.AWS_REGION: spec.queue.region or "",
        env.CONTROL_HOST: "0.0.0.0",  # noqa: S104 - the kubelet and the operator reach it by the pod's address
        env.CONTROL_PORT: str(env.CONTROL_PORT_DEFAULT),
        env.SHUTDOWN_GRACE_S: str(worker_grace_s(spec)),
        env.QUEUE_WAIT_OBJECTIVE_S: str(spec.slo.queue_wait_s),
        env.LOG_FORMAT: "json",
        env.TEMP_DIR: f"{env.POD_TEMP_DIR}/deepfake_cache",
        env.S3_CACHE_DIR: f"{env.POD_TEMP_DIR}/deepfake_s3_cache",
    }
    if spec.queue.endpoint_url is not None:
        ours[env.SQS_ENDPOINT_URL] = spec.queue.endpoint_url
    if spec.queue.dead_letter_queue != FROM_REDRIVE_POLICY:
        ours[env.DEAD_LETTER_QUEUE_URL] = spec.queue.dead_letter_queue
    if template.models.claim_name is not None:
        ours[env.MODELS_DIR] = template.models.mount_path
    optional = {
        env.FRAMES: template.frames,
        env.WINDOWS: template.windows,
        env.PRECISION: template.precision,
        env.FEEDERS: template.feeders,
    }
    ours |= {name: str(value) for name, value in optional.items() if value is not None}
    if template.provenance is not None:
        ours[env.TRUST_LIST] = _TRUST_LIST_PATH
        ours[env.TRUST_DECLARED] = "on" if template.provenance.trust_declared else "off"
    if template.results is not None:
        ours |= _result_variables(template.results)
    theirs = {item["name"] for item in template.env if "name" in item}
    own = [{"name": name, "value": value} for name, value in ours.items() if name not in theirs]
    return [*own, *(dict(item) for item in template.env)]


def _result_variables(results: Results) -> dict[str, str]:
    variables = {
        env.RESULTS_URL: results.url,
        env.RESULTS_KEY: results.key_template,
        env.RESULTS_PAGES: "on" if results.pages else None,
        env.RESULTS_KMS_KEY_ID: results.kms_key_id,
        env.RESULTS_BUCKET_OWNER: results.bucket_owner,
        env.ON_SUCCESS: ",".join(results.on_success),
        env.ON_FAILURE: ",".join(results.on_failure),
        env.CALLBACK_URL: results.callback_url,
        env.CACHE_URL: results.cache_url,
        env.OUTBOX_URL: results.outbox_url,
    }
    # Kubernetes replaces $(NAME), and $$ by $.
    return {name: value.replace("$", "$$") for name, value in variables.items() if value}


def _volumes(template: Template) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {}}]
    claim = template.models.claim_name
    if claim is not None:
        reference = {"claimName": claim, "readOnly": True}
        volumes.append({"name": "models", "persistentVolumeClaim": reference})
    if template.provenance is not None:
        trusted = template.provenance.trust_list
        file = {"key": trusted.key, "path": PurePosixPath(_TRUST_LIST_PATH).name}
        reference = {"name": trusted.config_map_name, "items": [file]}
        volumes.append({"name": "trust-list", "configMap": reference})
    return volumes


def _mounts(template: Template) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": env.POD_TEMP_DIR}]
    if template.models.claim_name is not None:
        path = template.models.mount_path
        mounts.append({"name": "models", "mountPath": path, "readOnly": True})
    if template.provenance is not None:
        path = str(PurePosixPath(_TRUST_LIST_PATH).parent)
        mounts.append({"name": "trust-list", "mountPath": path, "readOnly": True})
    return mounts
