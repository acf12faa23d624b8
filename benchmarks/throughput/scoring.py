"""What every contender does with one file, and how it gets at the local services."""

import os
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import boto3
import requests
import torch
from botocore.config import Config

from detection_contract.media_types import MediaKind
from detection_worker.cores import usable_cores
from detection_worker.detectors.base import Detector
from detection_worker.detectors.registry import load_detectors
from detection_worker.media.decode import decode_file
from detection_worker.media.jail.wire import order_of
from detection_worker.media.stills import image
from detection_worker.media.values import DecodedMedia
from detection_worker.pipeline.files.analysis import NotApplicableResult, conclude, decode_request
from detection_worker.settings import MediaLimits
from throughput.media import BUCKET

THRESHOLD: Final = 0.5
Detectors = Mapping[MediaKind, Detector]


def detectors_of(models_dir: Path, *, threads: int) -> Detectors:
    """Return the models, with so many threads for a forward pass, ready to work in threads."""
    loaded = load_detectors(models_dir, threads=threads).by_kind
    torch.set_num_threads(threads)
    image.prepare()
    return loaded


def decode_here(path: Path, detectors: Detectors) -> DecodedMedia:
    """Return a file as units, decoded in this very process and thread."""
    request = decode_request(path, name=path.name, detectors=detectors, limits=MediaLimits())
    with path.open("rb") as file:
        return decode_file(file, order_of(request), tick=lambda: None)


def decode_bytes(content: bytes, *, name: str, detectors: Detectors) -> DecodedMedia:
    """Return a downloaded file as units, by way of a temporary file as in the guide."""
    with tempfile.NamedTemporaryFile(suffix=name) as file:
        file.write(content)
        file.flush()
        return decode_here(Path(file.name), detectors)


def verdict_of(decoded: DecodedMedia, logits: Any, detectors: Detectors) -> dict[str, object]:
    """Return what is posted: the verdict, after a search for speech where the model wants some."""
    card = detectors[decoded.info.kind].card
    try:
        verdict = conclude(decoded, logits, card, threshold=THRESHOLD).verdict
    except NotApplicableResult as exc:
        return {"label": None, "reason": exc.reason}
    return {"label": verdict.label, "prediction_score": verdict.score}


class Services:
    """SQS, S3 and the receiver of callbacks, as a loop written by hand talks to them.

    Kinder than the guide to itself: one S3 call a message, and kept-alive connections.

    Args:
        queue_url: Where messages come from; endpoint and keys are in the environment.
    """

    def __init__(self, queue_url: str) -> None:
        session = boto3.Session(region_name=os.environ["AWS_REGION"])
        config = Config(max_pool_connections=64, s3={"addressing_style": "path"})
        self._sqs = session.client("sqs", config=config)
        self._s3 = session.client("s3", config=config)
        self._queue_url = queue_url
        self._local = threading.local()

    def receive(self) -> list[dict[str, Any]]:
        """Return up to ten messages, after a second at most."""
        answer = self._sqs.receive_message(
            QueueUrl=self._queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=1
        )
        return list(answer.get("Messages", []))

    def delete(self, message: Mapping[str, Any]) -> None:
        """Acknowledge a message."""
        self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])

    def fetch(self, key: str) -> bytes:
        """Return an object."""
        return bytes(self._s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def post(self, url: str, body: object) -> None:
        """Send a result."""
        self.http().post(url, json=body, timeout=30).raise_for_status()

    def http(self) -> requests.Session:
        """Return this thread's connections."""
        if not hasattr(self._local, "http"):
            self._local.http = requests.Session()
        session: requests.Session = self._local.http
        return session


@cache
def cores() -> int:
    """Return the cores that a contender may use."""
    return usable_cores()
