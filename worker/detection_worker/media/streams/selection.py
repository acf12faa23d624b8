"""Choose the stream to analyse, and describe all streams for the result. Runs in the child."""

from collections.abc import Collection, Iterator
from typing import Any

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from detection_worker.media.streams.av_input import MICROSECONDS
from detection_worker.media.streams.timeline import Timeline
from detection_worker.media.values import MAX_STREAMS, MediaStream

STILL_CODECS = frozenset(
    {"mjpeg", "png", "bmp", "gif", "webp", "tiff", "jpeg2000", "jpegls", "jpegxl"}
)
"""Codecs of still pictures; some of them serve for video too."""
STILL_S = 5.0
"""A picture of such a codec shown for at least this long is a cover or slide, not video."""
LONE_FRAME_S = 1.0
"""Sound of so many seconds with one frame of any codec beside it is sound with a cover."""
PICTURE = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
TEXT_CHARS = 100
MOST_ASPECT = 4.0
"""More is damage: television has pixels of at most 1.5, cinema's anamorphic lenses 2."""


class StillPictureError(Exception):
    """What looks like a stream of video is a still picture beside sound."""


def best_video(container: InputContainer, *, covers: Collection[int]) -> VideoStream | None:
    """Return the video to analyse: the default one, those of still pictures last; None if none.

    Args:
        container: Where to look.
        covers: Indices of streams that turned out to be still pictures.
    """
    moving = [
        stream
        for stream in container.streams.video
        if stream.index not in covers and not stream.disposition & PICTURE
    ]
    return min(moving, key=lambda s: (_codec(s) in STILL_CODECS, not _is_default(s)), default=None)


def best_audio(container: InputContainer) -> AudioStream | None:
    """Return the sound to analyse: the default one of those that can be decoded; None if none."""
    return min(
        container.streams.audio,
        key=lambda s: (_codec(s) is None, not _is_default(s)),
        default=None,
    )


def is_still(container: InputContainer, stream: VideoStream, timeline: Timeline) -> bool:
    """Return whether a stream is a cover or slides beside sound; real video has more frames."""
    if not container.streams.audio:
        return False
    frames, sound_s = len(timeline.times), (container.duration or 0) / MICROSECONDS
    if _codec(stream) in STILL_CODECS:
        return frames == 1 or sound_s / frames >= STILL_S
    return frames == 1 and sound_s >= LONE_FRAME_S


def pixel_aspect(stream: VideoStream) -> float:
    """Return the width of a pixel over its height, as players stretch it; 1 if nothing is said."""
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if 1 / MOST_ASPECT <= aspect <= MOST_ASPECT else 1.0


def describe(
    container: InputContainer, *, analysed: int, covers: Collection[int] = ()
) -> tuple[MediaStream, ...]:
    """Return what to tell of each stream of pictures or sound, at most ``MAX_STREAMS``.

    Args:
        container: Whose streams.
        analysed: Index of the one that was analysed.
        covers: As for ``best_video``.
    """
    return tuple(_described(container, analysed, covers))[:MAX_STREAMS]


def _described(
    container: InputContainer, analysed: int, covers: Collection[int]
) -> Iterator[MediaStream]:
    for stream in container.streams:
        if not isinstance(stream, VideoStream | AudioStream):
            continue
        sound = isinstance(stream, AudioStream)
        cover = not sound and (stream.index in covers or bool(stream.disposition & PICTURE))
        context: Any = None if sound else stream.codec_context
        yield MediaStream(
            type="audio" if sound else "cover" if cover else "video",
            codec=_codec(stream),
            language=_text(stream.metadata.get("language"), nothing="und"),
            title=_text(stream.metadata.get("title")),
            default=_is_default(stream),
            analysed=stream.index == analysed,
            width=None if context is None else max(0, context.width),
            height=None if context is None else max(0, context.height),
        )


def _is_default(stream: VideoStream | AudioStream) -> bool:
    return bool(stream.disposition & Disposition.default)


def _codec(stream: VideoStream | AudioStream) -> str | None:
    context: Any = stream.codec_context
    return None if context is None else str(context.codec.canonical_name)


def _text(value: str | None, *, nothing: str = "") -> str | None:
    """Return text from the file, printable and short."""
    shown = "".join(c if c.isprintable() else " " for c in value or "").strip()[:TEXT_CHARS]
    return None if shown in {"", nothing} else shown
