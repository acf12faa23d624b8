"""Objects and requests of the demo: sample files, and one that is broken on purpose."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from detection_contract.messages import create_test_message
from detection_testing.samples import SAMPLES, sample_path

BUCKET: Final = "demo-media"
EVENTS_PREFIX: Final = "uploads/"
"""S3 tells the queue of objects whose keys start so."""
ARCHIVE_PREFIX: Final = "archive/"
BROKEN: Final = "truncated.jpg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One file of the demo.

    Attributes:
        name: File name.
        kind: ``image``, ``video`` or ``audio``.
        truth: ``real`` or ``fake``, or ``broken``.
        content: The bytes.
    """

    name: str
    kind: str
    truth: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One result that must arrive.

    Attributes:
        upload: The file.
        key: Its object in the bucket.
        request_id: Empty if S3 asks for it: S3's events have none.
        body: The message; empty if S3 sends it.
        late: The receiver of its callback is down at first.
    """

    upload: Upload
    key: str
    request_id: str = ""
    body: str = ""
    late: bool = False

    @property
    def by_event(self) -> bool:
        """S3 asks for it, and nobody waits for a callback."""
        return not self.request_id

    @property
    def url(self) -> str:
        """``s3://`` URL of the object."""
        return f"s3://{BUCKET}/{self.key}"


def uploads() -> list[Upload]:
    """Return every sample and a truncated photograph, each kind early in the list."""
    files = [
        Upload(
            name=sample.name,
            kind=sample.kind.value,
            truth=sample.truth,
            content=sample_path(sample.name).read_bytes(),
        )
        for sample in SAMPLES
    ]
    image = next(f for f in files if f.kind == "image")
    broken = Upload(name=BROKEN, kind="image", truth="broken", content=image.content[:300])
    first = [next(f for f in files if f.kind == kind) for kind in ("image", "audio", "video")]
    return [*first, broken, *(f for f in files if f not in first)]


def requests(
    files: Sequence[Upload], count: int, *, callback_url: str, late_callback_url: str
) -> list[Wanted]:
    """Return ``count`` requests for the files in turn: half by events of S3, half by messages.

    A message asks for the object that an event tells of, if there is such a one: it is then asked
    for twice. The first message is the one whose receiver is down at first.
    """
    by_event = [
        Wanted(upload=f, key=EVENTS_PREFIX + f.name)
        for f in (files[number % len(files)] for number in range((count + 1) // 2))
    ]
    known = {wanted.upload.name for wanted in by_event}
    wanted = list(by_event)
    for number in range(len(by_event), count):
        upload = files[number % len(files)]
        late = number == len(by_event)
        key = (EVENTS_PREFIX if upload.name in known else ARCHIVE_PREFIX) + upload.name
        request_id = f"demo-{number + 1:03d}"
        body = create_test_message(
            sqs_to_ml_url=f"s3://{BUCKET}/{key}",
            callback_url=late_callback_url if late else callback_url,
            request_id=request_id,
            metadata={"truth": upload.truth},
        )
        wanted.append(
            Wanted(upload=upload, key=key, request_id=request_id, body=json.dumps(body), late=late)
        )
    return wanted
