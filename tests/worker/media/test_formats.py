import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import EXTENSIONS, MediaKind
from detection_testing.media import sample_media
from detection_worker.core.sampling import AudioSampling
from detection_worker.errors import JobError
from detection_worker.media.values import DecodedMedia

Decode = Callable[..., DecodedMedia]

CODECS = {
    ".mp4": "libx264",
    ".avi": "mpeg4",
    ".mov": "libx264",
    ".mkv": "libx264",
    ".wmv": "wmv2",
    ".wav": "pcm_s16le",
    ".mp3": "libmp3lame",
    ".flac": "flac",
    ".m4a": "aac",
    ".ogg": "vorbis",
}
EVERY_SUFFIX = [
    pytest.param(kind, suffix, id=suffix)
    for kind, suffixes in EXTENSIONS.items()
    for lower in suffixes
    for suffix in (lower, lower.upper())
]


def make(kind: MediaKind, path: Path) -> Path:
    if kind is MediaKind.IMAGE:
        return sample_media.make_image(path, width=200, height=150)
    codec = CODECS[path.suffix.lower()]
    if kind is MediaKind.VIDEO:
        return sample_media.make_video(path, codec=codec, width=160, height=120)
    return sample_media.make_audio(path, codec=codec, seconds=1)


@pytest.mark.parametrize(("kind", "suffix"), EVERY_SUFFIX)
def test_every_format_of_the_contract_decodes_in_upper_and_lower_case(
    kind: MediaKind, suffix: str, tmp_path: Path, decode: Decode
) -> None:
    path = make(kind, tmp_path / f"sample{suffix}")

    media = decode(path, announced=kind)

    assert media.info.kind is kind
    assert media.info.warnings == ()
    assert not media.info.truncated
    assert media.info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert media.info.size_bytes == path.stat().st_size
    assert float(media.units.std(axis=-1).max()) > (0.05 if kind is MediaKind.AUDIO else 10)


@pytest.mark.parametrize(
    ("codec", "suffix", "name"),
    [
        pytest.param("libsvtav1", ".mp4", "av1", id="AV1"),
        pytest.param("libx265", ".mp4", "hevc", id="HEVC"),
        pytest.param("libx265", ".mkv", "hevc", id="HEVC in Matroska"),
        pytest.param("prores_ks", ".mov", "prores", id="ProRes"),
        pytest.param("libvpx-vp9", ".webm", "vp9", id="VP9"),
        pytest.param("mjpeg", ".avi", "mjpeg", id="Motion JPEG"),
        pytest.param("libx264", ".avi", "h264", id="H.264 without display times"),
    ],
)
def test_the_codecs_that_phones_and_cameras_use_decode(
    codec: str, suffix: str, name: str, tmp_path: Path, decode: Decode
) -> None:
    path = sample_media.make_video(tmp_path / f"v{suffix}", codec=codec, width=160, height=120)

    media = decode(path)

    assert media.info.codec == name
    assert media.info.frames_analysed == 6
    assert media.units.shape == (12, 64, 64, 3)
    assert media.info.duration_s == pytest.approx(1.0, abs=0.05)
    assert (np.diff(media.at_s) > 0.1).all()


@pytest.mark.parametrize(
    ("codec", "suffix", "name", "rate_hz"),
    [
        pytest.param("libopus", ".ogg", "opus", 48_000, id="Opus"),
        pytest.param("alac", ".m4a", "alac", 44_100, id="ALAC"),
        pytest.param("pcm_mulaw", ".wav", "pcm_mulaw", 8_000, id="mu-law"),
        pytest.param("pcm_s24le", ".wav", "pcm_s24le", 96_000, id="24 bits"),
        pytest.param("flac", ".ogg", "flac", 44_100, id="FLAC in Ogg"),
        pytest.param("aac", ".aac", "aac", 44_100, id="ADTS"),
        pytest.param("aac", ".mp4", "aac", 44_100, id="MP4 with sound only"),
        pytest.param("libopus", ".mkv", "opus", 48_000, id="Matroska with sound only"),
        pytest.param("wmav2", ".wmv", "wmav2", 44_100, id="ASF with sound only"),
    ],
)
def test_sound_of_every_common_codec_decodes_whatever_its_container(
    codec: str, suffix: str, name: str, rate_hz: int, tmp_path: Path, decode: Decode
) -> None:
    path = sample_media.make_audio(tmp_path / f"s{suffix}", codec=codec, rate_hz=rate_hz)

    media = decode(path)

    assert media.info.kind is MediaKind.AUDIO
    assert (media.info.codec, media.info.sample_rate_hz) == (name, rate_hz)
    assert media.info.duration_s == pytest.approx(2.0, abs=0.06)
    assert media.units.shape[1:] == (8_000,)
    assert 0.05 < float(media.units.std()) < 0.5


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_crops_of_a_lossless_image_are_its_pixels_at_their_boxes(
    suffix: str, tmp_path: Path, decode: Decode
) -> None:
    path = sample_media.make_image(tmp_path / f"a{suffix}", width=300, height=200)
    pixels = sample_media.texture(width=300, height=200, seed=0)

    media = decode(path)

    assert len(media.units) == 4
    for crop, (left, top, right, bottom) in zip(media.units, media.boxes, strict=True):
        assert np.array_equal(crop, pixels[top:bottom, left:right])


