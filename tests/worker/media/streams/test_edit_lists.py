"""What the edit lists of MP4 and MOV show, and when: lossless trims, delays, repetitions."""

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_testing.media import sample_media
from detection_worker.core.sampling import AudioSampling, VideoSampling
from detection_worker.errors import JobError
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.values import DecodedMedia, DecodeRequest
from detection_worker.settings import MediaLimits

Decode = Callable[..., DecodedMedia]

FPS = 25
SECOND = 12_800
"""One second in the time scale that FFmpeg gives a track of 25 frames a second."""
RATE_HZ = 16_000
PACKET_S = 1024 / RATE_HZ
EDITS = {
    "start cut off": [(3_000, 2 * SECOND)],
    "end cut off": [(2_000, 0)],
    "both cut off": [(1_000, 4 * SECOND)],
    "a piece out of the middle": [(1_000, SECOND), (2_000, 4 * SECOND)],
    "pieces swapped": [(1_000, 4 * SECOND), (1_000, SECOND)],
    "a piece twice": [(1_000, 2 * SECOND), (1_000, 2 * SECOND)],
    "a pause between pieces": [(1_000, SECOND), (500, -1), (1_000, 4 * SECOND)],
    "longer than the track": [(90_000, 4 * SECOND)],
    "one frame": [(40, 3 * SECOND)],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Six seconds with one keyframe and frames that are not in display order."""
    path = tmp_path_factory.mktemp("v") / "v.mp4"
    return sample_media.make_video(path, seconds=6, fps=FPS, width=96, height=64).read_bytes()


def put(data: bytes, path: Path, edits: Sequence[tuple[int, int]]) -> Path:
    path.write_bytes(data)
    return sample_media.set_edits(path, edits)


def shown(path: Path) -> list[tuple[float, np.ndarray]]:
    """Time and picture of each frame, as FFmpeg's own demuxer and decoder give them in order."""
    with av.open(str(path)) as container:
        return [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("name", EDITS)
def test_frames_and_times_are_those_that_are_shown(
    name: str, suffix: str, whole: bytes, tmp_path: Path, decode: Decode
) -> None:
    path = put(whole, tmp_path / f"v{suffix}", EDITS[name])
    frames = shown(path)
    wanted = [frames[i] for i in sorted({(2 * i + 1) * len(frames) // 12 for i in range(6)})]

    media = decode(path, video=VideoSampling(max_frames=6, view="faces", crops_per_frame=1))

    assert media.at_s.tolist() == pytest.approx([at_s for at_s, _ in wanted], abs=1e-3)
    for unit, (_, pixels) in zip(media.units, wanted, strict=True):
        assert np.array_equal(unit, pixels)
    assert media.info.duration_s == pytest.approx(frames[-1][0] + 1 / FPS, abs=1e-3)
    assert not media.info.truncated
    assert not media.info.damaged


def test_pictures_that_start_after_the_sound_keep_their_times(
    tmp_path: Path, decode: Decode
) -> None:
    path = sample_media.make_video(tmp_path / "v.mp4", seconds=2, width=96, height=64)
    sample_media.add_sound(
        path, sample_media.tone(seconds=4, rate_hz=RATE_HZ, seed=1), rate_hz=RATE_HZ
    )
    sample_media.set_edits(path, [(1_500, -1), (2_000, 1024)])

    media = decode(path, video=VideoSampling(max_frames=100, crop_px=64, crops_per_frame=1))

    assert media.at_s[[0, -1]].tolist() == pytest.approx([1.5, 3.46], abs=0.01)
    assert media.info.duration_s == pytest.approx(3.5, abs=0.01)


def test_pictures_without_sound_start_at_once(
    whole: bytes, tmp_path: Path, decode: Decode
) -> None:
    media = decode(put(whole, tmp_path / "v.mp4", [(1_500, -1), (2_000, 1024)]))

    assert media.at_s[0] < 0.5
    assert media.info.duration_s == pytest.approx(2.0, abs=0.05)


def test_an_edit_list_that_shows_nothing_is_refused(
    whole: bytes, tmp_path: Path, decode: Decode
) -> None:
    with pytest.raises(JobError) as caught:
        decode(put(whole, tmp_path / "v.mp4", [(0, 4 * SECOND)]))

    assert caught.value.code is ErrorCode.NO_FRAMES


@pytest.mark.parametrize(
    ("edits", "seconds"),
    [
        pytest.param([(1_500, RATE_HZ)], 1.5, id="trimmed"),
        pytest.param([(3_000, 1024)], 3.0, id="only the encoder's delay cut off"),
        pytest.param([(500, RATE_HZ), (500, 2 * RATE_HZ)], 1.0, id="two pieces"),
    ],
)
@pytest.mark.parametrize("suffix", [".m4a", ".mp4"])
def test_sound_is_as_long_as_it_is_heard(
    suffix: str, edits: list[tuple[int, int]], seconds: float, tmp_path: Path, decode: Decode
) -> None:
    path = tmp_path / f"s{suffix}"
    sample_media.make_audio(path, codec="aac", seconds=3, rate_hz=RATE_HZ)
    sample_media.set_edits(path, edits)

    media = decode(path)

    # FFmpeg starts a piece with its very sample and ends it with the packet that holds its last.
    assert seconds <= (media.info.duration_s or 0) < seconds + len(edits) * PACKET_S
    assert media.at_s[0] == 0.0
    assert not media.info.truncated
    assert not media.info.damaged


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        pytest.param("aac", ".m4a", id="AAC"),
        pytest.param("libmp3lame", ".mp3", id="MP3"),
        pytest.param("libopus", ".ogg", id="Opus"),
        pytest.param("libopus", ".mkv", id="Opus in Matroska"),
    ],
)
def test_what_an_encoder_adds_is_not_heard(
    codec: str, suffix: str, tmp_path: Path, decode: Decode
) -> None:
    path = sample_media.make_audio(tmp_path / f"s{suffix}", codec=codec, seconds=2, rate_hz=48_000)

    assert decode(path).info.duration_s == pytest.approx(2.0, abs=0.022)


def test_sound_that_starts_after_the_pictures_keeps_its_times(
    tmp_path: Path, pool: ProcessDecoder
) -> None:
    path = sample_media.make_video(tmp_path / "v.mp4", seconds=4, width=96, height=64)
    sample_media.add_sound(
        path, sample_media.tone(seconds=2, rate_hz=RATE_HZ, seed=1), rate_hz=RATE_HZ
    )
    sample_media.set_edits(path, [(1_500, -1), (2_000, 1024)], track=1)
    request = DecodeRequest(
        path=path,
        announced=MediaKind.VIDEO,
        image=None,
        video=None,
        audio=AudioSampling(window=8_000, hop=4_000, max_windows=8),
        limits=MediaLimits(),
        sound_only=True,
    )

    sound = pool.decode(request, on_progress=lambda: None, cancelled=lambda: False)

    assert sound.at_s[0] == pytest.approx(1.5, abs=0.002)
    assert sound.info.duration_s == pytest.approx(2.0, abs=PACKET_S)
