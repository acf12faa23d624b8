"""Detectors that find their own units: faces, no faces, a search that fails or is not wanted."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detection_contract.media_types import MediaKind
from detection_testing.media.sample_info import media_info
from detection_worker.core.faces import SeenFace
from detection_worker.core.sampling import ImageSampling
from detection_worker.core.verdict import Calibration, Pooling
from detection_worker.detectors.base import DetectorCard
from detection_worker.media.values import DecodedMedia
from detection_worker.pipeline.files.handovers import Decoded, DecodedTrack, Scored, Unscored
from detection_worker.pipeline.messages.jobs import Job, JobRequest, Message
from detection_worker.pipeline.stages.inference import InferenceStage
from detection_worker.sources.base import ReceivedMessage

FRAME_BYTES = 8 * 8 * 3


class FaceCounter:
    """Finds as many faces in a picture as its value says; cannot look at the value 9."""

    def __init__(self) -> None:
        self.card = DetectorCard(
            name="faces",
            version="1",
            sha256="f" * 64,
            grade="demo",
            kind=MediaKind.IMAGE,
            sampling=ImageSampling(crop_px=4, view="faces"),
            pooling=Pooling(within_frame="max"),
            calibration=Calibration(),
        )
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def logits(self, units: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        return units[:, 0, 0, 0].astype(np.float32) - 5

    def find_units(self, media: DecodedMedia, *, on_progress: Callable[[], None]) -> DecodedMedia:
        self.entered.release()
        assert self.gate.wait(10)
        on_progress()
        value = int(media.units[0, 0, 0, 0])
        if value == 9:
            raise RuntimeError("the device does not like nine")
        face = SeenFace(left=1, top=2, width=3, height=4, confidence=0.99, track=0)
        units = np.full((value, 4, 4, 3), 5, dtype=np.uint8)
        units += np.arange(value, dtype=np.uint8)[:, None, None, None]
        return DecodedMedia(
            info=media.info,
            units=units,
            frame=np.zeros(value, dtype=np.int32),
            at_s=media.at_s,
            boxes=np.tile(np.array([[0, 0, 5, 7]], dtype=np.int32), (value, 1)),
            faces=(face,) * value,
        )


def test_each_face_is_told_with_its_score_and_the_worst_one_decides(rig: Any) -> None:
    rig.detectors[MediaKind.IMAGE] = FaceCounter()
    rig.start()
    rig.send("2_two.png")

    assert rig.eventually(rig.empty)
    result = rig.callbacks.posted[0].result
    [segment] = result["segments"]
    assert [face["score"] for face in segment["faces"]] == pytest.approx([0.5, 0.731059])
    assert result["prediction_score"] == pytest.approx(0.731059, abs=1e-6)
    assert segment["faces"][0] == {
        "x": 1, "y": 2, "width": 3, "height": 4, "face_confidence": 0.99, "track": 0, "score": 0.5,
    }  # fmt: skip
    assert segment["regions"] == [[0, 0, 5, 7], [0, 0, 5, 7]]


def test_a_picture_without_a_face_is_finished_once_and_not_tried_again(rig: Any) -> None:
    rig.detectors[MediaKind.IMAGE] = FaceCounter()
    rig.start()
    rig.send("0_nobody.png")

    assert rig.eventually(rig.empty)
    [post] = rig.callbacks.posted
    assert post.result["status"] == "finished"
    assert (post.result["label"], post.result["prediction_score"]) == (None, None)
    assert post.result["verdict"] == "not_applicable"
    assert post.result["verdict_reason"]["code"] == "no_face"
    assert post.result["segments"][0]["faces"] == []
    assert rig.source.dead == []
    assert rig.storage.script.count["0_nobody.png"] == 1
    assert rig.counts(1, "detection_worker_messages_total", outcome="deleted")


def test_a_search_that_fails_costs_only_its_own_file(rig: Any) -> None:
    rig.detectors[MediaKind.IMAGE] = FaceCounter()
    rig.source.max_receive_count = 1
    rig.start()
    for key in ("1_a.png", "9_b.png", "3_c.png"):
        rig.send(key, request_id=key)

    assert rig.eventually(lambda: len(rig.callbacks.posted) == 3)
    results = {post.request_id: post.result for post in rig.callbacks.posted}
    assert "the detector failed" in results["9_b.png"]["error"]["message"]
    assert results["1_a.png"]["status"] == results["3_c.png"]["status"] == "finished"


class Stage:
    """An inference stage with a detector that looks at faces."""

    def __init__(self, *, capacity_bytes: int) -> None:
        self.detector = FaceCounter()
        self.detector.gate.clear()
        self.outcomes: list[Scored[Job] | Unscored | None] = []
        self.done = threading.Semaphore(0)
        self.stage = InferenceStage(
            max_units=8,
            max_wait_s=0.0,
            more_coming=lambda: False,
            on_scored=self._scored,
            on_progress=lambda job: None,
            capacity=8,
            capacity_bytes=capacity_bytes,
        )

    def _scored(self, job: Job, outcome: Scored[Job] | Unscored | None) -> None:
        self.outcomes.append(outcome)
        self.done.release()

    def decoded(self, value: int) -> Decoded[Job]:
        received = ReceivedMessage(
            message_id=str(value),
            receipt_handle="h",
            body="{}",
            receive_count=1,
            sent_at_s=0.0,
            attributes={},
        )
        asked = JobRequest(
            sqs_to_ml_url=None,
            location=None,
            callback_url=None,
            threshold=0.5,
            metadata=None,
            original_message=None,
        )
        message = Message(received, received_s=0.0)
        job = Job(message=message, index=0, request=asked, request_id=str(value), kind=None)
        return Decoded(ticket=job, main=DecodedTrack(media=picture(value), detector=self.detector))


def picture(value: int) -> DecodedMedia:
    info = media_info(side_px=8)
    return DecodedMedia(
        info=info,
        units=np.full((1, 8, 8, 3), value, dtype=np.uint8),
        frame=np.zeros(1, dtype=np.int32),
        at_s=np.zeros(1),
        boxes=np.array([[0, 0, 8, 8]], dtype=np.int32),
    )


@pytest.fixture
def stage() -> Iterator[Stage]:
    built = Stage(capacity_bytes=FRAME_BYTES)
    yield built
    built.detector.gate.set()
    built.stage.close()


def test_frames_that_wait_are_bounded_in_bytes(stage: Stage) -> None:
    jobs = [stage.decoded(value) for value in (1, 2, 3)]
    stage.stage.put(jobs[0])
    assert stage.detector.entered.acquire(timeout=10)  # on the device now, it waits no more
    stage.stage.put(jobs[1])
    third = threading.Thread(target=stage.stage.put, args=(jobs[2],))
    third.start()

    third.join(timeout=0.2)
    assert third.is_alive()
    assert stage.stage.waiting == 1
    stage.detector.gate.set()
    third.join(timeout=10)

    assert not third.is_alive()
    assert all(stage.done.acquire(timeout=10) for _ in jobs)
    assert [len(o.main.logits) for o in stage.outcomes if isinstance(o, Scored)] == [1, 2, 3]


def test_a_search_ends_when_the_message_is_no_longer_ours(stage: Stage) -> None:
    decoded = stage.decoded(2)
    stage.stage.put(decoded)
    assert stage.detector.entered.acquire(timeout=10)

    decoded.ticket.message.cancel.set()
    stage.detector.gate.set()

    assert stage.done.acquire(timeout=10)
    assert stage.outcomes == [None]
