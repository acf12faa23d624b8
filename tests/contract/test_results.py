import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_contract.result_types import REASON_CODES
from detection_contract.results import (
    VERDICT_REASONS,
    Opinion,
    encode_result,
    failed_result,
    finished_result,
    iso_of,
    iso_utc,
    s3_file_info,
    verdict_in_words,
)
from detection_contract.schemas import load_schema

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/123456789012/deepfake-queue"
GUIDE_ORDER = [
    "request_id",
    "sqs_to_ml_url",
    "file_path",
    "local_path",
    "file_type",
    "label",
    "confidence",
    "prediction_score",
    "is_s3_file",
    "processed_at",
    "queue_url",
    "s3_file_info",
    "original_message",
]
VALIDATOR = Draft202012Validator(load_schema("result"))


def opinion(**changes: Any) -> Opinion:
    fields: dict[str, Any] = {
        "verdict": "fake",
        "reason_code": "above_threshold",
        "reason": "Looks manipulated: the score reaches the threshold.",
        "label": "FAKE",
        "score": 0.73124567,
        "raw_score": 0.91,
        "confidence": 0.73124567,
        "margin": 0.46249134,
    }
    return Opinion(**(fields | changes))


NO_OPINION = Opinion(verdict="not_applicable", reason_code="no_speech", reason="No speech.")


def finished(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "request_id": "unique-request-id",
        "sqs_to_ml_url": "s3://bucket/file.ext",
        "file_path": "s3://bucket/file.ext",
        "local_path": "/tmp/deepfake_s3_cache/file.ext",
        "file_type": MediaKind.IMAGE,
        "opinion": opinion(),
        "threshold": 0.5,
        "is_s3_file": True,
        "queue_url": QUEUE_URL,
        "s3_file_info": s3_file_info(2048576, "image/png", NOON - timedelta(hours=2)),
        "processed_at": NOON,
        "original_message": {"sqs_to_ml_url": "s3://bucket/file.ext"},
        "metadata": {"user_id": "12345"},
        "model": {"name": "m", "version": "1", "sha256": "0" * 64},
        "timings_ms": {"download": 1.5, "total": 20.0},
        "segments": [{"start_s": 0.0, "score": 0.7}],
        "media": {"width": 10, "height": 10},
    }
    return dict(finished_result(**(fields | changes)))


def failed(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "request_id": "r",
        "processed_at": NOON,
        "code": ErrorCode.BAD_JSON,
        "message": "The message cannot be read: not JSON",
    }
    return dict(failed_result(**(fields | changes)))


def test_a_finished_result_has_the_fields_of_the_guide_in_its_order() -> None:
    result = finished()

    assert list(result)[: len(GUIDE_ORDER)] == GUIDE_ORDER
    assert {name: result[name] for name in GUIDE_ORDER} == {
        "request_id": "unique-request-id",
        "sqs_to_ml_url": "s3://bucket/file.ext",
        "file_path": "s3://bucket/file.ext",
        "local_path": "/tmp/deepfake_s3_cache/file.ext",
        "file_type": "image",
        "label": "FAKE",
        "confidence": 0.731246,
        "prediction_score": 0.731246,
        "is_s3_file": True,
        "processed_at": "2025-01-01T12:00:00.000Z",
        "queue_url": QUEUE_URL,
        "s3_file_info": {
            "size": 2048576,
            "content_type": "image/png",
            "last_modified": "2025-01-01T10:00:00.000Z",
        },
        "original_message": {"sqs_to_ml_url": "s3://bucket/file.ext"},
    }
    assert (result["status"], result["error"]) == ("finished", None)
    assert result["metadata"] == {"user_id": "12345"}


def test_a_finished_result_says_how_far_to_rely_on_it() -> None:
    result = finished()

    assert list(result)[-6:-2] == ["verdict", "verdict_reason", "margin", "raw_score"]
    assert (result["verdict"], result["margin"], result["raw_score"]) == ("fake", 0.462491, 0.91)
    assert result["verdict_reason"] == {
        "code": "above_threshold",
        "message": "Looks manipulated: the score reaches the threshold.",
    }


