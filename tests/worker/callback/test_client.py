import base64
import contextlib
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_contract import signing
from detection_contract.error_codes import ErrorCode
from detection_worker.callback.client import HttpCallbackClient, parse_retry_after
from detection_worker.callback.connections import trusting_public_authorities
from detection_worker.errors import Cancelled, JobError
from detection_worker.settings import CallbackSettings

BODY = json.dumps({"label": "FAKE", "note": "ä" * 1000}).encode()
LOOPBACK = "127.0.0.0/8"
READ_TIMEOUT_S = 1.0
"""For clients that wait for it to pass; a busy machine must answer the others within it."""
SECRETS = tuple("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))


def post(
    client: HttpCallbackClient,
    url: str,
    *,
    body: bytes = BODY,
    request_id: str = "request-1",
    on_progress: Callable[[], None] = lambda: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    client.post(
        url,
        body,
        webhook_id="msg_1",
        request_id=request_id,
        on_progress=on_progress,
        cancelled=cancelled,
    )


def error_of(client: HttpCallbackClient, url: str, **options: Any) -> JobError:
    with pytest.raises(JobError) as caught:
        post(client, url, **options)
    assert "token" not in caught.value.message
    assert "/cb" not in caught.value.message
    return caught.value


def reply(status: int, body: bytes = b"ok", **headers: str) -> Callable[[Any], None]:
    return lambda handler: handler.reply(status, body, **headers)


def silence(handler: Any) -> None:
    handler.rfile.read(1)
    handler.close_connection = True


def hang_up(handler: Any) -> None:
    handler.close_connection = True


def drip(handler: Any) -> None:
    try:
        for _ in range(1000):
            handler.connection.sendall(b"H")
            time.sleep(0.02)
    except OSError:
        handler.close_connection = True


def test_a_result_arrives_with_its_headers(receiver: Any, client: HttpCallbackClient) -> None:
    steps: list[int] = []

    post(client, receiver.url, on_progress=lambda: steps.append(1))

    ((path, headers, body),) = receiver.requests
    assert path == "/cb?token=secret"
    assert body == BODY
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"].startswith("detection-queue/")
    assert headers["X-Request-Id"] == "request-1"
    assert headers["webhook-id"] == "msg_1"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert "webhook-signature" not in headers
    assert steps == [1]


def test_a_signed_result_verifies_with_either_secret(
    receiver: Any, make_client: Callable[..., HttpCallbackClient]
) -> None:
    post(make_client(signing_secrets=SECRETS), receiver.url)

    ((_, headers, body),) = receiver.requests
    for secret in SECRETS:
        signature = signing.sign(
            secret,
            webhook_id="msg_1",
            timestamp_s=int(headers["webhook-timestamp"]),
            body=body,
        )
        assert signature in headers["webhook-signature"].split()


def test_a_broken_secret_is_found_at_the_start() -> None:
    with pytest.raises(ValueError, match="whsec_"):
        HttpCallbackClient(CallbackSettings(signing_secrets=("nothing",)))


def test_one_connection_serves_many_results(receiver: Any, client: HttpCallbackClient) -> None:
    for _ in range(5):
        post(client, receiver.url)

    assert receiver.connections == 1


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_success(status: int, receiver: Any, client: HttpCallbackClient) -> None:
    receiver.answer(reply(status, b""))

    post(client, receiver.url)

    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
def test_a_redirect_is_a_rejection_that_is_not_followed(
    status: int, receiver: Any, client: HttpCallbackClient
) -> None:
    receiver.answer(reply(status, b"", Location="http://169.254.169.254/latest"))

    error = error_of(client, receiver.url)

    assert error.code is ErrorCode.CALLBACK_REJECTED
    assert str(status) in error.message
    assert "169.254" not in error.message
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 415, 422])
def test_an_answer_that_a_retry_cannot_change_is_a_rejection(
    status: int, receiver: Any, client: HttpCallbackClient
) -> None:
    receiver.answer(reply(status))

    error = error_of(client, receiver.url)

    assert error.code is ErrorCode.CALLBACK_REJECTED
    assert error.message == f"The callback to http://127.0.0.1:{receiver.port} answered {status}"
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        *[
            pytest.param(reply(s), id=str(s))
            for s in (408, 425, 429, 500, 501, 502, 503, 504, 599)
        ],
        pytest.param(hang_up, id="no answer"),
        pytest.param(silence, id="silence"),
        pytest.param(drip, id="a status line that drips"),
        pytest.param(lambda h: h.connection.sendall(b"SSH-2.0-OpenSSH\r\n"), id="no HTTP"),
    ],
)
def test_a_passing_failure_is_tried_again_with_the_same_bytes(
    answer: Callable[[Any], None], receiver: Any, make_client: Callable[..., HttpCallbackClient]
) -> None:
    receiver.answer(answer, answer)
    steps: list[int] = []

    post(
        make_client(read_timeout_s=READ_TIMEOUT_S),
        receiver.url,
        on_progress=lambda: steps.append(1),
    )

    assert [body for _, _, body in receiver.requests] == [BODY] * 3
    assert {headers["webhook-id"] for _, headers, _ in receiver.requests} == {"msg_1"}
    assert len(steps) == 3


