"""What the demo prints of each result."""

from typing import Any

import pytest

from detection_testing.worker_demo.table import Table


def result(**changes: Any) -> dict[str, Any]:
    return {
        "sqs_to_ml_url": "s3://demo-media/dandelion-pan-reconstructed-again.mkv",
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
    ("changes", "verdict"),
    [
        pytest.param({}, "real", id="sure"),
        pytest.param({"verdict": "inconclusive"}, "inconclusive", id="inconclusive"),
        pytest.param(
            {"label": None, "prediction_score": None, "verdict": "not_applicable"},
            "not applicable",
            id="without an opinion",
        ),
        pytest.param(
            {
                "label": None,
                "prediction_score": None,
                "verdict": None,
                "error": {"code": "undecodable", "message": "x"},
            },
            "failed",
            id="failed",
        ),
    ],
)
def test_a_row_tells_the_verdict_and_no_label(
    changes: dict[str, Any], verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Table().row(result(**changes), None, "callback")

    _, head, row, *more = capsys.readouterr().out.splitlines()
    assert row[head.index("verdict") :].startswith(f"{verdict} ")
    assert "REAL" not in row
    assert more == (["    undecodable: x"] if verdict == "failed" else [])
    assert row.endswith(" callback")
    assert max(len(line) for line in (head, row)) <= 80


def test_a_result_from_the_cache_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Table().row(result(cached=True), None, "topic")

    row = capsys.readouterr().out.splitlines()[-1]
    assert row.endswith(" cached topic")


@pytest.mark.parametrize(
    ("total_ms", "told"),
    [(6.4, "6 ms"), (9999.4, "9999 ms"), (9999.5, "10.0 s"), (12_221.0, "12.2 s")],
)
def test_a_file_that_takes_long_makes_no_row_longer(
    total_ms: float, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = result(verdict="inconclusive", timings_ms={"total": total_ms})

    Table().row(made, None, "callback")

    row = capsys.readouterr().out.splitlines()[-1]
    assert row.endswith(f" {told} callback")
    assert len(row) <= 80
