"""Models that score clips: from their manifest and a file to scores over time."""

import json
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import VideoSampling
from detection_worker.detectors import self_test
from detection_worker.detectors.model_folder.manifest import ModelError, parse_manifest
from detection_worker.detectors.torch_detector import TorchDetector
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.values import DecodedMedia, DecodeRequest
from detection_worker.pipeline.files.analysis import Analysis
from detection_worker.pipeline.files.analyzer import Analyzer
from detection_worker.settings import MediaLimits

FPS = 25
CLIP: dict[str, Any] = {
    "max_frames": 24,
    "crop_px": 32,
    "crops_per_frame": 1,
    "view": "whole",
    "clip_frames": 8,
}
MANIFEST: dict[str, Any] = {
    "schema": 1,
    "id": "flicker",
    "version": "1.0.0",
    "modality": "video",
    "grade": "demo",
    "uses": {"id": "another", "sha256": "a" * 64},
    "preprocess": CLIP,
    "output": {"activation": "sigmoid", "classes": ["real", "fake"], "fake_index": 1},
    "aggregate": {},
    "calibration": {"method": "none"},
    "selftest": [{"seed": 3, "logit": 16.4288}],
    "license": "Apache-2.0",
}


class Flicker(torch.nn.Module):
    """Log-odds of fake: how much neighbouring frames differ, less what coding may cause."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(clips.shape))
        steps = clips.float().diff(dim=1).abs().mean(dim=(1, 2, 3, 4))
        return steps - 5.0


Make = Callable[..., tuple[TorchDetector, Flicker]]


def parse(**preprocess: Any) -> Any:
    changed = {**MANIFEST, "preprocess": CLIP | preprocess}
    return parse_manifest(json.dumps(changed).encode(), where="flicker/manifest.json")


def make(**preprocess: Any) -> tuple[TorchDetector, Flicker]:
    network = Flicker()
    return TorchDetector(card=parse(**preprocess).card(), module=network), network


def write(path: Path, brightness: Sequence[int], *, gop: int = 12) -> Path:
    """A video whose frames are grey with a gradient, as bright as said."""
    ramp = np.linspace(0, 40, 64, dtype=np.uint8)[None, :, None].repeat(48, axis=0)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=FPS, options={"preset": "veryfast", "threads": "1"}
        )
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", gop
        for i, level in enumerate(brightness):
            pixels = np.repeat(ramp + np.uint8(level), 3, axis=2)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def decoder() -> Iterator[ProcessDecoder]:
    with ProcessDecoder(1) as decoder:
        yield decoder


@pytest.fixture
def analyse(decoder: ProcessDecoder) -> Callable[[Path, TorchDetector], Analysis]:
    def run(path: Path, detector: TorchDetector) -> Analysis:
        analyzer = Analyzer(decoder, {MediaKind.VIDEO: detector}, MediaLimits())
        found, _ = analyzer.analyse(path, name=path.name, threshold=0.5)
        assert isinstance(found, Analysis)
        return found

    return run


@pytest.fixture
def decode(decoder: ProcessDecoder) -> Callable[..., DecodedMedia]:
    def run(path: Path, **preprocess: Any) -> DecodedMedia:
        request = DecodeRequest(
            path=path,
            announced=None,
            image=None,
            video=VideoSampling(**CLIP | preprocess),
            audio=None,
            limits=MediaLimits(),
        )
        return decoder.decode(request, on_progress=lambda: None, cancelled=lambda: False)

    return run


@pytest.fixture
def units(decode: Callable[..., DecodedMedia]) -> Callable[..., NDArray[Any]]:
    return lambda path, **preprocess: decode(path, **preprocess).units


Analyse = Callable[[Path, TorchDetector], Analysis]


def test_a_flickering_video_is_fake_and_a_still_one_real(analyse: Analyse, tmp_path: Path) -> None:
    detector, network = make()
    flickering = analyse(write(tmp_path / "f.mp4", [60, 180] * 50), detector)
    still = analyse(write(tmp_path / "s.mp4", [120] * 100), detector)

    assert flickering.verdict.label == "FAKE"
    assert still.verdict.label == "REAL"
    assert network.shapes == [(3, 8, 3, 32, 32)] * 2


def test_each_clip_has_its_own_score_from_its_start_to_its_end(
    analyse: Analyse, tmp_path: Path
) -> None:
    film = write(tmp_path / "f.mp4", [120] * 66 + [60, 180] * 17)
    found = analyse(film, make()[0])
    segments: Any = found.segments

    assert [(s["start_s"], s["end_s"]) for s in segments] == [
        (0.48, 0.8),
        (1.8, 2.12),
        (3.16, 3.48),
    ]
    assert [s["score"] > 0.5 for s in segments] == [False, False, True]
    assert segments[0]["regions"] == [[0, 0, 64, 48]]
    assert found.info.frames_analysed == 24
    assert found.media["frames_analysed"] == 24


def test_clips_of_a_long_video_are_sought_and_are_the_same_frames(
    units: Callable[..., NDArray[Any]], tmp_path: Path
) -> None:
    levels = [(7 * i) % 200 for i in range(1_000)]
    film = write(tmp_path / "long.mp4", levels, gop=10)
    seen = units(film)[:, :, 16, 0, 0].astype(int)

    for clip, start in zip(seen, (162, 496, 829), strict=True):
        assert np.abs(clip - levels[start : start + 8]).max() <= 8


def test_a_stride_leaves_frames_out(units: Callable[..., NDArray[Any]], tmp_path: Path) -> None:
    film = write(tmp_path / "f.mp4", [60, 180] * 50)

    every = units(film)[:, :, 16, 16, 0].astype(int)
    second = units(film, clip_stride=2)[:, :, 16, 16, 0].astype(int)

    assert np.abs(np.diff(every, axis=1)).min() > 80
    assert np.abs(np.diff(second, axis=1)).max() < 20


def test_a_video_shorter_than_a_clip_stands_still_at_its_end(
    units: Callable[..., NDArray[Any]], analyse: Analyse, tmp_path: Path
) -> None:
    film = write(tmp_path / "f.mp4", [60, 100, 180])
    found = analyse(film, make()[0])
    clip = units(film)
    segments: Any = found.segments

    assert clip.shape == (1, 8, 32, 32, 3)
    assert (clip[0, 2:] == clip[0, 2]).all()
    assert (clip[0, 1] != clip[0, 2]).any()
    assert found.info.frames_analysed == 3
    assert (segments[0]["start_s"], segments[0]["end_s"]) == (0.0, 0.12)


def test_a_torn_video_gives_the_clips_that_are_left(
    decode: Callable[..., DecodedMedia], tmp_path: Path
) -> None:
    film = write(tmp_path / "f.mp4", [60, 180] * 50)
    data = bytearray(film.read_bytes())
    start = data.index(b"mdat") + 2_600
    data[start : start + 800] = bytes(800)
    film.write_bytes(data)

    found = decode(film)

    assert any("damaged" in warning for warning in found.info.warnings)
    assert len(found.units) <= found.info.frames_analysed < 24
    assert found.units.shape[1:] == (8, 32, 32, 3)
    assert found.end_s is not None
    assert (found.end_s > found.at_s).all()


def test_a_known_answer_is_that_of_a_pseudo_random_clip() -> None:
    detector, network = make()
    manifest = parse()

    self_test.check(detector, manifest.self_test, device="cpu", where="flicker")

    assert network.shapes == [(1, 8, 3, 32, 32)]


def test_clips_that_hold_many_frames_pass_a_few_at_a_time() -> None:
    detector, network = make()

    logits = detector.logits(np.zeros((20, 8, 32, 32, 3), np.uint8))

    assert logits.tolist() == [-5.0] * 20
    assert [shape[0] for shape in network.shapes] == [8, 8, 4]


@pytest.mark.parametrize(
    ("preprocess", "says"),
    [
        pytest.param({"view": "crops"}, "'view' must be 'whole' or 'centre'", id="crops"),
        pytest.param({"view": "faces"}, "not 'faces'", id="faces"),
        pytest.param({"crops_per_frame": 2}, "'crops_per_frame' must be 1", id="many units"),
        pytest.param({"max_frames": 20}, "multiple of 'clip_frames'", id="part of a clip"),
        pytest.param({"max_frames": 4}, "multiple of 'clip_frames'", id="no clip at all"),
        pytest.param({"clip_frames": 1, "clip_stride": 2}, "above 1", id="stride of images"),
        pytest.param({"clip_frames": 0}, "clip_frames", id="no frames"),
        pytest.param({"clip_stride": 0}, "clip_stride", id="no stride"),
        pytest.param(
            {"max_frames": 800, "crop_px": 224}, "16000000", id="more pixels than may wait"
        ),
    ],
)
def test_clips_that_cannot_be_are_refused_in_the_manifest(
    preprocess: dict[str, Any], says: str
) -> None:
    with pytest.raises(ModelError, match=says) as refused:
        parse(**preprocess)
    assert "flicker/manifest.json" in str(refused.value)


def test_images_may_not_ask_for_clips() -> None:
    changed = MANIFEST | {
        "modality": "image",
        "preprocess": {"crop_px": 32, "max_crops": 1, "view": "whole", "clip_frames": 8},
    }
    with pytest.raises(ModelError, match="clip_frames"):
        parse_manifest(json.dumps(changed).encode(), where="x")
