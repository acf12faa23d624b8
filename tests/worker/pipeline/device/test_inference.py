"""What a feeder sees of the device: the same as of a stage in its own process."""

import gc
import threading
import time
from typing import Any

import numpy as np
import pytest

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_worker.pipeline.device.client import LOOK_UP_MS
from detection_worker.pipeline.files.handovers import Scored, Unscored
from detection_worker.pipeline.stages.inference import InferenceStage

IMAGE, VIDEO, AUDIO = MediaKind.IMAGE, MediaKind.VIDEO, MediaKind.AUDIO


def test_a_feeder_is_told_the_detectors_as_they_are(rig: Any) -> None:
    told = rig.feeder().device.detectors

    assert list(told) == list(rig.detectors)
    assert all(told[kind].card == detector.card for kind, detector in rig.detectors.items())
    assert [told[kind].finds_units for kind in told] == [False, True, False]
    with pytest.raises(NotImplementedError, match="value-image is in another process"):
        told[IMAGE].logits(np.zeros((1, 8, 8, 3), np.uint8))


def test_scores_and_what_was_found_are_those_of_a_stage_in_process(rig: Any) -> None:
    feeder, here = rig.feeder(), {}
    stage: InferenceStage[Any] = InferenceStage(
        max_units=8,
        max_wait_s=0.0,
        more_coming=lambda: False,
        on_scored=lambda ticket, outcome: here.update({ticket.request_id: outcome}),
        on_progress=lambda ticket: None,
        capacity=8,
    )
    files = {
        "image": (feeder.media(IMAGE, *range(30, 59)), None),
        "sound": (feeder.media(AUDIO, 1, 2, 3), None),
        "video": (feeder.media(VIDEO, 2, 0, 6), feeder.media(AUDIO, 4, 6)),
        "no face": (feeder.media(VIDEO, 0, 0), None),
    }
    for name, (main, sound) in files.items():
        feeder.put(name, main, sound)
        decoded = feeder.decoded(name, main, sound)
        for track in decoded.tracks:
            object.__setattr__(track, "detector", rig.detectors[track.media.info.kind])
        stage.put(decoded)
    there = {name: feeder.outcome(name) for name in files}
    stage.close()

    for name in files:
        for mine, theirs in zip(tracks(there[name]), tracks(here[name]), strict=True):
            assert mine.logits.tobytes() == theirs.logits.tobytes()
            assert mine.logits.dtype == theirs.logits.dtype
            assert mine.decoded.frame.tolist() == theirs.decoded.frame.tolist()
            assert mine.decoded.boxes.tolist() == theirs.decoded.boxes.tolist()
            assert mine.decoded.at_s.tolist() == theirs.decoded.at_s.tolist()
            assert mine.decoded.faces == theirs.decoded.faces
            assert mine.decoded.info is theirs.decoded.info
            assert mine.card == theirs.card
            assert len(mine.decoded.units) == len(theirs.decoded.units)


def tracks(outcome: Any) -> tuple[Any, ...]:
    assert isinstance(outcome, Scored)
    return (outcome.main,) if outcome.sound is None else (outcome.main, outcome.sound)


def test_files_of_several_feeders_share_a_forward_pass(rig: Any) -> None:
    one, other = rig.feeder(), rig.feeder()
    one.put("first", one.media(IMAGE, 7))
    assert rig.detectors[IMAGE].entered.wait(20)
    one.put("a", one.media(IMAGE, 1, 2))
    other.put("b", other.media(IMAGE, 3))
    assert rig.eventually(lambda: rig.server.waiting == 2)
    assert rig.server.busy == 1
    rig.open_gates()

    assert (one.logits("a"), other.logits("b")) == ([-4, -3], [-2])
    assert rig.units == [1, 3]
    assert rig.server.feeders == 2


def test_units_that_lie_elsewhere_are_copied_into_shared_memory(rig: Any) -> None:
    feeder = rig.feeder()
    feeder.put("plain", feeder.media(IMAGE, 3, 4, shared=False))
    whole = feeder.media(IMAGE, 1, 2, 3, 4)
    feeder.put("every second", replaced(whole, whole.units[::2]))
    feeder.put("last", replaced(whole, whole.units[3:]))

    assert feeder.logits("plain") == [-2, -1]
    assert feeder.logits("every second") == [-4, -2]
    assert feeder.logits("last") == [-1]


