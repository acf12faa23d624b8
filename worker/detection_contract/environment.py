"""Names that processes find each other by: environment variables, ports, paths, pod metadata.

What the operator sets on worker pods and the worker reads is here once, so that neither can
misspell it. A variable's meaning and range are with the worker's settings.
"""

from typing import Final

# Read by the worker. The first block has the names of the original guide.
QUEUE_URL: Final = "QUEUE_URL"
MODELS_DIR: Final = "MODELS_DIR"
LOG_LEVEL: Final = "LOG_LEVEL"
LOG_FORMAT: Final = "LOG_FORMAT"
AWS_REGION: Final = "AWS_REGION"
POLL_INTERVAL: Final = "POLL_INTERVAL"
MAX_MESSAGES: Final = "MAX_MESSAGES"
WAIT_TIME: Final = "WAIT_TIME"
VISIBILITY_TIMEOUT: Final = "VISIBILITY_TIMEOUT"
ENDPOINT_URL: Final = "DETECTION_ENDPOINT_URL"
CONTROL_HOST: Final = "DETECTION_CONTROL_HOST"
CONTROL_PORT: Final = "DETECTION_CONTROL_PORT"
SHUTDOWN_GRACE_S: Final = "DETECTION_SHUTDOWN_GRACE_S"
QUEUE_WAIT_OBJECTIVE_S: Final = "DETECTION_QUEUE_WAIT_OBJECTIVE_S"
DEAD_LETTER_QUEUE_URL: Final = "DETECTION_DEAD_LETTER_QUEUE_URL"
CALLBACK_ALLOW_PRIVATE: Final = "DETECTION_CALLBACK_ALLOW_PRIVATE"
CALLBACK_SIGNING_SECRETS: Final = "DETECTION_CALLBACK_SIGNING_SECRETS"
TEMP_DIR: Final = "DETECTION_TEMP_DIR"
S3_CACHE_DIR: Final = "DETECTION_S3_CACHE_DIR"

WORKER_VARIABLES: Final = (
    QUEUE_URL,
    MODELS_DIR,
    LOG_LEVEL,
    LOG_FORMAT,
    AWS_REGION,
    POLL_INTERVAL,
    MAX_MESSAGES,
    WAIT_TIME,
    VISIBILITY_TIMEOUT,
    ENDPOINT_URL,
    CONTROL_HOST,
    CONTROL_PORT,
    SHUTDOWN_GRACE_S,
    QUEUE_WAIT_OBJECTIVE_S,
    DEAD_LETTER_QUEUE_URL,
    CALLBACK_ALLOW_PRIVATE,
    CALLBACK_SIGNING_SECRETS,
    TEMP_DIR,
    S3_CACHE_DIR,
)
"""Every variable above."""

# Set by others.
IN_CLUSTER: Final = "KUBERNETES_SERVICE_HOST"
"""The kubelet sets it in every pod."""
SQS_ENDPOINT_URL: Final = "AWS_ENDPOINT_URL_SQS"
"""boto3 reads it: where SQS is. S3 and STS stay where they are, unlike with ``ENDPOINT_URL``."""
AWS_EC2_METADATA_DISABLED: Final = "AWS_EC2_METADATA_DISABLED"
"""``true`` keeps a pod without a role of its own from silently using the node's."""

# The worker's control server.
CONTROL_PORT_DEFAULT: Final = 8080
CONTROL_PORT_NAME: Final = "control"
"""Of the container port; at most 15 characters."""
HEALTH_PATH: Final = "/healthz"
"""GET, 200 while there is progress; for the startup and the liveness probe."""
READY_PATH: Final = "/readyz"
"""GET, 200 once models are loaded and the queue can be read; for the readiness probe only."""
STATE_PATH: Final = "/state"
"""GET, JSON: busy, in flight, seconds of work held."""
METRICS_PATH: Final = "/metrics"
"""GET, Prometheus text."""
DRAIN_PATH: Final = "/drain"
"""POST: receive nothing more, hand back what has not begun, finish the rest."""
RESUME_PATH: Final = "/resume"
"""POST: receive again."""

# Exit codes of every command.
EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
"""Wrong usage or set-up: trying again without a change is useless."""
EXIT_INTERRUPTED: Final = 130
"""128 + SIGINT."""

SHUTDOWN_GRACE_DEFAULT_S: Final = 30
"""Kubernetes' own default of ``terminationGracePeriodSeconds``."""
GRACE_MARGIN_S: Final = 5
"""The pod's grace period exceeds the worker's by this: it is never killed in its last act."""

# Pod metadata.
DOMAIN: Final = "detection-queue.dev"
LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_INSTANCE: Final = "app.kubernetes.io/instance"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
NAME: Final = "detection-queue"
"""Value of ``LABEL_NAME``, and with ``-operator`` that of ``LABEL_MANAGED_BY``."""
COMPONENT_WORKER: Final = "worker"
COMPONENT_OPERATOR: Final = "operator"
LABEL_QUEUE: Final = f"{DOMAIN}/queue"
"""Name of the DetectionQueue that a worker pod serves."""
LABEL_REVISION: Final = f"{DOMAIN}/revision"
"""Start of the digest of the pod template; pods of one Deployment share it."""
ANNOTATION_DRAIN: Final = f"{DOMAIN}/drain-since"
"""When the operator asked a pod to drain: UTC, ISO 8601."""
ANNOTATION_SPEC_HASH: Final = f"{DOMAIN}/spec-hash"
"""Digest of what a worker Deployment was built from."""
ANNOTATION_DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
"""Kubernetes' own: pods of lower cost are removed first."""
ANNOTATION_CONTROL_PORT: Final = f"{DOMAIN}/control-port"
"""Port of the control server where it is not that of the container port of its name."""
CONTAINER_WORKER: Final = "worker"

# Paths in the worker's container.
POD_MODELS_DIR: Final = "/app/models"
POD_TEMP_DIR: Final = "/tmp"  # noqa: S108 - a mount point of the pod, not a shared folder
"""An ``emptyDir``: the rest of the file system is read-only."""
