"""SIGTERM while a forward pass hangs: messages go back, and the worker ends by itself."""

import json
import threading
import time
import uuid
from pathlib import Path

import pytest

from detection_contract.media_types import MediaKind
from detection_testing.aws.local_aws import LocalAws
from detection_testing.crashes.stubs import HangingDetector
from detection_testing.media import sample_media
from detection_worker.detectors.registry import LoadedDetectors
from detection_worker.pipeline.service import consumer
from detection_worker.pipeline.service.consumer import Consumer
from detection_worker.settings import (
    AwsSettings,
    CallbackSettings,
    ConsumerSettings,
    DataSettings,
    Settings,
)

GRACE_S = 4.0


@pytest.mark.slow
@pytest.mark.parametrize(("grace_s", "signals"), [(GRACE_S, 1), (60.0, 2)])
def test_a_stop_does_not_wait_for_a_pass_that_hangs(
    grace_s: float,
    signals: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    detector = HangingDetector()
    loaded = LoadedDetectors(
        by_kind={MediaKind.IMAGE: detector}, cards=(detector.card,), problems=[]
    )
    monkeypatch.setattr(consumer, "load_models", lambda *_: loaded)
    codes: list[int] = []
    with LocalAws.in_process() as aws:
        name = uuid.uuid4().hex
        queue_url, _ = aws.create_queue(name, max_receive_count=50)
        keys = AwsSettings(
            access_key_id=aws.credentials.access_key_id,
            secret_access_key=aws.credentials.secret_access_key,
            endpoint_url=aws.endpoint_url,
        )
        worker = Consumer(
            Settings(
                aws=keys,
                data=DataSettings(s3_cache_dir=tmp_path / "cache"),
                callback=CallbackSettings(allow_private=True),
            ),
            ConsumerSettings(
                queue_url=queue_url, wait_time_s=1, decoders=1, shutdown_grace_s=grace_s
            ),
        )
        thread = threading.Thread(target=lambda: codes.append(worker.run()))
        thread.start()
        picture = sample_media.make_image(tmp_path / "a.jpg", width=160, height=160)
        body = {
            "sqs_to_ml_url": aws.put_object("media", "a.jpg", picture.read_bytes()),
            "callback_url": aws.callback_url("/ok"),
        }
        aws.send(queue_url, [json.dumps(body)])
        assert detector.entered.wait(60)

        began_s = time.monotonic()
        for _ in range(signals):
            worker.request_stop()
        thread.join(60)
        counts = aws.stats()["queues"][name]
        detector.go_on.set()

    assert time.monotonic() - began_s < GRACE_S + 10
    assert (codes, worker.hangs) == ([1], True)
    assert "a forward pass does not end: the worker ends without it" in caplog.text
    assert (sum(counts.values()), counts["in_flight"]) == (1, 0)