def replaced(media: Any, units: Any) -> Any:
    return type(media)(
        info=media.info,
        units=units,
        frame=np.zeros(len(units), np.int32),
        at_s=np.zeros(1),
        boxes=np.zeros((len(units), 4), np.int32),
    )


def test_a_file_larger_than_all_of_the_memory_is_scored_too(rig: Any) -> None:
    feeder = rig.feeder(capacity_bytes=1000)
    large = feeder.media(VIDEO, *[1] * 12, side=400)
    assert large.units.nbytes > feeder.device.memory.size

    feeder.put("large", large)
    feeder.put("small", feeder.media(IMAGE, 6))

    assert len(feeder.logits("large")) == 12
    assert feeder.logits("small") == [1]


def test_memory_comes_back_with_the_scores_and_with_what_is_given_up(rig: Any) -> None:
    feeder = rig.feeder()
    memory = feeder.device.memory
    whole = memory.free
    for i in range(300):
        feeder.put(str(i), feeder.media(IMAGE, *[i % 6] * 100))
    never_put = feeder.media(AUDIO, 1)
    assert memory.free < whole
    del never_put

    assert feeder.logits("299") == [0] * 100
    assert rig.eventually(lambda: memory.free == whole)


def test_sound_that_is_listened_to_later_keeps_its_samples(rig: Any) -> None:
    feeder = rig.feeder()
    card = feeder.device.detectors[AUDIO].card
    object.__setattr__(card, "scope", type(card.scope)(speech=True))
    feeder.put("a", feeder.media(AUDIO, 3, 4))
    feeder.put("b", feeder.media(IMAGE, 3, 4))

    assert feeder.logits("a") == [-2, -1]
    assert feeder.outcomes["a"].main.decoded.units.shape == (2, 16)
    assert feeder.outcomes["a"].main.decoded.units[:, 0].tolist() == [3, 4]
    assert feeder.logits("b") == [-2, -1]
    assert feeder.outcomes["b"].main.decoded.units.shape == (2, 0)


@pytest.mark.parametrize("value", [13, 14])
def test_a_detector_that_fails_costs_only_its_own_file(rig: Any, value: int) -> None:
    feeder = rig.feeder()
    feeder.put("gate", feeder.media(IMAGE, 7))
    feeder.put("good", feeder.media(IMAGE, 1))
    feeder.put("bad", feeder.media(IMAGE, value))
    feeder.put("fine", feeder.media(IMAGE, 2))
    rig.open_gates()

    bad = feeder.outcome("bad")
    assert isinstance(bad, Unscored)
    assert bad.failure.code is ErrorCode.INFERENCE_FAILED
    assert bad.failure.message.startswith("the detector failed: ")
    assert bad.seconds > 0
    assert (feeder.logits("good"), feeder.logits("fine")) == ([-4], [-3])


def test_a_search_that_fails_is_told(rig: Any) -> None:
    feeder = rig.feeder()
    feeder.put("nine", feeder.media(VIDEO, 9))

    nine = feeder.outcome("nine")
    assert isinstance(nine, Unscored)
    assert nine.failure.message == "the detector failed: RuntimeError"


def test_a_file_of_many_units_shows_progress(rig: Any) -> None:
    feeder = rig.feeder()
    feeder.put("long", feeder.media(IMAGE, *range(30, 60)))
    feeder.put("film", feeder.media(VIDEO, 1))

    assert len(feeder.logits("long")) == 30
    assert feeder.progress.count("long") == 3
    feeder.outcome("film")
    assert feeder.progress.count("film") == 1


def test_a_result_that_is_no_longer_wanted_is_none(rig: Any) -> None:
    feeder = rig.feeder()
    working = feeder.put("working", feeder.media(IMAGE, 7))
    assert rig.detectors[IMAGE].entered.wait(20)
    waiting = feeder.put("waiting", feeder.media(IMAGE, 1))
    feeder.put("other", feeder.media(IMAGE, 2))
    working.cancelled = waiting.cancelled = True
    rig.open_gates()

    assert feeder.outcome("working") is None
    assert feeder.outcome("waiting") is None
    assert feeder.logits("other") == [-3]


