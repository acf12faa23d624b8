"""Reading the body of a request from a growing buffer: by length or in chunks."""

from detection_testing.http.values import BadRequestError, Request

_MAX_CHUNK_LINE_BYTES = 1024


class BodyReader:
    """Takes the bytes of one body from the front of a buffer.

    Args:
        request: Its headers say how the body ends.
        max_bytes: A longer body is refused.

    Raises:
        BadRequestError: 400 or 413.
    """

    def __init__(self, request: Request, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._trailer = False
        encoding = request.headers.get("transfer-encoding")
        self._chunked = encoding is not None
        if encoding is not None and encoding.lower() != "chunked":
            raise BadRequestError(501, "unknown transfer encoding")
        self._missing = 0 if self._chunked else _content_length(request)
        self._check(self._missing)

    def feed(self, buffer: bytearray) -> bool:
        """Take what belongs to the body; return whether it is complete."""
        return self._feed_chunks(buffer) if self._chunked else self._feed_plain(buffer)

    def body(self) -> bytes:
        """Return the complete body."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def _feed_plain(self, buffer: bytearray) -> bool:
        if self._missing and buffer:
            part = bytes(buffer[: self._missing])
            del buffer[: self._missing]
            self._parts.append(part)
            self._missing -= len(part)
        return self._missing == 0

    def _feed_chunks(self, buffer: bytearray) -> bool:
        while True:
            if self._missing:
                if len(buffer) < self._missing:
                    return False
                if buffer[self._missing - 2 : self._missing] != b"\r\n":
                    raise BadRequestError(400, "malformed chunk")
                self._parts.append(bytes(buffer[: self._missing - 2]))
                del buffer[: self._missing]
                self._missing = 0
            line = _take_line(buffer)
            if line is None:
                return False
            if self._trailer:
                if not line:
                    return True
                continue
            self._start_chunk(line)

    def _start_chunk(self, line: bytes) -> None:
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            raise BadRequestError(400, "malformed chunk size") from None
        self._size += size
        self._check(self._size)
        self._trailer = size == 0
        self._missing = size + 2 if size else 0

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise BadRequestError(413, f"body over {self._max_bytes} bytes")


def _content_length(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise BadRequestError(400, "malformed Content-Length")
    return int(text)


def _take_line(buffer: bytearray) -> bytes | None:
    end = buffer.find(b"\r\n")
    if end < 0:
        if len(buffer) > _MAX_CHUNK_LINE_BYTES:
            raise BadRequestError(400, "malformed chunk size")
        return None
    line = bytes(buffer[:end])
    del buffer[: end + 2]
    return line
