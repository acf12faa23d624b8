"""The shortest sound that the bundled model judges follows from its errors on short ones."""

import wave
from pathlib import Path

import pytest

from detection_contract.media_types import MediaKind
from detection_testing.samples import sample_path
from detection_training.audio.lengths import MODEL, LengthRow, shortest_s, table
from detection_worker.detectors import registry
from detection_worker.detectors.model_folder import listing
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.pipeline.files.analysis import Analysis, NotApplicableResult
from detection_worker.pipeline.files.analyzer import Analyzer
from detection_worker.settings import MediaLimits


def rows(*worst: float) -> list[LengthRow]:
    return [
        LengthRow(length_s=i / 2 + 0.5, false_alarms={"a": 0.0, "b": alarms}, found=0.8)
        for i, alarms in enumerate(worst)
    ]


@pytest.mark.parametrize(
    ("worst", "length_s"),
    [
        pytest.param((0.3, 0.11, 0.04, 0.05, 0.01), 1.5, id="falls with the length"),
        pytest.param((0.3, 0.02, 0.12, 0.02), 2.0, id="a longer one errs more"),
        pytest.param((0.0, 0.0), 0.5, id="every length"),
        pytest.param((0.3, 0.2), None, id="no length"),
    ],
)
def test_no_source_has_too_many_false_alarms_from_the_shortest_length_on(
    worst: tuple[float, ...], length_s: float | None
) -> None:
    assert shortest_s(rows(*worst)) == length_s


def test_the_table_has_the_worst_source() -> None:
    assert table(rows(0.25)).splitlines()[1].split() == ["0.50", "0.250", "0.125", "0.800"]


@pytest.mark.parametrize(
    ("seconds", "judged"),
    [
        pytest.param(1.0, False, id="1 s"),
        pytest.param(1.5, False, id="1.5 s"),
        pytest.param(1.99, False, id="just too short"),
        pytest.param(2.0, True, id="long enough"),
    ],
)
def test_a_short_clip_of_a_real_voice_is_never_called_fake(
    seconds: float,
    judged: bool,  # noqa: FBT001 - a test's parameter
    tmp_path: Path,
) -> None:
    with wave.open(str(sample_path("reading.wav"))) as whole:
        parameters = whole.getparams()
        start = whole.readframes(round(seconds * parameters.framerate))
    with wave.open(str(tmp_path / "s.wav"), "wb") as clip:
        clip.setparams(parameters)
        clip.writeframes(start)
    loaded = registry.load_detectors(listing.bundled_models_dir(), threads=1, prefer=[MODEL])

    with ProcessDecoder(1) as decoder:
        analyzer = Analyzer(decoder, loaded.by_kind, MediaLimits())
        found, _ = analyzer.analyse(tmp_path / "s.wav", name="s.wav", threshold=0.5)

    assert found.info.kind is MediaKind.AUDIO
    if judged:
        assert isinstance(found, Analysis)
        assert found.verdict.finding == "real"
    else:
        assert isinstance(found, NotApplicableResult)
        assert found.reason == "too_short"