def test_a_file_that_no_detector_is_for_is_finished_without_a_label() -> None:
    result = finished(opinion=NO_OPINION)

    assert list(result) == list(finished())
    assert (result["status"], result["error"]) == ("finished", None)
    assert result["verdict"] == "not_applicable"
    assert result["verdict_reason"] == {"code": "no_speech", "message": "No speech."}
    for name in ("label", "confidence", "prediction_score", "margin", "raw_score"):
        assert result[name] is None
    assert result["threshold"] == 0.5


def test_every_reason_has_a_sentence_and_a_place_in_the_schema() -> None:
    schema: Any = load_schema("result")
    allowed = schema["properties"]["verdict_reason"]["properties"]["code"]["enum"]

    assert set(VERDICT_REASONS) == set(REASON_CODES) == set(allowed)
    for sentence in VERDICT_REASONS.values():
        assert sentence.format(low=0.25, high=0.75).endswith(".")


def test_a_failed_result_has_the_same_fields_and_no_label() -> None:
    result = failed(
        code=ErrorCode.S3_NOT_FOUND,
        message="S3 file not found: s3://bucket/k",
        sqs_to_ml_url="s3://bucket/k",
        file_type=MediaKind.VIDEO,
        threshold=0.5,
        timings_ms={"download": 3.0},
    )

    assert list(result) == list(finished())
    assert (result["status"], result["label"], result["prediction_score"]) == (
        "failed",
        None,
        None,
    )
    assert result["error"] == {
        "code": "s3_not_found",
        "message": "S3 file not found: s3://bucket/k",
    }


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(finished(), id="finished"),
        pytest.param(
            finished(
                sqs_to_ml_url=None,
                file_path="a.wav",
                file_type=MediaKind.AUDIO,
                is_s3_file=False,
                queue_url=None,
                s3_file_info=None,
                original_message=None,
                metadata=None,
            ),
            id="local file",
        ),
        pytest.param(finished(s3_file_info=s3_file_info(0, None, None)), id="S3 said little"),
        pytest.param(finished(opinion=opinion(verdict="inconclusive")), id="inconclusive"),
        pytest.param(finished(opinion=NO_OPINION), id="not applicable"),
        pytest.param(finished(extra={"note": "n"}), id="further field"),
        pytest.param(finished(local_path=None, extra={"cached": True}), id="cached"),
        pytest.param(failed(), id="unreadable message"),
        *(pytest.param(failed(code=code), id=code.value) for code in ErrorCode),
    ],
)
def test_every_result_fits_the_schema(result: dict[str, object]) -> None:
    VALIDATOR.validate(json.loads(encode_result(result)))


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(finished() | {"label": None}, id="finished without label"),
        pytest.param(finished(local_path=None), id="finished without a path, and not cached"),
        pytest.param(finished(extra={"cached": True}), id="cached, and yet with a path"),
        pytest.param(finished() | {"verdict": "real"}, id="verdict against the label"),
        pytest.param(finished() | {"verdict": None}, id="finished without verdict"),
        pytest.param(finished() | {"margin": None}, id="label without margin"),
        pytest.param(finished(opinion=NO_OPINION) | {"label": "REAL"}, id="label without opinion"),
        pytest.param(
            finished(opinion=NO_OPINION) | {"verdict_reason": finished()["verdict_reason"]},
            id="a score's reason without a score",
        ),
        pytest.param(failed() | {"verdict": "real"}, id="failed with a verdict"),
        pytest.param(finished() | {"prediction_score": 1.1}, id="score beyond 1"),
        pytest.param(finished() | {"error": {"code": "timeout", "message": "m"}}, id="two minds"),
        pytest.param(failed() | {"error": None}, id="failed without error"),
        pytest.param(failed() | {"label": "REAL"}, id="failed with a label"),
        pytest.param(failed() | {"error": {"code": "what", "message": "m"}}, id="unknown code"),
        pytest.param(failed() | {"processed_at": "2025-01-01 12:00"}, id="another time format"),
        pytest.param({}, id="nothing"),
    ],
)
def test_the_schema_refuses_what_no_worker_sends(result: dict[str, object]) -> None:
    assert not VALIDATOR.is_valid(result)


