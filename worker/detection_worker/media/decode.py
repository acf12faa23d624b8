"""One file to units: sniff, decode, describe. Runs in the child, on an open file.

Every error that leaves ``decode_file`` is coded; what is not is a crash, and the parent says so.
"""

import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import BinaryIO, Literal

import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy.typing import NDArray

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind, kind_of_name
from detection_worker.errors import JobError
from detection_worker.media.containers.completeness import ends_early
from detection_worker.media.containers.compressed import Inflated, coding_of, inflate
from detection_worker.media.containers.sniff import Content, sniff
from detection_worker.media.stills.image import read_image
from detection_worker.media.streams import av_input, selection
from detection_worker.media.streams.audio import Sound, read_audio
from detection_worker.media.streams.video import Clip, check_moving, read_video
from detection_worker.media.streams.windows import Heard
from detection_worker.media.values import DecodedMedia, DecodeOrder, MediaInfo, MediaStream
from detection_worker.media.views import resizes, see
from detection_worker.settings import MediaLimits

CHUNK_BYTES = 1024 * 1024
IN_MEMORY_BYTES = 8 * 1024 * 1024
"""Smaller files are read once, for hashing and decoding alike."""
USUAL_SUFFIXES = {
    "jpeg": (".jpg", ".jpeg"),
    "tiff": (".tiff",),
    "mp4": (".mp4", ".mov", ".m4a"),
    "m4a": (".m4a", ".mp4"),
    "mov": (".mov", ".mp4", ".m4a"),
    "webm": (".mkv",),
    "asf": (".wmv",),
    "aac": (".m4a",),
}
"""Extensions of the contract that do not contradict a container; else its own name with a dot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    file: BinaryIO
    size_bytes: int
    sha256: str
    content: Content
    inflated: Inflated | None


def decode_file(file: BinaryIO, order: DecodeOrder, *, tick: Callable[[], None]) -> DecodedMedia:
    """Return the units of an open file.

    Args:
        file: Regular and seekable; stays open.
        order: How.
        tick: Called often while decoding gets ahead.

    Raises:
        JobError: With a media code.
    """
    try:
        source = _read_source(file, order.limits, tick)
        return _told_of_compression(_decode(source, order, tick), source.inflated, order)
    except MemoryError as exc:
        limit_mib = order.limits.decode_memory_bytes >> 20
        raise JobError(
            ErrorCode.DECODE_MEMORY, f"decoding needs more than the {limit_mib} MiB allowed"
        ) from exc
    except FFmpegError as exc:
        raise av_input.undecodable("media", exc) from exc


def _decode(source: _Source, order: DecodeOrder, tick: Callable[[], None]) -> DecodedMedia:
    if source.content.kind is MediaKind.IMAGE:
        return _decode_image(source, order)
    with av_input.open_media(source.file, source.content) as container:
        return _decode_streams(container, source, order=order, tick=tick)


def _told_of_compression(
    media: DecodedMedia, inflated: Inflated | None, order: DecodeOrder
) -> DecodedMedia:
    if inflated is None:
        return media
    said = (
        () if order.sound_only else (f"the file was stored under {inflated.coding} compression",)
    )
    info = replace(
        media.info,
        truncated=media.info.truncated or inflated.truncated,
        damaged=media.info.damaged or inflated.damaged,
        warnings=(*said, *media.info.warnings),
    )
    return replace(media, info=info)


def _read_source(file: BinaryIO, limits: MediaLimits, tick: Callable[[], None]) -> _Source:
    size = os.fstat(file.fileno()).st_size
    if not size:
        raise JobError(ErrorCode.EMPTY_FILE, "the file is empty")
    if size > limits.max_bytes:
        raise JobError(
            ErrorCode.TOO_LARGE, f"the file has {size} bytes; at most {limits.max_bytes} allowed"
        )
    source: BinaryIO = io.BytesIO(file.read()) if size <= IN_MEMORY_BYTES else file
    sha256 = _sha256(source, tick)
    coding = coding_of(source)
    found = inflate(source, coding, max_bytes=limits.max_bytes, tick=tick) if coding else None
    return _Source(
        file=found.file if found else source,
        size_bytes=size,
        sha256=sha256,
        content=found.content if found else sniff(source),
        inflated=found,
    )


def _sha256(file: BinaryIO, tick: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
        tick()
    return digest.hexdigest()


def _no_model(kind: MediaKind) -> JobError:
    return JobError(ErrorCode.NO_MODEL, f"the content is {kind}, for which no model is loaded")


def _decode_image(source: _Source, order: DecodeOrder) -> DecodedMedia:
    if order.image is None:
        raise _no_model(MediaKind.IMAGE)
    name = source.content.container
    picture = read_image(
        source.file,
        name,
        max_pixels=order.limits.max_pixels,
        padded=partial(resizes, order.image),
    )
    units, boxes = see(picture.pixels, order.image)
    left, top, right, bottom = picture.box
    info = MediaInfo(
        kind=MediaKind.IMAGE,
        container=name,
        codec=None,
        size_bytes=source.size_bytes,
        sha256=source.sha256,
        width=picture.width,
        height=picture.height,
        duration_s=None,
        frames_analysed=1,
        sample_rate_hz=None,
        truncated=picture.truncated,
        warnings=(*_mismatch(order, MediaKind.IMAGE, name), *picture.warnings),
        damaged=picture.damaged,
        visible_px=(right - left, bottom - top),
    )
    return DecodedMedia(
        info=info,
        units=units,
        frame=np.zeros(len(units), dtype=np.int32),
        at_s=np.zeros(1),
        boxes=boxes + np.array([left, top, left, top], dtype=np.int32),
    )


def _decode_streams(
    container: InputContainer,
    source: _Source,
    *,
    order: DecodeOrder,
    tick: Callable[[], None],
    covers: frozenset[int] = frozenset(),
) -> DecodedMedia:
    sound_only = order.sound_only or source.content.kind is MediaKind.AUDIO
    video = None if sound_only else selection.best_video(container, covers=covers)
    if video is not None:
        try:
            return _decode_video(container, video, source=source, order=order, tick=tick)
        except selection.StillPictureError:
            covers |= {video.index}
        # It was read to its end, and not every file can be rewound.
        with av_input.open_media(source.file, source.content) as again:
            return _decode_streams(again, source, order=order, tick=tick, covers=covers)
    audio = selection.best_audio(container)
    if audio is None:
        raise JobError(ErrorCode.NO_FRAMES, "the file holds neither pictures nor sound")
    return _decode_audio(container, audio, source=source, order=order, tick=tick, covers=covers)


def _decode_video(
    container: InputContainer,
    stream: VideoStream,
    *,
    source: _Source,
    order: DecodeOrder,
    tick: Callable[[], None],
) -> DecodedMedia:
    if order.video is None:
        check_moving(container, stream, limits=order.limits, tick=tick)
        raise _no_model(MediaKind.VIDEO)
    codec = av_input.codec_name(stream)
    clip = read_video(
        container,
        stream,
        sampling=order.video,
        limits=order.limits,
        tick=tick,
        reopen=lambda: av_input.open_media(source.file, source.content),
    )
    truncated, damaged = _faults(source, clip)
    told = selection.describe(container, analysed=stream.index)
    info = MediaInfo(
        kind=MediaKind.VIDEO,
        container=source.content.container,
        codec=codec,
        size_bytes=source.size_bytes,
        sha256=source.sha256,
        width=clip.width,
        height=clip.height,
        duration_s=clip.duration_s,
        frames_analysed=clip.frames,
        sample_rate_hz=None,
        truncated=truncated,
        warnings=(
            *_warnings(order, source, kind=MediaKind.VIDEO, damaged=damaged),
            *_others(told, "video"),
            *clip.warnings,
        ),
        damaged=damaged > 0,
        sound_track=len(container.streams.audio) > 0,
        streams=told,
    )
    return DecodedMedia(
        info=info,
        units=np.concatenate(clip.units),
        frame=_frame_of(clip.units),
        at_s=np.array(clip.at_s),
        boxes=np.concatenate(clip.boxes),
        end_s=np.array(clip.end_s) if order.video.clip_frames > 1 else None,
    )


def _frame_of(units: list[NDArray[np.uint8]]) -> NDArray[np.int32]:
    return np.repeat(np.arange(len(units), dtype=np.int32), [len(u) for u in units])


def _decode_audio(
    container: InputContainer,
    stream: AudioStream,
    *,
    source: _Source,
    order: DecodeOrder,
    tick: Callable[[], None],
    covers: frozenset[int],
) -> DecodedMedia:
    if order.audio is None:
        raise _no_model(MediaKind.AUDIO)
    codec = av_input.codec_name(stream)
    sound = read_audio(container, stream, sampling=order.audio, limits=order.limits, tick=tick)
    truncated, damaged = _faults(source, sound)
    told = selection.describe(container, analysed=stream.index, covers=covers)
    info = MediaInfo(
        kind=MediaKind.AUDIO,
        container=source.content.container,
        codec=codec,
        size_bytes=source.size_bytes,
        sha256=source.sha256,
        width=None,
        height=None,
        duration_s=sound.duration_s,
        frames_analysed=len(sound.heard.starts_s),
        sample_rate_hz=sound.sample_rate_hz,
        truncated=truncated,
        warnings=(
            *_warnings(order, source, kind=MediaKind.AUDIO, damaged=damaged),
            *_others(told, "audio"),
            *_judged_apart(sound.heard),
        ),
        damaged=damaged > 0,
        streams=told,
    )
    return DecodedMedia(
        info=info,
        units=sound.heard.units,
        frame=sound.heard.frame,
        # A sound file has no other clock than the sound's own.
        at_s=sound.heard.starts_s + (sound.late_s if order.sound_only else 0.0),
        boxes=np.empty((0, 4), dtype=np.int32),
    )


def _others(told: tuple[MediaStream, ...], kind: Literal["video", "audio"]) -> tuple[str, ...]:
    count = sum(stream.type == kind for stream in told)
    what = "videos" if kind == "video" else "sound tracks"
    return (f"only one of {count} {what} was analysed",) if count > 1 else ()


def _judged_apart(heard: Heard) -> tuple[str, ...]:
    if not heard.apart:
        return ()
    return (
        f"channels cancel each other in {heard.apart} of {len(heard.starts_s)} windows; they were "
        "judged apart there, and the highest score counts",
    )


def _faults(source: _Source, taken: Clip | Sound) -> tuple[bool, int]:
    """Return whether a file is truncated, and its damaged packets.

    A broken end is a truncated file, unless its container says that all of it is there.
    """
    short = ends_early(source.file, source.content)
    truncated = taken.partial or taken.broken > 0 if short is None else short
    return truncated, taken.damaged + (0 if truncated else taken.broken)


def _warnings(
    order: DecodeOrder, source: _Source, *, kind: MediaKind, damaged: int
) -> tuple[str, ...]:
    named = () if order.sound_only else _mismatch(order, kind, source.content.container)
    found = list(named)
    if damaged:
        found.append(f"{damaged} damaged packets were skipped")
    return tuple(found)


def _mismatch(order: DecodeOrder, kind: MediaKind, container: str) -> tuple[str, ...]:
    usual = USUAL_SUFFIXES.get(container, (f".{container}",))
    if order.suffix and order.suffix not in usual:
        return (f"the name ends in {order.suffix}, the content is {container} ({kind})",)
    announced = kind_of_name(order.suffix) or order.announced
    if announced not in {None, kind}:
        return (f"the name announces {announced}, the content is {kind} ({container})",)
    return ()
