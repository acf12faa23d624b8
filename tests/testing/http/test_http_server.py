"""The HTTP server at the level of bytes."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from detection_testing.aws.local_aws import LocalAws
from detection_testing.http.server import HttpServer
from detection_testing.http.values import Delivery, Request, Response


@pytest.fixture
def client(aws: LocalAws) -> Iterator[socket.socket]:
    port = int(aws.endpoint_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        yield connection


def read_until(client: socket.socket, end: bytes) -> bytes:
    data = b""
    while end not in data:
        piece = client.recv(65_536)
        assert piece, f"closed after {data!r}"
        data += piece
    return data


def read_all(client: socket.socket) -> bytes:
    data = b""
    while piece := client.recv(65_536):
        data += piece
    return data


POST = b"POST /_callback/ok HTTP/1.1\r\nHost: h\r\n"


def test_requests_sent_at_once_are_answered_in_order(client: socket.socket) -> None:
    one = POST.replace(b"/ok", b"/status/201") + b"Content-Length: 1\r\n\r\na"
    two = POST.replace(b"/ok", b"/status/202") + b"Connection: close\r\n\r\n"

    client.sendall(one + two)

    answer = read_all(client)
    assert answer.index(b"HTTP/1.1 201") < answer.index(b"HTTP/1.1 202")


@pytest.mark.parametrize("piece_bytes", [1, 7, 1000])
def test_a_chunked_body_arrives_however_it_is_cut(
    aws: LocalAws, client: socket.socket, name: str, piece_bytes: int
) -> None:
    head = POST.replace(b"/ok", b"/ok/" + name.encode()) + b"Transfer-Encoding: chunked\r\n\r\n"
    request = head + b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n"

    for start in range(0, len(request), piece_bytes):
        client.sendall(request[start : start + piece_bytes])
    read_until(client, b"ok\n")

    [call] = [c for c in aws.callbacks() if c.path == f"/ok/{name}"]
    assert call.body == b"abc0123456789"


def test_expect_continue_is_answered_before_the_body_of_every_request(
    client: socket.socket,
) -> None:
    for _ in range(3):
        client.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        first = read_until(client, b"\r\n\r\n")

        client.sendall(b"ab")

        assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert read_until(client, b"ok\n").startswith(b"HTTP/1.1 200 OK\r\n")


def test_expect_continue_is_answered_on_a_connection_in_use_too(client: socket.socket) -> None:
    for _ in range(2):
        client.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        first = read_until(client, b"\r\n\r\n")
        client.sendall(b"ab")

        assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert read_until(client, b"ok\n").startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(b"nonsense\r\n\r\n", 400, id="no request line"),
        pytest.param(b"GET / HTTP/2.0\r\n\r\n", 505, id="another version"),
        pytest.param(POST + b"no colon\r\n\r\n", 400, id="header without a colon"),
        pytest.param(POST + b"Content-Length: -1\r\n\r\n", 400, id="negative length"),
        pytest.param(POST + b"Content-Length: 1,1\r\n\r\n", 400, id="two lengths"),
        pytest.param(
            POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400, id="a length twice"
        ),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="no host"),
        pytest.param(POST + b"Content-Length: 9999999999\r\n\r\n", 413, id="over the limit"),
        pytest.param(POST + b"Transfer-Encoding: gzip\r\n\r\n", 501, id="unknown coding"),
        pytest.param(
            POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, id="bad chunk size"
        ),
        pytest.param(
            POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400, id="chunk too long"
        ),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431, id="endless head"),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(
    client: socket.socket, request_bytes: bytes, status: int
) -> None:
    client.sendall(request_bytes)

    assert read_all(client).startswith(f"HTTP/1.1 {status} ".encode())


def test_head_announces_the_length_and_sends_no_body(aws: LocalAws, client: socket.socket) -> None:
    aws.put_object("heads", "k", b"x" * 1000)
    signed = f"Authorization: Credential={aws.credentials.access_key_id}/x\r\n".encode()
    client.sendall(
        b"HEAD /heads/k HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + signed + b"\r\n"
    )

    head, _, body = read_all(client).partition(b"\r\n\r\n")

    assert b"Content-Length: 1000" in head
    assert body == b""


def test_http_1_0_gets_its_connection_closed(client: socket.socket) -> None:
    client.sendall(b"POST /_callback/ok HTTP/1.0\r\n\r\n")

    assert read_all(client).endswith(b"ok\n")


class TestDelivery:
    """Answers that misbehave."""

    def exchange(self, response: Response, *, limit: int | None = None) -> tuple[bytes, bool]:
        """Serve one answer; return what arrived and whether the connection was reset."""

        async def run() -> tuple[bytes, bool]:
            server = HttpServer(lambda _: response)
            port = await server.start()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            data, reset = b"", False
            try:
                data = await (reader.read(-1) if limit is None else reader.readexactly(limit))
            except ConnectionResetError:
                reset = True
            writer.close()
            await server.close()
            return data, reset

        return asyncio.run(run())

    def test_dropped_means_closed_without_a_byte(self) -> None:
        assert self.exchange(Response(delivery=Delivery(drop=True))) == (b"", False)

    def test_reset_means_reset(self) -> None:
        assert self.exchange(Response(delivery=Delivery(reset=True))) == (b"", True)

    def test_cut_short_announces_all_and_sends_a_part(self) -> None:
        response = Response(body=b"x" * 100, delivery=Delivery(stop_after_bytes=30))

        head, _, body = self.exchange(response)[0].partition(b"\r\n\r\n")

        assert b"Content-Length: 100" in head
        assert body == b"x" * 30

    def test_a_stall_sends_what_comes_before_it_and_ends_with_the_server(self) -> None:
        response = Response(
            body=b"x" * 100, delivery=Delivery(stall_after_bytes=10, stall_s=3600.0)
        )

        data, _ = self.exchange(response, limit=len(b"HTTP/1.1 200 OK\r\n") + 23 + 10)

        assert data.endswith(b"\r\n\r\n" + b"x" * 10)

    def test_a_failing_handler_is_a_500_and_the_server_goes_on(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(request: Request) -> Response:
            raise LookupError(request.path)

        async def run() -> list[bytes]:
            server = HttpServer(broken)
            port = await server.start()
            answers = []
            for _ in range(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                answers.append(await reader.read(-1))
                writer.close()
            await server.close()
            return answers

        assert all(a.startswith(b"HTTP/1.1 500 ") for a in asyncio.run(run()))
        assert "LookupError" in caplog.text


def test_the_server_listens_on_loopback_only(aws: LocalAws) -> None:
    port = int(aws.endpoint_url.rpartition(":")[2])

    with closing(socket.socket()) as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", port))