def test_attempts_used_up_leave_the_result_to_the_queue(
    receiver: Any, client: HttpCallbackClient
) -> None:
    receiver.answer(*[reply(503, Retry_After="0")] * 5)

    error = error_of(client, receiver.url)

    assert error.code is ErrorCode.CALLBACK_UNREACHABLE
    assert error.retry_after_s == 0.0
    assert "after 3 attempt(s): it answered 503" in error.message
    assert len(receiver.requests) == 3


def test_a_short_retry_after_is_waited_for(
    receiver: Any, make_client: Callable[..., HttpCallbackClient]
) -> None:
    now = [100.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    client = make_client(clock=lambda: now[0], sleep=sleep)
    receiver.answer(reply(429, Retry_After="3"))

    post(client, receiver.url)

    assert sum(slept) == pytest.approx(3.0)
    assert len(receiver.requests) == 2


@pytest.mark.parametrize(("longest_s", "requests"), [(4.5, 1), (5.5, 2)])
def test_no_attempt_begins_that_would_be_cut_off_at_once(
    receiver: Any,
    make_client: Callable[..., HttpCallbackClient],
    longest_s: float,
    requests: int,
) -> None:
    """A receiver that takes half a second would have the result, and get it again."""
    now = [100.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    client = make_client(
        clock=lambda: now[0], sleep=sleep, read_timeout_s=2.0, max_elapsed_s=longest_s, attempts=2
    )
    receiver.answer(*[reply(503, Retry_After="4")] * 2)

    error = error_of(client, receiver.url)

    assert error.message.endswith(f"after {requests} attempt(s): it answered 503")
    assert len(receiver.requests) == requests


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("120", id="seconds"),
        pytest.param(formatdate(1_000_120.0, usegmt=True), id="a date"),
    ],
)
def test_a_long_retry_after_is_handed_to_the_queue_at_once(
    value: str, receiver: Any, make_client: Callable[..., HttpCallbackClient]
) -> None:
    client = make_client(wall_clock=lambda: 1_000_000.0)
    receiver.answer(reply(503, Retry_After=value))

    error = error_of(client, receiver.url)

    assert error.retry_after_s == 120.0
    assert len(receiver.requests) == 1


@given(st.text() | st.from_regex(r"\d{1,400}", fullmatch=True))
def test_no_retry_after_breaks_the_parser(value: str) -> None:
    wait_s = parse_retry_after(value, now_s=0.0)

    assert wait_s is None or wait_s >= 0.0


def test_an_endpoint_that_is_down_is_unreachable(client: HttpCallbackClient) -> None:
    with socket.socket() as bound:  # bound but not listening: refuses
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/cb?token=secret"

        error = error_of(client, url)

    assert error.code is ErrorCode.CALLBACK_UNREACHABLE
    assert error.message.endswith("it refused the connection")


