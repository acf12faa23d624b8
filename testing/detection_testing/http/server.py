"""A small fast HTTP/1.1 server on 127.0.0.1 with fault injection.

One connection serves one request at a time. Bodies of requests are held in memory, up to a limit;
bodies of answers are bytes or a slice of a file. Nothing here knows AWS.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from detection_testing.http.reader import MAX_HEAD_BYTES, RequestReader
from detection_testing.http.values import BadRequestError, Request, Response
from detection_testing.http.writer import Writer

_log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1 << 30
LOOPBACK = "127.0.0.1"

Handler = Callable[[Request], Response | Awaitable[Response]]
"""Answers a request; at once where it can, which saves a task for each request."""


class Connection(asyncio.Protocol):
    """One client. Its requests are answered one after the other.

    Args:
        handler: Answers requests.
        peers: Every open connection; this one adds and removes itself.
        max_body_bytes: A longer body is refused with 413.
    """

    def __init__(self, handler: Handler, *, peers: "set[Connection]", max_body_bytes: int) -> None:
        self._handler = handler
        self._peers = peers
        self._transport: asyncio.Transport
        self._writer: Writer
        self._reader = RequestReader(self, max_body_bytes=max_body_bytes)
        self._early = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._gone = False

    @property
    def gone(self) -> bool:
        """The client closed its connection."""
        return self._gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection up."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP gives nothing else
        self._transport = transport
        self._writer = Writer(transport)
        self._peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the client is gone; work on its request goes on, as on a real server."""
        del exc
        self._gone = True
        self._writer.resume()
        if self._task is None:
            self._peers.discard(self)

    def pause_writing(self) -> None:
        """Wait until the client has read more."""
        self._writer.pause()

    def resume_writing(self) -> None:
        """Go on writing."""
        self._writer.resume()

    def data_received(self, data: bytes) -> None:
        """Add bytes and serve what is complete."""
        if self._task is None:
            self._reader.feed(data)
            self._serve()
            return
        self._early += data
        if len(self._early) > MAX_HEAD_BYTES:
            self._transport.pause_reading()

    def close(self) -> asyncio.Task[None] | None:
        """End the connection at once; return the task that was at work, cancelled."""
        self._transport.abort()
        if self._task is not None:
            self._task.cancel()
        return self._task

    def _serve(self) -> None:
        try:
            while self._task is None and not self._transport.is_closing():
                request = self._reader.next()
                if request is None:
                    if self._reader.expects_continue():
                        self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    return
                self._answer(request)
        except BadRequestError as exc:
            self._refuse(exc)

    def _answer(self, request: Request) -> None:
        try:
            response = self._handler(request)
        except Exception:  # noqa: BLE001 - a fault of the handler must not end the server
            response = _failure(request)
        if isinstance(response, Response) and self._writer.send_now(request, response):
            self._finish(request, response)
            return
        self._task = asyncio.get_running_loop().create_task(self._answer_later(request, response))

    async def _answer_later(
        self, request: Request, pending: Response | Awaitable[Response]
    ) -> None:
        try:
            response = pending if isinstance(pending, Response) else await pending
            if not self._gone and not self._writer.send_now(request, response):
                await self._writer.send(request, response)
        except Exception:  # noqa: BLE001 - a fault of the handler must not end the server
            _failure(request)
            response = Response(close=True)
        self._task = None
        self._finish(request, response)
        if self._gone:
            self._peers.discard(self)
        else:
            self._transport.resume_reading()
            if self._early:
                self._reader.feed(bytes(self._early))
                self._early.clear()
            self._serve()

    def _finish(self, request: Request, response: Response) -> None:
        if response.close or not request.keep_alive:
            self._transport.close()

    def _refuse(self, exc: BadRequestError) -> None:
        text = f"{exc}\n".encode()
        head = f"HTTP/1.1 {exc.status} Refused\r\nContent-Length: {len(text)}\r\n"
        self._transport.write(head.encode() + b"Connection: close\r\n\r\n" + text)
        self._transport.close()


def _failure(request: Request) -> Response:
    _log.exception("request failed: %s %s", request.method, request.path)
    return Response(status=500, body=b"internal error\n", close=True)


class HttpServer:
    """Serves ``handler`` on 127.0.0.1 within the running event loop.

    Args:
        handler: Answers requests; called in the loop's thread.
        max_body_bytes: Longer request bodies are refused.
    """

    def __init__(self, handler: Handler, *, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._handler = handler
        self._max_body_bytes = max_body_bytes
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> int:
        """Listen on ``port``, 0 for a free one; return the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, LOOPBACK, port, backlog=1024)
        name: tuple[str, int] = self._server.sockets[0].getsockname()
        return name[1]

    async def close(self) -> None:
        """Stop listening, drop every connection and wait for the work on them to end."""
        if self._server is None:
            return
        self._server.close()
        tasks = [c.close() for c in tuple(self._connections)]
        await asyncio.gather(*(t for t in tasks if t is not None), return_exceptions=True)
        await self._server.wait_closed()
        await asyncio.sleep(0)  # lets the aborted transports close their sockets

    def _connect(self) -> Connection:
        return Connection(
            self._handler, peers=self._connections, max_body_bytes=self._max_body_bytes
        )
