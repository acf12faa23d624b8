import copy
from typing import Any

import numpy as np
import pytest

from detection_training.audio import report as audio_report
from detection_training.audio.dataset import REAL, ClipRow, Clips
from detection_training.audio.leaks import check_gates
from detection_training.audio.report import (
    MOST_DEV_ALARMS,
    SEEN,
    UNSEEN_NEURAL,
    balanced_logit,
    even_logit,
    family_weights,
    grade,
    source_alarms,
    undecided,
)
from detection_training.audio.sound import RATE_HZ
from detection_training.pipeline.splits import Split
from detection_worker.errors import UsageError


def row(family: str, speaker: str = "v1", *, source: str = "s1") -> ClipRow:
    return ClipRow(
        split=Split.TEST,
        family=family,
        speaker=speaker,
        language="en",
        source=source,
        storage="clean",
        channel="clean",
        samples=RATE_HZ // 4,
        sha256="0" * 64,
    )


def clips(rows: list[ClipRow]) -> Clips:
    rng = np.random.default_rng(1)
    total = sum(r.samples for r in rows)
    return Clips(rows, (3000 * rng.standard_normal(total)).astype(np.int16))


@pytest.fixture
def report() -> dict[str, Any]:
    """A report on 24 voices that the detector tells apart except for one vocoder."""
    rows = [row(REAL, f"v{i}", source=f"s{i % 2}") for i in range(24)]
    rows += [row("world", f"v{i}") for i in range(24)]
    rows += [row("hifi-gan", f"v{i}") for i in range(24)]
    scores = np.concatenate(
        [np.linspace(0.01, 0.2, 24), np.linspace(0.8, 0.99, 24), np.linspace(0.2, 0.02, 24)]
    )
    found = clips(rows)
    return audio_report.report(
        {Split.DEV: (found, scores), Split.TEST: (found, scores)},
        (rows[:24], scores[:24]),
        {Split.TEST: found},
        {"20 dB": (rows, scores)},
    )


def test_rows_tell_seen_families_from_those_never_trained_on(report: dict[str, Any]) -> None:
    assert report["rows"][SEEN]["eer"] == 0
    assert report["rows"][UNSEEN_NEURAL]["auc"] == pytest.approx(0.5, abs=0.1)
    low, high = report["rows"][UNSEEN_NEURAL]["intervals"]["auc"]
    assert low < 0.5 < high
    assert report["summary"]["eer_seen"] == 0


def test_copies_are_compared_with_the_very_clips_that_they_copy() -> None:
    rows = [row(REAL, "a"), row("world", "a"), row("hifi-gan", "a"), row(REAL, "b")]
    rows += [row("world", "b"), row("espeak", "engine"), row(REAL, "a"), row("world", "a")]
    scores = np.array([0.3, 0.4, 0.2, 0.9, 0.8, 0.5, 0.1, 0.6])

    found = audio_report.pairs(rows, scores)

    assert {name: (pair["n"], pair["share"]) for name, pair in found.items()} == {
        "hifi-gan": (1, 0.0),
        "world": (3, round(2 / 3, 4)),
    }


def test_noise_and_pairs_are_in_the_report(report: dict[str, Any]) -> None:
    # Each copy follows the last real clip of its voice here, which every "world" copy outscores.
    assert report["by_noise"]["20 dB"]["auc"] == 1
    assert report["pairs"]["world"]["share"] == 1
    assert report["rows"][SEEN]["tpr_at_fpr_1pct"] is None, "24 real clips cannot tell"


def test_false_alarms_are_told_for_every_source_as_stored_too(report: dict[str, Any]) -> None:
    alarms = source_alarms(report)

    assert sorted(alarms) == ["s0", "s0 as stored", "s1", "s1 as stored"]
    assert {found["n"] for found in alarms.values()} == {12}
    assert all(found["share"] == 0 and found["interval"][1] > 0.1 for found in alarms.values())


def test_noise_of_one_kind_for_both_classes_passes_the_gate(report: dict[str, Any]) -> None:
    check_gates(report)


def test_a_data_set_that_leaks_is_not_packaged(report: dict[str, Any]) -> None:
    report["trivial"]["train"] = {
        "auc": 0.71,
        "held_back": "voices",
        "single": {"duration_s": 0.7, "rolloff_hz": 0.5},
    }

    with pytest.raises(UsageError, match=r"train split leaks: .*0\.71.*worst: duration_s.*\n"):
        check_gates(report)


