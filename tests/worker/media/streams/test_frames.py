"""Frames that nobody refers to are left out, and the chosen ones stay what they were."""

import io
import random
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from detection_worker.core.sampling import VideoSampling
from detection_worker.errors import JobError
from detection_worker.media.containers.sniff import sniff
from detection_worker.media.streams.av_input import Reader, open_media
from detection_worker.media.streams.frames import Frames, take_in_order, take_only
from detection_worker.media.streams.timeline import Plan, Timeline, TimelineBuilder, plan
from detection_worker.media.values import DecodedMedia
from detection_worker.settings import MediaLimits

Decode = Callable[..., DecodedMedia]
Encode = Callable[..., Path]
SEEDS = range(10)
X264 = ("-c:v", "libx264", "-preset", "veryfast", "-bf", "3")
X265 = ("-c:v", "libx265", "-preset", "ultrafast")
WEBM = ("-c:v", "libvpx-vp9", "-g", "250", "-cpu-used", "8", "-deadline", "realtime")

LEFT_OUT = {
    "h264.mp4": (*X264, "-g", "250"),
    "h264.mkv": (*X264, "-g", "250", "-x264-params", "b-pyramid=strict:slices=4"),
    "open.mov": (*X264, "-g", "50", "-x264-params", "open-gop=1"),
    "hevc.mp4": (*X265, "-x265-params", "log-level=error:pools=1:keyint=250:bframes=4"),
    "open.mkv": (*X265, "-x265-params", "log-level=error:pools=1:keyint=30:open-gop=1"),
    "layers.mp4": (*X265, "-x265-params", "log-level=error:pools=1:temporal-layers=1"),
    "mpeg4.mp4": ("-c:v", "mpeg4", "-bf", "2", "-g", "250"),
    "mpeg2.mkv": ("-c:v", "mpeg2video", "-bf", "2", "-g", "250"),
}
"""Files whose decoders leave frames out."""
ALL_DECODED = {
    "vp9.webm": WEBM,
    "prores.mov": ("-c:v", "prores_ks", "-pix_fmt", "yuv422p10le"),
    "mpeg4.avi": ("-c:v", "mpeg4", "-bf", "2", "-g", "250"),
    "interlaced.mp4": (*X264, "-g", "250", "-flags", "+ildct+ilme", "-x264-params", "tff=1"),
    "baseline.mp4": ("-c:v", "libx264", "-profile:v", "baseline", "-g", "250"),
}
"""Files of which every frame is decoded: there is nothing to leave out, or no safe way to."""