def test_the_schema_is_valid_itself() -> None:
    Draft202012Validator.check_schema(load_schema("result"))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"opinion": opinion(score=math.nan)}, id="score NaN"),
        pytest.param({"opinion": opinion(score=1.01)}, id="score beyond 1"),
        pytest.param({"opinion": opinion(score=None)}, id="label without score"),
        pytest.param({"opinion": opinion(confidence=math.inf)}, id="confidence infinite"),
        pytest.param({"opinion": opinion(margin=-0.1)}, id="margin negative"),
        pytest.param({"opinion": opinion(raw_score=None)}, id="no raw score"),
        pytest.param({"opinion": opinion(verdict="real")}, id="verdict against the label"),
        pytest.param({"opinion": opinion(verdict="not_applicable")}, id="scored though not asked"),
        pytest.param({"opinion": opinion(reason_code="because")}, id="unknown reason"),
        pytest.param({"threshold": -0.1}, id="threshold negative"),
        pytest.param({"opinion": opinion(label="REAL", verdict="real")}, id="label contradicts"),
        pytest.param({"timings_ms": {"decode": math.nan}}, id="timing NaN"),
        pytest.param({"segments": [{"score": math.nan}]}, id="segment NaN"),
        pytest.param({"media": {"path": object()}}, id="not JSON"),
        pytest.param({"extra": {"label": "FAKE"}}, id="field replaced"),
        pytest.param({"processed_at": datetime(2025, 1, 1)}, id="no time zone"),  # noqa: DTZ001
    ],
)
def test_a_result_that_would_mislead_is_not_built(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        finished(**changes)


scores = st.floats(min_value=0, max_value=1)


@given(score=scores, threshold=scores, near=st.floats(min_value=-1e-6, max_value=1e-6))
def test_the_label_can_be_told_from_the_numbers(
    score: float, threshold: float, near: float
) -> None:
    for value in (score, threshold + near):
        assume(0 <= value <= 1)
        label = "FAKE" if value >= threshold else "REAL"

        result = finished(
            opinion=opinion(score=value, label=label, verdict=label.lower()), threshold=threshold
        )

        shown = json.loads(encode_result(result))
        assert (shown["prediction_score"] >= shown["threshold"]) == (shown["label"] == "FAKE")
        assert abs(shown["prediction_score"] - value) <= 5.1e-7


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        pytest.param(NOON, "2025-01-01T12:00:00.000Z", id="UTC"),
        pytest.param(
            datetime(2025, 1, 1, 1, 30, 0, 123999, timezone(timedelta(hours=2))),
            "2024-12-31T23:30:00.123Z",
            id="another zone",
        ),
    ],
)
def test_times_are_utc_with_milliseconds(moment: datetime, text: str) -> None:
    assert iso_utc(moment) == text
    assert iso_of(moment.timestamp()) == text


@pytest.mark.parametrize(
    ("result", "words"),
    [
        pytest.param(finished(), "fake", id="fake"),
        pytest.param(finished(opinion=NO_OPINION), "not applicable", id="no detector for it"),
        pytest.param(failed(), "failed", id="failed"),
        pytest.param({"label": "REAL"}, "real", id="an older worker's"),
        pytest.param({"label": None}, "not applicable", id="an older worker's without a label"),
    ],
)
def test_a_verdict_is_told_in_words(result: dict[str, object], words: str) -> None:
    assert verdict_in_words(result) == words


def test_encoding_is_compact_utf_8_in_field_order() -> None:
    assert encode_result({"b": "é漢", "a": [1.5, None]}) == '{"b":"é漢","a":[1.5,null]}'.encode()


def test_a_file_name_that_is_not_utf_8_is_encoded_as_json() -> None:
    name = b"\xff.png".decode("utf-8", "surrogateescape")

    body = encode_result({"local_path": name})

    assert body == b'{"local_path":"\\udcff.png"}'
    assert json.loads(body) == {"local_path": name}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_whatever_came_in_a_message_is_echoed_unchanged(value: object) -> None:
    assume("inf" not in repr(value))

    result = finished(metadata={"value": value})

    assert json.loads(encode_result(result))["metadata"] == {"value": value}


def test_finite_numbers_only_are_encoded() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_result({"a": math.inf})


def test_a_trusted_declaration_decides_against_the_label() -> None:
    low = {"label": "REAL", "score": 0.2, "raw_score": 0.2, "confidence": 0.8, "margin": 0.6}
    result = finished(opinion=opinion(reason_code="declared_by_ai_tool", **low))
    assert (result["verdict"], result["label"]) == ("fake", "REAL")
    with pytest.raises(ValueError, match="verdict fake contradicts label REAL"):
        finished(opinion=opinion(**low))
