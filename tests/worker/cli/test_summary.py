"""Results in words: the verdict first, within the columns of the terminal."""

from collections.abc import Sequence
from typing import Any

import pytest

from detection_worker.cli.summary import Table, summary
from detection_worker.cli.terminal import cells, fitted, shown
from detection_worker.report.texts import printable


def envelope(**changes: Any) -> dict[str, object]:
    return {
        "file_path": "s3://bucket/clip.mp4",
        "file_type": "video",
        "label": "FAKE",
        "confidence": 0.7312,
        "prediction_score": 0.7312,
        "threshold": 0.5,
        "model": {"name": "m", "version": "1.0", "grade": "demo"},
        "media": {"width": 320, "height": 240, "duration_s": 2.0, "warnings": ["odd"]},
        "verdict": "fake",
        "error": None,
        **changes,
    }


UNSURE = {
    "label": "FAKE",
    "confidence": 0.5048,
    "prediction_score": 0.5048,
    "verdict": "inconclusive",
    "margin": 0.0096,
    "verdict_reason": {
        "code": "between_thresholds",
        "message": "The score lies where this model cannot tell: from 0.115 to 0.666.",
    },
}
NO_OPINION = {
    "label": None,
    "confidence": None,
    "prediction_score": None,
    "verdict": "not_applicable",
    "verdict_reason": {"code": "no_speech", "message": "No speech was found."},
}
FAILED = {
    "label": None,
    "confidence": None,
    "prediction_score": None,
    "verdict": None,
    "file_type": None,
    "model": None,
    "media": None,
    "error": {"code": "undecodable", "message": "broken"},
}


def table(results: Sequence[dict[str, object]], *, width: int | None = None) -> str:
    made = Table(width=width)
    return "\n".join([made.head(), *(made.row(r) for r in results), made.foot()])


def test_a_summary_says_verdict_confidence_and_grade() -> None:
    text = summary(envelope())

    assert "Prediction: FAKE" in text
    assert "Confidence: 73.1%" in text
    assert "grade demo" in text
    assert "video (320x240, 2.0 s)" in text
    assert "Note:       odd" in text


def test_real_is_not_sold_as_proof() -> None:
    real = envelope(label="REAL", verdict="real")

    assert "Prediction: REAL (no manipulation found)" in summary(real)
    assert "no manipulation found" not in summary(envelope())
    assert "real: no manipulation found, which proves nothing" in table([real])


def test_a_summary_of_what_the_model_cannot_tell_accuses_nobody() -> None:
    lines = summary(envelope(**UNSURE)).splitlines()

    assert lines[1] == "  Prediction: INCONCLUSIVE"
    assert lines[2].startswith("  Reason:     The score lies where this model cannot tell")
    assert "  P(fake):    0.5048 (threshold 0.5, margin 1.0%)" in lines
    assert "  Label:      FAKE by the threshold alone (confidence 50.5%)" in lines


def test_a_summary_warns_of_an_uncalibrated_model_and_of_poor_quality() -> None:
    model = {"name": "m", "version": "1.0", "grade": "published", "calibrated": False}

    text = summary(envelope(model=model, media={"quality": ["low_resolution"]}))

    assert "m 1.0, grade published, not calibrated" in text
    assert "Note:       low resolution" in text


def test_a_file_that_no_model_is_for_is_not_called_failed() -> None:
    text = summary(envelope(**NO_OPINION))
    lines = table([envelope(), envelope(**NO_OPINION)]).splitlines()

    assert "Prediction: none, not applicable\n  Reason:     No speech was found." in text
    assert "failed" not in text
    assert lines[2].startswith("not applicable        -  video  s3://bucket/clip.mp4")
    assert lines[3] == "    No speech was found."
    assert lines[4] == "2 files: 1 fake, 1 not applicable"


def test_no_signature_of_a_url_is_shown() -> None:
    url = "https://b.s3.us-east-1.amazonaws.com/k.png?X-Amz-Signature=abc123"

    assert "abc123" not in summary(envelope(file_path=url))
    assert "abc123" not in table([envelope(file_path=url)])


