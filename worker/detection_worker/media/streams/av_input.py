"""Open containers of video and sound so that they can read nothing but their own bytes."""

from collections.abc import Callable, Iterator, Set
from typing import Any, BinaryIO, NoReturn

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from detection_contract.error_codes import ErrorCode
from detection_worker.errors import JobError
from detection_worker.media.containers.sniff import Content

READ_BYTES = 256 * 1024
"""FFmpeg asks Python for this much at once; the default of 32 KiB costs eight times the calls."""
WAV_PROBE_PACKETS = 8
"""How far FFmpeg looks for another codec under the name of PCM, which takes a millisecond a packet
of CD sound; its own number is 32."""
DTS_PROBE_BYTES = 32 * 16 * 1024
"""What FFmpeg would look at in 32 packets: discs with DTS may start with a second of silence."""
DTS_SYNCS = tuple(bytes.fromhex(word) for word in ("7ffe8001", "fe7f0180", "1fffe800", "ff1f00e8"))
"""Words that start a frame of DTS, of 16 and of 14 bits, in both byte orders (ETSI TS 102 114)."""
MICROSECONDS = 1_000_000
OPACITY_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""WebM keeps the opacity beside each frame; FFmpeg's own decoders of these leave it out."""

LEAVE_OUT_CODECS = frozenset({"h264", "hevc", "mpeg4", "mpeg1video", "mpeg2video"})
"""Their decoders can leave out frames that no other refers to, from one packet to the next. That
of AV1 is only asked when it opens, encoders of the others make no such frames or it is not known
to work; ProRes and JPEG refer to nothing."""

DISPLAY_TIMES = frozenset({"mov", "matroska"})
"""Demuxers of containers that say when a packet is shown. AVI and ASF only say when it is decoded:
FFmpeg guesses the rest, and not as the decoder does."""


