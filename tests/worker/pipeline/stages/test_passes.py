"""A device that works while the thread goes on: overlap, order, failures, a lost device."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from detection_contract.media_types import MediaKind
from detection_testing.media.sample_info import media_info
from detection_tracing.contexts import Carrier
from detection_worker.core.batching import Slice
from detection_worker.core.sampling import ImageSampling
from detection_worker.core.verdict import Calibration, Pooling
from detection_worker.detectors.base import (
    DetectorCard,
    DeviceLost,
    FindsUnits,
    PendingLogits,
    Units,
    passes_of,
)
from detection_worker.detectors.faces.view import FaceViewDetector
from detection_worker.media.values import DecodedMedia
from detection_worker.pipeline.files.handovers import Decoded, DecodedTrack, Scored, Unscored
from detection_worker.pipeline.stages import inference
from detection_worker.pipeline.stages.inference import InferenceStage
from detection_worker.pipeline.stages.scoring.in_work import (
    FileInWork,
    ScoringBatch,
    TrackInWork,
    Turn,
)
from detection_worker.pipeline.stages.scoring.passes import Ended, News, PassesUnderWay

POISON, ODD, LOSING = 9, 8, 7
"""Values of units: one that no pass bears, one without a score, one that ends the device."""


@dataclass(slots=True, eq=False)
class Ticket:
    request_id: str
    cancelled: bool = False
    carrier: Carrier | None = None

    @property
    def facts(self) -> dict[str, object]:
        return {"request_id": self.request_id}


class FakeDevice:
    """A detector and its device. Each pass ends when the test lets it."""

    def __init__(self, *, limit: int = 4, at_once: int = 2) -> None:
        self.card = DetectorCard(
            name="fake",
            version="1",
            sha256="f" * 64,
            grade="demo",
            kind=MediaKind.IMAGE,
            sampling=ImageSampling(crop_px=2),
            pooling=Pooling(within_frame="max"),
            calibration=Calibration(),
        )
        self.batch_units = limit
        self.at_once = at_once
        self.steps: list[tuple[str, int]] = []
        self.may_end = threading.Semaphore(0)
        self.no_memory_above = 1000

    @property
    def passes(self) -> "FakeDevice":
        return self

    def logits(self, units: Units) -> NDArray[np.float32]:
        self.steps.append(("blocking", len(units)))
        return self.scores(np.asarray(units))

    def scores(self, units: NDArray[np.generic]) -> NDArray[np.float32]:
        values = units.reshape(len(units), -1)[:, 0].astype(np.float32)
        if LOSING in values:
            raise DeviceLost("an illegal memory access was encountered")
        if POISON in values:
            raise RuntimeError("the device does not like nine")
        return np.where(values == ODD, np.float32(np.nan), values - 5)

    def gather(self, parts: Sequence[Units]) -> "Buffer":
        units = np.concatenate(list(parts))
        self.steps.append(("gather", len(units)))
        if len(units) > self.no_memory_above:
            self.batch_units = self.no_memory_above
            raise MemoryError("out of memory")
        return Buffer(self, units)


class FakeFinder(FakeDevice):
    """Finds all units of a file, once the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.may_find = threading.Semaphore(0)
        self.searches = 0

    def find_units(self, media: DecodedMedia, *, on_progress: Callable[[], None]) -> DecodedMedia:
        self.searches += 1
        assert self.may_find.acquire(timeout=30)
        on_progress()
        if POISON in media.units:
            raise RuntimeError("nine has no face")
        return media


@dataclass(slots=True, eq=False)
class Buffer:
    device: FakeDevice
    units: NDArray[np.generic]

    def submit(self) -> PendingLogits:
        self.device.steps.append(("submit", len(self.units)))
        return Pass(self.device, self.units)


@dataclass(slots=True, eq=False)
class Pass:
    device: FakeDevice
    units: NDArray[np.generic]

    def result(self) -> NDArray[np.float32]:
        assert self.device.may_end.acquire(timeout=30)
        self.device.steps.append(("end", len(self.units)))
        return self.device.scores(self.units)