def test_a_name_without_address_is_unreachable(
    make_client: Callable[..., HttpCallbackClient],
) -> None:
    def nowhere(host: str, port: int) -> list[tuple[int, str]]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    error = error_of(make_client(resolve=nowhere), "http://receiver.example/cb?token=1")

    assert error.code is ErrorCode.CALLBACK_UNREACHABLE
    assert error.message.endswith("its host name cannot be resolved")


def test_cancelling_ends_the_wait_at_once(
    receiver: Any, make_client: Callable[..., HttpCallbackClient]
) -> None:
    client = make_client(max_elapsed_s=60.0)
    receiver.answer(reply(503, Retry_After="30"))
    started_s = time.monotonic()

    with pytest.raises(Cancelled):
        post(client, receiver.url, cancelled=lambda: len(receiver.requests) > 0)

    assert time.monotonic() - started_s < 10.0  # of the 30 s that the receiver asks for
    assert len(receiver.requests) == 1


def test_a_cancelled_job_posts_nothing(receiver: Any, client: HttpCallbackClient) -> None:
    with pytest.raises(Cancelled):
        post(client, receiver.url, cancelled=lambda: True)

    assert receiver.requests == []


def test_a_huge_answer_is_not_read(receiver: Any, client: HttpCallbackClient) -> None:
    sent: list[int] = []

    def endless(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(10**12))
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 65_536)
                sent.append(65_536)
        except OSError:
            handler.close_connection = True

    receiver.answer(endless)

    post(client, receiver.url)
    post(client, receiver.url)

    assert sum(sent) < 20_000_000  # what the kernel's buffers hold
    assert receiver.connections == 2


def test_a_body_that_drips_does_not_undo_the_delivery(
    receiver: Any, client: HttpCallbackClient
) -> None:
    def slow_body(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.flush()
        drip(handler)

    receiver.answer(slow_body)
    started_s = time.monotonic()

    post(client, receiver.url)

    assert time.monotonic() - started_s < 5.0  # of the 20 s that it drips
    assert len(receiver.requests) == 1


def test_a_compressed_answer_is_not_unpacked(receiver: Any, client: HttpCallbackClient) -> None:
    receiver.answer(reply(200, b"no gzip at all", Content_Encoding="gzip"))

    post(client, receiver.url)

    assert len(receiver.requests) == 1


def test_cookies_of_one_receiver_go_to_nobody(receiver: Any, client: HttpCallbackClient) -> None:
    receiver.answer(reply(200, Set_Cookie="session=1; Path=/"))

    post(client, receiver.url)
    post(client, receiver.url)

    assert "Cookie" not in receiver.requests[1][1]


def test_proxies_of_the_environment_are_not_used(
    receiver: Any, client: HttpCallbackClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")

    post(client, receiver.url)

    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("request_id", "shown"),
    [
        pytest.param("a b/c%20", "a b/c%20", id="printable as it is"),
        pytest.param("x\r\nX-Evil: 1", "x%0D%0AX-Evil: 1", id="a line break"),
        pytest.param("ä", "%C3%A4", id="beyond ASCII"),
    ],
)
def test_a_request_id_cannot_make_headers(
    request_id: str, shown: str, receiver: Any, client: HttpCallbackClient
) -> None:
    post(client, receiver.url, request_id=request_id)

    headers = receiver.requests[0][1]
    assert headers["X-Request-Id"] == shown
    assert "X-Evil" not in headers


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("ftp://example.com/cb", id="another scheme"),
        pytest.param("file:///etc/passwd", id="a file"),
        pytest.param("http:///cb", id="no host"),
        pytest.param("http://user:pass@example.com/cb", id="credentials"),
        pytest.param("http://example.com:99999/cb", id="no port"),
        pytest.param("http://[::1/cb", id="a broken address"),
        pytest.param("example.com/cb", id="no scheme"),
    ],
)
def test_what_cannot_be_called_is_a_bad_callback_url(url: str, client: HttpCallbackClient) -> None:
    error = error_of(client, url)

    assert error.code is ErrorCode.BAD_CALLBACK_URL
    assert "pass" not in error.message


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "127.0.0.1.",
        "\uff11\uff12\uff17.0.0.1",
    ],
)
def test_no_way_of_writing_loopback_reaches_it(
    host: str, receiver: Any, make_client: Callable[..., HttpCallbackClient]
) -> None:
    client = make_client(allow_private=False, attempts=1)

    error = error_of(client, f"http://{host}:{receiver.port}/cb?token=secret")

    assert error.code in {
        ErrorCode.CALLBACK_FORBIDDEN,
        ErrorCode.CALLBACK_UNREACHABLE,  # this machine's resolver does not know the form
        ErrorCode.BAD_CALLBACK_URL,
    }
    assert receiver.connections == 0


