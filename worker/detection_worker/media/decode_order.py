"""What the worker tells a decoding child: everything about a request but its path."""

from dataclasses import dataclass

from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import AudioSampling, ImageSampling, VideoSampling
from detection_worker.settings import MediaLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeOrder:
    """What the child is told: a ``DecodeRequest`` without its path.

    Attributes:
        suffix: The name's extension, lower case, if it is one of the contract; else empty.
        announced: Kind that the name announces.
        image: As in ``DecodeRequest``.
        video: As in ``DecodeRequest``.
        audio: As in ``DecodeRequest``.
        limits: As in ``DecodeRequest``.
        sound_only: As in ``DecodeRequest``.
    """

    suffix: str
    announced: MediaKind | None
    image: ImageSampling | None
    video: VideoSampling | None
    audio: AudioSampling | None
    limits: MediaLimits
    sound_only: bool = False
