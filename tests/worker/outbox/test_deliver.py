"""``deliver`` as a process of its own: small, told to stop, killed, and asked how it is."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws, Queues

Make = Callable[..., Any]
MAX_RSS_MIB = 100


@pytest.fixture(autouse=True)
def due(outbox: Any) -> None:
    """Put entries as a worker did a minute ago: a process has no clock that a test moves."""
    outbox.clock._ahead_s = -60.0


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Deliver:
    def __init__(self, local: LocalAws, queue_url: str, *options: str) -> None:
        self.port = free_port()
        command = [
            *(sys.executable, "-m", "detection_worker", "deliver", "--outbox", queue_url),
            *("--callback-allow-private", "--wait-time", "1", "--control-host", "127.0.0.1"),
            *("--control-port", str(self.port), "--shutdown-grace", "10", *options),
        ]
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **local.environment()},
            stderr=subprocess.PIPE,
            text=True,
        )

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, str(answer.read(), "utf-8")
        except urllib.error.HTTPError as exc:
            return exc.code, str(exc.read(), "utf-8")
        except OSError:
            return 0, ""

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.process.communicate()[1]
        return self.get("/readyz")[0] == 200

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (kib,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
        return int(kib) / 1024

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


@pytest.fixture
def deliver(local: LocalAws, queues: Queues) -> Iterator[Callable[..., Deliver]]:
    made: list[Deliver] = []

    def start(*options: str, queue_url: str | None = None) -> Deliver:
        made.append(Deliver(local, queue_url or queues.queue_url, *options))
        return made[-1]

    yield start
    for each in made:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()


def held_or_visible(local: LocalAws, queues: Queues) -> tuple[int, int]:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    names.append("ApproximateNumberOfMessagesDelayed")
    shown = local.sqs().get_queue_attributes(QueueUrl=queues.queue_url, AttributeNames=names)
    visible, held, delayed = (int(shown["Attributes"][name]) for name in names)
    return held, visible + delayed


def test_it_delivers_is_small_answers_probes_and_stops_clean(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make, until: Make,
    deliver: Make,
) -> None:  # fmt: skip
    process = deliver()
    until(process.is_ready, "it is ready")
    for number in range(200):
        outbox.box.put(pending(receiver.url(), number))
    local.advance(6.0)

    until(lambda: len(receiver.accepted()) == 200, "all are delivered")
    until(lambda: held_or_visible(local, queues) == (0, 0), "the outbox is empty")

    rss_mib = process.rss_mib()
    print(f"resident memory after 200 callbacks: {rss_mib:.0f} MiB")
    assert rss_mib <= MAX_RSS_MIB
    maps = Path(f"/proc/{process.process.pid}/maps").read_text()
    assert not re.search(r"torch|numpy|libav", maps)
    assert process.get("/healthz")[0] == 200
    state = json.loads(process.get("/state")[1])
    assert (state["ready"], state["outbox"]["open_circuits"]) == (True, 0)
    metrics = process.get("/metrics")[1]
    assert 'detection_worker_outbox_entries_total{result="delivered"} 200.0' in metrics
    assert "detection_worker_in_flight" not in metrics
    code, err = process.end(signal.SIGTERM)
    assert code == 0, err


def test_drain_gives_back_and_resume_goes_on(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make, until: Make,
    deliver: Make,
) -> None:  # fmt: skip
    process = deliver()
    until(process.is_ready, "it is ready")
    process.get("/drain", "POST")
    until(lambda: json.loads(process.get("/state")[1])["drained"], "it is drained")
    outbox.box.put(pending(receiver.url()))
    local.advance(6.0)
    time.sleep(1.5)  # the poll under way may be answered with it
    until(lambda: held_or_visible(local, queues) == (0, 1), "it is given back")
    assert receiver.posts == []

    process.get("/resume", "POST")

    until(lambda: len(receiver.accepted()) == 1, "it is delivered")


def test_a_kill_between_send_and_delete_gives_a_second_entry_with_the_same_id_and_bytes(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make, until: Make,
    deliver: Make,
) -> None:  # fmt: skip
    callback = pending(receiver.url("/down"))
    receiver.answers["/down"] = (503, {})
    outbox.box.put(callback)
    local.inject(Fault(operation="sqs.DeleteMessageBatch", kind="latency", seconds=30.0))
    process = deliver()
    local.advance(6.0)
    queue = queues.queue_url.rpartition("/")[2]

    def sent() -> int:
        return sum(e.kind == "sent" for e in local.journal() if e.queue == queue)

    until(lambda: sent() == 2, "the entry was sent on")
    process.end(signal.SIGKILL)
    local.clear_faults()
    receiver.answers.clear()
    local.advance(400.0)
    # A poll of the dead process may take them for a minute.
    assert sum(held_or_visible(local, queues)) == 2
    second = deliver()

    def is_empty() -> bool:
        local.advance(30.0)  # the entry of the later attempt waits on the queue's clock
        time.sleep(0.2)
        return held_or_visible(local, queues) == (0, 0)

    until(is_empty, "the outbox is empty")

    assert {(p.webhook_id, p.body) for p in receiver.posts} == {
        (callback.webhook_id, callback.body)
    }
    assert len(receiver.accepted()) in (1, 2)
    second.end(signal.SIGTERM)


def test_kills_lose_nothing(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make, until: Make,
    deliver: Make,
) -> None:  # fmt: skip
    callbacks = {c.webhook_id: c for c in (pending(receiver.url("/s"), n) for n in range(300))}
    receiver.delays_s["/s"] = 0.05
    for callback in callbacks.values():
        outbox.box.put(callback)
    local.advance(6.0)
    for _ in range(4):
        process = deliver("--callback-workers", "8")
        before = len(receiver.posts)
        until(lambda: len(receiver.posts) >= before + 30, "it works")  # noqa: B023 - used at once
        process.end(signal.SIGKILL)
        time.sleep(1.5)  # SQS answers a poll of the dead process no more
        local.advance(61.0)
    last = deliver()

    # On a busy machine the receiver counts as slow, and entries are put off for seconds.
    until(lambda: held_or_visible(local, queues) == (0, 0), "the outbox is empty", timeout_s=120.0)

    assert {p.webhook_id: p.body for p in receiver.accepted()} == {
        i: c.body for i, c in callbacks.items()
    }
    doubled = len(receiver.accepted()) - len(callbacks)
    print(f"4 kills over 300 callbacks: 0 lost, {doubled} delivered twice with the same id")
    assert doubled <= 4 * 16
    last.end(signal.SIGTERM)


@pytest.mark.parametrize(
    ("status", "expected"), [pytest.param(200, 0, id="up"), pytest.param(410, 1, id="gone")]
)
def test_run_once_says_whether_all_that_was_due_is_delivered(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make, deliver: Make,
    status: int, expected: int,
) -> None:  # fmt: skip
    receiver.answers["/x"] = (status, {})
    for number in range(25):
        outbox.box.put(pending(receiver.url("/x"), number))
    local.advance(6.0)

    # A host counts as slow before its first answer: then three quarters of the threads take all.
    process = deliver("--run-once", "--callback-workers", "40")
    _, err = process.process.communicate(timeout=60)

    assert process.process.returncode == expected, err
    assert len(receiver.posts) == 25
    assert held_or_visible(local, queues) == (0, 0)


@pytest.mark.parametrize(
    ("status", "operation", "left"),
    [
        pytest.param(503, "sqs.SendMessageBatch", (1, 0), id="not sent on"),
        # With no dead-letter queue to be had, it waits for a day.
        pytest.param(410, "sqs.SendMessage", (0, 1), id="not dead-lettered"),
    ],
)
def test_run_once_fails_if_sqs_does_not_take_what_was_not_delivered(
    local: LocalAws, queues: Queues, outbox: Any, receiver: Any, pending: Make, deliver: Make,
    status: int, operation: str, left: tuple[int, int],
) -> None:  # fmt: skip
    receiver.answers["/x"] = (status, {})
    outbox.box.put(pending(receiver.url("/x")))
    local.advance(6.0)
    local.inject(Fault(operation=operation, kind="access_denied"))

    process = deliver("--run-once")
    _, err = process.process.communicate(timeout=60)

    assert process.process.returncode == 1, err
    assert held_or_visible(local, queues) == left


@pytest.mark.parametrize("options", [(), ("--run-once",)], ids=["service", "once"])
def test_a_work_queue_is_refused_and_left_as_it_is(
    local: LocalAws, queues: Queues, deliver: Make, options: tuple[str, ...]
) -> None:
    local.send(queues.queue_url, ['{"sqs_to_ml_url": "s3://media/a.jpg"}'] * 12)

    process = deliver(*options)
    _, err = process.process.communicate(timeout=60)

    assert process.process.returncode == 2, err
    assert "This queue is no outbox" in err
    assert held_or_visible(local, queues) == (0, 12)


def test_a_queue_that_does_not_exist_ends_it_at_a_terminal_and_is_waited_for_in_a_pod(
    local: LocalAws, until: Make, deliver: Make
) -> None:
    url = f"{local.endpoint_url}/123456789012/not-yet"
    terminal = deliver("--control-port", "0", queue_url=url)
    _, err = terminal.process.communicate(timeout=60)
    assert terminal.process.returncode == 2
    assert "SQS queue does not exist" in err

    pod = deliver(queue_url=url)
    until(lambda: "does not exist" in pod.get("/readyz")[1], "it says why it is not ready")
    local.create_queue("not-yet")
    until(pod.is_ready, "it found the queue")
    assert pod.end(signal.SIGTERM)[0] == 0


@pytest.mark.parametrize(
    ("url", "environment", "said"),
    [
        pytest.param("http://sqs/1/o.fifo", {}, "cannot be a FIFO queue", id="FIFO"),
        pytest.param(
            "https://sqs.eu-west-1.amazonaws.com/123456789012/work",
            {"QUEUE_URL": "https://eu-west-1.queue.amazonaws.com/123456789012/work"},
            "must be a queue of its own",
            id="work queue",
        ),
        pytest.param("", {}, "No outbox queue given", id="none"),
    ],
)
def test_a_queue_that_cannot_be_an_outbox_is_refused(
    url: str, environment: dict[str, str], said: str
) -> None:
    command = [sys.executable, "-m", "detection_worker", "deliver"]
    done = subprocess.run(
        [*command, *(["--outbox", url] if url else [])],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, said in done.stderr) == (2, True)
