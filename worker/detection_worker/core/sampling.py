"""Which parts of a media object a detector looks at; part of a model's manifest.

A *unit* is one fixed-size input of a detector: a crop of an image or frame, or a window of sound.
Units of one detector all have one shape, so that units of different messages share a batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from detection_worker.core.channels import MOST_APART

View = Literal["crops", "whole", "centre", "faces"]
"""How a network wants to see a picture; every unit is ``crop_px`` x ``crop_px``.

- ``crops``: at native resolution, for low-level traces do not survive a resize; a smaller picture
  is reflected up to it.
- ``whole``: all of the picture, stretched; one unit.
- ``centre``: the shorter side resized to ``crop_px``, then the middle of the longer; one unit.
- ``faces``: one unit for each of the most prominent faces, resized.
"""
FaceShape = Literal["square", "box"]
"""What is cut around a face: a ``square`` on the longer side of the detection, or the detection's
own ``box``, stretched to a square unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSampling:
    """Parts of one picture.

    Attributes:
        crop_px: Side of a unit.
        max_crops: Most units of one image, >= 1; the views ``whole`` and ``centre`` give one.
        view: How the units are cut out.
        face_scale: Side of a face's cut-out over that of its detection; 1.3 is usual for
            detectors of face forgery (Roessler et al. 2019). Only for ``faces``.
        face_shape: What is scaled by it. Only for ``faces``.
    """

    crop_px: int = 128
    max_crops: int = 4
    view: View = "crops"
    face_scale: float = 1.3
    face_shape: FaceShape = "square"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSampling:
    """Uniformly spread frames, each seen as an image, or clips of frames seen together.

    Attributes:
        max_frames: Most frames of one video, >= 1; of all clips together.
        crop_px: As in ``ImageSampling``.
        crops_per_frame: Most units of one frame, >= 1.
        view: As in ``ImageSampling``.
        face_scale: As in ``ImageSampling``.
        face_shape: As in ``ImageSampling``.
        clip_frames: Frames of one unit, >= 1. More than one makes a unit a clip, seen ``whole`` or
            at its ``centre``, of shape ``(clip_frames, crop_px, crop_px, 3)``; a video has at most
            ``max_frames / clip_frames`` of them.
        clip_stride: Frames of the video from one frame of a clip to the next, >= 1.

    Raises:
        ValueError: If clips are asked for that do not fit the rest.
    """

    max_frames: int = 16
    crop_px: int = 128
    crops_per_frame: int = 2
    view: View = "crops"
    face_scale: float = 1.3
    face_shape: FaceShape = "square"
    clip_frames: int = 1
    clip_stride: int = 1

    def __post_init__(self) -> None:
        if (wrong := _wrong_clips(self)) is not None:
            raise ValueError(wrong)


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioSampling:
    """Overlapping windows of mono sound.

    Attributes:
        sample_rate_hz: Rate that the detector wants.
        window: Samples in a window; shorter sound is repeated up to it.
        hop: Samples from one window's start to the next.
        max_windows: Most windows, spread uniformly if the sound is longer. It bounds what a long
            sound costs: windows of 4 s that start every 2 s leave no gap in 17 minutes then, and
            256 of them cost the bundled model 2 s of a CPU core, less than decoding an hour.
    """

    sample_rate_hz: int = 16_000
    window: int = 64_000
    hop: int = 32_000
    max_windows: int = 256


PictureSampling = ImageSampling | VideoSampling
Sampling = PictureSampling | AudioSampling

APART_UNITS = 320
"""Most units of a sound whose channels are judged apart, unless more windows are asked for: with
all channels of every window, 64 windows."""
FRAME_PX = 1920
"""Longest side of a frame that faces are looked for in: of a larger one no detector sees more."""
FRAMES_PIXELS = 16_000_000
"""All frames of one media object together, 48 MB: they wait in memory until the device is free.
16 frames of 16:9 have 1333 x 750 pixels each, 32 have 943 x 530."""


def _wrong_clips(sampling: VideoSampling) -> str | None:
    frames, stride = sampling.clip_frames, sampling.clip_stride
    if frames == stride == 1:
        return None
    pixels = sampling.max_frames * sampling.crop_px**2
    wrong = {
        "'clip_frames' and 'clip_stride' must be at least 1": min(frames, stride) < 1,
        "'clip_stride' needs 'clip_frames' above 1": frames == 1,
        f"with 'clip_frames' the 'view' must be 'whole' or 'centre', not '{sampling.view}'": (
            sampling.view not in {"whole", "centre"}
        ),
        "with 'clip_frames' a clip is one unit: 'crops_per_frame' must be 1": (
            sampling.crops_per_frame != 1
        ),
        "'max_frames' must be a multiple of 'clip_frames'": frames > 1
        and sampling.max_frames % frames != 0,
        f"'max_frames' x 'crop_px' x 'crop_px' are {pixels} pixels; all clips of a video may "
        f"have {FRAMES_PIXELS}": pixels > FRAMES_PIXELS,
    }
    return next((text for text, holds in wrong.items() if holds), None)


