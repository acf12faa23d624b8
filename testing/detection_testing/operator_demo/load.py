"""The DetectionQueues of the demo, and what is sent to them."""

from collections.abc import Sequence
from typing import Any, Final

from detection_contract.environment import CALLBACK_ALLOW_PRIVATE, ENDPOINT_URL, WAIT_TIME
from detection_contract.messages import create_test_message
from detection_testing.operator_demo.local_aws import CREDENTIALS, REGION, LocalAws
from detection_testing.operator_demo.options import Options

QUEUE_WAIT_S: Final = 20


def queue_spec(aws: LocalAws, options: Options, url: str | None = None) -> dict[str, Any]:
    """Return the spec of a DetectionQueue: hasty, so that one need not wait to see it act.

    Args:
        aws: Where its queue is.
        options: Of the demonstration.
        url: URL of the queue; None means the first one.
    """
    one_core = {"DETECTION_TORCH_THREADS": "1", "DETECTION_DECODERS": "1"}
    hasty = {WAIT_TIME: "2", CALLBACK_ALLOW_PRIVATE: "true", ENDPOINT_URL: aws.endpoint_url}
    environ = {**CREDENTIALS, **one_core, **hasty}
    return {
        "queue": {
            "url": url or aws.queue_url,
            "endpointURL": aws.endpoint_url,
            "region": REGION,
            "pollIntervalSeconds": 1,
        },
        "slo": {"queueWaitSeconds": QUEUE_WAIT_S},
        "scaling": {
            "minReplicas": 0,
            "maxReplicas": options.max_replicas,
            "scaleDown": {"holdSeconds": 5, "maxPercent": 100, "drainTimeoutSeconds": 60},
            "idle": {"policy": "Fixed", "fixedSeconds": 5},
        },
        "serviceTime": {
            "coldStartSeconds": 8,
            "priors": [{"mediaType": kind, "seconds": 1} for kind in ("image", "video", "audio")],
        },
        "worker": {
            "template": {
                "image": "detection-worker:demo",
                "env": [{"name": name, "value": value} for name, value in environ.items()],
            }
        },
    }


def messages(
    urls: Sequence[str], count: int, callback_url: str, prefix: str = "demo"
) -> list[dict[str, Any]]:
    """Return ``count`` messages that ask for the objects in turn."""
    return [
        create_test_message(
            sqs_to_ml_url=urls[number % len(urls)],
            callback_url=callback_url,
            request_id=f"{prefix}-{number + 1:05d}",
        )
        for number in range(count)
    ]
