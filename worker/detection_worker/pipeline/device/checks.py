"""Checks on the units that a feeder sends: nothing of them is used before."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection_contract.media_types import MediaKind
from detection_worker.core.free_ranges import ALIGNMENT
from detection_worker.core.sampling import (
    FRAME_PX,
    FRAMES_PIXELS,
    AudioSampling,
    most_units,
    unit_shape,
)
from detection_worker.detectors.base import Detector, DetectorCard, finds_units
from detection_worker.media.values import DecodedMedia, MediaInfo
from detection_worker.pipeline.device.wire import BadPacket, UnitsAt


def check(at: UnitsAt, detector: Detector) -> None:
    """Check that units are what a detector takes.

    Raises:
        BadPacket: They are not.
    """
    count, *rest = at.shape
    card = detector.card
    if not 1 <= count <= most_units(card.sampling):
        raise BadPacket(f"{count} units for {card.name}")
    if finds_units(detector):
        _check_frames(at, card)
    elif tuple(rest) != unit_shape(card.sampling):
        raise BadPacket(f"units of shape {rest} for {card.name}")


def _check_frames(at: UnitsAt, card: DetectorCard) -> None:
    count, *rest = at.shape
    if isinstance(card.sampling, AudioSampling) or len(rest) != 3:
        raise BadPacket(f"frames of shape {rest} for {card.name}")
    height, width, channels = rest
    sides = (height, width, *at.size_px)
    if min(sides) < 1 or max(height, width) > FRAME_PX or channels != 3:
        raise BadPacket(f"frames of shape {rest} for {card.name}")
    if count * height * width > FRAMES_PIXELS or len(at.boxes) != count:
        raise BadPacket("frames are too large, or have too few boxes")


def media_at(at: UnitsAt, memory: NDArray[np.uint8]) -> DecodedMedia:
    """Return what the stage needs to know of a track; the feeder knows the rest.

    Args:
        at: Checked.
        memory: The block that it lies in.

    Raises:
        BadPacket: It lies outside.
    """
    count = at.shape[0]
    return DecodedMedia(
        info=_info(at),
        units=_units(at, memory),
        frame=np.arange(count, dtype=np.int32),
        at_s=np.zeros(count),
        boxes=at.boxes,
    )


def _units(at: UnitsAt, memory: NDArray[np.uint8]) -> NDArray[Any]:
    dtype = np.dtype(np.float32 if at.kind is MediaKind.AUDIO else np.uint8)
    stop = at.offset + math.prod(at.shape) * dtype.itemsize
    if at.offset % ALIGNMENT or stop > len(memory):
        raise BadPacket("units lie outside of their memory")
    return memory[at.offset : stop].view(dtype).reshape(at.shape)


def _info(at: UnitsAt) -> MediaInfo:
    width, height = at.size_px
    return MediaInfo(
        kind=at.kind,
        container="",
        codec=None,
        size_bytes=0,
        sha256="",
        width=width,
        height=height,
        duration_s=None,
        frames_analysed=at.shape[0],
        sample_rate_hz=None,
        truncated=False,
        warnings=(),
    )