def test_a_forbidden_address_is_named_and_not_tried_again(
    receiver: Any, make_client: Callable[..., HttpCallbackClient]
) -> None:
    error = error_of(make_client(allow_private=False), receiver.url)

    assert error.code is ErrorCode.CALLBACK_FORBIDDEN
    assert error.message == (
        f"The callback to http://127.0.0.1:{receiver.port} is forbidden: its address is loopback"
    )
    assert receiver.connections == 0


def test_a_name_is_resolved_once_and_the_checked_address_is_called(
    receiver: Any, make_client: Callable[..., HttpCallbackClient]
) -> None:
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[tuple[int, str]]:
        asked.append(host)
        return [(socket.AF_INET, "127.0.0.1" if len(asked) == 1 else "127.0.0.2")]

    client = make_client(
        allow_private=False, allowed_networks=("127.0.0.1/32",), resolve=rebinding
    )

    post(client, f"http://receiver.example:{receiver.port}/cb")
    post(client, f"http://receiver.example:{receiver.port}/cb")

    assert asked == ["receiver.example"]
    assert receiver.requests[0][1]["Host"] == f"receiver.example:{receiver.port}"


def test_forbidden_addresses_of_a_name_are_passed_over(
    receiver: Any, make_client: Callable[..., HttpCallbackClient]
) -> None:
    def mixed(host: str, port: int) -> list[tuple[int, str]]:
        return [
            (socket.AF_INET6, "64:ff9b::7f00:1"),
            (socket.AF_INET, "10.0.0.1"),
            (socket.AF_INET, "127.0.0.1"),
        ]

    client = make_client(allow_private=False, allowed_networks=(LOOPBACK,), resolve=mixed)

    post(client, f"http://receiver.example:{receiver.port}/cb")

    assert len(receiver.requests) == 1


def test_the_next_address_is_tried_when_one_refuses(
    receiver: Any, make_client: Callable[..., HttpCallbackClient]
) -> None:
    def two(host: str, port: int) -> list[tuple[int, str]]:
        return [(socket.AF_INET, "127.0.0.9"), (socket.AF_INET, "127.0.0.1")]

    post(make_client(resolve=two), f"http://receiver.example:{receiver.port}/cb")

    assert len(receiver.requests) == 1


def tls_client(
    make_client: Callable[..., HttpCallbackClient], certificate: Path, **options: Any
) -> HttpCallbackClient:
    return make_client(
        tls=ssl.create_default_context(cafile=str(certificate)),
        resolve=lambda host, port: [(socket.AF_INET, "127.0.0.1")],
        allow_private=False,
        allowed_networks=(LOOPBACK,),
        **options,
    )


def test_https_is_verified_for_the_name_and_kept_alive(
    tls_receiver: Any, make_client: Callable[..., HttpCallbackClient], certificate: Path
) -> None:
    client = tls_client(make_client, certificate)

    for _ in range(3):
        post(client, f"https://receiver.example:{tls_receiver.port}/cb")

    assert [body for _, _, body in tls_receiver.requests] == [BODY] * 3
    assert tls_receiver.connections == 1


