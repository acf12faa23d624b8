"""Requests on botocore's connections: what comes back, and what becomes of the connection."""

import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from detection_contract.aws.quick.answers import MAX_HEAD_BYTES, Answer
from detection_contract.aws.quick.exchange import Connections

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Other:  a b \r\n\r\n"


@pytest.fixture
def read_timeout_s() -> float:
    return 30.0


@pytest.fixture
def send(
    server: Any, make_client: Callable[..., Any], read_timeout_s: float
) -> Callable[..., Answer]:
    """Send a request to the server; give its answer."""
    connections = Connections(make_client("s3", server.port, read_timeout_s=read_timeout_s))

    def call(method: str = "GET", body: bytes = b"", path: str = "/b/k?x=1") -> Answer:
        url = f"http://127.0.0.1:{server.port}{path}"
        answer = connections.send(method, url, {"host": "h", "x-amz-date": "d"}, body)
        assert answer is not None
        return answer

    return call


def test_a_request_is_written_once_and_whole(server: Any, send: Callable[..., Any]) -> None:
    server.answer(PLAIN + b"hello")
    server.answer(PLAIN + b"hello")
    assert send().content == b"hello"
    assert send("POST", b"body" * 50_000).content == b"hello"

    rest = b"host: h\r\nx-amz-date: d\r\n%baccept-encoding: identity\r\n\r\n%b"
    assert server.requests[0] == b"GET /b/k?x=1 HTTP/1.1\r\n" + rest % (b"", b"")
    length = b"content-length: 200000\r\n"
    assert server.requests[1] == b"POST /b/k?x=1 HTTP/1.1\r\n" + rest % (length, b"body" * 50_000)


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([PLAIN + b"hello"], id="at once"),
        pytest.param([PLAIN, b"he", b"llo"], id="in parts"),
        pytest.param([PLAIN[:9], PLAIN[9:40], PLAIN[40:] + b"h", b"ello"], id="head in parts"),
        pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN + b"hello"], id="after 100"),
        pytest.param([b"HTTP/1.1 102 \r\n\r\n" * 9, PLAIN + b"hello"], id="after several"),
    ],
)
def test_plain_answers_leave_the_connection_for_the_next(
    parts: list[bytes], server: Any, send: Callable[..., Any]
) -> None:
    for _ in range(3):
        server.answer(*parts)
        answer = send()
        assert (answer.status_code, answer.headers["x-other"]) == (200, "a b")
        assert answer.read(3) == b"hel"
        assert (answer.read1(9), answer.read1(9), answer.content) == (b"lo", b"", b"")
    assert server.connections == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 204\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
    ],
)
def test_an_answer_without_a_body_needs_no_reading(
    head: bytes, server: Any, send: Callable[..., Any]
) -> None:
    for _ in range(2):
        server.answer(head)
        assert send().content == b""
    assert server.connections == 1


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"


def in_two_parts(answer: bytes, server: Any, send: Callable[..., Any]) -> Iterator[Any]:
    """Yield what is understood of an answer that comes whole, in halves, and after three bytes."""
    for first in (len(answer), len(answer) // 2, 3):
        server.answer(answer[:first], answer[first:])
        yield send()


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED,
        CHUNKED.removesuffix(b"\r\n") + b"X-Sum: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\n 2\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nx-a: 2\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: \xe4\r\n\r\nhello",
        b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nhello",
        b"HTTP/1.1 200 OK\r\nX-A: 1\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 103 Early Hints\n\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
def test_other_answers_are_understood_and_leave_the_connection_too(
    answer: bytes, server: Any, send: Callable[..., Any]
) -> None:
    for found in in_two_parts(answer, server, send):
        assert (found.status_code, found.content) == (200, b"hello")
        assert (found.read1(9), found.content) == (b"", b"")
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED + b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: Close\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: x, close\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more than that",
    ],
)
def test_answers_after_which_no_other_may_come_end_their_connection(
    answer: bytes, server: Any, send: Callable[..., Any]
) -> None:
    for found in in_two_parts(answer, server, send):
        assert (found.status_code, found.content) == (200, b"hello")
    assert server.connections == 3


@pytest.mark.parametrize("length", [b"", b"Content-Length: %b\r\n" % (b"9" * 5000)])
def test_a_body_that_ends_with_the_connection_is_read_to_its_end(
    length: bytes, server: Any, send: Callable[..., Any]
) -> None:
    server.answer(b"HTTP/1.1 200 OK\r\n" + length + b"\r\nhel", b"lo", None)
    assert send().content == b"hello"