def test_a_table_counts_verdicts_and_what_failed_and_no_labels() -> None:
    results = [
        envelope(),
        envelope(**UNSURE),
        envelope(**{**UNSURE, "label": "REAL"}),
        envelope(label="REAL", verdict="real"),
        envelope(**FAILED),
    ]

    text = table(results)

    assert "5 files: 1 fake, 1 real, 2 inconclusive, 1 failed\n" in text
    assert "FAKE" not in text
    assert "REAL" not in text
    assert "failed                -  -      s3://bucket/clip.mp4\n    broken\n" in text


def test_a_table_says_which_models_scored_and_how_far_to_trust_them() -> None:
    model = {"name": "n", "version": "2.0", "grade": "published", "calibrated": False}

    lines = table([envelope(), envelope(model=model), envelope()]).splitlines()

    assert lines[-2:] == [
        "Model: m 1.0, grade demo",
        "Model: n 2.0, grade published, not calibrated",
    ]


LONG = {
    "file_path": "uploads/2026/" + "very-long-folder-name/" * 6 + "写真の名前はとても長いです.png",
    "model": {"name": "m" * 30, "version": "1.0.0", "grade": "experimental", "calibrated": False},
}


@pytest.mark.parametrize("kind", [{}, UNSURE, NO_OPINION, FAILED])
def test_everything_fits_a_terminal_of_80_columns(kind: dict[str, object]) -> None:
    changes = {**LONG, **kind}
    if kind is FAILED:
        changes["error"] = {"code": "x", "message": "a long sentence " * 12}
    result = envelope(**changes)

    lines = table([result], width=80).splitlines() + summary(result, width=80).splitlines()[1:]

    assert max(cells(line) for line in lines) <= 80
    assert any(line.endswith("です.png") for line in lines[:2])


def test_away_from_a_terminal_no_name_is_cut() -> None:
    assert str(LONG["file_path"]) in table([envelope(**LONG)])


@pytest.mark.parametrize(
    "name",
    ["a\nfake  0.9  b.png", "a\x1b[2Jb.png", "a\u202egnp.exe", "\udcff.png", "a\rb", "a\tb"],
)
def test_no_name_writes_on_the_terminal_what_it_likes(name: str) -> None:
    failed = {**FAILED, "error": {"code": "bad_url", "message": f"File not found: {name}"}}

    text = table([envelope(file_path=name), envelope(file_path=name, **failed)])
    text += summary(envelope(file_path=name, **failed))

    assert len(text.splitlines()) == 6 + 1
    assert all(c.isprintable() for c in text.replace("\n", ""))


@pytest.mark.parametrize(
    ("text", "width", "keep_end", "cut"),
    [
        ("short", 5, False, "short"),
        ("longer", 5, False, "long…"),
        ("longer", 5, True, "…nger"),
        ("写真写真", 5, False, "写真…"),
        ("写真写真", 4, True, "…真"),
        ("e\u0301e\u0301", 2, False, "e\u0301e\u0301"),
    ],
)
def test_a_text_is_cut_by_columns_not_by_characters(
    text: str,
    width: int,
    keep_end: bool,  # noqa: FBT001 - a column of the table
    cut: str,
) -> None:
    assert fitted(text, width, keep_end=keep_end) == cut
    assert cells(cut) <= width


def test_a_question_mark_in_a_file_name_is_no_query() -> None:
    assert shown("what?#1.png") == "what?#1.png"
    assert printable("é写") == "é写"


def test_what_the_file_declares_of_itself() -> None:
    told = {"declares": "ai_generated", "generator": "NovelAI", "signed": False, "c2pa": None}
    lines = summary(envelope(provenance=told)).splitlines()
    assert "  Declared:   generated by AI, NovelAI (not signed, so easy to forge)" in lines
    signed = {"declares": "captured", "signed": True, "c2pa": {"issuer": "Example\x1b[2J"}}
    text = summary(envelope(provenance=signed))
    assert "Declared:   recorded by a camera (signed by Example" in text
    assert "\x1b" not in text
    assert "Declared" not in summary(envelope(provenance=None))


def test_a_verdict_that_follows_a_declaration_shows_why() -> None:
    code = {"code": "declared_by_ai_tool", "message": "A trusted signer declares so."}
    text = summary(envelope(label="REAL", verdict="fake", verdict_reason=code, margin=0.1))
    assert "Prediction: FAKE\n  Reason:     A trusted signer declares so." in text
    assert "Label:      REAL by the threshold alone" in text