@pytest.fixture(scope="module")
def encode(tmp_path_factory: pytest.TempPathFactory) -> Encode:
    """Write a video by ffmpeg, in a process of its own; a second call gives the same file."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("NOT RUN: there is no ffmpeg to make videos with")
    folder = tmp_path_factory.mktemp("encoded")

    def run(name: str, how: tuple[str, ...], *, seconds: float = 4, filters: str = "null") -> Path:
        path = folder / name
        if not path.exists():
            source = f"testsrc2=s=192x112:r=25:d={seconds}"
            looks = f"noise=alls=6:allf=t,format=yuv420p,{filters}"
            given = ("-f", "lavfi", "-i", source, "-vf", looks, "-fps_mode", "vfr", *how)
            subprocess.run([ffmpeg, "-nostdin", "-v", "error", *given, str(path)], check=True)
        return path

    return run


@dataclass(slots=True)
class Taken:
    """Notes what is taken."""

    at: list[int] = field(default_factory=list)
    planes: list[tuple[bytes, ...]] = field(default_factory=list)

    def take(self, frame: Any, index: int, *, part: int) -> None:
        del index, part
        self.at.append(frame.pts)
        self.planes.append(tuple(bytes(plane) for plane in frame.planes))

    def __len__(self) -> int:
        return len(self.at)


@dataclass(slots=True, kw_only=True)
class Opened:
    """One video, ready to be decoded."""

    frames: Frames
    reader: Reader
    timeline: Timeline


def opened(path: Path, *, most: int = 100_000) -> Opened:
    """Open a video as the child does; more than ``most`` decoded frames are refused."""
    file = io.BytesIO(path.read_bytes())
    container = open_media(file, sniff(file))
    stream = container.streams.video[0]
    reader = Reader(container, stream, lambda: None)
    builder = TimelineBuilder(
        time_base=float(stream.time_base or 0), frame_s=0.04, max_duration_s=3600
    )
    for packet in reader.packets():
        if packet.size:
            exact, when = packet.pts is not None, packet.dts if packet.pts is None else packet.pts
            shown = not packet.is_discard
            builder.add(when, keyframe=packet.is_keyframe, exact=exact, shown=shown)
    limits = MediaLimits(max_frames_decoded=most)
    return Opened(
        frames=Frames(container, stream, reader=reader, limits=limits),
        reader=reader,
        timeline=builder.finish(),
    )


def in_order(timeline: Timeline, wanted: int) -> Plan:
    return Plan(indices=plan(timeline, wanted).indices, start=int(timeline.times[0]), seek_to=())


def both(path: Path, wanted: int, *, most: int = 100_000) -> tuple[Taken, Taken, bool]:
    """Take frames by decoding everything, and by leaving out what is not needed."""
    every, only = Taken(), Taken()
    full = opened(path)
    assert full.frames.seek(int(full.timeline.times[0]))
    take_in_order(full.frames, in_order(full.timeline, wanted), every)
    short = opened(path, most=most)
    done = take_only(short.frames, in_order(short.timeline, wanted), short.timeline, only)
    return every, only, done


@pytest.mark.parametrize("name", LEFT_OUT)
def test_the_chosen_frames_are_the_same_bit_for_bit_and_fewer_are_decoded(
    encode: Encode, name: str
) -> None:
    path = encode(name, LEFT_OUT[name])

    every, only, done = both(path, 7, most=80)  # of 100; without the limit it would be 97

    assert done
    assert len(every.at) == 7
    assert only == every
    full = opened(path, most=80)
    assert full.frames.seek(int(full.timeline.times[0]))
    with pytest.raises(JobError, match="more than 80 frames"):
        take_in_order(full.frames, in_order(full.timeline, 7), Taken())


@pytest.mark.parametrize("name", ALL_DECODED)
def test_where_nothing_can_be_left_out_the_frames_are_those_of_full_decoding(
    encode: Encode, decode: Decode, name: str
) -> None:
    path = encode(name, ALL_DECODED[name])
    every, only, done = both(path, 7)

    media = decode(path, video=VideoSampling(max_frames=7, view="faces", crops_per_frame=1))

    assert only == every if done else name != "baseline.mp4"
    assert (len(media.units), media.info.truncated, media.info.damaged) == (7, False, False)
    assert np.allclose(media.at_s, [0.28, 0.84, 1.4, 2.0, 2.56, 3.12, 3.68], atol=0.05)


def random_video(encode: Encode, seed: int) -> Path:
    """A video with its own codec, GOPs, B-frames, frame rate and, sometimes, cuts."""
    dice = random.Random(seed)
    gop, frames = str(dice.choice([1, 5, 12, 25, 250])), str(dice.choice([0, 1, 2, 4]))
    opened_gop, pyramid = dice.randint(0, 1), dice.choice(["none", "strict", "normal"])
    codec = dice.choice(["x264", "x264", "x265", "mpeg4"])
    how = {
        "x264": ("-x264-params", f"open-gop={opened_gop}:b-pyramid={pyramid}:b-adapt=0"),
        "x265": ("-x265-params", f"log-level=error:pools=1:open-gop={opened_gop}"),
        "mpeg4": (),
    }[codec]
    encoder = codec if codec == "mpeg4" else f"lib{codec}"
    speed = () if codec == "mpeg4" else ("-preset", "ultrafast")
    uneven = "select='gt(random(1)\\,0.3)'" if dice.random() < 0.5 else "null"
    return encode(
        f"random{seed}.{dice.choice(['mp4', 'mkv', 'mov'])}",
        ("-c:v", encoder, *speed, "-g", gop, "-bf", frames, *how),
        seconds=dice.choice([1, 3, 6]),
        filters=uneven,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_any_structure_gives_the_frames_of_full_decoding(encode: Encode, seed: int) -> None:
    every, only, done = both(random_video(encode, seed), 5)

    assert done
    assert only == every


def test_sought_frames_are_reached_from_their_own_keyframe(encode: Encode) -> None:
    """Its first frame is shown late: FFmpeg then leads to the keyframe before that asked for."""
    late = r"select='gt(n\,3)'"
    path = encode("late.mp4", (*X264, "-g", "30", "-sc_threshold", "0"), seconds=24, filters=late)
    only, video = Taken(), opened(path, most=16 * 3)
    chosen = plan(video.timeline, 16)

    assert take_only(video.frames, chosen, video.timeline, only)

    assert list(chosen.seek_to) == only.at
    reference = {}
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            reference[frame.pts] = tuple(bytes(plane) for plane in frame.planes)
    assert [reference[when] for when in only.at] == only.planes


def damaged(path: Path, to: Path) -> Path:
    """Overwrite most of a packet that others refer to, in the middle of a copy."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        hit = next(p for p in packets[40:] if not p.is_disposable)
        assert hit.pos is not None
        at, size = hit.pos, hit.size
    data = path.read_bytes()
    to.write_bytes(data[:at] + b"\xff" * (size - 8) + data[at + size - 8 :])
    return to


@pytest.mark.parametrize("name", ["h264.mp4", "mpeg4.mp4"])
def test_a_damaged_video_is_decoded_as_a_whole(
    encode: Encode, decode: Decode, tmp_path: Path, name: str
) -> None:
    path = damaged(encode(name, LEFT_OUT[name]), tmp_path / "damaged.mp4")

    done = take_only(
        (video := opened(path)).frames, in_order(video.timeline, 7), video.timeline, Taken()
    )
    media = decode(path, video=VideoSampling(max_frames=7, crop_px=64))

    assert not done
    assert media.info.frames_analysed == 7
    assert media.info.damaged
    assert media.info.warnings == ("1 damaged packet was skipped",)


def test_a_truncated_video_keeps_its_facts(encode: Encode, decode: Decode, tmp_path: Path) -> None:
    whole = encode("h264.mkv", LEFT_OUT["h264.mkv"])
    path = tmp_path / "half.mkv"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])

    media = decode(path, video=VideoSampling(max_frames=7, crop_px=64))

    assert (media.info.truncated, media.info.damaged) == (True, False)
    assert media.info.frames_analysed == 7
    assert media.info.duration_s is not None
    assert 1 < media.info.duration_s < 3
    assert media.at_s[-1] < media.info.duration_s
