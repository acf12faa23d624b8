"""Uploads and messages of the demo: sample files, and one that is broken on purpose."""

import json
from dataclasses import dataclass

from detection_contract.messages import create_test_message
from detection_testing.samples import SAMPLES, sample_path

BUCKET = "demo-media"
BROKEN_KEY = "uploads/truncated.jpg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One object of the demo.

    Attributes:
        key: In the bucket.
        kind: ``image``, ``video`` or ``audio``.
        truth: ``real`` or ``fake``, or ``broken``.
        content: The bytes.
    """

    key: str
    kind: str
    truth: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of the demo."""

    request_id: str
    upload: Upload
    body: str


def uploads() -> list[Upload]:
    """Return every sample and one truncated photograph."""
    files = [
        Upload(
            key=f"uploads/{sample.name}",
            kind=sample.kind.value,
            truth=sample.truth,
            content=sample_path(sample.name).read_bytes(),
        )
        for sample in SAMPLES
    ]
    image = next(f for f in files if f.kind == "image")
    broken = Upload(key=BROKEN_KEY, kind="image", truth="broken", content=image.content[:300])
    return [*files, broken]


def messages(files: list[Upload], count: int, callback_url: str) -> list[Message]:
    """Return ``count`` messages that ask for the files in turn."""
    made: list[Message] = []
    for number in range(count):
        upload = files[number % len(files)]
        request_id = f"demo-{number + 1:03d}"
        body = create_test_message(
            sqs_to_ml_url=f"s3://{BUCKET}/{upload.key}",
            callback_url=callback_url,
            request_id=request_id,
            metadata={"truth": upload.truth},
        )
        made.append(Message(request_id=request_id, upload=upload, body=json.dumps(body)))
    return made