def looked_at(sampling: Sampling, *, frames: int | None, windows: int | None) -> Sampling:
    """Return ``sampling`` with other numbers of frames and windows; None leaves one as it is.

    Of clips there are as many as ``frames`` has room for, and at least one. Units that are cut out
    at their full size get no more pixels together than ``FRAMES_PIXELS``, or than the model's own
    number of frames has; frames of the view ``faces`` become smaller instead, as ``bounded`` says.

    Args:
        sampling: A model's own.
        frames: Most frames of a video, >= 1.
        windows: Most windows of sound, >= 1.
    """
    if isinstance(sampling, AudioSampling) and windows is not None:
        return replace(sampling, max_windows=windows)
    if isinstance(sampling, VideoSampling) and frames is not None:
        return replace(sampling, max_frames=_allowed_frames(sampling, frames))
    return sampling


def _allowed_frames(sampling: VideoSampling, frames: int) -> int:
    together = sampling.clip_frames
    if sampling.view != "faces":
        pixels = sampling.crop_px**2 * units_per_picture(sampling)
        frames = min(frames, max(sampling.max_frames, FRAMES_PIXELS // pixels))
    return max(1, frames // together) * together


def units_per_picture(sampling: PictureSampling) -> int:
    """Return the most units that decoding takes from one picture; faces are cut out later."""
    if sampling.view != "crops":
        return 1
    return sampling.max_crops if isinstance(sampling, ImageSampling) else sampling.crops_per_frame


def pictures(sampling: PictureSampling) -> int:
    """Return the most pictures of one media object, or clips if it is seen in clips."""
    if isinstance(sampling, ImageSampling):
        return 1
    return sampling.max_frames // sampling.clip_frames


def most_units(sampling: Sampling) -> int:
    """Return the most units that decoding takes from one media object."""
    if isinstance(sampling, AudioSampling):
        windows = sampling.max_windows
        return min(windows * (1 + MOST_APART), max(windows, APART_UNITS))
    return pictures(sampling) * units_per_picture(sampling)


def frames_per_unit(sampling: Sampling) -> int:
    """Return how many frames a detector sees together: 1 unless it scores clips."""
    return sampling.clip_frames if isinstance(sampling, VideoSampling) else 1


def unit_shape(sampling: Sampling) -> tuple[int, ...]:
    """Return a unit's shape: ``(crop, crop, 3)``, ``(frames, crop, crop, 3)``, ``(window,)``."""
    if isinstance(sampling, AudioSampling):
        return (sampling.window,)
    picture = (sampling.crop_px, sampling.crop_px, 3)
    frames = frames_per_unit(sampling)
    return picture if frames == 1 else (frames, *picture)


def bounded(width: int, height: int, *, frames: int) -> tuple[int, int]:
    """Return the width and height of a frame, reduced in proportion so that ``frames`` fit.

    Never more than ``FRAME_PX`` a side and ``FRAMES_PIXELS`` together, never enlarged.
    """
    share = FRAMES_PIXELS / frames
    scale = min(1.0, FRAME_PX / max(width, height), math.sqrt(share / (width * height)))
    return max(1, int(width * scale)), max(1, int(height * scale))


def spread(total: int, wanted: int) -> list[int]:
    """Return at most ``wanted`` indices spread evenly over ``range(total)``, ascending.

    Each index is the middle of its share, so that the ends (black frames, silence) weigh no more
    than the rest.

    Raises:
        ValueError: If ``total`` is negative or ``wanted`` is not positive.
    """
    if total < 0 or wanted < 1:
        raise ValueError(f"cannot spread {wanted} over {total}")
    if total <= wanted:
        return list(range(total))
    return [(2 * i + 1) * total // (2 * wanted) for i in range(wanted)]


def spread_clips(total: int, *, wanted: int, frames: int, stride: int) -> list[range]:
    """Return the frames of clips spread evenly over ``range(total)``, ascending and disjoint.

    As many clips as there is room for side by side, at most ``wanted`` and at least one, each in
    the middle of its share.

    Args:
        total: Frames of the video, >= 1; if a clip is longer, the only one is what there is.
        wanted: Most clips, >= 1.
        frames: Frames of a clip, >= 1.
        stride: From one of them to the next, >= 1.

    Raises:
        ValueError: If one of them is not positive.
    """
    if min(total, wanted, frames, stride) < 1:
        raise ValueError(f"cannot spread {wanted} clips of {frames} over {total}")
    span = (frames - 1) * stride + 1
    count = max(1, min(wanted, total // span))
    shares = [(i * total // count, (i + 1) * total // count) for i in range(count)]
    starts = [start + max(0, stop - start - span) // 2 for start, stop in shares]
    return [range(start, min(start + span, total), stride) for start in starts]


def covered_s(sampling: AudioSampling, starts_s: Sequence[float], duration_s: float) -> float:
    """Return how many seconds of a sound its windows cover together.

    Args:
        sampling: How they were cut.
        starts_s: Start of each window, seconds from that of the sound, ascending; at least one.
        duration_s: How long the sound is; a window that was filled up by repetition ends there.
    """
    window_s = sampling.window / sampling.sample_rate_hz
    ends_s = (*starts_s[1:], duration_s)
    return sum(min(window_s, end - start) for start, end in zip(starts_s, ends_s, strict=True))
