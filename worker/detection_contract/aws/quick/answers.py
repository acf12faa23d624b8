"""Answers of HTTP/1.1: plain ones are read here, all others by ``http.client``."""

import http.client
import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Protocol

from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

MAX_HEAD_BYTES: Final = 64 * 1024
"""As much as ``http.client`` takes for a line."""
CHUNK_BYTES: Final = 64 * 1024
MAX_LENGTH_DIGITS: Final = 18
"""More digits are no length, and Python refuses to read thousands of them."""
_END: Final = b"\r\n\r\n"
_ANY_END: Final = re.compile(rb"\n\r?\n")
"""Some receivers end lines with LF alone (RFC 9112, 2.2)."""
_PLAIN: Final = re.compile(r"HTTP/1\.1 ([2-5][0-9]{2})(?: .*)?")
_INTERIM: Final = re.compile(rb"HTTP/1\.1 1(?!01)[0-9]{2}(?:[ \r\n]|$)")
"""Status 101 counts as final: no upgrade was requested, and HTTP ends with it."""
_BODYLESS: Final = frozenset({204, 304})


class Body(Protocol):
    """The body of an answer."""

    def read1(self, size: int) -> bytes:
        """Return up to ``size`` bytes as they come; none at the end."""
        ...

    def close(self) -> None:
        """Close the connection, unless the body was read to its end."""
        ...


class Answer:
    """An answer whose body is read as wanted; a context manager that closes it.

    Attributes:
        status_code: HTTP status.
        headers: By names in lower case.
    """

    def __init__(self, status_code: int, headers: Mapping[str, str], body: Body) -> None:
        self.status_code = status_code
        self.headers = headers
        self.read1 = body.read1
        self.close = body.close

    def __enter__(self) -> "Answer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes of the body, fewer at its end."""
        found = bytearray()
        while len(found) < size and (part := self.read1(min(CHUNK_BYTES, size - len(found)))):
            found += part
        return bytes(found)

    @property
    def content(self) -> bytes:
        """What is left of the body, to its end."""
        return b"".join(iter(lambda: self.read1(CHUNK_BYTES), b""))


def _nothing() -> None:
    """Change no limits."""


def read_answer(pool: Any, conn: Any, *, headed: Callable[[], None] = _nothing) -> Answer:
    """Read the head of an answer.

    Args:
        pool: Where the connection goes back to after the last byte.
        conn: The connection.
        headed: Called once the head is there, before any of the body is read.

    Raises:
        HTTPError: It is no answer.
        OSError: The connection broke off.
    """
    start = _final_head(conn)
    head, end, rest = start.partition(_END)
    lines = head.decode("latin-1").split("\r\n")
    status = _PLAIN.fullmatch(lines[0])
    headers = _plain_headers(lines[1:]) if status and end else None
    if status is None or headers is None:
        return _other_answer(pool, conn, start, headed)
    code = int(status[1])
    length = "0" if code in _BODYLESS else headers.get("content-length", "")
    if not length.isdigit() or len(length) > MAX_LENGTH_DIGITS:
        return _other_answer(pool, conn, start, headed)
    headed()
    keep = "close" not in headers.get("connection", "").lower()
    body = _PlainBody(pool, conn, rest, int(length), keep=keep)
    return Answer(code, headers, body)


def _final_head(conn: Any) -> bytes:
    """Return the bytes from the final head on, to its end or further."""
    start, passed_bytes = b"", 0
    while True:
        end, searched = _ANY_END.search(start), len(start)
        while end is None and passed_bytes + searched < MAX_HEAD_BYTES:
            more = conn.sock.recv(CHUNK_BYTES)
            if not more:
                raise ProtocolError("Connection broken: it ended before the answer began")
            start += more
            end, searched = _ANY_END.search(start, max(0, searched - 2)), len(start)
        # An interim answer has no body, whatever it says (RFC 9110, 15.2).
        if end is None or not _INTERIM.match(start):
            return start
        passed_bytes += end.end()
        start = start[end.end() :]


def _plain_headers(lines: list[str]) -> dict[str, str] | None:
    """Return headers by names in lower case; None if they are not plain."""
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        lower = name.lower()
        # A line that goes on, a name twice, LF or CR alone, and bytes of text that is not ASCII.
        plain = colon and line.isascii() and line.isprintable()
        if not plain or name != name.strip() or lower in found:
            return None
        found[lower] = value.strip()
    return None if "transfer-encoding" in found else found