def test_a_still_video_shows_the_picture_it_was_made_from(tmp_path: Path, decode: Decode) -> None:
    path = sample_media.make_video(tmp_path / "v.mov", codec="prores_ks", width=160, height=120)
    picture = sample_media.texture(width=160, height=120, seed=0)

    media = decode(path)

    index = round(float(media.at_s[0]) * 25)
    left, top, right, bottom = media.boxes[0]
    expected = np.roll(picture, 3 * index, axis=1)[top:bottom, left:right]
    assert np.abs(media.units[0].astype(int) - expected).mean() < 12


def test_mono_sound_keeps_its_samples_and_level(tmp_path: Path, decode: Decode) -> None:
    path = sample_media.make_audio(
        tmp_path / "s.wav", codec="pcm_s16le", seconds=2, rate_hz=16_000
    )
    sound = sample_media.tone(seconds=2, rate_hz=16_000, seed=0)

    media = decode(path)

    assert media.at_s.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
    for window, at_s in zip(media.units, media.at_s, strict=True):
        start = round(at_s * 16_000)
        assert np.abs(window - sound[start : start + 8_000]).max() < 1e-3


def test_sound_shorter_than_a_window_is_repeated(tmp_path: Path, decode: Decode) -> None:
    path = sample_media.make_audio(
        tmp_path / "s.wav", codec="pcm_s16le", seconds=0.125, rate_hz=16_000
    )

    media = decode(path)

    assert media.units.shape == (1, 8_000)
    assert np.array_equal(media.units[0, :2_000], media.units[0, 2_000:4_000])


def test_long_sound_is_sampled_up_to_its_end(tmp_path: Path, decode: Decode) -> None:
    path = sample_media.make_audio(tmp_path / "s.flac", codec="flac", seconds=30, rate_hz=8_000)

    media = decode(path)

    assert len(media.units) == 8
    assert media.at_s[-1] > 25
    assert float(np.ptp(np.diff(media.at_s))) <= 0.51


def test_a_long_video_with_keyframes_is_sampled_up_to_its_end(
    tmp_path: Path, decode: Decode
) -> None:
    path = sample_media.make_video(
        tmp_path / "v.avi", codec="mjpeg", seconds=12, fps=25, width=96, height=96
    )

    media = decode(path)

    assert media.info.frames_analysed == 6
    assert np.allclose(np.diff(media.at_s), 2.0, atol=0.1)


def _save(path: Path, mode: str) -> Path:
    picture = Image.fromarray(sample_media.texture(width=96, height=80, seed=1))
    picture.convert(mode).save(path)
    return path


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        pytest.param("L", ".png", id="grey"),
        pytest.param("LA", ".png", id="grey with alpha"),
        pytest.param("RGBA", ".png", id="alpha"),
        pytest.param("P", ".png", id="palette"),
        pytest.param("1", ".png", id="one bit"),
        pytest.param("CMYK", ".jpg", id="CMYK JPEG"),
        pytest.param("CMYK", ".tiff", id="CMYK TIFF"),
        pytest.param("I", ".tiff", id="32 bits"),
        pytest.param("F", ".tiff", id="float"),
        pytest.param("RGBA", ".webp", id="WebP with alpha"),
    ],
)
def test_every_pixel_mode_becomes_rgb(
    mode: str, suffix: str, tmp_path: Path, decode: Decode
) -> None:
    media = decode(_save(tmp_path / f"a{suffix}", mode))

    assert media.units.shape == (1, 64, 64, 3)
    if mode not in {"I"}:  # eight bits of 32 are next to black
        assert media.units.std() > 10


