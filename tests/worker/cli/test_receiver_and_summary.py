"""The callback receiver, and results in words."""

import json
import urllib.error
import urllib.request
from threading import Thread
from typing import Any

import pytest

from detection_worker.cli.receiver import ResultReceiver
from detection_worker.cli.summary import summary, table


def post(url: str, body: bytes) -> int:
    request = urllib.request.Request(url, data=body, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code


def test_the_result_of_the_own_request_arrives_and_others_do_not_disturb() -> None:
    with ResultReceiver() as receiver:
        sender = Thread(
            target=lambda: [
                post(receiver.url, json.dumps({"request_id": name}).encode())
                for name in ("other", "mine")
            ]
        )
        sender.start()
        result = receiver.wait("mine", timeout_s=10)
        sender.join()

    assert result == {"request_id": "mine"}


def test_waiting_ends_without_a_result() -> None:
    with ResultReceiver() as receiver:
        assert receiver.wait("mine", timeout_s=0.05) is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"{", 400, id="no JSON"),
        pytest.param(b"[1]", 400, id="no object"),
        pytest.param(b'{"request_id": 5}', 400, id="no request id"),
        pytest.param(b'{"request_id": "x"}', 204, id="a result"),
    ],
)
def test_only_results_are_taken(body: bytes, status: int) -> None:
    with ResultReceiver() as receiver:
        assert post(receiver.url, body) == status


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
        "error": None,
        **changes,
    }


def test_a_summary_says_label_confidence_and_grade() -> None:
    text = summary(envelope())

    assert "Prediction: FAKE" in text
    assert "Confidence: 73.1%" in text
    assert "grade demo" in text
    assert "video (320x240, 2.0 s)" in text
    assert "Note:       odd" in text


def test_real_is_not_sold_as_proof() -> None:
    assert "Prediction: REAL (no manipulation found)" in summary(envelope(label="REAL"))
    assert "no manipulation found" not in summary(envelope())


def test_a_summary_says_when_the_model_cannot_tell() -> None:
    reason = {"code": "between_thresholds", "message": "The score lies where it cannot tell."}

    text = summary(envelope(verdict="inconclusive", verdict_reason=reason, margin=0.4624))

    assert "Prediction: FAKE" in text
    assert "Verdict:    inconclusive. The score lies where it cannot tell." in text
    assert "P(fake):    0.7312 (threshold 0.5, margin 46.2%)" in text


def test_a_summary_warns_of_an_uncalibrated_model_and_of_poor_quality() -> None:
    model = {"name": "m", "version": "1.0", "grade": "published", "calibrated": False}

    text = summary(envelope(model=model, media={"quality": ["low_resolution"]}))

    assert "m 1.0, grade published, not calibrated" in text
    assert "Note:       low resolution" in text


NO_OPINION = {
    "label": None,
    "confidence": None,
    "prediction_score": None,
    "verdict": "not_applicable",
    "verdict_reason": {"code": "no_speech", "message": "No speech was found."},
}


def test_a_file_that_no_model_is_for_is_not_called_failed() -> None:
    text = summary(envelope(**NO_OPINION))
    lines = table([envelope(), envelope(**NO_OPINION)]).splitlines()

    assert "Prediction: none, not applicable\n  Reason:     No speech was found." in text
    assert "failed" not in text
    assert "not applicable: no_speech" in lines[2]
    assert lines[-1] == "2 files: 1 FAKE, 0 REAL, 0 failed, 1 not applicable"


def test_no_signature_of_a_url_is_shown() -> None:
    url = "https://b.s3.us-east-1.amazonaws.com/k.png?X-Amz-Signature=abc123"

    assert "abc123" not in summary(envelope(file_path=url))
    assert "abc123" not in table([envelope(file_path=url)])


def test_a_table_says_which_model_scored_and_how_far_to_trust_it() -> None:
    model = {"name": "n", "version": "2.0", "grade": "published", "calibrated": False}
    failed = envelope(label=None, file_type=None, model=None, error={"message": "broken"})

    lines = table([envelope(verdict="fake"), envelope(model=model), failed]).splitlines()

    assert lines[0].endswith("Verdict       Model")
    assert lines[1].endswith("fake          m 1.0, grade demo")
    assert lines[2].endswith("n 2.0, grade published, not calibrated")
    assert lines[3].endswith("failed  broken")


def test_a_table_counts_what_failed() -> None:
    failed = envelope(label=None, file_type=None, error={"code": "x", "message": "broken"})

    lines = table([envelope(), failed]).splitlines()

    assert lines[-1] == "2 files: 1 FAKE, 0 REAL, 1 failed"
    assert "broken" in lines[2]