class _PlainBody:
    """A body of a known length, on a connection that is kept afterwards."""

    def __init__(self, pool: Any, conn: Any, start: bytes, length: int, *, keep: bool) -> None:
        self._pool, self._conn, self._start = pool, conn, start
        self._left = length
        # What comes after the body would be taken for the next answer.
        self._keep = keep and len(start) <= length
        self._release_at_end()

    def read1(self, size: int) -> bytes:
        wanted = min(size, self._left)
        if not wanted or self._conn is None:
            return b""
        if self._start:
            found, self._start = self._start[:wanted], self._start[wanted:]
        else:
            found = self._received(wanted)
        self._left -= len(found)
        if not found:
            self.close()
        self._release_at_end()
        return found

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    def _received(self, size: int) -> bytes:
        try:
            return bytes(self._conn.sock.recv(size))
        except TimeoutError as exc:
            self.close()
            raise ReadTimeoutError(self._pool, "", "Read timed out.") from exc
        except OSError as exc:
            self.close()
            raise broken(exc) from exc

    def _release_at_end(self) -> None:
        if self._left or self._conn is None:
            return
        if self._keep and not _more_follows(self._conn):
            self._pool._put_conn(self._conn)  # noqa: SLF001
            self._conn = self._pool = None
        self.close()


def _more_follows(conn: Any) -> bool:
    """Return whether TLS holds bytes after the answer; a pool sees only those of the socket."""
    pending = getattr(conn.sock, "pending", None)
    return pending is not None and pending() > 0


def _other_answer(pool: Any, conn: Any, start: bytes, headed: Callable[[], None]) -> Answer:
    """Let ``http.client`` read an answer from its start."""
    response = _FinalResponse(_Replay(start, conn.sock))  # type: ignore[arg-type]  # makefile is all it wants
    body = _OtherBody(pool, conn, response)
    with body.guarded():
        response.begin()
        if not response.chunked and len(set(response.headers.get_all("content-length", ()))) > 1:
            raise ValueError("lengths that contradict each other")
    headed()
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        lower = name.lower()
        headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
    return Answer(response.status, headers, body)


class _FinalResponse(http.client.HTTPResponse):
    """Skips every interim answer; ``http.client`` skips only status 100 (RFC 9110, 15.2)."""

    def begin(self) -> None:
        """Read status and headers of the final answer."""
        super().begin()
        while 100 <= self.status < 200 and self.status != HTTPStatus.SWITCHING_PROTOCOLS:
            self.headers = None  # type: ignore[assignment]  # what begin() takes for "not begun"
            super().begin()
        if self.status == HTTPStatus.SWITCHING_PROTOCOLS:
            self.will_close = True


class _OtherBody:
    """A body that ``http.client`` reads, on a connection that is kept if nothing follows it."""

    def __init__(self, pool: Any, conn: Any, response: http.client.HTTPResponse) -> None:
        self._pool, self._conn, self._response = pool, conn, response
        self._source: Any = response.fp

    def read1(self, size: int) -> bytes:
        if self._conn is None:
            return b""
        with self.guarded():
            found = self._response.read1(size)
        if not found:
            self._end()
        return found

    def close(self) -> None:
        self._response.close()
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    def _end(self) -> None:
        self._response.close()
        if self._source.ahead or self._response.will_close or _more_follows(self._conn):
            self.close()
        else:
            self._pool._put_conn(self._conn)  # noqa: SLF001
            self._conn = self._pool = None

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn errors of ``http.client`` into urllib3's, and close the connection."""
        try:
            yield
        except TimeoutError:
            self.close()
            raise
        except (http.client.HTTPException, OSError, ValueError) as exc:
            self.close()
            raise broken(exc) from exc


class _Source(io.BufferedReader):
    """Reads an answer from what it replays.

    Attributes:
        ahead: Bytes that came after all that was read of it, once it is closed.
    """

    ahead = 0

    def __init__(self, replay: "_Replay") -> None:
        super().__init__(replay)
        self._replay = replay

    def close(self) -> None:
        if not self.closed:
            self.ahead = self._replay.received - self.tell()
        super().close()


class _Replay(io.RawIOBase):
    """What was read of a socket, and then the socket."""

    def __init__(self, start: bytes, sock: Any) -> None:
        self._start, self._sock = start, sock
        self.received = len(start)

    def tell(self) -> int:
        """Return how many bytes were read of it."""
        return self.received - len(self._start)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return what ``http.client`` reads from."""
        del mode
        return _Source(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._start:
            count = int(self._sock.recv_into(buffer))
            self.received += count
            return count
        size = min(len(buffer), len(self._start))
        buffer[:size], self._start = self._start[:size], self._start[size:]
        return size


def broken(exc: Exception) -> HTTPError:
    """Return urllib3's error for a connection that broke off."""
    return ProtocolError(f"Connection broken: {type(exc).__name__}", exc)
