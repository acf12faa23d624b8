"""The callback receiver."""

import json
import urllib.error
import urllib.request
from threading import Thread

import pytest

from detection_worker.cli.queue.receiver import ResultReceiver


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