def report_of_loud_speech(rows: list[ClipRow], split: Split) -> dict[str, Any]:
    """Return the report on 30 loud real and 30 quiet made clips."""
    rng = np.random.default_rng(2)
    parts = [rng.standard_normal(r.samples) * (300 if r.fake else 5000) for r in rows]
    loud = Clips(rows, np.concatenate(parts).astype(np.int16))
    scores = np.array([float(r.fake) for r in rows])
    return audio_report.report(
        {Split.DEV: (loud, scores), Split.TEST: (loud, scores)},
        (rows[:30], scores[:30]),
        {split: loud},
        {},
    )


def test_loudness_that_differs_by_class_is_a_leak() -> None:
    rows = [row(REAL, f"r{i}") for i in range(30)] + [row("world", f"f{i}") for i in range(30)]

    with pytest.raises(UsageError, match="worst: loudness_dbfs"):
        check_gates(report_of_loud_speech(rows, Split.TEST))


def test_a_detector_over_the_limits_is_only_a_demonstration(report: dict[str, Any]) -> None:
    assert grade(report) == "experimental"

    alarming = copy.deepcopy(report)
    alarming["false_alarms"]["s1"]["share"] = 0.12
    assert grade(alarming) == "demo"

    weak = copy.deepcopy(report)
    weak["summary"]["eer_seen"] = 0.16
    assert grade(weak) == "demo"


def test_families_weigh_alike_and_voices_within_them() -> None:
    rows = [row("world", "a"), row("world", "a"), row("world", "b"), row("espeak", "c")]

    assert family_weights(rows) == pytest.approx([0.25, 0.25, 0.5, 1.0])


def test_the_balanced_logit_errs_as_often_on_either_side() -> None:
    logits = np.array([-2.0, -1.0, 0.0, 1.0, 0.5, 1.5, 1.8, 2.0])
    fake = np.arange(8) >= 4

    at = balanced_logit(logits, fake, np.ones(8))

    assert (logits[~fake] >= at).mean() == (logits[fake] < at).mean() == 0.25


def test_even_odds_lie_where_no_voice_is_often_mistaken_though_more_copies_are_missed() -> None:
    rng = np.random.default_rng(3)
    fake = np.arange(2_000) >= 1_000
    voices = ["calm" if i % 2 else "loud" for i in range(2_000)]
    loud = np.array(voices) == "loud"
    logits = rng.normal(np.where(fake, 2.0, np.where(loud, 0.5, -3.0)))

    at = even_logit(logits, fake, np.ones(2_000), voices)

    assert (logits[~fake & loud] > at).mean() == pytest.approx(MOST_DEV_ALARMS, abs=0.003)
    assert (logits[~fake & ~loud] > at).mean() < 0.001
    assert (logits[fake] < at).mean() > 0.4


def test_even_odds_are_balanced_where_no_voice_is_often_mistaken() -> None:
    fake = np.arange(200) >= 100
    logits = np.random.default_rng(3).normal(np.where(fake, 4.0, -4.0))

    at = even_logit(logits, fake, np.ones(200), ["v"] * 200)

    assert at == pytest.approx(balanced_logit(logits, fake, np.ones(200)))


def test_a_voice_of_ten_clips_is_never_mistaken() -> None:
    logits = np.append(np.linspace(-1, 3, 10), np.full(30, 1.0))
    fake = np.arange(40) >= 10

    at = even_logit(logits, fake, np.ones(40), ["v"] * 40)

    assert not (logits[~fake] >= at).any()


def test_a_voice_of_a_few_clips_moves_nothing() -> None:
    logits = np.array([-2.0] * 30 + [5.0] * 3 + [2.0] * 33)
    fake = np.arange(66) >= 33
    voices = ["many"] * 30 + ["few"] * 3 + ["many"] * 33

    assert even_logit(logits, fake, np.ones(66), voices) < 5.0


def test_the_undecided_band_holds_the_half_and_stays_within_its_ends() -> None:
    scores = np.array([0.001, 0.002, 0.003, 0.97, 0.98, 0.999])
    fake = np.array([False, False, False, True, True, True])

    apart = undecided(scores, fake, np.ones(6))
    mixed = undecided(1 - scores, fake, np.ones(6))

    assert apart == (0.5, 0.5)
    assert mixed == (0.1, 0.9)


def test_a_split_of_few_voices_is_looked_through_for_leaks_too() -> None:
    rows = [row(REAL, f"v{i % 3}") for i in range(30)] + [row("world", "v0") for _ in range(30)]

    found = report_of_loud_speech(rows, Split.DEV)

    assert found["trivial"]["dev"]["auc"] > 0.9
    with pytest.raises(UsageError, match="dev split leaks"):
        check_gates(found)
