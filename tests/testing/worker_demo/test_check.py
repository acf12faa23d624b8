"""The demo notices what is wrong."""

from typing import Any

import pytest

from detection_contract.schemas import load_schema
from detection_testing.worker_demo.check import REQUIRED, Outcome, problems
from detection_testing.worker_demo.media import BROKEN_KEY, messages, uploads


def envelope(request_id: str, kind: str, **changes: Any) -> dict[str, Any]:
    good = dict.fromkeys(REQUIRED) | {
        "request_id": request_id,
        "status": "finished",
        "file_type": kind,
        "label": "REAL",
        "prediction_score": 0.25,
        "confidence": 0.75,
    }
    return good | changes


def good_outcome() -> Outcome:
    expected = {m.request_id: m.upload for m in messages(uploads(), 12, "http://127.0.0.1/cb")}
    outcome = Outcome(expected=expected, worker_exit_code=0)
    for number, (request_id, upload) in enumerate(expected.items()):
        changes: dict[str, Any] = {}
        if upload.truth == "broken":
            changes = {"status": "failed", "label": None, "error": {"code": "undecodable"}}
            outcome.dead_letters += 1
        outcome.add(envelope(request_id, upload.kind, **changes), {"Webhook-Id": f"msg_{number}"})
    return outcome


def test_a_good_run_has_no_problems() -> None:
    assert problems(good_outcome()) == []


def test_every_kind_and_one_broken_file_are_uploaded() -> None:
    files = uploads()

    assert {f.kind for f in files} == {"image", "video", "audio"}
    assert [f.key for f in files if f.truth == "broken"] == [BROKEN_KEY]
    assert all(f.content for f in files)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param({"label": "MAYBE"}, "label is MAYBE", id="a strange label"),
        pytest.param({"prediction_score": 1.5}, "not between 0 and 1", id="no probability"),
        pytest.param({"file_type": "audio"}, "file_type is audio", id="the wrong kind"),
        pytest.param({"status": "failed", "error": {"code": "x"}}, "failed", id="a failure"),
    ],
)
def test_a_wrong_result_is_a_problem(change: dict[str, Any], problem: str) -> None:
    outcome = good_outcome()
    first = next(k for k, u in outcome.expected.items() if u.kind == "image")
    outcome.results[first] = [envelope(first, "image", **change)]

    (found,) = problems(outcome)

    assert problem in found


def test_an_incomplete_envelope_is_a_problem() -> None:
    outcome = good_outcome()
    first = next(iter(outcome.expected))
    del outcome.results[first][0]["threshold"]

    assert problems(outcome) == [f"{first}: the envelope lacks threshold"]


def test_missing_and_double_results_are_problems() -> None:
    outcome = good_outcome()
    first, second = list(outcome.expected)[:2]
    del outcome.results[first]
    outcome.results[second] *= 2

    assert len(problems(outcome)) == 2
    assert not outcome.complete


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        pytest.param("left_in_queue", 2, "2 messages are left", id="a queue that is not empty"),
        pytest.param("dead_letters", 0, "0 dead letters instead of", id="no dead letter"),
        pytest.param("worker_exit_code", 1, "exit code 1", id="a worker that ended badly"),
    ],
)
def test_leftovers_are_problems(field: str, value: int, problem: str) -> None:
    outcome = good_outcome()
    setattr(outcome, field, value)

    (found,) = problems(outcome)

    assert problem in found


def test_a_verdict_on_a_broken_file_is_a_problem() -> None:
    outcome = good_outcome()
    broken = next(k for k, u in outcome.expected.items() if u.truth == "broken")
    outcome.results[broken] = [envelope(broken, "image")]

    assert problems(outcome) == [f"{broken}: a broken file got a verdict"]


def test_the_fields_come_from_the_shipped_schema() -> None:
    assert load_schema("result")["required"] == REQUIRED