def test_a_body_that_is_cut_short_ends_early_and_ends_its_connection(
    server: Any, send: Callable[..., Any]
) -> None:
    server.answer(PLAIN + b"hel", None)
    server.answer(PLAIN + b"hello")
    assert send().content == b"hel"
    assert send().content == b"hello"
    assert server.connections == 2


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        pytest.param([None], ProtocolError, id="nothing"),
        pytest.param([PLAIN[:20], None], ProtocolError, id="half a head"),
        pytest.param([b"SSH-2.0-x\r\n\r\n", None], ProtocolError, id="no HTTP"),
        pytest.param([PLAIN.replace(b"X-Other", b"Content-Length")], ProtocolError, id="lengths"),
        pytest.param([b"HTTP/1.1 200 OK\r\nx: "], ReadTimeoutError, id="silence in the head"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nx: " + b"y" * MAX_HEAD_BYTES * 2, None],
            ProtocolError,
            id="an endless head",
        ),
    ],
)
@pytest.mark.parametrize("read_timeout_s", [1.0])
def test_what_is_no_answer_is_an_error_and_ends_the_connection(
    parts: list[bytes], error: type[Exception], server: Any, send: Callable[..., Any]
) -> None:
    server.answer(*parts)
    with pytest.raises(error):
        send()
    server.answer(PLAIN + b"hello")
    assert send().content == b"hello"


@pytest.mark.parametrize("read_timeout_s", [0.3])
def test_silence_within_a_body_is_an_error(server: Any, send: Callable[..., Any]) -> None:
    server.answer(PLAIN + b"he")
    answer = send()
    with pytest.raises(ReadTimeoutError):
        assert answer.content
    server.answer(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhe")
    with pytest.raises(OSError, match="timed out"):
        assert send().content


def test_an_answer_that_is_not_read_is_not_the_next_ones(
    server: Any, send: Callable[..., Any]
) -> None:
    server.answer(PLAIN + b"12345")
    server.answer(PLAIN, b"hello")
    with send("GET", path="/b/big") as answer:
        assert answer.status_code == 200
    with send() as answer:
        assert answer.content == b"hello"
    assert server.connections == 2


def test_connections_are_closed_with_the_client_and_opened_again(
    server: Any, make_client: Callable[..., Any]
) -> None:
    s3 = make_client("s3", server.port)
    connections, url = Connections(s3), f"http://127.0.0.1:{server.port}/b"
    for _ in range(2):
        server.answer(PLAIN + b"hello")
        answer = connections.send("GET", url, {})
        assert answer is not None
        assert answer.content == b"hello"
        s3._endpoint.http_session.close()
    assert server.connections == 2


def test_what_a_proxy_would_have_to_ask_for_is_left_to_botocore(
    server: Any, make_client: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("NO_PROXY", "")
    connections = Connections(make_client("s3", 9, host="http://s3.example"))

    assert connections.send("GET", "http://s3.example:9/b/k", {}) is None
    assert server.connections == 0


def test_without_botocores_connections_everything_is_left_to_it() -> None:
    assert Connections(object()).send("GET", "http://127.0.0.1:9/", {}) is None


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for localhost in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(file), "-out", str(file) + ".crt"),
        ],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


@pytest.mark.parametrize("through_proxy", [False, True], ids=["direct", "proxy"])
@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "unknown"])
def test_certificates_are_checked_as_botocore_does(
    certificate: Path,
    make_server: Callable[..., Any],
    make_tunnel: Callable[..., Any],
    make_client: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    trusted: bool,  # noqa: FBT001 - a column of the table
    through_proxy: bool,  # noqa: FBT001 - another
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    if trusted:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    server = make_server(context)
    tunnel = make_tunnel(server.port)
    if through_proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{tunnel.port}")
        monkeypatch.setenv("NO_PROXY", "")
    connections = Connections(make_client("s3", server.port, host="https://localhost"))
    url = f"https://localhost:{server.port}/b/k"
    server.answer(PLAIN + b"hello")
    server.answer(PLAIN + b"hello")
    if not trusted:
        with pytest.raises((HTTPError, ssl.SSLError)):
            connections.send("GET", url, {})
        return
    for _ in range(2):
        answer = connections.send("GET", url, {})
        assert answer is not None
        assert answer.content == b"hello"
    assert server.connections == 1
    assert tunnel.asked == ([f"CONNECT localhost:{server.port}"] if through_proxy else [])


@pytest.mark.parametrize("head", [PLAIN, CHUNKED.partition(b"2\r\n")[0]], ids=["plain", "chunks"])
def test_what_tls_holds_after_an_answer_is_not_the_next_one(
    head: bytes,
    certificate: Path,
    make_server: Callable[..., Any],
    make_client: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    server = make_server(context)
    connections = Connections(make_client("s3", server.port, host="https://localhost"))
    body = b"hello" if head == PLAIN else CHUNKED.removeprefix(head)
    server.answer(head, body + b"HTTP/1.1 500 Left\r\nContent-Length: 0\r\n\r\n")
    server.answer(PLAIN + b"hello")
    for _ in range(2):
        answer = connections.send("GET", f"https://localhost:{server.port}/b/k", {})
        assert answer is not None
        assert (answer.status_code, answer.content) == (200, b"hello")
    assert server.connections == 2
