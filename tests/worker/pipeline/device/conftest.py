"""A device process's server and its feeders in one process, with scripted detectors."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detection_contract.media_types import MediaKind
from detection_tracing.contexts import Carrier
from detection_worker.core.faces import SeenFace
from detection_worker.core.sampling import AudioSampling, ImageSampling, Sampling, VideoSampling
from detection_worker.core.verdict import Calibration, Pooling, Thresholds
from detection_worker.detectors.base import Detector, DetectorCard
from detection_worker.media.values import DecodedMedia, MediaInfo
from detection_worker.pipeline.device.client import Device, RemoteInference, connect
from detection_worker.pipeline.device.server import DeviceServer
from detection_worker.pipeline.files.handovers import Decoded, DecodedTrack, Scored, Unscored

MEMORY_BYTES = 1 << 20
SIDE = 8
WINDOW = 16
SAMPLINGS: Mapping[MediaKind, Sampling] = {
    MediaKind.IMAGE: ImageSampling(crop_px=SIDE, max_crops=400),
    MediaKind.VIDEO: VideoSampling(crop_px=4, view="faces", max_frames=64),
    MediaKind.AUDIO: AudioSampling(window=WINDOW, hop=WINDOW, max_windows=64),
}


class ValueDetector:
    """Logit = first value - 5; refuses 13, answers 14 with NaN, waits at its gate for 7."""

    def __init__(self, kind: MediaKind) -> None:
        self.card = DetectorCard(
            name=f"value-{kind.value}",
            version="1.2",
            sha256="f" * 64,
            grade="demo",
            kind=kind,
            sampling=SAMPLINGS[kind],
            pooling=Pooling(within_frame="max"),
            calibration=Calibration(a=0.1, b=1 / 3),
            thresholds=Thresholds(low=0.1) if kind is MediaKind.IMAGE else None,
        )
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.entered = threading.Event()

    def logits(self, units: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        values = units.reshape(len(units), -1)[:, 0].astype(np.float32)
        self.batches.append(len(units))
        if (values == 7).any():
            self.entered.set()
            assert self.gate.wait(20)
        if (values == 13).any():
            raise RuntimeError("the device does not like thirteen")
        return np.where(values == 14, np.nan, values - 5).astype(np.float32)


class FaceCounter(ValueDetector):
    """Finds as many faces in each frame as its value says; cannot look at 9."""

    def find_units(self, media: DecodedMedia, *, on_progress: Callable[[], None]) -> DecodedMedia:
        assert media.info.width is not None
        values = [int(frame[0, 0, 0]) for frame in media.units]
        on_progress()
        if 7 in values:
            self.entered.set()
            assert self.gate.wait(20)
            on_progress()
        if 9 in values:
            raise RuntimeError("the device does not like nine")
        frame = np.repeat(np.arange(len(values), dtype=np.int32), values)
        boxes = media.boxes[frame] + np.arange(len(frame), dtype=np.int32)[:, None]
        return DecodedMedia(
            info=media.info,
            units=np.arange(len(frame) * 48, dtype=np.uint8).reshape(-1, 4, 4, 3),
            frame=frame,
            at_s=media.at_s,
            boxes=boxes,
            faces=tuple(
                SeenFace(
                    left=i,
                    top=media.info.width,
                    width=3,
                    height=4,
                    confidence=1 / (i + 3),
                    track=i % 2,
                )
                for i in range(len(frame))
            ),
        )


@dataclass(eq=False)
class Ticket:
    request_id: str
    cancelled: bool = False
    facts: dict[str, object] = field(default_factory=dict)
    carrier: Carrier | None = None


Outcome = Scored[Ticket] | Unscored | None


class Feeder:
    """One end of a connection, and what came back of it."""

    def __init__(self, device: Device, **options: Any) -> None:
        self.device = device
        self.outcomes: dict[str, Outcome] = {}
        self.progress: list[str] = []
        self.lost = threading.Event()
        self.inference: RemoteInference[Ticket] = RemoteInference(
            device,
            decoding=lambda: 1,
            on_scored=self._scored,
            on_progress=lambda ticket: self.progress.append(ticket.request_id),
            on_lost=self.lost.set,
            **options,
        )

    def _scored(self, ticket: Ticket, outcome: Outcome) -> None:
        assert ticket.request_id not in self.outcomes
        self.outcomes[ticket.request_id] = outcome

    def media(
        self, kind: MediaKind, *values: int, shared: bool = True, side: int = SIDE
    ) -> DecodedMedia:
        return units_of(
            kind, values, empty=self.device.memory.empty if shared else np.empty, side=side
        )

    def decoded(
        self, name: str, main: DecodedMedia, sound: DecodedMedia | None = None
    ) -> Decoded[Ticket]:
        def track(media: DecodedMedia) -> DecodedTrack:
            return DecodedTrack(media=media, detector=self.device.detectors[media.info.kind])

        return Decoded(
            ticket=Ticket(name),
            main=track(main),
            sound=None if sound is None else track(sound),
        )

    def put(self, name: str, main: DecodedMedia, sound: DecodedMedia | None = None) -> Ticket:
        decoded = self.decoded(name, main, sound)
        self.inference.put(decoded)
        return decoded.ticket

    def outcome(self, name: str) -> Outcome:
        assert eventually(lambda: name in self.outcomes)
        return self.outcomes[name]

    def logits(self, name: str) -> list[float]:
        outcome = self.outcome(name)
        assert isinstance(outcome, Scored)
        return list(outcome.main.logits.tolist())


def units_of(
    kind: MediaKind,
    values: tuple[int, ...],
    *,
    empty: Callable[..., NDArray[Any]] = np.empty,
    side: int = SIDE,
) -> DecodedMedia:
    n, sound = len(values), kind is MediaKind.AUDIO
    shape = (n, WINDOW) if sound else (n, side, side, 3)
    units = empty(shape, np.float32 if sound else np.uint8)
    units[:] = np.array(values).reshape(-1, *([1] * (len(shape) - 1)))
    info = MediaInfo(
        kind=kind,
        container="x",
        codec=None,
        size_bytes=4,
        sha256="0" * 64,
        width=None if sound else 30,
        height=None if sound else 20,
        duration_s=2.5,
        frames_analysed=n,
        sample_rate_hz=None,
        truncated=False,
        warnings=("w",),
    )
    return DecodedMedia(
        info=info,
        units=units,
        frame=np.arange(n, dtype=np.int32),
        at_s=np.arange(n) / 4,
        boxes=np.tile(np.array([[1, 2, 30, 20]], np.int32), (0 if sound else n, 1)),
    )


def eventually(condition: Callable[[], bool], *, timeout_s: float = 30.0) -> bool:
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        if condition():
            return True
        time.sleep(0.005)
    return condition()


class Rig:
    """A server, and feeders that are connected to it."""

    eventually = staticmethod(eventually)
    units_of = staticmethod(units_of)

    def __init__(self) -> None:
        self.detectors: dict[MediaKind, ValueDetector] = {
            MediaKind.IMAGE: ValueDetector(MediaKind.IMAGE),
            MediaKind.VIDEO: FaceCounter(MediaKind.VIDEO),
            MediaKind.AUDIO: ValueDetector(MediaKind.AUDIO),
        }
        self.units: list[int] = []
        self.server = self.serve(self.detectors)
        self.feeders: list[Feeder] = []

    def serve(self, detectors: Mapping[MediaKind, Detector]) -> DeviceServer:
        return DeviceServer(
            detectors,
            max_units=8,
            max_wait_s=0.0,
            memory_bytes=MEMORY_BYTES,
            on_batch=self.units.append,
        )

    def feeder(self, **options: Any) -> Feeder:
        feeder = Feeder(connect(self.server.connect(), timeout_s=20), **options)
        self.feeders.append(feeder)
        return feeder

    def open_gates(self) -> None:
        for detector in self.detectors.values():
            detector.gate.set()

    def close(self) -> None:
        self.open_gates()
        for feeder in self.feeders:
            feeder.inference.close()
        self.server.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    built = Rig()
    yield built
    built.close()
