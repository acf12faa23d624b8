"""Decode the chosen frames of a video, and of the others only what they need. In the child."""

from collections.abc import Iterator, Mapping, Set
from itertools import islice
from typing import Any, Protocol

from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from detection_contract.error_codes import ErrorCode
from detection_worker.errors import JobError
from detection_worker.media.streams.av_input import Reader
from detection_worker.media.streams.timeline import Entry, Plan, Timeline
from detection_worker.settings import MediaLimits


class _UnsureError(Exception):
    """With frames left out, a chosen frame may not be what it is in the whole video."""


class Taker(Protocol):
    """Takes chosen frames."""

    def take(self, frame: Any, index: int, *, part: int) -> None:
        """Take a frame; those with the same ``part``, one after another, are a clip."""
        ...

    def __len__(self) -> int:
        """Return how many frames, or clips, were taken."""
        ...


class Frames:
    """Decoded frames of one stream, under the limits."""

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        *,
        reader: Reader,
        limits: MediaLimits,
    ) -> None:
        self._container = container
        self._stream = stream
        self._reader = reader
        self._limits = limits
        self._decoded = 0

    @property
    def can_leave_out(self) -> bool:
        """The decoder can leave out frames that no other refers to."""
        return self._reader.can_leave_out

    def seek(self, when: int) -> bool:
        """Go to the keyframe at or before ``when``, in the stream's time base."""
        try:
            self._container.seek(when, stream=self._stream)
        except FFmpegError:
            return False
        self._reader.rewound()
        return True

    def enter(self, entry: Entry, when: int) -> bool:
        """Go to a keyframe; if the container does not find it, where ``seek`` goes."""
        for request in entry.requests:
            if self.seek(request) and self._reader.is_at(entry.keyframe):
                return True
        return self.seek(when)

    def __iter__(self) -> Iterator[Any]:
        return self._checked(self._reader.frames())

    def only(self, wanted: Set[int]) -> Iterator[Any]:
        """Yield the frames shown at the times ``wanted``, and others before the last of them.

        Frames that no other refers to are left out. If two fields of a frame are packets of their
        own, as in H.264, only the first has the frame's time.

        Raises:
            _UnsureError: Something is damaged, or frames consist of fields.
        """
        for frame in self._checked(self._reader.frames(wanted)):
            if frame.interlaced_frame or frame.is_corrupt or self._reader.found_damage:
                raise _UnsureError
            yield frame

    def _checked(self, frames: Iterator[Any]) -> Iterator[Any]:
        for frame in frames:
            self._decoded += 1
            if self._decoded > self._limits.max_frames_decoded:
                raise JobError(
                    ErrorCode.TOO_LONG,
                    f"more than {self._limits.max_frames_decoded} frames would have to be decoded",
                )
            check_pixels(frame.width, frame.height, self._limits)
            yield frame


def check_pixels(width: int, height: int, limits: MediaLimits) -> None:
    """Check the size of a frame.

    Raises:
        JobError: TOO_MANY_PIXELS.
    """
    if width * height > limits.max_pixels:
        raise JobError(
            ErrorCode.TOO_MANY_PIXELS,
            f"a frame has {width} x {height} pixels; at most {limits.max_pixels} are allowed",
        )


def take_only(frames: Frames, chosen: Plan, timeline: Timeline, taker: Taker) -> bool:
    """Take the chosen frames and leave out frames that nothing else needs.

    The frames are the same, bit for bit, as if all were decoded: what is left out is by definition
    no reference of any other frame.

    Returns:
        Whether that went well; else what was taken is not to be trusted.

    Raises:
        JobError: As from ``Frames``.
    """
    if not frames.can_leave_out or not timeline.distinct:
        return False
    parts = chosen.shown_at(timeline)
    try:
        if not chosen.seek_to:
            wanted = {when: part for part, times in enumerate(parts) for when in times}
            _take(frames, wanted, taker, entry=timeline.entry(chosen.start))
            return True
        for part, times in enumerate(parts):
            _take(frames, dict.fromkeys(times, part), taker, entry=timeline.entry(times[0]))
    except _UnsureError:
        return False
    return True


def _take(frames: Frames, wanted: Mapping[int, int], taker: Taker, *, entry: Entry) -> None:
    """Take the frames shown at the times ``wanted``, all of them.

    Raises:
        _UnsureError: One of them did not come.
    """
    if not frames.enter(entry, min(wanted)):
        raise _UnsureError
    awaited = iter(sorted(wanted))
    due = next(awaited, None)
    for frame in frames.only(wanted.keys()):
        if due is None or frame.pts is None or frame.pts > due:
            break
        if frame.pts == due:
            taker.take(frame, 0, part=wanted[due])
            due = next(awaited, None)
        if due is None:
            return
    raise _UnsureError


def take_by_seeking(frames: Frames, chosen: Plan, taker: Taker) -> None:
    """Take the frames that the plan seeks, or those next to them; none if it seeks none."""
    last = None
    span = (chosen.clip_frames - 1) * chosen.clip_stride + 1
    for part, when in enumerate(chosen.seek_to):
        if not frames.seek(when):
            break
        for frame in islice(_from(frames, when), 0, span, chosen.clip_stride):
            if last is None or frame.pts > last:
                last = frame.pts
                taker.take(frame, 0, part=part)


def _from(frames: Frames, when: int) -> Iterator[Any]:
    return (f for f in frames if f.pts is not None and f.pts >= when)


def take_in_order(frames: Frames, chosen: Plan, taker: Taker) -> None:
    """Take the chosen frames by counting all that can be decoded; the first if none is reached."""
    wanted = {index: i // chosen.clip_frames for i, index in enumerate(chosen.indices)}
    first = None
    for index, frame in enumerate(frames):
        first = first or frame
        if index in wanted:
            taker.take(frame, index, part=wanted[index])
        if index >= chosen.indices[-1]:
            break
    if first is not None and not len(taker):
        taker.take(first, 0, part=0)