def test_a_certificate_for_another_name_is_refused(
    tls_receiver: Any, make_client: Callable[..., HttpCallbackClient], certificate: Path
) -> None:
    client = tls_client(make_client, certificate, attempts=1)

    error = error_of(client, f"https://other.example:{tls_receiver.port}/cb")

    assert error.code is ErrorCode.CALLBACK_UNREACHABLE
    assert error.message.endswith("its certificate is not valid")
    assert tls_receiver.requests == []


def test_a_status_line_that_drips_over_tls_is_given_up(
    tls_receiver: Any, make_client: Callable[..., HttpCallbackClient], certificate: Path
) -> None:
    client = tls_client(make_client, certificate, attempts=1, read_timeout_s=READ_TIMEOUT_S)
    tls_receiver.answer(drip)
    started_s = time.monotonic()

    error = error_of(client, f"https://receiver.example:{tls_receiver.port}/cb")

    assert error.message.endswith("it did not answer in time")
    assert time.monotonic() - started_s < 5.0  # of the 20 s that it drips


def test_the_default_trust_holds_public_authorities() -> None:
    context = trusting_public_authorities()

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.cert_store_stats()["x509_ca"] > 50


def test_many_threads_share_the_client(receiver: Any, client: HttpCallbackClient) -> None:
    def post_ten() -> None:
        for _ in range(10):
            post(client, receiver.url)

    threads = [threading.Thread(target=post_ten) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(receiver.requests) == 80
    assert receiver.connections <= 8


def test_a_whole_post_ends_within_its_time(
    receiver: Any, make_client: Callable[..., HttpCallbackClient]
) -> None:
    client = make_client(read_timeout_s=30.0, max_elapsed_s=0.4, attempts=10)
    receiver.answer(*[silence] * 10)
    started_s = time.monotonic()

    error = error_of(client, receiver.url)

    assert error.code is ErrorCode.CALLBACK_UNREACHABLE
    assert time.monotonic() - started_s < 10.0  # of the 30 s that one read may take


def test_no_log_above_debug_shows_the_url(
    receiver: Any, client: HttpCallbackClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    receiver.answer(reply(503), hang_up)

    post(client, receiver.url)

    assert "token" not in caplog.text


INTERIM = {
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "102": b"HTTP/1.1 102 Processing\r\n\r\n",
    "103": b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n",
    "199": b"HTTP/1.1 199 Whatever\r\n\r\n",
    "103 that claims a body": b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n",
    "102 that claims to close": b"HTTP/1.1 102 Processing\r\nConnection: close\r\n\r\n",
    "103 in chunks": b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n",
}


def after(interim: bytes, status: int = 200) -> Callable[[Any], None]:
    def answer(handler: Any) -> None:
        handler.connection.sendall(interim)
        handler.reply(status)

    return answer


@pytest.mark.parametrize(
    "interim",
    [
        *[pytest.param(each, id=name) for name, each in INTERIM.items()],
        pytest.param(INTERIM["100"] * 2, id="100 twice"),
        pytest.param(INTERIM["100"] + INTERIM["102"] + INTERIM["103"] * 5, id="several"),
        pytest.param(INTERIM["102"] * 500, id="many"),
    ],
)
def test_interim_answers_are_skipped(
    interim: bytes, receiver: Any, client: HttpCallbackClient
) -> None:
    receiver.answer(after(interim), after(interim))

    post(client, receiver.url)
    post(client, receiver.url)

    assert len(receiver.requests) == 2
    assert receiver.connections == 1


def test_the_answer_after_an_interim_one_decides(
    receiver: Any, client: HttpCallbackClient
) -> None:
    receiver.answer(after(INTERIM["103"], 503), after(INTERIM["102"], 410))

    error = error_of(client, receiver.url)

    assert error.code is ErrorCode.CALLBACK_REJECTED
    assert error.message.endswith("answered 410")
    assert len(receiver.requests) == 2


def test_interim_answers_over_tls_are_skipped(
    tls_receiver: Any, make_client: Callable[..., HttpCallbackClient], certificate: Path
) -> None:
    tls_receiver.answer(after(INTERIM["103"]))

    post(tls_client(make_client, certificate), f"https://receiver.example:{tls_receiver.port}/cb")

    assert len(tls_receiver.requests) == 1


@pytest.mark.parametrize("name", ["100", "102", "103"])
def test_interim_answers_without_end_are_given_up(
    name: str, receiver: Any, make_client: Callable[..., HttpCallbackClient]
) -> None:
    sent: list[int] = []

    def endless(handler: Any) -> None:
        handler.close_connection = True
        with contextlib.suppress(OSError):
            while True:
                handler.connection.sendall(INTERIM[name] * 1000)
                sent.append(len(INTERIM[name]) * 1000)

    receiver.answer(endless)
    client = make_client(attempts=1, read_timeout_s=60.0, max_elapsed_s=60.0)

    error = error_of(client, receiver.url)

    assert error.code is ErrorCode.CALLBACK_UNREACHABLE
    assert error.message.endswith("its answer has no end")
    assert sum(sent) < 20_000_000  # what the kernel's buffers hold


def test_interim_answers_that_drip_are_given_up_in_time(
    receiver: Any, make_client: Callable[..., HttpCallbackClient]
) -> None:
    def patient(handler: Any) -> None:
        handler.close_connection = True
        with contextlib.suppress(OSError):
            for _ in range(1000):
                handler.connection.sendall(INTERIM["102"])
                time.sleep(0.02)

    receiver.answer(patient)
    started_s = time.monotonic()

    error = error_of(make_client(attempts=1, read_timeout_s=READ_TIMEOUT_S), receiver.url)

    assert error.message.endswith("it did not answer in time")
    assert time.monotonic() - started_s < 5.0  # of the 20 s that it drips


def test_a_protocol_that_was_not_asked_for_is_a_rejection(
    receiver: Any, client: HttpCallbackClient
) -> None:
    def switch(handler: Any) -> None:
        handler.connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\n\r\n"
        )
        handler.rfile.read(1)
        handler.close_connection = True

    receiver.answer(switch)

    error = error_of(client, receiver.url)
    post(client, receiver.url)

    assert error.code is ErrorCode.CALLBACK_REJECTED
    assert error.message.endswith("answered 101")
    assert receiver.connections == 2  # the first one speaks something else now


def test_credentials_of_the_environment_are_not_sent(
    receiver: Any,
    client: HttpCallbackClient,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    post(client, receiver.url)

    assert "Authorization" not in receiver.requests[0][1]


def test_a_bundle_of_the_environment_is_not_trusted(
    tls_receiver: Any,
    make_client: Callable[..., HttpCallbackClient],
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(certificate))
    client = make_client(attempts=1, resolve=lambda host, port: [(socket.AF_INET, "127.0.0.1")])

    error = error_of(client, f"https://receiver.example:{tls_receiver.port}/cb")

    assert error.message.endswith("its certificate is not valid")


def test_a_trusted_authority_is_the_only_one(
    tls_receiver: Any,
    make_client: Callable[..., HttpCallbackClient],
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[object] = []
    context = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(context, "load_verify_locations", lambda *a, **k: loaded.append(a))
    client = make_client(tls=context, resolve=lambda host, port: [(socket.AF_INET, "127.0.0.1")])

    post(client, f"https://receiver.example:{tls_receiver.port}/cb")

    assert loaded == []  # a connection adds nobody to whom the context trusts


def test_a_redirect_with_a_body_is_not_read_to_its_end(
    receiver: Any, client: HttpCallbackClient
) -> None:
    sent: list[int] = []

    def endless(handler: Any) -> None:
        handler.send_response(307)
        handler.send_header("Location", receiver.url)
        handler.send_header("Content-Length", str(10**12))
        handler.end_headers()
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(b"x" * 65_536)
                sent.append(65_536)
        handler.close_connection = True

    receiver.answer(endless)

    error = error_of(client, receiver.url)

    assert error.code is ErrorCode.CALLBACK_REJECTED
    assert sum(sent) < 20_000_000  # what the kernel's buffers hold
    assert len(receiver.requests) == 1