@dataclass(slots=True, eq=False)
class Rig:
    """A stage with a fake device, and how its files ended."""

    device: FakeDevice
    max_units: int = 0
    more_coming: bool = False
    outcomes: dict[str, Scored[Ticket] | Unscored | None] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)
    stage: InferenceStage[Ticket] = field(init=False)

    def __post_init__(self) -> None:
        self.stage = InferenceStage(
            max_units=self.max_units,
            max_wait_s=5.0,
            more_coming=lambda: self.more_coming,
            on_scored=lambda ticket, outcome: self.outcomes.update({ticket.request_id: outcome}),
            on_progress=lambda _: None,
            on_batch=self.batches.append,
            capacity=8,
        )

    def put(self, name: str, *values: int, detector: FakeDevice | None = None) -> Ticket:
        ticket = Ticket(name)
        track = DecodedTrack(media=picture(values), detector=detector or self.device)
        self.stage.put(Decoded(ticket=ticket, main=track))
        return ticket

    def logits(self, name: str) -> list[float]:
        outcome = self.outcomes[name]
        assert isinstance(outcome, Scored)
        return [float(x) for x in outcome.main.logits]


def picture(values: Sequence[int]) -> DecodedMedia:
    info = media_info(side_px=2)
    pixels = np.array(values, dtype=np.uint8)[:, None, None, None]
    return DecodedMedia(
        info=info,
        units=np.broadcast_to(pixels, (len(values), 2, 2, 3)),
        frame=np.zeros(len(values), dtype=np.int32),
        at_s=np.zeros(1),
        boxes=np.tile(np.array([[0, 0, 2, 2]], dtype=np.int32), (len(values), 1)),
    )


def eventually(holds: Callable[[], bool]) -> bool:
    until_s = time.monotonic() + 30
    while not holds() and time.monotonic() < until_s:
        time.sleep(0.002)
    return holds()


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def rig(device: FakeDevice) -> Iterator[Rig]:
    built = Rig(device)
    yield built
    device.may_end.release(1000)
    built.stage.close()


def test_the_next_batch_is_on_the_device_before_the_first_has_ended(rig: Rig) -> None:
    rig.device.batch_units = 1
    for name, value in (("a", 1), ("b", 2), ("c", 3)):
        rig.put(name, value)

    assert eventually(lambda: rig.device.steps.count(("submit", 1)) == 2)
    assert (rig.outcomes, rig.stage.busy) == ({}, 2)
    rig.device.may_end.release()
    assert eventually(lambda: rig.device.steps.count(("submit", 1)) == 3)

    assert rig.logits("a") == [-4.0]
    steps = [what for what, _ in rig.device.steps]
    assert steps.index("end") < [i for i, what in enumerate(steps) if what == "gather"][2]
    rig.device.may_end.release(2)
    assert eventually(lambda: len(rig.outcomes) == 3)
    assert (rig.logits("b"), rig.logits("c"), rig.stage.busy) == ([-3.0], [-2.0], 0)


def test_files_that_come_meanwhile_share_the_next_batch(rig: Rig) -> None:
    rig.device.at_once = 1
    rig.put("first", 1)
    assert eventually(lambda: ("submit", 1) in rig.device.steps)

    for i in range(3):
        rig.put(f"later {i}", 2 + i)
    rig.device.may_end.release(2)

    assert eventually(lambda: len(rig.outcomes) == 4)
    assert rig.batches == [1, 3]
    assert [rig.logits(f"later {i}") for i in range(3)] == [[-3.0], [-2.0], [-1.0]]


