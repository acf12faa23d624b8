from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from detection_contract.media_types import MediaKind
from detection_training.audio.sound import RATE_HZ, encode, read_sound
from detection_training.evaluation.grid import GRID, TreatmentError, treatments_for
from detection_training.image.making import treatments


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 81, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    seconds = np.arange(2 * RATE_HZ) / RATE_HZ
    tones = 0.2 * np.sin(2 * np.pi * 440 * seconds) + 0.1 * np.sin(2 * np.pi * 6000 * seconds)
    (tmp_path / "sound.wav").write_bytes(encode(tones.astype(np.float32), "pcm_s16le", "wav"))
    return tmp_path / "sound.wav"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 256, (7, 32, 48, 3), dtype=np.uint8)
    (tmp_path / "clip.mp4").write_bytes(treatments.write_clip(frames, crf=10, rate=5))
    return tmp_path / "clip.mp4"


def treated(source: Path, kind: MediaKind, name: str) -> Path:
    treatment = treatments_for(kind)[name]
    target = source.with_name(f"treated{treatment.suffix}")
    treatment.write(source, target)
    return target


def power_at(sound: np.ndarray, tone_hz: int) -> float:
    """Share of the power within 100 Hz of a tone."""
    power = np.square(np.abs(np.fft.rfft(sound)))
    hz = np.fft.rfftfreq(len(sound), 1 / RATE_HZ)
    return float(power[np.abs(hz - tone_hz) < 100].sum() / power.sum())


def test_the_grid_has_the_treatments_that_reports_promise() -> None:
    assert {kind: list(of) for kind, of in GRID.items()} == {
        MediaKind.IMAGE: ["JPEG 95", "JPEG 85", "JPEG 75", "resized to 0.75", "resized to 0.5"],
        MediaKind.AUDIO: [
            "MP3 32 kbit/s",
            "Opus 16 kbit/s",
            "G.722",
            "8 kHz",
            "noise 20 dB",
            "noise 10 dB",
        ],
        MediaKind.VIDEO: ["H.264 CRF 28"],
    }


def test_lower_jpeg_quality_makes_smaller_and_worse_pictures(picture: Path) -> None:
    before = np.asarray(Image.open(picture)).astype(float)
    sizes, errors = [], []
    for name in ("JPEG 95", "JPEG 85", "JPEG 75"):
        copy = treated(picture, MediaKind.IMAGE, name)
        sizes.append(copy.stat().st_size)
        with Image.open(copy) as after:
            assert after.format == "JPEG"
            errors.append(np.abs(np.asarray(after) - before).mean())

    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)


def test_resizing_is_saved_without_loss(picture: Path) -> None:
    with Image.open(treated(picture, MediaKind.IMAGE, "resized to 0.5")) as half:
        assert (half.format, half.size) == ("PNG", (40, 30))
    with Image.open(treated(picture, MediaKind.IMAGE, "resized to 0.75")) as most:
        assert most.size == (61, 45)


def test_a_picture_of_one_pixel_survives_resizing(tmp_path: Path) -> None:
    Image.new("RGBA", (1, 1)).save(tmp_path / "dot.png")

    with Image.open(treated(tmp_path / "dot.png", MediaKind.IMAGE, "resized to 0.5")) as after:
        assert after.size == (1, 1)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("MP3 32 kbit/s", "mp3"),
        ("Opus 16 kbit/s", "opus"),
        ("G.722", "adpcm_g722"),
        ("8 kHz", "pcm_s16le"),
        ("noise 20 dB", "pcm_s16le"),
    ],
)
def test_sound_passes_the_codec_and_keeps_its_length(
    recording: Path, name: str, codec: str
) -> None:
    copy = treated(recording, MediaKind.AUDIO, name)

    with av.open(str(copy)) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == codec
    sound = read_sound(copy)
    assert len(sound) == pytest.approx(2 * RATE_HZ, abs=0.1 * RATE_HZ)
    assert power_at(sound, 440) > 0.5


def test_a_telephone_loses_what_is_above_4_khz(recording: Path) -> None:
    assert power_at(read_sound(recording), 6000) > 0.15
    assert power_at(read_sound(treated(recording, MediaKind.AUDIO, "8 kHz")), 6000) < 0.001


@pytest.mark.parametrize("snr_db", [20, 10])
def test_noise_has_the_level_that_it_says(recording: Path, snr_db: int) -> None:
    before = read_sound(recording)
    after = read_sound(treated(recording, MediaKind.AUDIO, f"noise {snr_db} dB"))

    noise = after - before
    found = 10 * np.log10(np.square(before).mean() / np.square(noise).mean())
    assert found == pytest.approx(snr_db, abs=0.3)


def test_a_video_is_encoded_anew_with_all_its_frames(clip: Path) -> None:
    copy = treated(clip, MediaKind.VIDEO, "H.264 CRF 28")

    with av.open(str(copy)) as container:
        video = container.streams.video[0]
        assert (video.width, video.height, float(video.average_rate or 0)) == (48, 32, 5.0)
        assert sum(1 for _ in container.decode(video)) == 7
    assert copy.stat().st_size < clip.stat().st_size


@pytest.mark.parametrize("kind", list(MediaKind))
def test_what_cannot_be_read_cannot_be_treated(tmp_path: Path, kind: MediaKind) -> None:
    (tmp_path / "broken").write_bytes(b"no media at all")

    for name in treatments_for(kind):
        with pytest.raises(TreatmentError, match="could not be treated"):
            treated(tmp_path / "broken", kind, name)
