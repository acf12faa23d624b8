"""From the outbox to the receiver, on a strict SQS whose days pass in no time."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from detection_contract import signing
from detection_contract.error_codes import ErrorCode
from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws, Queues
from detection_worker.core.outbox.hosts import OPEN_AFTER
from detection_worker.core.outbox.schedule import PAUSES_S
from detection_worker.errors import JobError

Make = Callable[..., Any]


def counts(local: LocalAws, url: str) -> tuple[int, int, int]:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    names.append("ApproximateNumberOfMessagesDelayed")
    shown = local.sqs().get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    visible, held, delayed = (int(shown[name]) for name in names)
    return visible, held, delayed


def is_empty(local: LocalAws, queues: Queues) -> bool:
    return counts(local, queues.queue_url) == (0, 0, 0)


def dead_letters(local: LocalAws, url: str) -> list[dict[str, Any]]:
    found = local.sqs().receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=0
    )
    messages: list[dict[str, Any]] = found.get("Messages", [])
    return messages


def reason_of(message: dict[str, Any]) -> tuple[str, str]:
    attributes = message["MessageAttributes"]
    code, reason = (attributes[f"DetectionError{name}"] for name in ("Code", "Reason"))
    return code["StringValue"], reason["StringValue"]


def receive(outbox: Any) -> list[Any]:
    found: list[Any] = outbox.queue.receive(max_messages=1, wait_s=1, visibility_s=3600)
    return found


def test_a_callback_waits_five_seconds_and_is_delivered_once_with_its_id_and_bytes(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make, until: Make,
    secret: str,
) -> None:  # fmt: skip
    callback = pending(receiver.url())
    outbox.box.put(callback)
    assert counts(local, queues.queue_url) == (0, 0, 1)
    outbox.sender.start()
    outbox.clock.advance(6.0)

    until(lambda: is_empty(local, queues), "the outbox is empty")

    (post,) = receiver.posts
    assert (post.body, post.webhook_id) == (callback.body, callback.webhook_id)
    assert post.headers["x-request-id"] == callback.request_id
    signing.verify([secret], post.headers, post.body, now_s=outbox.clock.wall())
    assert (outbox.count("queued"), outbox.count("delivered")) == (1, 1)


def test_a_receiver_that_is_down_gets_nine_attempts_in_days_then_a_dead_letter(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make, until: Make,
    secret: str,
) -> None:  # fmt: skip
    callback = pending(receiver.url("/down"))
    receiver.answers["/down"] = (503, {})
    outbox.box.put(callback)
    outbox.sender.start()
    while not dead_letters(local, queues.dlq_url):
        outbox.clock.advance(901.0 if receiver.posts else 6.0)
        time.sleep(0.02)
        until(lambda: counts(local, queues.queue_url)[:2] == (0, 0), "it hopped or was tried")

    posts = receiver.posts
    assert len(posts) == len(PAUSES_S)
    assert {(p.body, p.webhook_id) for p in posts} == {(callback.body, callback.webhook_id)}
    stamps = [int(post.headers[signing.TIMESTAMP_HEADER]) for post in posts]
    pauses = [after - before for before, after in pairwise(stamps)]
    for pause, planned in zip(pauses, PAUSES_S[1:], strict=True):
        assert planned - 1 <= pause <= planned + 2 * 901
    for post in posts:
        at_s = float(post.headers[signing.TIMESTAMP_HEADER])
        signing.verify([secret], post.headers, post.body, now_s=at_s)
    (dead,) = dead_letters(local, queues.dlq_url)
    code, reason = reason_of(dead)
    assert code == "gave_up"
    assert "9 attempts" in reason
    assert "callback_unreachable" in reason
    assert is_empty(local, queues)


def test_an_entry_moved_back_from_the_dead_letter_queue_starts_over(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make, until: Make
) -> None:
    receiver.answers["/gone"] = (410, {})
    callback = pending(receiver.url("/gone"))
    outbox.box.put(callback)
    outbox.sender.start()
    outbox.clock.advance(6.0)
    until(lambda: dead_letters(local, queues.dlq_url), "410 ends it")

    (dead,) = dead_letters(local, queues.dlq_url)
    assert reason_of(dead)[0] == "callback_rejected"
    assert "answered 410" in reason_of(dead)[1]
    entry = json.loads(dead["Body"])
    assert (entry["attempts"], entry["first_tried_at"], entry["not_before"]) == (0, None, None)
    assert len(receiver.posts) == 1

    receiver.answers.clear()
    outbox.clock.advance(30 * 86_400 / 10)
    local.sqs().send_message(QueueUrl=queues.queue_url, MessageBody=dead["Body"])
    until(receiver.accepted, "it is delivered")
    assert receiver.accepted()[0].body == callback.body


def test_a_receiver_is_left_alone_for_as_long_as_it_asks(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make, until: Make
) -> None:
    receiver.answers["/busy"] = (429, {"Retry-After": "2000"})
    outbox.box.put(pending(receiver.url("/busy"), retry_after_s=100.0))
    outbox.sender.start()
    outbox.clock.advance(99.0)
    time.sleep(0.3)
    assert receiver.posts == []
    outbox.clock.advance(2.0)
    until(lambda: len(receiver.posts) == 1, "after 100 s it is tried")
    until(lambda: counts(local, queues.queue_url) == (0, 0, 1), "it waits")
    receiver.answers.clear()
    for _ in range(2):
        outbox.clock.advance(901.0)
        time.sleep(0.3)
        until(lambda: counts(local, queues.queue_url) == (0, 0, 1), "it hopped")
    assert len(receiver.posts) == 1

    outbox.clock.advance(301.0)

    until(lambda: is_empty(local, queues), "it is delivered after 2000 s")
    assert outbox.count("hopped") >= 2


def test_a_receiver_down_for_ten_minutes_gets_every_callback_once_with_its_id_and_bytes(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make, until: Make
) -> None:
    callbacks = {c.webhook_id: c for c in (pending(receiver.url("/a"), n) for n in range(60))}
    receiver.answers["/a"] = (500, {})
    for callback in callbacks.values():
        outbox.box.put(callback)
    outbox.sender.start()
    for _ in range(60):
        outbox.clock.advance(10.0)
        until(lambda: counts(local, queues.queue_url)[:2] == (0, 0), "all wait")
    failed = len(receiver.posts)
    assert outbox.open_circuits() == 1
    assert outbox.gate.state()["open_hosts"][0]["host"] == receiver.url("").rstrip("/")
    # With an open circuit it gets one look a minute, not every callback every few minutes.
    assert failed < len(callbacks)

    receiver.answers.clear()
    for _ in range(200):
        if is_empty(local, queues):
            break
        outbox.clock.advance(30.0)
        until(lambda: counts(local, queues.queue_url)[:2] == (0, 0), "all wait or are delivered")

    assert Counter(post.webhook_id for post in receiver.accepted()) == dict.fromkeys(callbacks, 1)
    assert all(callbacks[post.webhook_id].body == post.body for post in receiver.posts)
    assert outbox.deferred("circuit_open") > 0
    assert outbox.open_circuits() == 0
    assert dead_letters(local, queues.dlq_url) == []


def test_a_receiver_that_never_answers_holds_nobody(
    local: LocalAws, queues: Queues, make_outbox: Make, receiver: Any, pending: Make, until: Make
) -> None:
    """Both are reached by the same socket server; their names make them two hosts."""
    outbox = make_outbox(threads=4)
    receiver.answers["/hang"] = (0, {})
    outbox.box.put(pending(receiver.url("/warm"), 999))
    outbox.sender.start()
    outbox.clock.advance(6.0)
    until(receiver.accepted, "the good host is known")
    for number in range(40):
        outbox.box.put(pending(receiver.url("/hang", host="localhost"), number))
    outbox.clock.advance(6.0)
    until(lambda: len([p for p in receiver.posts if p.path == "/hang"]) == 3, "it holds its share")
    for number in range(100, 150):
        outbox.box.put(pending(receiver.url("/good"), number))
    began_s = time.monotonic()
    outbox.clock.advance(6.0)

    until(lambda: len(receiver.accepted()) == 51, "the other host has all of its callbacks")

    took_s = time.monotonic() - began_s
    hanging = [p for p in receiver.posts if p.path == "/hang"]
    print(f"50 callbacks to others in {took_s:.2f} s, {len(hanging)} held by the host that hangs")
    assert outbox.deferred("share_used") + outbox.deferred("circuit_open") > 0
    assert took_s < 20.0
    receiver.released.set()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param('{"version": 1}', id="fields missing"),
        pytest.param('{"version": "1"}', id="version"),
        pytest.param('{"version": 1, "url": "http://h", "attempts": -1}', id="attempts"),
    ],
)
def test_a_damaged_entry_is_dead_lettered_as_it_is_with_the_reason(
    local: LocalAws, queues: Queues, outbox: Any, until: Make, body: str
) -> None:
    local.send(queues.queue_url, [body])
    outbox.sender.start()

    until(lambda: is_empty(local, queues), "it is gone from the outbox")

    (dead,) = dead_letters(local, queues.dlq_url)
    assert dead["Body"] == body
    assert reason_of(dead)[0] == "bad_json"
    assert "damaged" in reason_of(dead)[1]


FOREIGN = [
    pytest.param("no JSON at all", id="text"),
    pytest.param("[1]", id="array"),
    pytest.param('{"sqs_to_ml_url": "s3://media/a.jpg", "callback_url": "http://h"}', id="work"),
    pytest.param('{"Records": []}', id="S3 event"),
]


@pytest.mark.parametrize("body", FOREIGN)
def test_messages_of_another_kind_show_that_the_queue_is_no_outbox(
    local: LocalAws, queues: Queues, outbox: Any, until: Make, body: str
) -> None:
    local.send(queues.queue_url, [body] * 12)
    outbox.sender.start()

    until(lambda: outbox.sender.refused is not None, "it is refused")

    assert "no outbox" in str(outbox.sender.error)
    until(lambda: counts(local, queues.queue_url) == (12, 0, 0), "all were given back")
    received = local.stats()["requests"]["sqs.ReceiveMessage"]
    time.sleep(0.5)
    assert local.stats()["requests"]["sqs.ReceiveMessage"] == received
    assert outbox.sender.idle_s() < 5.0
    assert dead_letters(local, queues.dlq_url) == []


@pytest.mark.parametrize("body", FOREIGN)
def test_a_stray_message_in_an_outbox_is_left_alone(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make, until: Make,
    body: str,
) -> None:  # fmt: skip
    outbox.box.put(pending(receiver.url()))
    outbox.clock.advance(6.0)
    outbox.sender.start()
    until(lambda: outbox.count("delivered") == 1, "an entry was seen")

    local.send(queues.queue_url, [body])

    until(lambda: outbox.count("foreign") == 1, "the stray was seen")
    until(lambda: counts(local, queues.queue_url) == (0, 1, 0), "it stays")
    assert outbox.sender.refused is None
    assert dead_letters(local, queues.dlq_url) == []


def test_an_entry_that_cannot_be_dead_lettered_is_not_posted_each_minute(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make, until: Make
) -> None:
    receiver.answers["/gone"] = (410, {})
    local.sqs().delete_queue(QueueUrl=queues.dlq_url)
    outbox.box.put(pending(receiver.url("/gone")))
    outbox.clock.advance(6.0)
    outbox.sender.start()

    until(lambda: outbox.count("kept") == 1, "it is kept")
    for _ in range(10):
        outbox.clock.advance(61.0)
        time.sleep(0.1)

    until(lambda: counts(local, queues.queue_url) == (0, 0, 1), "it waits")
    assert len(receiver.posts) == 1


def test_an_entry_of_a_later_version_is_left_to_others(
    local: LocalAws, queues: Queues, outbox: Any, until: Make
) -> None:
    body = '{"version":2,"anything":true}'
    local.send(queues.queue_url, [body])
    outbox.sender.start()

    until(lambda: outbox.count("newer") == 1, "it was seen")
    until(lambda: counts(local, queues.queue_url) == (0, 0, 1), "it waits")

    outbox.sender.stop(timeout_s=5.0)
    local.advance(901.0)
    found = local.sqs().receive_message(QueueUrl=queues.queue_url, WaitTimeSeconds=1)
    assert [message["Body"] for message in found["Messages"]] == [body]


def test_without_a_dead_letter_queue_nothing_is_lost(
    local: LocalAws, make_outbox: Make, receiver: Any, pending: Make, until: Make
) -> None:
    url = local.create_queue("outbox-without-dlq", dead_letter=False).queue_url
    outbox = make_outbox(url)
    receiver.answers["/gone"] = (410, {})
    outbox.box.put(pending(receiver.url("/gone")))
    local.send(url, ['{"version": 1}'])
    outbox.sender.start()
    outbox.clock.advance(6.0)

    until(lambda: outbox.count("kept") == 2, "both are kept")
    until(lambda: counts(local, url) == (0, 0, 2), "both wait")

    receiver.answers.clear()
    for _ in range(110):
        outbox.clock.advance(901.0)
        time.sleep(0.05)
        until(lambda: counts(local, url)[:2] == (0, 0), "both wait, or one is delivered")
        if receiver.accepted():
            break
    assert len(receiver.accepted()) == 1
    assert counts(local, url)[2] == 1


def test_a_large_envelope_is_read_back_from_the_store_and_checked(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make, until: Make
) -> None:
    body = json.dumps({"segments": ["x" * 100] * 3000}).encode()
    good = local.put_object("results", "2026/good one.json", body)
    replaced = local.put_object("results", "2026/replaced.json", body + b" ")
    outbox.box.put(pending(receiver.url(), 1, body=body, result_url=good))
    outbox.box.put(pending(receiver.url(), 2, body=body, result_url=replaced))
    outbox.box.put(pending(receiver.url(), 3, body=body, result_url="s3://results/2026/none.json"))
    # Without a store it goes along, however long.
    outbox.box.put(pending(receiver.url(), 4, body=body))
    outbox.sender.start()
    outbox.clock.advance(6.0)

    until(lambda: is_empty(local, queues), "the outbox is empty")

    assert {post.webhook_id for post in receiver.posts} == {"msg_1_0", "msg_4_0"}
    assert all(post.body == body for post in receiver.posts)
    dead = sorted(reason_of(message) for message in dead_letters(local, queues.dlq_url))
    assert [code for code, _ in dead] == ["result_gone", "result_gone"]
    assert "gone: s3://results/2026/none.json" in dead[0][1]
    assert "replaced: s3://results/2026/replaced.json" in dead[1][1]


def test_a_store_that_cannot_be_read_now_is_tried_again(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make, until: Make
) -> None:
    body = b"x" * 200_000
    url = local.put_object("results", "slow.json", body)
    local.inject(Fault(operation="s3.GetObject", kind="error", count=3))
    outbox.box.put(pending(receiver.url(), body=body, result_url=url))
    outbox.sender.start()
    outbox.clock.advance(6.0)
    until(lambda: outbox.count("retried") == 1, "it is tried again later")

    outbox.clock.advance(301.0)

    until(receiver.accepted, "it is delivered")
    assert receiver.accepted()[0].body == body


def test_a_slow_attempt_keeps_its_entry(
    local: LocalAws, queues: Queues, make_outbox: Make, receiver: Any, pending: Make, until: Make
) -> None:
    outbox = make_outbox(visibility_s=2, read_timeout_s=10.0)
    receiver.delays_s["/slow"] = 4.0
    outbox.box.put(pending(receiver.url("/slow")))
    outbox.sender.start()
    outbox.clock.advance(6.0)

    until(lambda: is_empty(local, queues), "it is delivered")

    assert len(receiver.posts) == 1
    kinds = [e.kind for e in local.journal() if e.queue == queues.queue_url.rpartition("/")[2]]
    assert kinds.count("received") == 1
    assert "extended" in kinds
    assert "expired" not in kinds


def test_what_is_held_at_the_end_is_visible_at_once(
    local: LocalAws, queues: Queues, make_outbox: Make, receiver: Any, pending: Make, until: Make
) -> None:
    outbox = make_outbox(threads=1)
    receiver.delays_s["/slow"] = 1.0
    for number in range(8):
        outbox.box.put(pending(receiver.url("/slow"), number))
    outbox.sender.start()
    outbox.clock.advance(6.0)
    until(lambda: receiver.posts and outbox.sender.held >= 5, "some wait for the only thread")

    assert outbox.sender.stop(timeout_s=20.0)

    delivered = len(receiver.posts)
    assert 1 <= delivered < 8
    assert counts(local, queues.queue_url) == (8 - delivered, 0, 0)


def test_an_attempt_that_does_not_end_in_time_is_left_and_its_entry_given_back(
    local: LocalAws, queues: Queues, make_outbox: Make, receiver: Any, pending: Make, until: Make
) -> None:
    outbox = make_outbox(read_timeout_s=20.0)
    receiver.answers["/hang"] = (0, {})
    outbox.box.put(pending(receiver.url("/hang")))
    outbox.sender.start()
    outbox.clock.advance(6.0)
    until(lambda: receiver.posts, "it was called")
    began_s = time.monotonic()

    assert outbox.sender.stop(timeout_s=1.5)

    assert time.monotonic() - began_s < 5.0
    assert counts(local, queues.queue_url) == (1, 0, 0)
    receiver.released.set()


def test_a_pause_gives_back_what_waits_and_a_resume_goes_on(
    local: LocalAws, queues: Queues, make_outbox: Make, receiver: Any, pending: Make, until: Make
) -> None:
    outbox = make_outbox(threads=1)
    receiver.delays_s["/slow"] = 0.5
    for number in range(6):
        outbox.box.put(pending(receiver.url("/slow"), number))
    outbox.sender.start()
    outbox.clock.advance(6.0)
    until(lambda: receiver.posts and outbox.sender.held >= 4, "some wait")

    outbox.sender.pause()
    until(lambda: outbox.sender.held == 0, "what began is finished")
    done = len(receiver.posts)
    assert counts(local, queues.queue_url) == (6 - done, 0, 0)

    outbox.sender.resume()
    until(lambda: is_empty(local, queues), "all are delivered")
    assert len(receiver.posts) == 6


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("sqs.SendMessageBatch", "error"),
        ("sqs.SendMessageBatch", "drop_response"),
        ("sqs.DeleteMessageBatch", "error"),
        ("sqs.DeleteMessageBatch", "drop_response"),
        ("sqs.ReceiveMessage", "access_denied"),
        ("sqs.ReceiveMessage", "throttle"),
    ],
)
def test_faults_of_sqs_lose_nothing_and_change_no_byte(
    local: LocalAws, queues: Queues, make_outbox: Make, receiver: Any, pending: Make, until: Make,
    operation: str, kind: Any,
) -> None:  # fmt: skip
    outbox = make_outbox(visibility_s=3)
    callbacks = {c.webhook_id: c for c in (pending(receiver.url("/a"), n) for n in range(6))}
    for callback in callbacks.values():
        outbox.box.put(callback)
    receiver.answers["/a"] = (503, {})
    local.inject(Fault(operation=operation, kind=kind, count=4))
    outbox.sender.start()
    outbox.clock.advance(6.0)
    until(lambda: len(receiver.posts) >= OPEN_AFTER, "it was tried")
    receiver.answers.clear()
    for _ in range(100):
        outbox.clock.advance(30.0)
        time.sleep(0.1)
        if is_empty(local, queues):
            break

    accepted = {post.webhook_id: post.body for post in receiver.accepted()}
    assert accepted == {i: c.body for i, c in callbacks.items()}
    assert dead_letters(local, queues.dlq_url) == []


def test_an_outbox_that_takes_nothing_leaves_the_callback_with_its_reason(
    local: LocalAws, make_outbox: Make, pending: Make
) -> None:
    outbox = make_outbox(local.endpoint_url + "/123456789012/no-such-outbox")

    with pytest.raises(JobError) as caught:
        outbox.box.put(pending("https://receiver.example/cb", retry_after_s=7.0))

    assert caught.value.code is ErrorCode.CALLBACK_UNREACHABLE
    assert caught.value.message.startswith("it answered 503; the outbox did not take it: ")
    assert "does not exist" in caught.value.message
    assert caught.value.retry_after_s == 7.0
    assert (outbox.count("refused"), outbox.count("queued")) == (1, 0)


def test_a_result_that_is_no_text_is_not_taken(outbox: Any, pending: Make) -> None:
    with pytest.raises(JobError, match="not UTF-8"):
        outbox.box.put(pending("https://receiver.example/cb", body=b"\xff\xfe"))


def test_entries_with_one_id_are_delivered_once_by_one_process(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make, until: Make
) -> None:
    """A worker that was killed before its delete lets another one put the callback once more."""
    for _ in range(3):
        outbox.box.put(pending(receiver.url(), 7))
    receiver.delays_s["/ok"] = 0.5  # all of them are received before the first is delivered
    outbox.clock.advance(6.0)

    outbox.sender.run_once(stop=lambda: False)

    assert is_empty(local, queues)
    assert [(p.webhook_id, p.body) for p in receiver.posts] == [
        ("msg_7_0", pending(receiver.url(), 7).body)
    ]
    assert (outbox.count("delivered"), outbox.count("duplicate")) == (1, 2)


def test_entries_that_were_sent_twice_are_delivered_once(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make
) -> None:
    """An answer of SQS that does not come lets its client send the whole batch again."""
    outbox.box.put(pending(receiver.url(), 0))
    local.inject(Fault(operation="sqs.SendMessageBatch", kind="drop_response", count=1))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: outbox.box.put(pending(receiver.url(), n)), range(1, 9)))
    assert sum(counts(local, queues.queue_url)) > 9
    receiver.delays_s["/ok"] = 0.2
    outbox.sender.start()

    for _ in range(100):
        outbox.clock.advance(6.0)
        time.sleep(0.2)
        if is_empty(local, queues):
            break

    assert sorted(p.webhook_id for p in receiver.posts) == [f"msg_{n}_0" for n in range(9)]
    assert outbox.count("duplicate") > 0


def test_a_second_message_stays_until_the_first_is_sent_on(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make, until: Make
) -> None:
    """SQS may bring a message that is deleted, and then refuse the one to be sent on."""
    for _ in range(2):
        outbox.box.put(pending(receiver.url("/slow"), 7))
    receiver.delays_s["/slow"] = 0.5
    receiver.answers["/slow"] = (503, {})
    outbox.clock.advance(6.0)
    received: list[Any] = []
    while len(received) < 2:
        received += outbox.queue.receive(max_messages=2, wait_s=1, visibility_s=30)
    first, second = outbox.handler.sort(received)
    assert outbox.queue.delete([first.message]) == [None]
    local.inject(Fault(operation="sqs.SendMessageBatch", kind="error", count=99))

    with ThreadPoolExecutor(1) as threads:
        tried = threads.submit(outbox.handler.attempt, first, cancelled=lambda: False)
        until(lambda: receiver.posts, "the first is tried")
        outbox.handler.attempt(second, cancelled=lambda: False)
        tried.result()

    assert sum(counts(local, queues.queue_url)) == 1, "the second is left"
    assert outbox.count("duplicate") == 0
    local.clear_faults()
    receiver.answers.clear()
    outbox.clock.advance(31.0)
    outbox.sender.run_once(stop=lambda: False)
    assert is_empty(local, queues)
    assert [p.webhook_id for p in receiver.accepted()] == ["msg_7_0"]


def test_an_entry_that_comes_back_before_its_former_message_is_deleted_stays(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A delete may take longer than the pause before the next attempt."""
    outbox.box.put(pending(receiver.url("/down"), 1))
    receiver.answers["/down"] = (503, {})
    outbox.clock.advance(6.0)
    (first,) = outbox.handler.sort(receive(outbox))
    delete = outbox.queue.delete

    def slow_delete(messages: Any) -> Any:
        monkeypatch.undo()
        outbox.clock.advance(901.0)
        (next_one,) = outbox.handler.sort(receive(outbox))
        assert next_one.message.message_id != first.message.message_id
        outbox.handler.attempt(next_one, cancelled=lambda: False)
        return delete(messages)

    monkeypatch.setattr(outbox.queue, "delete", slow_delete)
    outbox.handler.attempt(first, cancelled=lambda: False)

    assert counts(local, queues.queue_url) == (1, 0, 0), "the entry goes on in its next message"
    receiver.answers.clear()
    outbox.sender.run_once(stop=lambda: False)
    assert is_empty(local, queues)
    assert [p.webhook_id for p in receiver.accepted()] == ["msg_1_0"]


def test_an_entry_that_is_received_again_while_it_is_tried_is_not_tried_twice(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make, until: Make
) -> None:
    """Its lease may end on a machine that stands still."""
    outbox.box.put(pending(receiver.url("/slow"), 1))
    receiver.delays_s["/slow"] = 1.0
    outbox.clock.advance(6.0)
    received = [
        each
        for visibility_s in (0, 30)
        for each in outbox.queue.receive(max_messages=1, wait_s=1, visibility_s=visibility_s)
    ]
    first, second = outbox.handler.sort(received)
    assert first.message.message_id == second.message.message_id
    trying = threading.Thread(
        target=outbox.handler.attempt, args=(first,), kwargs={"cancelled": lambda: False}
    )
    trying.start()
    until(lambda: receiver.posts, "the first attempt is under way")

    outbox.handler.attempt(second, cancelled=lambda: False)

    assert counts(local, queues.queue_url) == (0, 1, 0)
    trying.join()
    outbox.clock.advance(31.0)  # the first receipt handle deletes nothing any more
    outbox.sender.run_once(stop=lambda: False)
    assert is_empty(local, queues)
    assert len(receiver.posts) == 1
