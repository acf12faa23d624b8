"""``predict`` and ``models`` on local files, as processes."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detection_testing.media import sample_media

pytestmark = pytest.mark.slow  # every test starts a process that loads models

GUIDE_FIELDS = (
    "request_id sqs_to_ml_url file_path local_path file_type label confidence prediction_score "
    "is_s3_file processed_at queue_url s3_file_info original_message"
)


@pytest.fixture
def image(home: Path) -> Path:
    return sample_media.make_image(home / "photo.PNG")


@pytest.fixture
def predict(run_forked: Callable[..., Any], tiny_models: Path) -> Callable[..., Any]:
    """Run ``predict`` with the tiny models."""

    def run(*args: str, **more: Any) -> Any:
        return run_forked("predict", "--models-dir", str(tiny_models), *args, **more)

    return run


def test_a_local_file_gets_a_summary_and_the_envelope_of_the_guide(
    run_cli: Callable[..., Any], tiny_models: Path, image: Path, home: Path
) -> None:
    options = ("--models-dir", str(tiny_models), "--output", "result.json")
    ended = run_cli("predict", *options, "--input", image.name)

    assert ended.code == 0, ended.err
    result = json.loads((home / "result.json").read_text())
    assert set(GUIDE_FIELDS.split()) <= set(result)
    assert result["file_type"] == "image"
    assert (result["is_s3_file"], result["sqs_to_ml_url"]) == (False, None)
    assert result["label"] == ("FAKE" if result["prediction_score"] >= 0.5 else "REAL")
    assert f"Prediction: {result['label']}" in ended.out
    assert f"Confidence: {result['confidence']:.1%}" in ended.out
    assert "Results saved to result.json" in ended.out
    assert ended.err == ""


@pytest.mark.parametrize(("threshold", "label"), [("0", "FAKE"), ("1", "REAL")])
def test_the_threshold_decides_the_label(
    predict: Callable[..., Any], image: Path, threshold: str, label: str
) -> None:
    ended = predict(image.name, "--threshold", threshold, "--output", "-")

    assert ended.code == 0
    assert json.loads(ended.out)["label"] == label


def test_a_folder_gives_a_table_a_list_and_1_if_one_file_failed(
    predict: Callable[..., Any], home: Path
) -> None:
    folder = home / "in"
    folder.mkdir()
    sample_media.make_image(folder / "a.jpg")
    sample_media.make_audio(folder / "b.wav", codec="pcm_s16le")
    sample_media.make_video(folder / "c.mp4")
    (folder / "d.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no media")

    ended = predict("in", "-o", "all.json")

    assert ended.code == 1
    results = json.loads((home / "all.json").read_text())
    assert [Path(r["file_path"]).name for r in results] == ["a.jpg", "b.wav", "c.mp4", "d.png"]
    assert [r["file_type"] for r in results[:3]] == ["image", "audio", "video"]
    assert results[3]["status"] == "failed"
    assert results[3]["label"] is None
    rows = ended.out.splitlines()
    assert rows[0] == "Verdict         P(fake)  Type   File"
    assert [row.split()[-1] for row in rows[1:5]] == [
        "in/a.jpg",
        "in/b.wav",
        "in/c.mp4",
        "in/d.png",
    ]
    assert re.search(r"^4 files: .*1 failed$", ended.out, re.MULTILINE)
    assert "Skipped 1 file:\n  in/notes.txt: of an unknown type\n" in ended.err
    assert " of 4 files" not in ended.err  # progress is for terminals
    assert "Traceback" not in ended.text


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("gone.png", "File not found: gone.png\n"),
        ("n" * 300 + ".png", "The file cannot be opened (File name too long): nnn"),
        ("~nobody-of-this-name/a.png", "File not found: ~nobody-of-this-name/a.png\n"),
        ("/dev/zero", "Not a regular file: /dev/zero\nCheck the path"),
        ("notes.txt", "which is not supported (notes.txt)\nConvert it"),
        ("empty.png", "The file is empty: empty.png\n"),
        ("https://example.com/a.png", "https://example.com/a.png"),
        ("s3://", "s3://"),
    ],
)
def test_a_bad_input_ends_with_1_and_a_sentence(
    predict: Callable[..., Any], home: Path, argument: str, text: str
) -> None:
    (home / "empty.png").touch()
    (home / "notes.txt").write_text("nothing")

    ended = predict(argument)

    assert ended.code == 1
    assert text in ended.err
    assert len(ended.err.strip().splitlines()) == 2
    assert "Traceback" not in ended.text


def test_a_file_name_that_is_no_text_is_no_obstacle(
    predict: Callable[..., Any], image: Path, home: Path
) -> None:
    (home / "in").mkdir()
    image.rename(os.fsdecode(os.fsencode(home / "in") + b"/\xff\x1b[31m.png"))

    ended = predict("in", "--output", "result.json")

    assert ended.code == 0, ended.err
    assert json.loads((home / "result.json").read_text())["file_path"] == "in/\udcff\x1b[31m.png"
    assert "\x1b" not in ended.text


def test_a_limit_given_as_an_option_is_kept(predict: Callable[..., Any], image: Path) -> None:
    ended = predict(image.name, "--max-bytes", "10")

    assert ended.code == 1
    assert "bytes, 10 are allowed" in ended.err


def test_verbose_shows_the_log(predict: Callable[..., Any], image: Path) -> None:
    ended = predict(image.name, "--verbose")

    assert ended.code == 0
    assert "Loaded models: ['image']" in ended.err
    facts = (
        r"photo\.PNG: png image, \d+ bytes, 1 frame\(s\).*decoded in \d+ ms; scored by tiny-image"
    )
    assert re.search(facts, ended.err)
    assert re.search(r"models loaded in \d+\.\d s", ended.err)


def test_models_are_listed_described_and_verified(
    run_cli: Callable[..., Any], tiny_models: Path
) -> None:
    env = {"MODELS_DIR": str(tiny_models)}

    listed, old = run_cli("models", "list", env=env), run_cli("predict", "--list-models", env=env)
    info = run_cli("models", "info", "tiny-audio", "--json", env=env)
    verified = run_cli("models", "verify", env=env)

    assert listed.code == old.code == 0
    assert listed.out == old.out
    for name in ("tiny-audio", "tiny-image", "tiny-video"):
        assert re.search(rf"\* {name} +\w+ +1\.0\.0 +demo", listed.out)
        assert f"ok      {name}" in verified.out
    assert json.loads(info.out)["kind"] == "audio"
    assert verified.code == 0


def test_a_damaged_model_is_found_by_verify(
    run_cli: Callable[..., Any], tiny_models: Path, home: Path
) -> None:
    import shutil

    shutil.copytree(tiny_models, home / "models")
    weights = home / "models" / "tiny-image" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 0x40
    weights.write_bytes(data)

    ended = run_cli("models", "verify", "--models-dir", "models")

    assert ended.code == 1
    assert "broken  tiny-image: " in ended.out
    assert "ok      tiny-audio" in ended.out


def test_an_unknown_model_is_named_with_those_there_are(
    run_cli: Callable[..., Any], tiny_models: Path
) -> None:
    ended = run_cli("models", "info", "gone", "--models-dir", str(tiny_models))

    assert ended.code == 2
    assert "No such model: gone\nChoose from: tiny-audio, tiny-image" in ended.err


def test_evidence_is_drawn_beside_the_summary(
    predict: Callable[..., Any], image: Path, home: Path
) -> None:
    ended = predict(image.name, "--evidence", "parts.png", "--saliency", "pixels.png")
    refused = predict(image.name, image.name, "--evidence", "parts.png")

    assert ended.code == 0, ended.err
    for name in ("parts.png", "pixels.png"):
        assert (home / name).read_bytes().startswith(b"\x89PNG")
        assert f"Drawn to {name}" in ended.err
    assert refused.code == 2
    assert "one image at a time" in refused.err


def test_a_preferred_model_that_is_absent_stops_the_start(
    predict: Callable[..., Any], image: Path
) -> None:
    ended = predict(image.name, "--prefer", "tiny-image,gone")

    assert ended.code == 2
    assert "Model not found or not usable: gone" in ended.err
