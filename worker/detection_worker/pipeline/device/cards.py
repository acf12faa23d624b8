"""What a feeder is told when it is connected: which detectors there are."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detection_contract.media_types import MediaKind
from detection_worker.core.applicability import Scope
from detection_worker.core.sampling import AudioSampling, ImageSampling, Sampling, VideoSampling
from detection_worker.core.verdict import Calibration, Pooling, Thresholds
from detection_worker.detectors.base import Detector, DetectorCard, finds_units
from detection_worker.pipeline.device.wire import BadPacket

VERSION: Final = 1
"""Both ends are of one release; a feeder of another one ends at once."""
_SAMPLINGS: Final[Mapping[str, type[Sampling]]] = {
    sampling.__name__: sampling for sampling in (ImageSampling, VideoSampling, AudioSampling)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteDetector:
    """A detector in the process that owns the device.

    Attributes:
        card: Its identity.
        finds_units: It takes whole frames and finds the units in them.
    """

    card: DetectorCard
    finds_units: bool

    def logits(self, units: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        """Raise: units are scored by a ``RemoteInference``."""
        raise NotImplementedError(f"{self.card.name} is in another process: {units.shape = }")


def welcome_body(detectors: Mapping[MediaKind, Detector]) -> bytes:
    """Return the body of ``WELCOME``."""
    known = [
        {
            "card": dataclasses.asdict(detector.card),
            "sampling": type(detector.card.sampling).__name__,
            "finds_units": finds_units(detector),
        }
        for detector in detectors.values()
    ]
    return json.dumps({"version": VERSION, "detectors": known}).encode()


def parse_welcome(body: bytes) -> dict[MediaKind, RemoteDetector]:
    """Return the detectors by media kind, in the order of ``welcome_body``.

    Raises:
        BadPacket: It is nothing of the kind, or of another version.
    """
    try:
        raw = json.loads(body)
        if raw["version"] != VERSION:
            raise BadPacket(f"version {raw['version']}, not {VERSION}")
        found = [_detector(each) for each in raw["detectors"]]
    except (ValueError, TypeError, LookupError) as exc:
        raise BadPacket("no welcome") from exc
    return {detector.card.kind: detector for detector in found}


def _detector(raw: dict[str, Any]) -> RemoteDetector:
    card = raw["card"]
    parts = {
        "kind": MediaKind(card["kind"]),
        "sampling": _SAMPLINGS[raw["sampling"]](**card["sampling"]),
        "pooling": Pooling(**card["pooling"]),
        "calibration": Calibration(**card["calibration"]),
        "thresholds": None if card["thresholds"] is None else Thresholds(**card["thresholds"]),
        "scope": Scope(**card["scope"]),
    }
    return RemoteDetector(card=DetectorCard(**{**card, **parts}), finds_units=raw["finds_units"])
