"""The tables of crash points in docs/architecture.md, each row of them proven by a kill there.

A first worker kills itself at the call that the row names. A second one, which nobody kills, goes
on. Then everyone has the result, and the world has seen exactly what the row says.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from detection_testing.crashes.stubs import BROKEN

DOCUMENT = Path(__file__).parents[3] / "docs" / "architecture.md"
KILLED = -9
NO_STEP = {"Decoder.decode", "MessageSource.change_visibility", "ResultStore.find"}
"""Calls that change nothing outside the process, or nothing that a result depends on."""


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        kill: Where the first worker dies.
        counts: What the world has seen in the end, in the order of the table.
    """

    kill: str
    counts: tuple[int, ...]


def table(heading: str) -> list[Row]:
    """Return the rows of the first table under a heading."""
    _, _, rest = DOCUMENT.read_text().partition(f"\n#### {heading}\n")
    found = re.search(r"(?:^\|.*\n)+", rest, re.MULTILINE)
    assert found, heading
    lines = [line.strip("|").split(" | ") for line in found[0].splitlines()[2:]]
    return [
        Row(cells[0].strip(" `"), tuple(int(n) for cell in cells[1:-1] for n in cell.split()))
        for cells in lines
    ]


def steps(scene: Any) -> list[str]:
    """Return every call that a worker made, numbered, in the form of the table."""
    counts: dict[str, int] = {}
    found = []
    for call in scene.every_call():
        counts[call.name] = number = counts.get(call.name, 0) + 1
        if call.name not in NO_STEP:
            found.append(f"after {call.name}" + (f" {number}" if number > 1 else ""))
    return found


def ids(heading: str) -> list[Any]:
    return [pytest.param(row, id=row.kill) for row in table(heading)]


# -- a job that succeeds -------------------------------------------------------------------------

SUCCESS = "A job that succeeds"


@pytest.fixture
def success(scene: Any) -> Any:
    scene.options = [
        *("--results", f"s3://{scene.name}-results/"),
        *("--on-success", scene.destinations),
    ]
    scene.send()
    return scene


def check_that_everyone_has_the_same(scene: Any) -> None:
    """One envelope: in the store, in every notification and callback, always under one id."""
    webhook_id = f"msg_{scene.message_id}_0"
    [envelope] = scene.stored()
    posted = scene.posted()
    assert {c.body for c in posted} == {envelope}
    assert {c.headers["webhook-id"] for c in posted} == {webhook_id}
    for inbox in range(3):
        [body] = {json.dumps(json.loads(text)) for text in scene.notifications(inbox)}
        told = json.loads(body)
        assert told["id"] == webhook_id
        assert told["result"] == json.loads(envelope)


@pytest.mark.parametrize("row", ids(SUCCESS))
def test_a_job_that_succeeds(success: Any, row: Row) -> None:
    assert success.run(row.kill) == KILLED, success.log()
    success.wait()
    assert success.run() == 0, success.log()

    assert tuple(success.seen()) == row.counts
    check_that_everyone_has_the_same(success)
    assert success.left(success.queue_url) == success.left(success.dlq_url) == 0


def test_the_table_of_success_has_every_step(success: Any) -> None:
    assert success.run() == 0, success.log()

    assert steps(success) == [row.kill for row in table(SUCCESS)]


# -- a job that fails for good -------------------------------------------------------------------

FAILURE = "A job that fails for good"


@pytest.fixture
def failure(scene: Any) -> Any:
    scene.options = [
        *("--results", f"s3://{scene.name}-results/"),
        *("--on-failure", scene.destinations),
    ]
    scene.send(BROKEN)
    return scene


@pytest.mark.parametrize("row", ids(FAILURE))
def test_a_job_that_fails_for_good(failure: Any, row: Row) -> None:
    assert failure.run(row.kill) == KILLED, failure.log()
    failure.wait()
    failure.run()

    seen = failure.seen()
    letters = failure.letters(failure.dlq_url)
    told = (seen.topic, seen.queue, seen.bus)
    assert (seen.downloads, *told, seen.callbacks, len(letters)) == row.counts
    check_that_everyone_has_the_same(failure)
    assert json.loads(failure.stored()[0])["status"] == "failed"
    assert failure.left(failure.queue_url) == 0
    attributes = [letter["MessageAttributes"] for letter in letters]
    ids_ = {found["DetectionMessageId"]["StringValue"] for found in attributes}
    assert ids_ == {failure.message_id}
    assert {found["DetectionErrorCode"]["StringValue"] for found in attributes} == {"undecodable"}
    assert len({letter["Body"] for letter in letters}) == 1


def test_the_table_of_failure_has_every_step(failure: Any) -> None:
    assert failure.run() == 1, failure.log()

    assert steps(failure) == [row.kill for row in table(FAILURE)]


# -- a callback that goes to the outbox ----------------------------------------------------------

OUTBOX = "A callback that goes to the outbox"


@pytest.fixture
def down(scene: Any) -> Any:
    scene.options = [
        *("--outbox", scene.outbox_url),
        *("--results", f"s3://{scene.name}-results/"),
        *("--callback-attempts", "1"),
    ]
    scene.send(callback="/status/503")
    return scene


@pytest.mark.parametrize("row", ids(OUTBOX))
def test_a_callback_that_goes_to_the_outbox(down: Any, row: Row) -> None:
    assert down.run(row.kill) == KILLED, down.log()
    down.wait()
    assert down.run() == 0, down.log()

    entries = down.sent_to(down.outbox_url)
    assert (len(down.posted()), len(entries)) == row.counts
    [envelope] = down.stored()
    for entry in map(json.loads, entries):
        assert entry["webhook_id"] == f"msg_{down.message_id}_0"
        assert entry["body"].encode() == envelope
    assert {c.body for c in down.posted()} == {envelope}
    assert down.left(down.queue_url) == down.left(down.dlq_url) == 0


def test_the_table_of_the_outbox_has_the_steps_that_differ(down: Any) -> None:
    assert down.run() == 0, down.log()

    named = [row.kill for row in table(OUTBOX)]
    assert steps(down)[-len(named) :] == named
