"""An upload becomes a result everywhere it was asked for: the whole worker on moto."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from detection_contract.schemas import load_schema
from detection_testing.media.sample_media import make_image


@pytest.mark.slow
def test_the_command_takes_an_upload_to_every_destination(
    account: Any, tiny_models: Path, tmp_path: Path
) -> None:
    account.notify_of_uploads()
    picture = make_image(tmp_path / "holiday photo.jpg", width=160, height=160)
    account.upload("uploads/holiday photo.jpg", picture.read_bytes())

    run = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "detection_worker"),
            *account.options(
                *("--models-dir", str(tiny_models)),
                *("--results", f"s3://{account.bucket('results')}/out/"),
                *("--on-success", account.destinations),
                *("--callback-url", account.receiver.url),
            ),
        ],
        env={**os.environ, **account.environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    [(key, body)] = account.stored().items()
    envelope = json.loads(body)
    jsonschema.validate(envelope, load_schema("result"))
    assert key.startswith("out/20")
    assert key.endswith(f"/{envelope['request_id']}.json")
    assert envelope["sqs_to_ml_url"] == f"s3://{account.bucket('media')}/uploads/holiday photo.jpg"
    assert envelope["label"] in ("FAKE", "REAL")
    [(headers, posted)] = account.receiver.accepted
    assert posted == body
    [direct] = account.notifications("direct")
    notification: Any = load_schema("notification")
    notification["properties"]["result"] = load_schema("result")  # in place of a reference to it
    jsonschema.validate(direct, notification)
    assert direct["result"] == envelope
    assert direct["result_url"] == f"s3://{account.bucket('results')}/{key}"
    assert direct["id"] == headers["webhook-id"]
    assert account.notifications("topic") == [direct]
    [event] = account.notifications("bus")
    assert (event["source"], event["detail-type"]) == ("detection-queue", "Detection Finished")
    assert event["detail"] == direct
    assert account.left(account.queue_url) == account.left(account.dlq_url) == 0
