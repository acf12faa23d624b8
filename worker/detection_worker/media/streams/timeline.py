"""When the frames of a video are shown and which to decode. Pure arithmetic."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detection_contract.error_codes import ErrorCode
from detection_worker.core.sampling import VideoSampling, pictures, spread, spread_clips
from detection_worker.errors import JobError

MAX_PACKETS = 2_000_000
"""Nine hours at 60 frames a second; keeps the list under 100 MB whatever the file says."""
SEEK_COST_FRAMES = 4
"""A seek costs about as much as decoding this many frames: reordering delay and a keyframe."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timeline:
    """Every packet of a video stream.

    Attributes:
        times: Display times in the stream's time base, ascending, one for each frame shown.
        coded: The same for every packet: an edit list can need frames that it does not show.
        keyframes: Those of ``coded`` where decoding can start, ascending.
        exact: The container gave display times; without them seeking is a guess.
        time_base: Seconds of one unit of ``times``.
        frame_s: Nominal seconds between frames.
        origin_s: When the file starts to be shown; its sound may start before its pictures.
        duration_s: From there to the end of the last frame.
    """

    times: NDArray[np.int64]
    coded: NDArray[np.int64]
    keyframes: NDArray[np.int64]
    exact: bool
    time_base: float
    frame_s: float
    origin_s: float
    duration_s: float

    @property
    def ambiguous(self) -> bool:
        """What is not shown lies among what is, so that a time can name two packets."""
        inside = (self.coded > self.times[0]) & (self.coded < self.times[-1])
        shown = (self.times > self.times[0]) & (self.times < self.times[-1])
        return bool(inside.sum() > shown.sum())

    @property
    def seekable(self) -> bool:
        """Seeking to a time leads to its frame."""
        return self.exact and len(self.keyframes) > 0 and not self.ambiguous

    @property
    def distinct(self) -> bool:
        """Each time names one frame, and decoding can start before any of them."""
        return self.seekable and bool(np.all(np.diff(self.times) > 0))

    def entry(self, when: int) -> "Entry":
        """Return where decoding can start for what is shown at ``when``; some start is needed."""
        i = max(0, int(np.searchsorted(self.keyframes, when, side="right")) - 1)
        after = self.keyframes[i + 1] if i + 1 < len(self.keyframes) else self.times[-1]
        between = when + max(0, int(after) - when) // 2
        return Entry(keyframe=int(self.keyframes[i]), requests=(when, between))

    def at_s(self, pts: int | None, index: int) -> float:
        """Return the display time of a frame from the start; ``index`` counts if it has no pts."""
        if pts is None or not self.exact:
            return index * self.frame_s
        return max(0.0, pts * self.time_base - self.origin_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where to start decoding.

    Attributes:
        keyframe: Display time of the keyframe.
        requests: Times to seek, one after another, until it is reached: from its own time FFmpeg
            goes to the keyframe before, in MP4 files whose first frame is shown late.
    """

    keyframe: int
    requests: tuple[int, ...]


class TimelineBuilder:
    """Collects packets into a ``Timeline``.

    Args:
        time_base: Seconds of one unit of time stamps; 0 if unknown.
        frame_s: Nominal seconds between frames.
        max_duration_s: Longer video is refused.
    """

    def __init__(self, *, time_base: float, frame_s: float, max_duration_s: float) -> None:
        self._time_base = time_base
        self._frame_s = frame_s
        self._max_duration_s = max_duration_s
        self._times: list[int] = []
        self._hidden: list[int] = []
        self._keyframes: list[int] = []
        self._exact = time_base > 0
        self._earliest: int | None = None

    def add(self, when: int | None, *, keyframe: bool, exact: bool, shown: bool = True) -> None:
        """Note one packet.

        Args:
            when: Display time in the stream's time base; None if the container does not say.
            keyframe: Decoding can start here.
            exact: ``when`` is a display time.
            shown: It is not only there to decode others, as what an edit list cuts off.

        Raises:
            JobError: TOO_LONG.
        """
        if when is None:
            when = self._times[-1] + 1 if self._times else 0
        self._exact = self._exact and exact
        if keyframe:
            self._keyframes.append(when)
        (self._times if shown else self._hidden).append(when)
        if len(self._times) + len(self._hidden) > MAX_PACKETS:
            raise JobError(ErrorCode.TOO_LONG, f"the video has more than {MAX_PACKETS} frames")
        if shown:
            self._earliest = when if self._earliest is None else min(self._earliest, when)
            self._check_duration((when - self._earliest) * self._time_base if self._exact else 0.0)

    def _check_duration(self, seconds: float) -> None:
        if seconds > self._max_duration_s:
            raise JobError(
                ErrorCode.TOO_LONG,
                f"the video is longer than the {self._max_duration_s:g} s that are allowed",
            )

    def finish(self, *, origin_s: float | None = None) -> Timeline:
        """Return the timeline.

        Args:
            origin_s: When the file starts to be shown, by the same clock as display times; None
                or far away: with its first frame.

        Raises:
            JobError: NO_FRAMES or TOO_LONG.
        """
        if not self._times:
            raise JobError(ErrorCode.NO_FRAMES, "the video holds no frames")
        times = np.sort(np.array(self._times, dtype=np.int64))
        duration_s, first_s = len(times) * self._frame_s, 0.0
        if self._exact:
            first_s = float(times[0]) * self._time_base
            duration_s = float(times[-1] - times[0]) * self._time_base + self._frame_s
        self._check_duration(duration_s - self._frame_s)
        late_s = 0.0 if origin_s is None or not self._exact else first_s - origin_s
        if not 0 <= late_s <= self._max_duration_s:
            late_s = 0.0
        return Timeline(
            times=times,
            coded=np.sort(np.array(self._times + self._hidden, dtype=np.int64)),
            keyframes=np.sort(np.array(self._keyframes, dtype=np.int64)),
            exact=self._exact,
            time_base=self._time_base,
            frame_s=self._frame_s,
            origin_s=first_s - late_s,
            duration_s=round(late_s + duration_s, 6),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which frames to take.

    Attributes:
        indices: In display order, for decoding from the start.
        start: Time of the first frame.
        seek_to: Times to seek to instead, ascending; empty if decoding in order is cheaper.
        clip_frames: Frames that belong together, one after another in ``indices``.
        clip_stride: From one of them to the next, for decoding from where it was sought.
    """

    indices: tuple[int, ...]
    start: int
    seek_to: tuple[int, ...]
    clip_frames: int = 1
    clip_stride: int = 1

    def shown_at(self, timeline: Timeline) -> list[list[int]]:
        """Return when the chosen frames are shown, ascending; one list for each frame or clip."""
        if not self.seek_to:
            times, size = timeline.times[list(self.indices)].tolist(), self.clip_frames
            return [times[at : at + size] for at in range(0, len(times), size)]
        span = (self.clip_frames - 1) * self.clip_stride + 1
        starts = np.searchsorted(timeline.times, self.seek_to).tolist()
        return [timeline.times[at : at + span : self.clip_stride].tolist() for at in starts]


def plan(timeline: Timeline, wanted: int) -> Plan:
    """Return the cheaper way to ``wanted`` frames spread over the timeline.

    Seeking takes the nearest keyframe where one is near, so its frames are at most half a gap
    off; elsewhere it decodes from the keyframe before.
    """
    indices = tuple(spread(len(timeline.times), wanted))
    start = int(timeline.times[0])
    in_order = Plan(indices=indices, start=start, seek_to=())
    if not timeline.seekable or len(timeline.times) <= 2 * wanted:
        return in_order
    seek_to, cost = _seeks(timeline, np.array(indices))
    if cost >= indices[-1]:
        return in_order
    return Plan(indices=indices, start=start, seek_to=seek_to)


def plan_clips(timeline: Timeline, sampling: VideoSampling) -> Plan:
    """Return the cheaper way to clips spread over the timeline.

    Seeking decodes from the keyframe before each clip: a clip is not moved.
    """
    frames, stride = sampling.clip_frames, sampling.clip_stride
    clips = spread_clips(
        len(timeline.times), wanted=pictures(sampling), frames=frames, stride=stride
    )
    in_order = Plan(
        indices=tuple(index for clip in clips for index in clip),
        start=int(timeline.times[0]),
        seek_to=(),
        clip_frames=frames,
        clip_stride=stride,
    )
    if not timeline.seekable:
        return in_order
    targets = timeline.times[[clip.start for clip in clips]]
    cost = _decoded(timeline, targets) + len(clips) * (SEEK_COST_FRAMES + frames * stride)
    if cost >= in_order.indices[-1]:
        return in_order
    return replace(in_order, seek_to=tuple(targets.tolist()))


def _seeks(timeline: Timeline, indices: NDArray[np.int64]) -> tuple[tuple[int, ...], int]:
    targets = timeline.times[indices]
    shown = _shared(timeline.keyframes, timeline.times)
    near = _nearest(shown, targets) if len(shown) else targets
    half_gap = (timeline.times[-1] - timeline.times[0]) / (2 * len(targets))
    snapped = np.where(np.abs(near - targets) < half_gap, near, targets)
    cost = _decoded(timeline, snapped) + SEEK_COST_FRAMES * len(targets)
    return tuple(sorted(set(snapped.tolist()))), cost


def _shared(some: NDArray[np.int64], every: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of ``some`` that are in ``every``, which ascends."""
    found = every[np.minimum(np.searchsorted(every, some), len(every) - 1)]
    return np.asarray(some[found == some])


def _decoded(timeline: Timeline, targets: NDArray[np.int64]) -> int:
    """Frames from the keyframes before to the targets."""
    keys = timeline.keyframes
    before = keys[np.maximum(np.searchsorted(keys, targets, side="right") - 1, 0)]
    decoded = np.searchsorted(timeline.coded, targets) - np.searchsorted(timeline.coded, before)
    return int(np.maximum(decoded, 0).sum())


def _nearest(keys: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.int64]:
    after = np.minimum(np.searchsorted(keys, targets), len(keys) - 1)
    before = np.maximum(after - 1, 0)
    closer = np.abs(keys[before] - targets) <= np.abs(keys[after] - targets)
    return np.where(closer, keys[before], keys[after])
