"""The sound of a video out of the jail: whole, absent, broken, and within the limits of sound."""

from collections.abc import Callable
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

RATE_HZ = 16_000


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = sample_media.make_video(tmp_path / "f.mp4", seconds=4, width=160, height=120)
    sound = sample_media.tone(seconds=4, rate_hz=RATE_HZ, seed=1)
    return sample_media.add_sound(path, sound, rate_hz=RATE_HZ)


@pytest.fixture
def listen(pool: ProcessDecoder) -> Callable[..., DecodedMedia]:
    def run(path: Path, *, limits: MediaLimits | None = None) -> DecodedMedia:
        request = DecodeRequest(
            path=path,
            announced=MediaKind.VIDEO,
            image=None,
            video=None,
            audio=AudioSampling(window=8_000, hop=4_000, max_windows=8),
            limits=limits or MediaLimits(),
            sound_only=True,
        )
        return pool.decode(request, on_progress=lambda: None, cancelled=lambda: False)

    return run


def test_a_video_says_whether_it_has_sound(
    decode: Callable[..., DecodedMedia], film: Path, tmp_path: Path
) -> None:
    silent = sample_media.make_video(tmp_path / "s.mp4", seconds=1, width=160, height=120)

    assert decode(film).info.sound_track
    assert not decode(silent).info.sound_track


def test_the_sound_of_a_video_is_sampled_over_its_whole_length(
    listen: Callable[..., DecodedMedia], film: Path
) -> None:
    sound = listen(film)

    assert (sound.info.kind, sound.info.container, sound.info.codec) == ("audio", "mp4", "aac")
    assert sound.units.shape == (8, 8_000)
    assert sound.at_s[0] < 0.5
    assert sound.at_s[-1] > 2.9
    assert sound.info.duration_s == pytest.approx(4, abs=0.2)
    assert sound.info.warnings == ()
    assert float(np.abs(sound.units).max()) > 0.1


def test_a_video_without_sound_has_none_to_listen_to(
    listen: Callable[..., DecodedMedia], tmp_path: Path
) -> None:
    silent = sample_media.make_video(tmp_path / "s.mp4", seconds=1, width=160, height=120)

    with pytest.raises(JobError) as caught:
        listen(silent)
    assert caught.value.code is ErrorCode.NO_FRAMES


def test_spoilt_sound_is_refused_and_leaves_the_pictures_alone(
    decode: Callable[..., DecodedMedia], listen: Callable[..., DecodedMedia], film: Path
) -> None:
    sample_media.spoil_sound(film)

    with pytest.raises(JobError) as caught:
        listen(film)
    assert caught.value.code is ErrorCode.NO_FRAMES
    pictures = decode(film, video=VideoSampling(max_frames=4, crop_px=64, crops_per_frame=1))
    assert (len(pictures.at_s), pictures.info.warnings) == (4, ())


def test_the_limits_of_sound_hold_for_the_sound_of_a_video(
    listen: Callable[..., DecodedMedia], film: Path
) -> None:
    with pytest.raises(JobError) as caught:
        listen(film, limits=MediaLimits(max_duration_s=2))

    assert caught.value.code is ErrorCode.TOO_LONG


def test_a_film_made_for_tests_has_both_tracks(film: Path) -> None:
    with av.open(str(film)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
