"""What the demo prints of each result."""

from typing import Any

import pytest

from detection_worker.demo.table import Table


def result(**changes: Any) -> dict[str, Any]:
    return {
        "sqs_to_ml_url": "s3://demo-media/a.wav",
        "file_type": "audio",
        "label": "REAL",
        "prediction_score": 0.35,
        "confidence": 0.65,
        "verdict": "real",
        "error": None,
        "model": {"name": "m", "grade": "experimental"},
        "timings_ms": {"download": 1.0, "decode": 2.0, "inference": 3.0, "total": 6.0},
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        pytest.param({}, "REAL", id="sure"),
        pytest.param({"verdict": "inconclusive"}, "REAL?", id="inconclusive"),
        pytest.param({"label": None, "prediction_score": None}, "none", id="without an opinion"),
        pytest.param(
            {"label": None, "error": {"code": "undecodable", "message": "x"}},
            "failed",
            id="failed",
        ),
    ],
)
def test_a_row_says_where_the_label_is_no_verdict(
    changes: dict[str, Any], label: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Table().row(result(**changes), None, 1)

    assert label in capsys.readouterr().out.splitlines()[-1].split()
