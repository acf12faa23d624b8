"""Reads the requests of one connection: h11 parses them, this adds limits."""

import re
from typing import Final

import h11

from detection_testing.http.values import BadRequestError, Peer, Request

MAX_HEAD_BYTES: Final = 65_536
_VERSIONS: Final = (b"1.1", b"1.0")
_LENGTHS: Final = re.compile(rb"(?i)\ncontent-length:([^\r\n]*)")


class RequestReader:
    """Takes bytes as they come and gives requests when they are complete.

    Args:
        peer: The client, for its requests.
        max_body_bytes: A longer body is refused with 413.
    """

    def __init__(self, peer: Peer, *, max_body_bytes: int) -> None:
        self._peer = peer
        self._max_body_bytes = max_body_bytes
        self._asked = False
        self._start(b"")

    def feed(self, data: bytes) -> None:
        """Add bytes."""
        self._h11.receive_data(data)

    def next(self) -> Request | None:
        """Return the next request, None until more bytes come.

        Raises:
            BadRequestError: The bytes are no HTTP/1.1, or head or body is over its limit.
        """
        try:
            return self._next()
        except h11.RemoteProtocolError as exc:
            raise BadRequestError(exc.error_status_hint, str(exc)) from exc

    def expects_continue(self) -> bool:
        """Say, once for a request, whether its client waits for 100 Continue."""
        if self._asked or not self._h11.they_are_waiting_for_100_continue:
            return False
        self._asked = True
        return True

    def _start(self, unread: bytes) -> None:
        # One for each request: h11 reads the next one only after it has written an answer, and
        # answers that misbehave on purpose are not written by it.
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        if unread:
            self._h11.receive_data(unread)
        self._request: Request | None = None
        self._asked = False
        self._parts: list[bytes] = []
        self._size = 0

    def _next(self) -> Request | None:
        if self._request is None:
            self._refuse_several_lengths()
        event = self._h11.next_event()
        while event is not h11.NEED_DATA:
            if isinstance(event, h11.Request):
                self._request = self._begin(event)
            elif isinstance(event, h11.Data):
                self._add(bytes(event.data))
            else:
                return self._end()
            event = self._h11.next_event()
        return None

    def _begin(self, event: h11.Request) -> Request:
        if event.http_version not in _VERSIONS:
            raise BadRequestError(505, "only HTTP/1.1 is spoken here")
        headers: dict[str, str] = {}
        for raw_name, raw_value in event.headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        self._limit(int(headers.get("content-length", "0")))
        target = event.target.decode("latin-1")
        if target.startswith("http://"):
            target = "/" + target[7:].partition("/")[2]
        path, _, query = target.partition("?")
        method = event.method.decode("latin-1")
        return Request(method=method, path=path, query=query, headers=headers, peer=self._peer)

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        self._limit(self._size)
        self._parts.append(part)

    def _end(self) -> Request:
        request = self._request
        assert request is not None  # noqa: S101 - h11 ends no request that it did not begin
        request.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        request.keep_alive = self._h11.their_state is h11.DONE
        self._start(self._h11.trailing_data[0])
        return request

    def _limit(self, size: int) -> None:
        if size > self._max_body_bytes:
            raise BadRequestError(413, f"body over {self._max_body_bytes} bytes")

    def _refuse_several_lengths(self) -> None:
        # h11 takes a length that is given twice, if it is the same.
        head, end, _ = self._h11.trailing_data[0].partition(b"\r\n\r\n")
        lengths = _LENGTHS.findall(head) if end else []
        if len(lengths) > 1 or b"," in b"".join(lengths):
            raise BadRequestError(400, "more than one Content-Length")
