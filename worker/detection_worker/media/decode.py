"""One file to units: sniff, decode, describe. Runs in the child, on an open file.

Every error that leaves ``decode_file`` is coded; what is not is a crash, and the parent says so.
"""

import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy.typing import NDArray

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_worker.errors import JobError
from detection_worker.media.containers.completeness import ends_early
from detection_worker.media.containers.compressed import Inflated, coding_of, inflate
from detection_worker.media.containers.sniff import Content, sniff
from detection_worker.media.metadata import Metadata
from detection_worker.media.previews import whole_thumbnail
from detection_worker.media.provenance.collect import Manifests, provenance_of
from detection_worker.media.provenance.streams import stream_metadata
from detection_worker.media.remarks import judged_apart, mismatch, only_one_of, warnings_of
from detection_worker.media.stills.image import read_image
from detection_worker.media.streams import av_input, selection
from detection_worker.media.streams.audio import Sound, read_audio
from detection_worker.media.streams.video import Clip, check_moving, read_video
from detection_worker.media.values import DecodedMedia, DecodeOrder, MediaInfo
from detection_worker.media.views import resizes, see
from detection_worker.settings import MediaLimits

CHUNK_BYTES = 1024 * 1024
IN_MEMORY_BYTES = 8 * 1024 * 1024
"""Smaller files are read once, for hashing and decoding alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    file: BinaryIO
    size_bytes: int
    sha256: str
    content: Content
    inflated: Inflated | None


def decode_file(
    file: BinaryIO,
    order: DecodeOrder,
    *,
    tick: Callable[[], None],
    manifests: Manifests | None = None,
) -> DecodedMedia:
    """Return the units of an open file.

    Args:
        file: Regular and seekable; stays open.
        order: How.
        tick: Called often while decoding gets ahead.
        manifests: Reads C2PA manifests; None leaves them unchecked.

    Raises:
        JobError: With a media code.
    """
    try:
        source = _read_source(file, order.limits, tick)
        media, metadata = _decode(source, order, tick)
        media = _told_of_compression(media, source.inflated, order)
        return _told_of_making(media, source, metadata, manifests)
    except MemoryError as exc:
        limit_mib = order.limits.decode_memory_bytes >> 20
        raise JobError(
            ErrorCode.DECODE_MEMORY, f"decoding needs more than the {limit_mib} MiB allowed"
        ) from exc
    except FFmpegError as exc:
        raise av_input.undecodable("media", exc) from exc


def _decode(
    source: _Source, order: DecodeOrder, tick: Callable[[], None]
) -> tuple[DecodedMedia, Metadata | None]:
    """Return the units, and the metadata unless this is only the sound of a video."""
    if source.content.kind is MediaKind.IMAGE:
        return _decode_image(source, order)
    with av_input.open_media(source.file, source.content) as container:
        tags = [dict(container.metadata), *(dict(s.metadata) for s in container.streams)]
        media = _decode_streams(container, source, order=order, tick=tick)
    if order.sound_only:
        return media, None
    return media, stream_metadata(source.file, source.content.container, tags)


def _told_of_making(
    media: DecodedMedia, source: _Source, metadata: Metadata | None, manifests: Manifests | None
) -> DecodedMedia:
    if metadata is None:
        return media
    told = provenance_of(
        metadata, file=source.file, container=source.content.container, manifests=manifests
    )
    return replace(media, info=replace(media.info, provenance=told)) if told else media


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


def _decode_image(source: _Source, order: DecodeOrder) -> tuple[DecodedMedia, Metadata]:
    sampling = order.image
    if sampling is None:
        raise _no_model(MediaKind.IMAGE)
    name = source.content.container
    picture = read_image(
        source.file,
        name,
        max_pixels=order.limits.max_pixels,
        padded=lambda size: order.preview or resizes(sampling, size),
    )
    units, boxes = see(picture.pixels, sampling)
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
        warnings=(*mismatch(order, MediaKind.IMAGE, name), *picture.warnings),
        damaged=picture.damaged,
        visible_px=(right - left, bottom - top),
    )
    media = DecodedMedia(
        info=info,
        units=units,
        frame=np.zeros(len(units), dtype=np.int32),
        at_s=np.zeros(1),
        boxes=boxes + np.array([left, top, left, top], dtype=np.int32),
        thumbnails=whole_thumbnail(picture.pixels, picture.box, (picture.width, picture.height))
        if order.preview
        else None,
    )
    return media, picture.metadata


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
        preview=order.preview,
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
            *warnings_of(order, source.content.container, kind=MediaKind.VIDEO, damaged=damaged),
            *only_one_of(told, "video"),
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
        thumbnails=np.stack(clip.thumbnails) if clip.thumbnails else None,
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
            *warnings_of(order, source.content.container, kind=MediaKind.AUDIO, damaged=damaged),
            *only_one_of(told, "audio"),
            *judged_apart(sound.heard),
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


def _faults(source: _Source, taken: Clip | Sound) -> tuple[bool, int]:
    """Return whether a file is truncated, and its damaged packets.

    A broken end is a truncated file, unless its container says that all of it is there.
    """
    short = ends_early(source.file, source.content)
    truncated = taken.partial or taken.broken > 0 if short is None else short
    return truncated, taken.damaged + (0 if truncated else taken.broken)