def test_under_a_pass_there_is_time_for_a_full_batch(rig: Rig) -> None:
    rig.put("first", 1)
    assert eventually(lambda: ("submit", 1) in rig.device.steps)
    rig.more_coming = True

    rig.put("half", 1, 2)
    rig.put("full", 3, 4)

    assert eventually(lambda: ("submit", 4) in rig.device.steps)
    rig.device.may_end.release(2)
    assert eventually(lambda: len(rig.outcomes) == 3)
    assert rig.batches == [1, 4]


def test_a_setting_bounds_what_the_device_would_take(device: FakeDevice) -> None:
    rig = Rig(device, max_units=2)
    device.may_end.release(100)

    rig.put("a", 1, 2, 3, 4, 5)
    rig.stage.close()

    assert rig.batches == [2, 2, 1]
    assert rig.logits("a") == [-4.0, -3.0, -2.0, -1.0, 0.0]


def test_a_culprit_is_found_and_its_neighbours_are_scored(rig: Rig) -> None:
    rig.device.may_end.release(100)
    rig.more_coming = True

    rig.put("good", 1)
    rig.put("bad", POISON)
    rig.put("fine", 3)
    rig.put("odd", ODD)

    assert eventually(lambda: len(rig.outcomes) == 4)
    assert (rig.logits("good"), rig.logits("fine")) == ([-4.0], [-2.0])
    failed = [rig.outcomes["bad"], rig.outcomes["odd"]]
    assert all(isinstance(outcome, Unscored) for outcome in failed)
    assert not any(outcome.failure.environment for outcome in failed if outcome)  # type: ignore[union-attr] # Unscored
    assert math.isfinite(rig.stage.alive_s)


def test_out_of_memory_costs_no_file_and_is_remembered(rig: Rig) -> None:
    rig.device.no_memory_above = 2
    rig.device.may_end.release(100)

    rig.put("a", 1, 2, 3, 4)
    assert eventually(lambda: "a" in rig.outcomes)
    rig.put("b", 1, 2, 3, 4)
    assert eventually(lambda: "b" in rig.outcomes)

    assert rig.logits("a") == rig.logits("b") == [-4.0, -3.0, -2.0, -1.0]
    gathered = [units for what, units in rig.device.steps if what == "gather"]
    assert gathered == [4, 2, 2]


def test_a_lost_device_is_no_fault_of_any_file(rig: Rig) -> None:
    rig.device.may_end.release(100)
    rig.device.batch_units = 1
    rig.put("before", 1)
    assert eventually(lambda: "before" in rig.outcomes)

    for name, value in (("cause", LOSING), ("behind", 2), ("waiting", 3)):
        rig.put(name, value)
    assert eventually(lambda: len(rig.outcomes) == 4)
    rig.put("after", 4)
    assert eventually(lambda: "after" in rig.outcomes)

    assert rig.logits("before") == [-4.0]
    for name in ("cause", "waiting", "after"):
        outcome = rig.outcomes[name]
        assert isinstance(outcome, Unscored)
        assert outcome.failure.is_workers_fault
    assert rig.stage.alive_s == -math.inf, "only a restart helps"
    assert ("blocking", 1) not in rig.device.steps


def test_a_device_lost_in_a_search_is_no_fault_of_the_file(rig: Rig) -> None:
    def search(_: DecodedMedia, *, on_progress: Callable[[], None]) -> DecodedMedia:
        on_progress()
        raise DeviceLost("unspecified launch failure")

    rig.device.find_units = search  # type: ignore[attr-defined] # makes it a FindsUnits
    assert isinstance(rig.device, FindsUnits)
    rig.put("a", 1)

    assert eventually(lambda: "a" in rig.outcomes)
    outcome = rig.outcomes["a"]
    assert isinstance(outcome, Unscored)
    assert outcome.failure.is_workers_fault
    assert rig.stage.alive_s == -math.inf