def test_a_search_ends_when_its_result_is_no_longer_wanted(rig: Any) -> None:
    feeder = rig.feeder()
    film = feeder.put("film", feeder.media(VIDEO, 7, 1))
    assert rig.detectors[VIDEO].entered.wait(20)
    film.cancelled = True
    [link] = rig.server._links
    assert rig.eventually(lambda: [t.cancelled for t in link.tickets.values()] == [True])
    rig.open_gates()

    assert feeder.outcome("film") is None
    assert rig.units == []


def test_a_file_that_is_given_up_while_it_is_handed_over_is_not_scored(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeder = rig.feeder()
    feeder.put("gate", feeder.media(IMAGE, 7))
    assert rig.detectors[IMAGE].entered.wait(20)
    decoded = feeder.decoded("slow", feeder.media(IMAGE, 1, shared=False))
    empty = type(feeder.device.memory).empty

    def slow(*args: Any) -> Any:
        decoded.ticket.cancelled = True
        time.sleep(3 * LOOK_UP_MS / 1000)
        return empty(*args)

    monkeypatch.setattr(type(feeder.device.memory), "empty", slow)
    feeder.inference.put(decoded)
    [link] = rig.server._links
    assert rig.eventually(lambda: any(t.cancelled for t in list(link.tickets.values())))
    rig.open_gates()

    assert feeder.outcome("slow") is None
    assert rig.units == [1]


def test_a_bug_in_handing_over_fails_one_file(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    feeder = rig.feeder()
    wrong = feeder.media(IMAGE, 1)
    object.__setattr__(wrong.info, "width", -1)
    feeder.put("wrong", wrong)
    feeder.put("fine", feeder.media(IMAGE, 1))

    failed = feeder.outcome("wrong")
    assert (failed.failure.code, failed.failure.message) == (ErrorCode.INTERNAL, "internal error")
    assert "handing wrong to the device failed" in caplog.text
    assert feeder.logits("fine") == [-4]


def test_files_beyond_the_capacity_wait(rig: Any) -> None:
    feeder = rig.feeder(capacity=2)
    for name in ("a", "b"):
        feeder.put(name, feeder.media(IMAGE, 7))
    third = threading.Thread(target=feeder.put, args=("c", feeder.media(IMAGE, 3)))
    third.start()

    third.join(0.2)
    assert third.is_alive()
    assert (feeder.inference.busy, feeder.inference.waiting) == (1, 1)
    assert repr(feeder.inference).startswith("<RemoteInference pending=2 <SharedMemory free=")
    rig.open_gates()
    third.join(20)
    assert feeder.logits("c") == [-2]


def test_bytes_beyond_the_capacity_wait(rig: Any) -> None:
    feeder = rig.feeder(capacity_bytes=2 * 8 * 8 * 3)
    feeder.put("a", feeder.media(IMAGE, 7))
    second = threading.Thread(target=feeder.put, args=("b", feeder.media(IMAGE, 1, 2)))
    second.start()

    second.join(0.2)
    assert second.is_alive()
    rig.open_gates()
    second.join(20)
    assert feeder.logits("b") == [-4, -3]


def test_closing_waits_for_the_scores_of_what_was_put_in(rig: Any) -> None:
    feeder = rig.feeder()
    feeder.put("a", feeder.media(IMAGE, 7))
    closing = threading.Thread(target=feeder.inference.close)
    closing.start()
    closing.join(0.2)
    assert closing.is_alive()
    rig.open_gates()
    closing.join(20)

    assert feeder.logits("a") == [2]
    assert not feeder.lost.is_set()
    assert rig.eventually(lambda: rig.server.feeders == 0)


def test_a_callback_that_fails_does_not_end_the_receiver(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    feeder = rig.feeder()
    feeder.outcomes["a"] = None  # so that the callback refuses it
    feeder.put("a", feeder.media(IMAGE, 1))
    feeder.put("b", feeder.media(IMAGE, 2))

    assert feeder.logits("b") == [-3]
    assert "taking scores failed" in caplog.text


def test_the_device_lets_go_of_a_file_that_is_answered(rig: Any) -> None:
    feeder = rig.feeder()
    feeder.put("a", feeder.media(VIDEO, 3, 3))
    feeder.outcome("a")
    gc.collect()

    [link] = rig.server._links
    assert link.tickets == {}
