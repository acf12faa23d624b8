"""Sound to windows of mono samples, by PyAV. Runs in the child."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError

from detection_contract.error_codes import ErrorCode
from detection_worker.core.sampling import AudioSampling
from detection_worker.errors import JobError
from detection_worker.media.streams.av_input import MICROSECONDS, Reader, start_s
from detection_worker.media.streams.windows import Heard, Samples, Windows
from detection_worker.settings import MediaLimits

RATES_HZ = range(1_000, 768_001)
"""Beyond any recorder; a resampler for a rate made up by an attacker would need gigabytes."""
FLAC_BLOCK_SAMPLES = 65_535
"""Most samples of one packet (RFC 9639 section 8.2)."""
BATCH_SAMPLES = 131_072
"""Converted at once: packets are small, and each conversion has a price of its own."""
WEIGHING_SAMPLES = 64
Resampled = tuple[Samples, Samples | None]
"""Sound and weights as ``Windows.push`` takes them."""
INT32_SCALE = np.float32(2.0**-31)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sound:
    """What was taken from a sound file.

    Attributes:
        heard: Windows of it, in [-1, 1], at least one; times from the start of the sound.
        sample_rate_hz: Sample rate of the file.
        duration_s: Duration of what could be decoded, seconds.
        late_s: How long after the file, whose pictures may start before, the sound starts.
        partial: The file ended within a packet, or holds less than it announces.
        broken: Packets at its end that could not be read or decoded.
        damaged: Other packets of that kind.
    """

    heard: Heard
    sample_rate_hz: int
    duration_s: float
    late_s: float
    partial: bool
    broken: int
    damaged: int


def read_audio(
    container: InputContainer,
    stream: AudioStream,
    *,
    sampling: AudioSampling,
    limits: MediaLimits,
    tick: Callable[[], None],
) -> Sound:
    """Return windows of the sound, spread over its whole length.

    Raises:
        JobError: TOO_LONG, NO_FRAMES or UNDECODABLE.
        MemoryError: The sound does not fit.
    """
    reader = Reader(container, stream, tick)
    _check_announced(container, stream, reader=reader, limits=limits)
    windows = Windows(sampling, likely_s=max(0, container.duration or 0) / MICROSECONDS)
    resampler = _Resampler(sampling.sample_rate_hz)
    seconds = late_s = 0.0
    for frame in reader.frames():
        if not seconds:
            late_s = _late_s(frame, start_s(container), limits)
        seconds += _duration_s(frame)
        if seconds > limits.max_duration_s:
            raise _too_long(limits)
        for sound in resampler.push(frame):
            windows.push(*sound)
    for sound in resampler.flush():
        windows.push(*sound)
    heard = windows.finish_apart()
    if not len(heard.units):
        raise JobError(ErrorCode.NO_FRAMES, "no sound could be decoded")
    return Sound(
        heard=heard,
        sample_rate_hz=resampler.source_rate_hz,
        duration_s=round(seconds, 6),
        late_s=late_s,
        partial=reader.partial or _announces_more(container, stream, reader, found_s=seconds),
        broken=reader.broken,
        damaged=reader.damaged,
    )


def _too_long(limits: MediaLimits) -> JobError:
    return JobError(
        ErrorCode.TOO_LONG,
        f"the sound is longer than the {limits.max_duration_s:g} s that are allowed",
    )


def _check_announced(
    container: InputContainer, stream: AudioStream, *, reader: Reader, limits: MediaLimits
) -> None:
    """Refuse sound that is too long before it is decoded; packets must confirm the header."""
    if (container.duration or 0) <= limits.max_duration_s * MICROSECONDS:
        return
    time_base = float(stream.time_base or 0)
    seconds = sum((p.duration or 0) * time_base for p in reader.packets() if not p.is_discard)
    if seconds > limits.max_duration_s:
        raise _too_long(limits)
    try:
        container.seek(0)
    except FFmpegError as exc:
        raise JobError(ErrorCode.UNDECODABLE, "the sound's header is damaged") from exc


def _late_s(frame: Any, origin_s: float | None, limits: MediaLimits) -> float:
    if frame.pts is None or frame.time_base is None or origin_s is None:
        return 0.0
    late_s = float(frame.pts * frame.time_base) - origin_s
    return late_s if 0 <= late_s <= limits.max_duration_s else 0.0


def _announces_more(
    container: InputContainer, stream: AudioStream, reader: Reader, *, found_s: float
) -> bool:
    """Whether a FLAC file has fewer samples than its header says, without those of damage."""
    if container.format.name != "flac" or not stream.duration or not stream.time_base:
        return False
    lost_s = reader.damaged * FLAC_BLOCK_SAMPLES * float(stream.time_base)
    return found_s + lost_s < float((stream.duration - 1) * stream.time_base)


def _duration_s(frame: Any) -> float:
    if frame.sample_rate not in RATES_HZ:
        raise JobError(
            ErrorCode.UNDECODABLE, f"a sample rate of {frame.sample_rate} Hz is not supported"
        )
    return float(frame.samples / frame.sample_rate)


class _Resampler:
    """Any sound to float at one rate, mixed and apart; restarts when the format changes."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._shape: tuple[Any, ...] | None = None
        self._swr: AudioResampler | None = None
        self._fifo = AudioFifo()
        self._weights = np.empty(0, np.float32)
        self.source_rate_hz = 0

    def push(self, frame: Any) -> Iterable[Resampled]:
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        rest = () if shape == self._shape else self._restarted(shape, frame)
        # Damaged time stamps would be filled up with silence or refused.
        frame.pts = None
        self._fifo.write(frame)
        if self._fifo.samples < BATCH_SAMPLES:
            return rest
        return (*rest, *self._converted(self._fifo.read()))

    def flush(self) -> Iterator[Resampled]:
        if self._swr is None:
            return
        if self._fifo.samples:
            yield from self._converted(self._fifo.read())
        yield from self._converted(None)
        self._swr = None

    def _restarted(self, shape: tuple[Any, ...], frame: Any) -> tuple[Resampled, ...]:
        """Set up for frames like this one; return what is left of those before."""
        rest = tuple(self.flush())
        self._shape = shape
        self.source_rate_hz = self.source_rate_hz or frame.sample_rate
        self._weights = _mono_weights(frame.layout, frame.sample_rate)
        layout = "mono" if len(self._weights) < 2 else frame.layout
        self._fifo = AudioFifo()
        # Packed: PyAV reads beyond the planes of a frame that has eight.
        self._swr = AudioResampler(format="s32", layout=layout, rate=self._rate_hz)
        return rest

    def _converted(self, frame: Any) -> Iterator[Resampled]:
        if frame is not None:
            frame.pts = None
        count = len(self._weights)
        for out in self._swr.resample(frame) if self._swr is not None else ():
            rows = np.empty((count if count < 2 else 1 + count, out.samples), np.float32)
            channels = rows[-count:]
            samples = out.to_ndarray().reshape(-1, count).T
            np.multiply(samples, INT32_SCALE, out=channels, dtype=np.float32, casting="unsafe")
            if count < 2:
                yield channels[0], None
            else:
                np.matmul(self._weights, channels, out=rows[0])
                yield rows, self._weights


def _mono_weights(layout: Any, rate_hz: int) -> Samples:
    """Return how much of each channel FFmpeg mixes into mono, shape ``(channels,)``.

    To integers, because then the mix is normalised and cannot exceed 1.
    """
    count = layout.nb_channels
    if count < 2:
        return np.ones(1, np.float32)
    half = np.int32(1 << 30)
    # One channel after another, each alone for a while.
    steps = np.repeat(np.eye(count, dtype=np.int32) * half, WEIGHING_SAMPLES, axis=0)
    frame = AudioFrame.from_ndarray(steps.reshape(1, -1), format="s32", layout=layout)
    frame.sample_rate = rate_hz
    mixer = AudioResampler(format="s32", layout="mono", rate=rate_hz)
    try:
        outs = [*mixer.resample(frame), *mixer.resample(None)]
    except FFmpegError:  # the channel layout is unknown
        return np.full(count, 1 / count, np.float32)
    mixed = np.concatenate([out.to_ndarray()[0] for out in outs])
    middles = mixed[WEIGHING_SAMPLES // 2 :: WEIGHING_SAMPLES][:count]
    return np.asarray(middles / np.float32(half), dtype=np.float32)