def test_other_files_are_scored_while_one_is_searched_for_faces(rig: Rig) -> None:
    finder = FakeFinder()
    for device in (rig.device, finder):
        device.may_end.release(100)

    rig.put("faces", 1, detector=finder)
    assert eventually(lambda: finder.searches == 1)
    rig.put("plain", 2)
    assert eventually(lambda: "plain" in rig.outcomes)

    assert list(rig.outcomes) == ["plain"]
    assert rig.stage.busy == 1
    finder.may_find.release()
    assert eventually(lambda: "faces" in rig.outcomes)
    assert (rig.logits("faces"), rig.stage.busy) == ([-4.0], 0)


def test_files_whose_faces_cannot_be_searched_wait_outside(rig: Rig) -> None:
    finder = FakeFinder()
    finder.may_end.release(100)

    tickets = [
        rig.put(f"{i}", value, detector=finder) for i, value in enumerate((1, POISON, 2, 3))
    ]
    assert eventually(lambda: finder.searches == 1)
    assert eventually(lambda: rig.stage.waiting == 2)
    tickets[2].cancelled = True
    finder.may_find.release(100)

    assert eventually(lambda: len(rig.outcomes) == 4)
    assert (rig.logits("0"), rig.outcomes["2"], rig.logits("3")) == ([-4.0], None, [-2.0])
    failed = rig.outcomes["1"]
    assert isinstance(failed, Unscored)
    assert failed.failure.message == "the detector failed: RuntimeError"


def test_what_is_no_longer_wanted_is_not_told(rig: Rig) -> None:
    rig.device.batch_units = rig.device.at_once = 1
    tickets = [rig.put("running", 1), rig.put("waiting", 2)]
    assert eventually(lambda: ("submit", 1) in rig.device.steps)

    for ticket in tickets:
        ticket.cancelled = True
    rig.device.may_end.release(100)

    assert eventually(lambda: len(rig.outcomes) == 2)
    assert rig.outcomes == {"running": None, "waiting": None}
    assert rig.device.steps.count(("gather", 1)) == 1


def test_a_device_that_hangs_shows_no_life(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "IDLE_S", 0.01)
    rig.put("a", 1)
    assert eventually(lambda: ("submit", 1) in rig.device.steps)
    hung_s = rig.stage.alive_s

    time.sleep(0.1)
    assert rig.stage.alive_s == hung_s
    rig.device.may_end.release()

    assert eventually(lambda: rig.stage.alive_s > hung_s)


def test_closing_waits_for_what_is_under_way(device: FakeDevice) -> None:
    rig = Rig(device)
    rig.put("a", 1)
    closing = threading.Thread(target=rig.stage.close)
    closing.start()

    closing.join(timeout=0.2)
    assert closing.is_alive()
    device.may_end.release()
    closing.join(timeout=30)

    assert not closing.is_alive()
    assert rig.logits("a") == [-4.0]


def test_a_pass_is_charged_from_when_the_device_was_free() -> None:
    told: list[News[Ticket]] = []
    now_s = [0.0]
    device = FakeDevice()
    passes: PassesUnderWay[Ticket] = PassesUnderWay(told.append, clock_s=lambda: now_s[0])
    for value in (1, 2):
        passes.wait_for(batch_of(device, value), Pass(device, np.full((1, 1), value)))

    for ended in (1, 2):
        now_s[0] = 10.0 * ended
        device.may_end.release()
        assert eventually(lambda n=ended: len(told) == n)  # type: ignore[misc] # a lambda's default
    passes.close()

    assert [e.seconds for e in told if isinstance(e, Ended)] == [10.0, 10.0]


def batch_of(device: FakeDevice, value: int) -> ScoringBatch[Ticket]:
    track = TrackInWork(media=picture([value]), detector=device, logits=np.empty(1, np.float32))
    turn = Turn(file=FileInWork(ticket=Ticket("r"), waiting=[]), track=track)
    return ScoringBatch([Slice(job=turn, start=0, stop=1)])


def test_a_detector_behind_a_finder_keeps_its_passes(device: FakeDevice) -> None:
    finder = type("Finder", (), {"find": lambda self, frames: []})()

    assert passes_of(FaceViewDetector(device, finder)) is device
