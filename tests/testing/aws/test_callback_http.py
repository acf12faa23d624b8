"""The callback receiver."""

import http.client
import time

import pytest

from detection_testing.aws.journal import RecordedCallback
from detection_testing.aws.local_aws import LocalAws


def post(aws: LocalAws, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(aws.endpoint_url.rpartition(":")[2]), timeout=10
    )
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        url = aws.callback_url(path).removeprefix(aws.endpoint_url)
        connection.request("POST", url, body=b'{"a": 1}', headers=sent)
        response = connection.getresponse()
        shown = {name.lower(): value for name, value in response.getheaders()}
        return response.status, shown, response.read()
    finally:
        connection.close()


def recorded(aws: LocalAws, path: str) -> list[RecordedCallback]:
    return [call for call in aws.callbacks() if call.path == path]


def test_a_post_is_recorded_with_headers_body_and_time(aws: LocalAws, name: str) -> None:
    status, _, _ = post(aws, f"/ok/{name}", Webhook_Id="msg_1")

    [call] = recorded(aws, f"/ok/{name}")
    assert (status, call.status, call.accepted) == (200, 200, True)
    assert call.headers["webhook-id"] == "msg_1"
    assert call.body == b'{"a": 1}'
    assert 0 <= aws.stats()["now_s"] - call.at_s < 60


@pytest.mark.parametrize(
    ("path", "status"),
    [("/ok", 200), ("/status/500", 500), ("/status/204", 204), ("/redirect", 302), ("/no", 404)],
)
def test_the_path_says_the_status(aws: LocalAws, path: str, status: int) -> None:
    assert post(aws, path)[0] == status


def test_a_redirect_points_at_a_receiver_that_would_record_it(aws: LocalAws) -> None:
    assert post(aws, "/redirect")[1]["location"] == "/_callback/ok"


def test_flaky_fails_the_first_attempts_of_each_delivery(aws: LocalAws, name: str) -> None:
    statuses = {
        webhook_id: [post(aws, f"/flaky/2/{name}", Webhook_Id=webhook_id)[0] for _ in range(4)]
        for webhook_id in ("a", "b")
    }

    assert statuses == {"a": [503, 503, 200, 200], "b": [503, 503, 200, 200]}


def test_retry_after_asks_once(aws: LocalAws, name: str) -> None:
    first, second = (post(aws, f"/retry-after/7/{name}") for _ in range(2))

    assert (first[0], first[1]["retry-after"], second[0]) == (503, "7", 200)


def test_slow_answers_late_and_is_recorded_at_once(aws: LocalAws, name: str) -> None:
    started_s = time.monotonic()

    status, _, _ = post(aws, f"/slow/0.2/{name}")

    assert status == 200
    assert time.monotonic() - started_s >= 0.2
    assert len(recorded(aws, f"/slow/0.2/{name}")) == 1


def test_refuse_resets_and_is_recorded_without_a_status(aws: LocalAws, name: str) -> None:
    with pytest.raises(ConnectionResetError):
        post(aws, f"/refuse/{name}")

    [call] = recorded(aws, f"/refuse/{name}")
    assert (call.status, call.accepted) == (0, False)


def test_huge_answers_as_much_as_asked(aws: LocalAws) -> None:
    assert len(post(aws, "/huge/3000000")[2]) == 3_000_000


def test_drip_sends_byte_after_byte(aws: LocalAws) -> None:
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(aws.endpoint_url.rpartition(":")[2]), timeout=10
    )
    try:
        connection.request("POST", "/_callback/drip/0.05", body=b"")
        response = connection.getresponse()
        assert (response.read(1), response.read(1)) == (b".", b".")
        assert int(response.headers["Content-Length"]) > 1000
    finally:
        connection.close()