class _Nameless:
    """A file without the ``name`` that PyAV would show to demuxers."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell


def _refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError("a media file may not open other files")


def open_media(file: BinaryIO, content: Content) -> InputContainer:
    """Open ``file`` with the one demuxer that its content calls for; the caller closes it.

    A playlist inside an accepted name, a reference to a sibling file or a URL has no way out:
    the demuxer is forced, no protocol is allowed and opening anything else raises.

    Raises:
        JobError: UNDECODABLE.
        MemoryError: Probing needed too much.
    """
    file.seek(0)
    demuxer = content.demuxer or ""
    try:
        container = av.open(
            _Nameless(file),
            "r",
            format=demuxer.partition(",")[0],
            options=_options(demuxer, file),
            buffer_size=READ_BYTES,
            io_open=_refuse,
            metadata_errors="replace",
        )
    except MemoryError:
        raise
    except (FFmpegError, ValueError, OSError) as exc:
        raise undecodable(content.container, exc) from exc
    for stream in (*container.streams.video, *container.streams.audio):
        if stream.codec_context is not None:
            # The pool runs one child for each core.
            stream.codec_context.thread_count = 1
    return container


def _options(demuxer: str, file: BinaryIO) -> dict[str, str]:
    options = {"format_whitelist": demuxer, "protocol_whitelist": "none"}
    if demuxer == "wav":
        start = file.read(DTS_PROBE_BYTES)
        file.seek(0)
        if not any(sync in start for sync in DTS_SYNCS):
            options["max_probe_packets"] = str(WAV_PROBE_PACKETS)
    return options


def undecodable(container: str, exc: Exception) -> JobError:
    """Return the error for a container that FFmpeg cannot read."""
    reason = exc.strerror if isinstance(exc, FFmpegError) and exc.strerror else type(exc).__name__
    return JobError(ErrorCode.UNDECODABLE, f"the {container} file cannot be decoded ({reason})")


def codec_name(stream: VideoStream | AudioStream) -> str:
    """Return the codec's own name, whichever library decodes it.

    Raises:
        JobError: UNDECODABLE if there is no decoder for the stream.
    """
    context: Any = stream.codec_context
    if context is None:
        raise JobError(ErrorCode.UNDECODABLE, "there is no decoder for the codec of the stream")
    return str(context.codec.canonical_name)


def start_s(container: InputContainer) -> float | None:
    """Return when a file starts to be shown, by the clock of its streams; None if unknown."""
    start: Any = container.start_time
    return None if start is None else float(start / MICROSECONDS)


def _opacity_decoder(stream: VideoStream | AudioStream) -> str | None:
    """Return the decoder that frames with opacity beside them need; None if there is none."""
    context: Any = stream.codec_context
    told = {key.lower(): value for key, value in stream.metadata.items()}
    if context is None or told.get("alpha_mode", "0") == "0":
        return None
    return OPACITY_DECODERS.get(str(context.codec.canonical_name))


def _decoder(name: str | None) -> Any:
    """Return a decoder; None if this build of FFmpeg lacks it."""
    if name not in av.codecs_available:
        return None
    decoder: Any = av.CodecContext.create(name, "r")
    decoder.thread_count = 1
    return decoder


class Reader:
    """Decodes one stream packet by packet and survives damaged packets.

    Attributes:
        damaged: Packets that could not be read or decoded and have a sound one behind them.
        broken: Those since the last sound one. At the end of a file they may be its cut-off end.
        partial: The file ended within a packet.
        opacity_left_out: There is opacity beside the frames, and this build cannot decode it.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream | AudioStream,
        tick: Callable[[], None],
    ) -> None:
        self._container = container
        self._stream = stream
        self._tick = tick
        name = _opacity_decoder(stream)
        self._decoder = _decoder(name)
        self.opacity_left_out = name is not None and self._decoder is None
        self.damaged = 0
        self.broken = 0
        self.partial = False
        self._next: Any = None

    @property
    def can_leave_out(self) -> bool:
        """Frames that no other refers to can be left out, and packets name the frames wanted."""
        context: Any = self._stream.codec_context
        timed = self._container.format.name.partition(",")[0] in DISPLAY_TIMES
        return timed and self._decoder is None and context.codec.canonical_name in LEAVE_OUT_CODECS

    @property
    def found_damage(self) -> bool:
        """Packets could not be read or decoded."""
        return self.damaged + self.broken > 0

    def forget(self) -> None:
        """Forget what was damaged: everything is decoded again."""
        self.damaged = self.broken = 0

    def packets(self) -> Iterator[Any]:
        """Yield the stream's packets from the current position on, without decoding."""
        if self._next is not None:
            packet, self._next = self._next, None
            yield packet
        try:
            for packet in self._container.demux(self._stream):
                self._tick()
                if packet.is_corrupt:
                    self.partial = True
                yield packet
        except MemoryError:
            raise
        except (FFmpegError, ValueError):
            self.broken += 1

    def rewound(self) -> None:
        """Forget what was decoded: the container is at another position."""
        self._next = None
        if self._decoder is not None:
            self._decoder.flush_buffers()

    def is_at(self, keyframe: int) -> bool:
        """Return whether the next packet is the keyframe shown at this time."""
        try:
            self._next = next(self._container.demux(self._stream))
        except MemoryError:
            raise
        except (FFmpegError, ValueError):
            return False
        return bool(self._next.is_keyframe and self._next.pts == keyframe)

    def _decoded(self, packet: Any) -> list[Any]:
        if self._decoder is None:
            return packet.decode()  # type: ignore[no-any-return]
        return list(self._decoder.decode(packet if packet.size else None))

    def frames(self, wanted: Set[int] | None = None) -> Iterator[Any]:
        """Yield decoded frames from the current position on.

        Args:
            wanted: Only frames shown at these times are needed, in the stream's time base: leave
                others out, if ``can_leave_out`` and no frame refers to them, and end when the
                decoder has given back the last one.
        """
        context: Any = self._stream.codec_context
        left = set(wanted or ())
        context.skip_frame = "DEFAULT"
        for packet in self.packets():
            if wanted is not None:
                needed = not packet.size or packet.pts in wanted
                context.skip_frame = "DEFAULT" if needed else "NONREF"
            try:
                decoded = self._decoded(packet)
            except MemoryError:
                raise
            except (FFmpegError, ValueError):
                self.broken += not packet.is_corrupt
                continue
            if self.broken and packet.size:
                self.damaged, self.broken = self.damaged + self.broken, 0
            yield from decoded
            if wanted is not None:
                left.discard(packet.pts)
                if not left:
                    yield from context.decode(None)
                    return
