"""What decoding takes and returns: requests, checked arrays and facts about the file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from detection_contract.media_types import MediaKind
from detection_worker.core.faces import SeenFace
from detection_worker.core.sampling import AudioSampling, ImageSampling, VideoSampling
from detection_worker.media.declarations import Provenance
from detection_worker.settings import MediaLimits

MAX_STREAMS = 32
"""Most streams that a result lists."""
Empty = Callable[[tuple[int, ...], DTypeLike], NDArray[Any]]
"""Makes an array of a shape and type whose values are not set yet, as ``np.empty``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaStream:
    """One stream of a container.

    Attributes:
        type: A ``cover`` is a still picture beside sound.
        codec: Its name; None if there is no decoder for it.
        language: As the file has it, usually ISO 639-2; None if unknown.
        title: As the file has it.
        default: The one of its type that players choose unasked.
        analysed: The one of its type that was analysed.
        width: Pixels as stored; None for sound.
        height: Pixels as stored; None for sound.
    """

    type: Literal["video", "audio", "cover"]
    codec: str | None
    language: str | None
    title: str | None
    default: bool
    analysed: bool
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """Facts about one media object, found in its content.

    Attributes:
        kind: Kind by content, never by extension.
        container: Name of the container or image format, as ``"mp4"`` or ``"png"``.
        codec: Name of the decoded stream's codec; None for images.
        size_bytes: Length of the file.
        sha256: Digest of the whole file, lower-case hex.
        width: Pixels; None for audio.
        height: Pixels; None for audio.
        duration_s: Seconds; None for still images.
        frames_analysed: Frames, or windows of sound, that units were taken from; >= 1.
        sample_rate_hz: Sample rate of the file, before resampling; None unless audio.
        truncated: The file ends before what its own container announces.
        warnings: Short human-readable phrases, for example about a wrong extension.
        sound_track: It is a video and has sound, whether that can be decoded or not.
        damaged: Data inside the file is corrupt: packets or blocks that do not decode, checksums
            that do not fit.
        visible_px: Width and height of the part of a still image that is not transparent, which
            alone is analysed; None of anything else.
        streams: Streams of the container, in its order; empty for an image.
        provisional: Another try may find more: the sound ran out of time or memory here.
        provenance: What the file says of its making; None if it says nothing.
    """

    kind: MediaKind
    container: str
    codec: str | None
    size_bytes: int
    sha256: str
    width: int | None
    height: int | None
    duration_s: float | None
    frames_analysed: int
    sample_rate_hz: int | None
    truncated: bool
    warnings: tuple[str, ...]
    sound_track: bool = False
    damaged: bool = False
    visible_px: tuple[int, int] | None = None
    streams: tuple[MediaStream, ...] = ()
    provisional: bool = False
    provenance: Provenance | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecodedMedia:
    """A media object as units for a detector, in time order.

    Attributes:
        info: Facts about the file.
        units: Crops: RGB uint8, shape ``(n, crop, crop, 3)``. Windows: mono float32 in [-1, 1],
            shape ``(n, window)``. Whole frames for a detector that looks at faces: ``(n, h, w,
            3)``. Clips: ``(n, frames, crop, crop, 3)``. ``n >= 1`` unless they are faces.
        frame: Which frame, clip or window each unit belongs to, int32 ``(n,)``, ascending from 0;
            only with faces some frames have none.
        at_s: Start of each frame, clip or window, float64, one for each distinct ``frame``,
            seconds.
        boxes: Left, top, right, bottom of each crop in its frame's pixels, int32 ``(n, 4)``;
            shape ``(0, 4)`` for sound.
        faces: The face of each unit, if the units are faces that were looked for.
        end_s: End of each clip, float64, seconds; None unless the units are clips.
        thumbnails: Small pictures of the image, or of each frame or clip, RGB, shape
            ``(frames, h, w, 3)``, if they were ordered; None once ``previews`` are made of them.
        previews: The same as JPEG, encoded by the worker; of sound one spectrogram.
    """

    info: MediaInfo
    units: NDArray[np.uint8] | NDArray[np.float32]
    frame: NDArray[np.int32]
    at_s: NDArray[np.float64]
    boxes: NDArray[np.int32]
    faces: tuple[SeenFace, ...] | None = None
    end_s: NDArray[np.float64] | None = None
    thumbnails: NDArray[np.uint8] | None = None
    previews: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.units)
        if self.faces is not None:
            if not len(self.faces) == len(self.boxes) == len(self.frame) == n:
                raise ValueError(f"bad shapes: {n} units, {len(self.faces)} faces")
            return
        if n < 1 or self.frame.shape != (n,):
            raise ValueError(f"bad shapes: {self.units.shape = }, {self.frame.shape = }")
        if len(self.at_s) != int(self.frame[-1]) + 1:
            raise ValueError(f"bad shapes: {self.at_s.shape = }, {self.frame[-1] = }")
        if self.end_s is not None and self.end_s.shape != self.at_s.shape:
            raise ValueError(f"bad shapes: {self.at_s.shape = }, {self.end_s.shape = }")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRequest:
    """One file to decode.

    Attributes:
        path: A local regular file.
        announced: Kind that the name announces; a mismatch with the content becomes a warning.
        image: How to sample if the content is a still image; None refuses images.
        video: How to sample video; None refuses video.
        audio: How to sample sound; None refuses sound.
        limits: What the file may cost.
        sound_only: Decode the sound of a video instead of its frames.
        preview: Send small pictures to look at too.
    """

    path: Path
    announced: MediaKind | None
    image: ImageSampling | None
    video: VideoSampling | None
    audio: AudioSampling | None
    limits: MediaLimits
    sound_only: bool = False
    preview: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeOrder:
    """What the parent sends to a child: a ``DecodeRequest`` without its path.

    Attributes:
        suffix: The name's extension, lower case, if it is one of the contract; else empty.
        announced: Kind that the name announces.
        image: See ``DecodeRequest``.
        video: See ``DecodeRequest``.
        audio: See ``DecodeRequest``.
        limits: See ``DecodeRequest``.
        sound_only: See ``DecodeRequest``.
        preview: See ``DecodeRequest``.
    """

    suffix: str
    announced: MediaKind | None
    image: ImageSampling | None
    video: VideoSampling | None
    audio: AudioSampling | None
    limits: MediaLimits
    sound_only: bool = False
    preview: bool = False


class Decoder(Protocol):
    """Decodes files one after another; each call may come from another thread."""

    def decode(
        self,
        request: DecodeRequest,
        *,
        on_progress: Callable[[], None],
        cancelled: Callable[[], bool],
    ) -> DecodedMedia:
        """Return the file as units.

        Args:
            request: What to decode and how.
            on_progress: Called as decoding advances, about ten times a second at most.
            cancelled: Asked several times a second; True kills the decoding at once.

        Raises:
            JobError: With a media code of ``ErrorCode``.
            Cancelled: ``cancelled`` said so.
        """
        ...

    def close(self) -> None:
        """Stop every child process."""
        ...
