"""The digest changes with everything that changes a score, and with nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detection_contract.media_types import MediaKind
from detection_worker.cache.codec import EntryId
from detection_worker.cache.digest import LIBRARIES, installed, scoring_digest
from detection_worker.core.applicability import Scope
from detection_worker.core.sampling import AudioSampling, ImageSampling
from detection_worker.core.verdict import Calibration, Pooling, Thresholds
from detection_worker.detectors.base import DetectorCard
from detection_worker.detectors.registry import load_detectors
from detection_worker.settings import AnalysisSettings, MediaLimits

IMAGE = DetectorCard(
    name="pixels",
    version="1.0.0",
    sha256="a" * 64,
    grade="demo",
    kind=MediaKind.IMAGE,
    sampling=ImageSampling(),
    pooling=Pooling(),
    calibration=Calibration(),
)
AUDIO = replace(
    IMAGE, name="waves", sha256="b" * 64, kind=MediaKind.AUDIO, sampling=AudioSampling()
)
LIMITS = MediaLimits()


def digest(
    *cards: DetectorCard,
    limits: MediaLimits = LIMITS,
    video_audio: bool = True,
    **libraries: str,
) -> str:
    return scoring_digest(
        cards or (IMAGE, AUDIO),
        limits,
        video_audio=video_audio,
        libraries={"torch": "2.14.1", **libraries},
    )


def test_it_is_the_same_in_every_process_and_order() -> None:
    # A value that an earlier program made: entries of other workers are found.
    assert digest() == digest(AUDIO, IMAGE)
    assert digest() == "a7f36fa697e65a8b59cb665835214502580f7e055f60ee58f80e1799f28f28aa"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"version": "1.0.1"},
        {"sha256": "c" * 64},
        {"precision": "bfloat16"},
        {"finder_sha256": "d" * 64},
        {"sampling": ImageSampling(max_crops=5)},
        {"sampling": ImageSampling(view="faces")},
        {"kind": MediaKind.VIDEO},
    ],
    ids=str,
)
def test_another_model_gives_another_digest(change: dict[str, Any]) -> None:
    assert digest(replace(IMAGE, **change), AUDIO) != digest()


def test_another_number_of_frames_or_windows_gives_another_digest(tiny_models: Path) -> None:
    def of(analysis: AnalysisSettings) -> str:
        return digest(*load_detectors(tiny_models, threads=1, analysis=analysis).cards)

    asked = [
        AnalysisSettings(),
        AnalysisSettings(frames=5),
        AnalysisSettings(windows=5),
        AnalysisSettings(frames=5, windows=5),
    ]

    assert len({of(analysis) for analysis in asked}) == 4
    # The models' own numbers, said aloud, are no change.
    assert of(AnalysisSettings(frames=4, windows=4)) == of(AnalysisSettings())


def test_a_model_that_listens_for_speech_is_another() -> None:
    assert digest(IMAGE, replace(AUDIO, scope=Scope(speech=True))) != digest()


def test_a_model_more_or_less_counts() -> None:
    assert len({digest(IMAGE), digest(AUDIO), digest()}) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"pooling": Pooling(over_frames="topk_mean")},
        {"calibration": Calibration(a=2.0)},
        {"calibrated": True},
        {"thresholds": Thresholds()},
        {"grade": "published"},
        {"scope": Scope(min_duration_s=5, min_side_px=64)},
    ],
    ids=str,
)
def test_what_is_made_of_scores_is_no_part_of_it(change: dict[str, Any]) -> None:
    assert digest(replace(IMAGE, **change), AUDIO) == digest()


@pytest.mark.parametrize(
    "limit", ["max_bytes", "max_pixels", "max_duration_s", "max_frames_decoded"]
)
def test_a_limit_of_the_file_counts(limit: str) -> None:
    assert digest(limits=replace(LIMITS, **{limit: 1000})) != digest()


@pytest.mark.parametrize("limit", ["decode_timeout_s", "decode_memory_bytes"])
def test_a_limit_of_the_machine_does_not(limit: str) -> None:
    assert digest(limits=replace(LIMITS, **{limit: 1 << 30})) == digest()


def test_sound_of_videos_and_libraries_count() -> None:
    assert len({digest(), digest(video_audio=False), digest(torch="2.15.0"), digest(av="1")}) == 4


def test_libraries_that_decode_and_compute_are_known_by_their_version() -> None:
    found = installed()

    assert (
        {"detection-queue", "av", "numpy", "pillow", "simplejpeg", "torch"}
        <= set(found)
        <= set(LIBRARIES)
    )
    assert all(text and "+" not in text for text in found.values())
    assert installed(["no-such-distribution"]) == {}


def test_a_name_is_a_digest_of_every_part_of_the_identity() -> None:
    parts = {"bucket": "b", "key": "k", "version_id": None, "scoring": "s"}
    names = {
        EntryId(**{**parts, **change}).name  # type: ignore[arg-type] # one of them is None
        for change in ({}, {"bucket": "c"}, {"key": "l"}, {"version_id": "v"}, {"scoring": "t"})
    }

    assert len(names) == 5
    assert all(len(name) == 64 and int(name, 16) >= 0 for name in names)
    # Where one part ends and the next begins counts.
    assert (
        EntryId(bucket="ab", key="c", version_id=None, scoring="s").name
        != EntryId(bucket="a", key="bc", version_id=None, scoring="s").name
    )