def test_sixteen_bit_grey_keeps_its_brightness(tmp_path: Path, decode: Decode) -> None:
    ramp = np.tile(np.linspace(0, 65_535, 64).astype(np.uint16), (64, 1))
    Image.fromarray(ramp).save(tmp_path / "a.png")

    media = decode(tmp_path / "a.png")

    assert np.abs(media.units[0, 0, :, 0].astype(int) - ramp[0] // 257).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, tmp_path: Path, decode: Decode) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(sample_media.texture(width=96, height=64, seed=2))
    stored.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        upright = np.asarray(ImageOps.exif_transpose(image))

    media = decode(tmp_path / "a.png")

    left, top, right, bottom = media.boxes[0]
    assert (media.info.height, media.info.width) == upright.shape[:2]
    assert np.array_equal(media.units[0], upright[top:bottom, left:right])


def test_an_image_smaller_than_a_crop_is_reflected(tmp_path: Path, decode: Decode) -> None:
    path = sample_media.make_image(tmp_path / "a.png", width=40, height=1)

    media = decode(path)

    assert media.boxes.tolist() == [[0, 0, 40, 1]]
    assert np.array_equal(media.units[0, 0, 40:64], media.units[0, 0, 15:39][::-1])


@pytest.mark.parametrize("suffix", [".webp", ".png"])
def test_only_the_first_frame_of_an_animation_counts_and_that_is_said(
    suffix: str, tmp_path: Path, decode: Decode
) -> None:
    frames = [Image.fromarray(sample_media.texture(width=64, height=64, seed=s)) for s in range(3)]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:])

    media = decode(tmp_path / f"a{suffix}")

    assert media.info.warnings == ("only the first of 3 frames was analysed",)
    assert np.abs(media.units[0].astype(int) - np.asarray(frames[0])).mean() < 15


@pytest.mark.parametrize(
    ("content", "name", "announced", "expected"),
    [
        pytest.param(
            ".png", "a.jpg", MediaKind.IMAGE, "the name ends in .jpg, the content is png (image)",
            id="PNG named JPEG",
        ),
        pytest.param(
            ".mp4", "a.jpg", MediaKind.IMAGE, "the name ends in .jpg, the content is mp4 (video)",
            id="video named image",
        ),
        pytest.param(
            ".wav", "a.mp4", MediaKind.VIDEO, "the name ends in .mp4, the content is wav (audio)",
            id="sound named video",
        ),
        pytest.param(
            ".mp3", "blob", MediaKind.VIDEO,
            "the name announces video, the content is audio (mp3)",
            id="local name without extension",
        ),
    ],
)  # fmt: skip
def test_the_content_wins_over_the_name_and_the_mismatch_names_both(
    content: str,
    name: str,
    announced: MediaKind,
    expected: str,
    tmp_path: Path,
    decode: Decode,
) -> None:
    kind = next(k for k, suffixes in EXTENSIONS.items() if content in suffixes)
    path = make(kind, tmp_path / f"made{content}").rename(tmp_path / name)

    media = decode(path, announced=announced)

    assert media.info.kind is kind
    assert media.info.warnings == (expected,)


def test_cover_art_does_not_make_a_video_of_a_song(tmp_path: Path, decode: Decode) -> None:
    song = sample_media.make_audio(tmp_path / "s.mp3", codec="libmp3lame").read_bytes()
    cover = sample_media.make_image(tmp_path / "c.jpg", width=300, height=300).read_bytes()
    picture = b"\0image/jpeg\0\x03\0" + cover
    tag = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    size = bytes(len(tag) >> shift & 0x7F for shift in (21, 14, 7, 0))
    bare = song[10 + int.from_bytes(song[8:10], "big") :] if song[:3] == b"ID3" else song
    (tmp_path / "s.mp3").write_bytes(b"ID3\x03\0\0" + size + tag + bare)

    media = decode(tmp_path / "s.mp3")

    assert (media.info.kind, media.info.container) == (MediaKind.AUDIO, "mp3")


def test_a_damaged_exif_block_does_not_cost_the_picture(tmp_path: Path, decode: Decode) -> None:
    info = PngImagePlugin.PngInfo()
    info.add(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff\x01")
    picture = Image.fromarray(sample_media.texture(width=64, height=64, seed=0))
    picture.save(tmp_path / "a.png", pnginfo=info)

    assert len(decode(tmp_path / "a.png").units) == 1


def test_a_kind_without_a_model_is_refused_with_that_reason(
    tmp_path: Path, decode: Decode
) -> None:
    path = sample_media.make_audio(tmp_path / "s.wav", codec="pcm_s16le", seconds=0.5)
    without_audio: AudioSampling | None = None

    with pytest.raises(JobError) as caught:
        decode(path, audio=without_audio)

    assert caught.value.code is ErrorCode.NO_MODEL
