"""What the parts of a pipeline say of themselves, and what they let go of."""

import gc
import weakref
from typing import Any

from detection_worker.media.values import DecodedMedia
from detection_worker.pipeline.files.handovers import Decoded
from detection_worker.pipeline.stages.inference import InferenceStage


def test_a_busy_pipeline_can_be_read_off_its_parts(rig: Any) -> None:
    gate = rig.storage.script.gate("1_0.png")
    pipeline = rig.start(downloaders=1, prefetch_seconds=1000)
    for i in range(3):
        rig.send(f"1_{i}.png")
    assert rig.storage.script.entered["1_0.png"].wait(30)
    assert rig.eventually(lambda: len(pipeline.in_flight) == 3)
    assert rig.eventually(lambda: pipeline.stages.download.waiting == 2)

    assert repr(pipeline.in_flight) == "<InFlight messages=3 open=3 held_s=0.3>"
    assert repr(pipeline.stages.download) == "<Stage download busy=1 waiting=2>"
    assert repr(pipeline.stages.decode) == "<Stage decode busy=0 waiting=0>"
    assert repr(pipeline.stages.inference) == (
        "<InferenceStage busy=0 waiting=0 <Batcher lanes=0 units=0>>"
    )
    assert rig.eventually(lambda: repr(pipeline.poller) == "<Poller running polling=1 received=3>")
    pipeline.drain()
    assert repr(pipeline.poller).startswith("<Poller paused ")
    gate.set()


def test_a_drained_pipeline_is_empty_in_all_its_parts(rig: Any) -> None:
    pipeline = rig.start()
    rig.send("1_0.png")
    assert rig.eventually(rig.empty)
    assert rig.eventually(lambda: len(pipeline.in_flight) == 0)

    rig.stop()

    assert repr(pipeline.in_flight) == "<InFlight messages=0 open=0 held_s=0.0>"
    assert repr(pipeline.poller) == "<Poller stopped polling=0 received=1>"


def test_units_are_let_go_before_the_callback_is_answered(rig: Any, monkeypatch: Any) -> None:
    media: list[weakref.ref[DecodedMedia]] = []
    put = InferenceStage.put

    def noted(stage: InferenceStage[Any], decoded: Decoded[Any]) -> None:
        media.append(weakref.ref(decoded.main.media.units))  # type: ignore[arg-type] # an array
        put(stage, decoded)

    monkeypatch.setattr(InferenceStage, "put", noted)
    gate = rig.callbacks.script.gate("r")
    rig.start()
    rig.send("1_0.png", request_id="r")
    assert rig.callbacks.script.entered["r"].wait(30)

    def freed() -> bool:
        gc.collect()
        return media[0]() is None

    assert rig.eventually(freed)
    gate.set()
