"""Video to units of frames spread over its whole length, by PyAV. Runs in the child."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from detection_contract.error_codes import ErrorCode
from detection_worker.core.sampling import VideoSampling, pictures
from detection_worker.errors import JobError
from detection_worker.media.crops import Pixels
from detection_worker.media.previews import factor
from detection_worker.media.stills.shown import ON_WHITE
from detection_worker.media.streams.av_input import Reader, start_s
from detection_worker.media.streams.display import alpha_of, hides_all, upright
from detection_worker.media.streams.frames import (
    Frames,
    check_pixels,
    take_by_seeking,
    take_in_order,
    take_only,
)
from detection_worker.media.streams.selection import StillPictureError, is_still, pixel_aspect
from detection_worker.media.streams.timeline import (
    Timeline,
    TimelineBuilder,
    plan,
    plan_clips,
)
from detection_worker.media.views import fitted, reduced, see
from detection_worker.settings import MediaLimits

OPACITY_LEFT_OUT = "the transparency of the video was not taken into account"


@dataclass(slots=True, kw_only=True, eq=False)
class Clip:
    """What was taken from a video.

    Attributes:
        units: Pixels of each frame, shape ``(n, h, w, 3)``, the same ``h`` and ``w`` in all; of
            each clip ``(1, frames, h, w, 3)``, if the detector sees frames together.
        boxes: Box in each frame, or each clip's first, shape ``(n, 4)``.
        at_s: Display time of each frame, or each clip's first, from the start of the file.
        end_s: When it, or the clip's last frame, is not shown any more.
        frames: Number of frames seen.
        width: Width of the widest frame, upright, pixels.
        height: Height of the highest frame, upright, pixels.
        duration_s: Duration by the packets' own times, seconds.
        partial: The file ended within a packet.
        broken: Packets at its end that could not be read.
        damaged: Other packets that could not be read or decoded.
        transparent: Something in the frames is.
        visible: Something in the frames is visible.
        warnings: Human-readable warnings.
        thumbnails: A small picture of each frame, or each clip's first, if they are wanted.
    """

    units: list[Pixels] = field(default_factory=list)
    boxes: list[NDArray[np.int32]] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    end_s: list[float] = field(default_factory=list)
    frames: int = 0
    width: int = 0
    height: int = 0
    duration_s: float = 0.0
    partial: bool = False
    broken: int = 0
    damaged: int = 0
    transparent: bool = False
    visible: bool = False
    warnings: tuple[str, ...] = ()
    thumbnails: list[Pixels] = field(default_factory=list)


def read_video(
    container: InputContainer,
    stream: VideoStream,
    *,
    sampling: VideoSampling,
    limits: MediaLimits,
    tick: Callable[[], None],
    reopen: Callable[[], InputContainer],
    preview: bool = False,
) -> Clip:
    """Return units of frames spread evenly over the video.

    All packets are listed first, without decoding: headers lie about duration and frame count.

    Args:
        container: Opened container, at its start.
        stream: Video stream of ``container``.
        sampling: How many frames, and what is seen of each.
        limits: What the video may cost.
        tick: Called often.
        reopen: Opens the same file again, for files that cannot be rewound.
        preview: Make thumbnails too.

    Raises:
        JobError: TOO_LONG, TOO_MANY_PIXELS or NO_FRAMES.
        StillPictureError: It is no video, but a picture beside sound.
        MemoryError: A frame does not fit.
    """
    context: Any = stream.codec_context
    check_pixels(context.width, context.height, limits)
    reader = Reader(container, stream, tick)
    timeline = _list_packets(container, stream, reader=reader, limits=limits)
    broken, reader.broken = reader.broken, 0
    clips = sampling.clip_frames > 1
    chosen = plan_clips(timeline, sampling) if clips else plan(timeline, sampling.max_frames)
    aspect = pixel_aspect(stream)
    taker = _Taker(sampling, timeline, pixel_aspect=aspect, preview=preview)
    frames = Frames(container, stream, reader=reader, limits=limits)
    if not take_only(frames, chosen, timeline, taker):
        taker = _Taker(sampling, timeline, pixel_aspect=aspect, preview=preview)
        reader.forget()
        frames = Frames(container, stream, reader=reader, limits=limits)
        take_by_seeking(frames, chosen, taker)
        if not len(taker) and not timeline.ambiguous and frames.seek(chosen.start):
            take_in_order(frames, chosen, taker)
    if not len(taker):
        with reopen() as again:
            same = again.streams.video[container.streams.video.index(stream)]
            fresh = Reader(again, same, tick)
            take_in_order(Frames(again, same, reader=fresh, limits=limits), chosen, taker)
            reader.damaged += fresh.damaged + fresh.broken
    clip = taker.finish()
    clip.duration_s = timeline.duration_s
    clip.warnings = (
        *((ON_WHITE,) * clip.transparent),
        *((OPACITY_LEFT_OUT,) * reader.opacity_left_out),
    )
    clip.partial, clip.broken = reader.partial, broken
    clip.damaged = reader.damaged + reader.broken
    return clip


def check_moving(
    container: InputContainer,
    stream: VideoStream,
    *,
    limits: MediaLimits,
    tick: Callable[[], None],
) -> None:
    """Look at what moves, without decoding; arguments and errors are those of ``read_video``."""
    _list_packets(container, stream, reader=Reader(container, stream, tick), limits=limits)


def _list_packets(
    container: InputContainer, stream: VideoStream, *, reader: Reader, limits: MediaLimits
) -> Timeline:
    rate = stream.average_rate or stream.guessed_rate
    builder = TimelineBuilder(
        time_base=float(stream.time_base or 0),
        frame_s=1 / float(rate) if rate else 0.04,
        max_duration_s=limits.max_duration_s,
    )
    for packet in reader.packets():
        if packet.size:
            when = packet.dts if packet.pts is None else packet.pts
            builder.add(
                when,
                keyframe=packet.is_keyframe,
                exact=packet.pts is not None,
                shown=not packet.is_discard,
            )
    timeline = builder.finish(origin_s=start_s(container))
    if is_still(container, stream, timeline):
        raise StillPictureError
    return timeline


class _Taker:
    """Takes the units of chosen frames."""

    def __init__(
        self,
        sampling: VideoSampling,
        timeline: Timeline,
        *,
        pixel_aspect: float,
        preview: bool,
    ) -> None:
        self._sampling = sampling
        self._preview = preview
        self._pixel_aspect = pixel_aspect
        self._timeline = timeline
        self._clip = Clip()
        self._parts: list[int] = []

    def __len__(self) -> int:
        return len(self._clip.at_s)

    def take(self, frame: Any, index: int, *, part: int) -> None:
        """Take a frame; those with the same ``part``, one after another, are a clip."""
        alpha, pixels = alpha_of(frame), upright(frame)
        turned = pixels.shape[1::-1] != (frame.width, frame.height)
        aspect = 1 / self._pixel_aspect if turned else self._pixel_aspect
        units, boxes = see(pixels, self._sampling, pixel_aspect=aspect)
        clip = self._clip
        clip.transparent = clip.transparent or alpha is not None
        clip.visible = clip.visible or alpha is None or not hides_all(alpha)
        clip.units.append(self._alike(units))
        at_s = max(self._timeline.at_s(frame.pts, index), clip.at_s[-1] if clip.at_s else 0.0)
        if not self._parts or part != self._parts[-1]:
            clip.boxes.append(boxes)
            clip.at_s.append(at_s)
            clip.end_s.append(at_s)
            if self._preview:
                clip.thumbnails.append(self._thumbnail(pixels, aspect))
        clip.end_s[-1] = max(clip.end_s[-1], at_s + self._timeline.frame_s)
        clip.frames += 1
        clip.width = max(clip.width, pixels.shape[1])
        clip.height = max(clip.height, pixels.shape[0])
        self._parts.append(part)

    def _thumbnail(self, pixels: Pixels, aspect: float) -> Pixels:
        """All have the size of the first, in which pixels are square."""
        height, width = pixels.shape[:2]
        small = reduced(pixels, factor(width, height, frames=pictures(self._sampling)))
        shown = (max(1, min(round(small.shape[1] * aspect), small.shape[1])), small.shape[0])
        if aspect > 1:
            shown = (small.shape[1], max(1, round(small.shape[0] / aspect)))
        if self._clip.thumbnails:
            shown = self._clip.thumbnails[0].shape[1::-1]
        return fitted(small, shown)

    def _alike(self, units: Pixels) -> Pixels:
        """Whole frames keep the size of the first, although a stream may change it midway."""
        if not self._clip.units or units.shape[1:] == self._clip.units[0].shape[1:]:
            return units
        height, width = self._clip.units[0].shape[1:3]
        return np.stack([fitted(unit, (width, height)) for unit in units])

    def finish(self) -> Clip:
        if not self._clip.units:
            raise JobError(ErrorCode.NO_FRAMES, "no frame of the video could be decoded")
        if not self._clip.visible:
            raise JobError(ErrorCode.NO_FRAMES, "the video is fully transparent")
        if self._sampling.clip_frames > 1:
            self._clip.units = self._together(self._clip.units)
        return self._clip

    def _together(self, units: list[Pixels]) -> list[Pixels]:
        """Frames as clips of one length; where frames lack, the last one stands still."""
        clips: list[Pixels] = []
        for part in dict.fromkeys(self._parts):
            own = [unit for unit, of in zip(units, self._parts, strict=True) if of == part]
            lacking = self._sampling.clip_frames - len(own)
            clips.append(np.concatenate([*own, *[own[-1]] * lacking])[None])
        return clips
