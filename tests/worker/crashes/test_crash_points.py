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
NO_STEP = {
    "Decoder.decode",
    "EntryStore.get",
    "MessageSource.change_visibility",
    "OutboxQueue.close",
    "OutboxQueue.dead_letter_url",
    "OutboxQueue.facts",
    "CallbackClient.close",
    "ResultStore.find",
}
"""Calls that change nothing outside the process, or nothing that a result depends on."""


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        kill: Where the first worker dies.
        counts: What the world has seen in the end, in the order of the table.
    """

    kill: str
    counts: tuple[range, ...]

    def allows(self, *seen: int) -> bool:
        """Say whether these are its numbers."""
        return len(seen) == len(self.counts) and all(map(range.__contains__, self.counts, seen))


def allowed(cell: str) -> range:
    """Return the numbers of a cell: ``2``, or ``1-2``."""
    low, _, high = cell.partition("-")
    return range(int(low), int(high or low) + 1)


def table(heading: str) -> list[Row]:
    """Return the rows of the first table under a heading."""
    _, _, rest = DOCUMENT.read_text().partition(f"\n#### {heading}\n")
    found = re.search(r"(?:^\|.*\n)+", rest, re.MULTILINE)
    assert found, heading
    lines = [line.strip("|").split(" | ") for line in found[0].splitlines()[2:]]
    return [
        Row(cells[0].strip(" `"), tuple(allowed(n) for cell in cells[1:-1] for n in cell.split()))
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

    assert row.allows(*success.seen()), success.seen()
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
    assert row.allows(seen.downloads, *told, seen.callbacks, len(letters)), seen
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
    assert row.allows(len(down.posted()), len(entries))
    [envelope] = down.stored()
    for entry in map(json.loads, entries):
        assert entry["webhook_id"] == f"msg_{down.message_id}_0"
        assert entry["body"].encode() == envelope
    assert {c.body for c in down.posted()} == {envelope}
    assert down.left(down.queue_url) == down.left(down.dlq_url) == 0


def test_the_table_of_the_outbox_has_the_steps_that_differ(down: Any) -> None:
    assert down.run() == 0, down.log()

    named = [row.kill for row in table(OUTBOX)]
    assert [s for s in steps(down) if "OutboxQueue" not in s][-len(named) :] == named


# -- a job with the shared cache -----------------------------------------------------------------

CACHE = "A job with the shared cache"


@pytest.mark.parametrize("row", ids(CACHE))
def test_a_job_with_the_shared_cache(scene: Any, row: Row) -> None:
    scene.options = [
        *("--results", f"s3://{scene.name}-results/"),
        *("--cache", f"s3://{scene.name}-cache/"),
    ]
    scene.send()

    assert scene.run(row.kill) == KILLED, scene.log()
    scene.wait()
    assert scene.run() == 0, scene.log()

    seen = scene.seen()
    assert row.allows(seen.downloads, seen.inferences, seen.callbacks), seen
    assert {c.body for c in scene.posted()} == set(scene.stored())
    assert scene.left(scene.queue_url) == scene.left(scene.dlq_url) == 0


# -- entries of the outbox -----------------------------------------------------------------------

DELIVERED = "An outbox entry that is delivered"
TRIED_AGAIN = "An outbox entry that is tried again"
ENDS = "An outbox entry that ends"
LEASE_S = 61


def with_an_entry(scene: Any, receiver: str) -> Any:
    """Let a worker hand a callback over, and wait until it is due."""
    scene.options = [*("--outbox", scene.outbox_url), *("--callback-attempts", "1")]
    scene.send(callback=receiver)
    assert scene.run() == 0, scene.log()
    scene.calls.write_text("")
    scene.wait(2)
    return scene


def check_that_it_is_one_callback(scene: Any) -> None:
    """Everything that was posted has one id and the same bytes."""
    assert {c.headers["webhook-id"] for c in scene.posted()} == {f"msg_{scene.message_id}_0"}
    assert len({c.body for c in scene.posted()}) == 1


def deliver_the_rest(scene: Any) -> None:
    """Send the outbox until it is empty."""
    for _ in range(8):
        scene.wait(LEASE_S)
        scene.deliver()
        if scene.left(scene.outbox_url) == 0:
            return
    pytest.fail(f"the outbox is not empty:\n{scene.log()}")


@pytest.mark.parametrize(
    ("receiver", "row"),
    [
        pytest.param(receiver, *each.values, id=f"{receiver} {each.id}")
        for receiver, heading in (("/flaky/1", DELIVERED), ("/flaky/2", TRIED_AGAIN))
        for each in ids(heading)
    ],
)
def test_an_entry_of_the_outbox(scene: Any, receiver: str, row: Row) -> None:
    with_an_entry(scene, receiver)

    assert scene.deliver(row.kill) == KILLED, scene.log()
    deliver_the_rest(scene)

    assert row.allows(len(scene.callbacks())), len(scene.callbacks())
    check_that_it_is_one_callback(scene)
    assert scene.left(scene.outbox_dlq_url) == 0


@pytest.mark.parametrize("row", ids(ENDS))
def test_an_entry_that_ends(scene: Any, row: Row) -> None:
    with_an_entry(scene, "/status/503")
    [body] = scene.sent_to(scene.outbox_url)
    gone = body.replace("/status/503/", "/status/410/")
    scene.aws.purge(scene.outbox_url)
    scene.aws.send(scene.outbox_url, [gone])

    assert scene.deliver(row.kill) == KILLED, scene.log()
    deliver_the_rest(scene)

    letters = scene.letters(scene.outbox_dlq_url)
    assert row.allows(len(letters))
    assert {json.loads(letter["Body"])["webhook_id"] for letter in letters} == {
        f"msg_{scene.message_id}_0"
    }
    codes = {x["MessageAttributes"]["DetectionErrorCode"]["StringValue"] for x in letters}
    assert codes == {"callback_rejected"}


@pytest.mark.parametrize("receiver", ["/flaky/1", "/flaky/2", "/status/410"])
def test_the_tables_of_entries_have_every_step(scene: Any, receiver: str) -> None:
    with_an_entry(scene, "/flaky/1" if receiver == "/status/410" else receiver)
    if receiver == "/status/410":
        [body] = scene.sent_to(scene.outbox_url)
        scene.aws.purge(scene.outbox_url)
        scene.aws.send(scene.outbox_url, [body.replace("/flaky/1/", "/status/410/")])
    scene.deliver()

    # Of a list that may be empty the calls are not numbered.
    made = {re.sub(r" \d+$", "", step) for step in steps(scene)}
    named = {row.kill for heading in (DELIVERED, TRIED_AGAIN, ENDS) for row in table(heading)}
    assert {"after OutboxQueue.receive", "after CallbackClient.post"} <= made <= named
