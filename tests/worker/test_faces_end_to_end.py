"""A model that looks at faces, from a file to its envelope, with every real part."""

import json
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from detection_contract.schemas import load_schema
from detection_testing.samples import sample_path
from detection_worker.api.predictor import Predictor
from detection_worker.settings import Settings

STEP_PX = 8
SCHEMA = Draft202012Validator(load_schema("result"))


@pytest.fixture(scope="module")
def predictor(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    models = tmp_path_factory.mktemp("face-models")
    faces = {"view": "faces", "face_scale": 1.3}
    image = {"crop_px": 128, "max_crops": 3, **faces}
    video = {"max_frames": 6, "crop_px": 128, "crops_per_frame": 2, **faces}
    for name, preprocess in (("tiny-image", image), ("tiny-video", video)):
        path = Path(shutil.copytree(tiny_models / name, models / name)) / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "preprocess": preprocess}))
    with Predictor(Settings(models_dir=models), device="cpu", threads=1) as built:
        yield built


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of the astronaut, who goes to the right, gone in the third."""
    path = tmp_path_factory.mktemp("film") / "astronaut.avi"
    still = np.asarray(Image.open(sample_path("astronaut.jpg")).convert("RGB"))
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("mjpeg", rate=Fraction(5))
        stream.width, stream.height, stream.pix_fmt = 512, 512, "yuvj420p"
        for i in range(6):
            pixels = np.roll(still, i * STEP_PX, axis=1)
            pixels = np.zeros_like(pixels) if i == 2 else pixels
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 5)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.slow
def test_the_face_of_a_photograph_is_scored(predictor: Predictor) -> None:
    result: Any = predictor.predict_auto(sample_path("astronaut.jpg"))

    SCHEMA.validate(result)
    [segment] = result["segments"]
    [face] = segment["faces"]
    assert 170 < face["x"] < 195
    assert 70 < face["width"] < 95
    assert face["score"] == segment["score"] == result["prediction_score"]
    assert result["label"] in {"FAKE", "REAL"}


@pytest.mark.slow
def test_a_face_is_followed_through_a_film_and_a_frame_without_it(
    predictor: Predictor, film: Path
) -> None:
    result: Any = predictor.predict_auto(film)

    faces = [segment["faces"] for segment in result["segments"]]
    assert [len(f) for f in faces] == [1, 1, 0, 1, 1, 1]
    assert {face["track"] for f in faces for face in f} == {0}
    assert result["segments"][2]["score"] is None
    steps = np.array([f[0]["x"] for i, f in enumerate(faces) if i != 2]) - faces[0][0]["x"]
    assert np.abs(steps - STEP_PX * np.array([0, 1, 3, 4, 5])).max() <= 6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cat.png", "dandelion-pan.mp4"])
def test_a_file_without_a_face_is_finished_without_a_score(
    predictor: Predictor, name: str
) -> None:
    result: Any = predictor.predict_auto(sample_path(name))

    SCHEMA.validate(result)
    assert result["status"] == "finished"
    assert (result["label"], result["prediction_score"]) == (None, None)
    assert result["verdict"] == "not_applicable"
    assert result["verdict_reason"]["code"] == "no_face"
    assert all(segment["faces"] == [] for segment in result["segments"])
