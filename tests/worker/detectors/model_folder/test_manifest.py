import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.media_types import MediaKind
from detection_worker.core.applicability import ANYTHING, Scope
from detection_worker.core.sampling import VideoSampling
from detection_worker.core.verdict import Calibration, Thresholds
from detection_worker.detectors.model_folder.manifest import (
    Borrowed,
    ModelError,
    parse_manifest,
    read_manifest,
    version_key,
)

GOOD: dict[str, Any] = {
    "schema": 1,
    "id": "frames",
    "version": "1.2.0",
    "modality": "video",
    "grade": "demo",
    "uses": {"id": "image-model", "sha256": "a" * 64},
    "preprocess": {"max_frames": 8, "crop_px": 128, "crops_per_frame": 2},
    "output": {"activation": "sigmoid", "classes": ["real", "fake"], "fake_index": 1},
    "aggregate": {"within_frame": "max", "over_frames": "topk_mean", "top_share": 0.5},
    "calibration": {"method": "platt", "a": 2.0, "b": 0.5, "fitted_on": "dev"},
    "selftest": [{"seed": 3, "logit": -1.25}],
    "license": "Apache-2.0",
}


def parse(**changes: Any) -> Any:
    return parse_manifest(json.dumps(GOOD | changes).encode(), where="x/manifest.json")


def test_a_manifest_becomes_the_card_that_the_pipeline_reads() -> None:
    card = parse().card()

    assert card.kind is MediaKind.VIDEO
    assert card.sha256 == "a" * 64
    assert card.sampling == VideoSampling(max_frames=8, crop_px=128, crops_per_frame=2)
    assert card.calibration == Calibration(a=2.0, b=0.5)
    assert (card.pooling.within_frame, card.pooling.top_share) == ("max", 0.5)


def test_a_model_can_borrow_the_weights_of_another() -> None:
    assert parse().network == Borrowed(id="image-model", sha256="a" * 64)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"wheels": 4}, "wheels", id="unknown field"),
        pytest.param({"modality": "smell"}, "modality", id="unknown kind"),
        pytest.param({"grade": "perfect"}, "grade", id="unknown grade"),
        pytest.param({"version": "latest"}, "version", id="version without numbers"),
        pytest.param({"id": "../etc"}, "id", id="id that leaves the directory"),
        pytest.param({"selftest": []}, "selftest", id="no known answer"),
        pytest.param({"preprocess": {"crop_px": 128}}, "max_frames", id="missing sampling field"),
        pytest.param({"preprocess": {"window": 1}}, "max_frames", id="sampling of another kind"),
        pytest.param({"uses": None}, "architecture", id="no network at all"),
        pytest.param({"schema": "1"}, "schema", id="schema as text"),
        pytest.param({"schema": True}, "schema", id="schema as a truth value"),
        pytest.param(
            {"weights": {"file": "m", "format": "pickle", "sha256": "b" * 64, "bytes": 1}},
            "weights.format",
            id="pickled weights",
        ),
        pytest.param(
            {"calibration": {"method": "platt", "a": -1.0}}, "calibration.a", id="inverted scores"
        ),
        pytest.param(
            {"output": {"activation": "sigmoid", "classes": ["fake", "real"], "fake_index": 1}},
            "fake_index",
            id="class order against its own names",
        ),
    ],
)
def test_a_broken_manifest_is_refused_with_file_and_field(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ModelError, match=r"x/manifest\.json") as caught:
        parse(**changes)

    assert says in str(caught.value)


def test_a_manifest_without_a_band_or_a_scope_is_as_it_was() -> None:
    card = parse().card()

    assert (card.thresholds, card.scope, card.calibrated) == (None, ANYTHING, True)
    assert not parse(calibration={"method": "none"}).calibrated


def test_thresholds_and_scope_reach_the_pipeline() -> None:
    card = parse(
        thresholds={"low": 0.25, "high": 0.75}, applies_to={"min_side_px": 64, "min_duration_s": 1}
    ).card()

    assert card.thresholds == Thresholds(fake=0.5, low=0.25, high=0.75)
    assert card.scope == Scope(min_side_px=64, min_duration_s=1.0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"thresholds": {"low": 0.6, "high": 0.7}}, "must ascend", id="low over fake"),
        pytest.param(
            {"thresholds": {"fake": 0.8, "low": 0.3, "high": 0.7}}, "must ascend", id="high below"
        ),
        pytest.param({"thresholds": {"low": -0.1, "high": 0.7}}, "thresholds.low", id="negative"),
        pytest.param({"thresholds": {"low": 0.1, "high": 1.7}}, "thresholds.high", id="beyond 1"),
        pytest.param({"thresholds": {"high": 0.7}}, "thresholds.low", id="half a band"),
        pytest.param(
            {"applies_to": {"speech": True}}, "'speech' is for audio", id="speech in video"
        ),
        pytest.param(
            {"applies_to": {"speech": 1}}, "applies_to.speech", id="a number for a truth"
        ),
        pytest.param({"applies_to": {"min_side_px": -1}}, "min_side_px", id="negative size"),
        pytest.param({"applies_to": {"cats": True}}, "applies_to.cats", id="unknown limit"),
        pytest.param(
            {
                "modality": "image",
                "preprocess": {"crop_px": 128, "max_crops": 4},
                "applies_to": {"min_duration_s": 1.0},
            },
            "an image has no duration",
            id="duration of an image",
        ),
    ],
)
def test_a_band_or_a_scope_without_sense_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=r"x/manifest\.json") as caught:
        parse(**changes)

    assert says in str(caught.value)


def test_a_weights_name_cannot_leave_the_folder() -> None:
    weights = {"file": "../m", "format": "safetensors", "sha256": "b" * 64, "bytes": 1}
    with pytest.raises(ModelError, match=r"weights\.file"):
        parse(uses=None, architecture={"name": "audio_lfb"}, weights=weights)


def test_a_newer_schema_is_refused_with_what_to_do() -> None:
    with pytest.raises(ModelError, match="Upgrade detection-queue"):
        parse(schema=2, brand_new_field=1)


def test_a_folder_with_another_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text(json.dumps(GOOD))

    with pytest.raises(ModelError, match="the folder is 'other'"):
        read_manifest(tmp_path / "other")


@given(st.one_of(st.binary(max_size=200), st.just(b"[" * 100_000)))
def test_any_other_bytes_are_refused_by_the_same_error(raw: bytes) -> None:
    with pytest.raises(ModelError):
        parse_manifest(raw, where="m")


def test_versions_are_ordered_by_number() -> None:
    assert version_key("1.10") > version_key("1.9.9")
