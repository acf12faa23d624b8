"""Names shared by operator and worker: environment variables, ports, paths, pod metadata.

What the operator sets on worker pods and the worker reads is defined once, here. Meaning and
range of a variable are documented with the worker's settings.
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
CALLBACK_URL: Final = "DETECTION_CALLBACK_URL"
RESULTS_URL: Final = "DETECTION_RESULTS_URL"
RESULTS_KEY: Final = "DETECTION_RESULTS_KEY"
RESULTS_PAGES: Final = "DETECTION_RESULTS_PAGES"
RESULTS_KMS_KEY_ID: Final = "DETECTION_RESULTS_KMS_KEY_ID"
RESULTS_BUCKET_OWNER: Final = "DETECTION_RESULTS_BUCKET_OWNER"
ON_SUCCESS: Final = "DETECTION_ON_SUCCESS"
ON_FAILURE: Final = "DETECTION_ON_FAILURE"
CACHE_URL: Final = "DETECTION_CACHE_URL"
OUTBOX_URL: Final = "DETECTION_OUTBOX_URL"
FRAMES: Final = "DETECTION_FRAMES"
WINDOWS: Final = "DETECTION_WINDOWS"
PRECISION: Final = "DETECTION_PRECISION"
TRUST_LIST: Final = "DETECTION_TRUST_LIST"
TRUST_DECLARED: Final = "DETECTION_TRUST_DECLARED"
FEEDERS: Final = "DETECTION_FEEDERS"
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
    CALLBACK_URL,
    RESULTS_URL,
    RESULTS_KEY,
    RESULTS_PAGES,
    RESULTS_KMS_KEY_ID,
    RESULTS_BUCKET_OWNER,
    ON_SUCCESS,
    ON_FAILURE,
    CACHE_URL,
    OUTBOX_URL,
    FRAMES,
    WINDOWS,
    PRECISION,
    FEEDERS,
    TRUST_LIST,
    TRUST_DECLARED,
    TEMP_DIR,
    S3_CACHE_DIR,
)
"""Every variable above."""

# Set by others.
IN_CLUSTER: Final = "KUBERNETES_SERVICE_HOST"
"""The kubelet sets it in every pod."""
SQS_ENDPOINT_URL: Final = "AWS_ENDPOINT_URL_SQS"
"""Endpoint of SQS alone, read by boto3; ``ENDPOINT_URL`` moves S3 too."""
AWS_EC2_METADATA_DISABLED: Final = "AWS_EC2_METADATA_DISABLED"
"""``true`` keeps a pod without its own role from using the node's silently."""

# The worker's control server.
CONTROL_PORT_DEFAULT: Final = 8080
CONTROL_PORT_NAME: Final = "control"
"""Name of the container port; Kubernetes allows 15 characters."""
HEALTH_PATH: Final = "/healthz"
"""GET, 200 while there is progress; for the startup and the liveness probe."""
READY_PATH: Final = "/readyz"
"""GET, 200 once models are loaded and the queue can be read; for the readiness probe only."""
STATE_PATH: Final = "/state"
"""GET, JSON: whether it is busy, messages in flight, predicted seconds of work held."""
METRICS_PATH: Final = "/metrics"
"""GET, Prometheus text."""
DRAIN_PATH: Final = "/drain"
"""POST: stop polling, release messages not yet started, finish the others."""
RESUME_PATH: Final = "/resume"
"""POST: poll again."""

# Exit codes of every command.
EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
"""Wrong usage or configuration: a retry without a change fails again."""
EXIT_INTERRUPTED: Final = 130
"""128 + SIGINT."""

SHUTDOWN_GRACE_DEFAULT_S: Final = 30
"""Kubernetes' own default of ``terminationGracePeriodSeconds``."""
GRACE_MARGIN_S: Final = 5
"""The pod's grace period exceeds the worker's by this: it is not killed while it shuts down."""

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
"""Digest of the spec that a worker Deployment was built from."""
ANNOTATION_DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
"""Read by Kubernetes: a ReplicaSet removes pods of lower cost first."""
ANNOTATION_CONTROL_PORT: Final = f"{DOMAIN}/control-port"
"""Port of the control server, if it is not the container port ``CONTROL_PORT_NAME``."""
CONTAINER_WORKER: Final = "worker"

# Paths in the worker's container.
POD_MODELS_DIR: Final = "/app/models"
POD_TEMP_DIR: Final = "/tmp"  # noqa: S108 - a mount point of the pod, not a shared folder
"""An ``emptyDir``: the rest of the file system is read-only."""
