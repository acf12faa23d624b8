"""One HTTP request and its answer on a connection of botocore's, without its layers.

A connection is opened, kept and closed as botocore does it: certificates, proxies and timeouts are
its own. Only the bytes are written and read here, which costs an eighth of what urllib3 and
``http.client`` need for them. An answer that is not plain is read by ``http.client``.
"""

import http.client
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Protocol
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError
from urllib3.util.proxy import connection_requires_http_tunnel

MAX_HEAD_BYTES: Final = 64 * 1024
"""As much as ``http.client`` takes for a line."""
CHUNK_BYTES: Final = 64 * 1024
_END: Final = b"\r\n\r\n"
_PLAIN: Final = re.compile(r"HTTP/1\.1 ([2-5][0-9]{2})(?: .*)?")
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


class Connections:
    """The connections of a boto3 client. Thread-safe.

    They are not public, and only of use as long as they are there.

    Args:
        client: The client.
    """

    def __init__(self, client: Any) -> None:
        endpoint = getattr(client, "_endpoint", None)
        self._session: Any = getattr(endpoint, "http_session", None)
        # Those that botocore forgets are closed with it.
        self._pools: WeakValueDictionary[str, Any] = WeakValueDictionary()

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer | None:
        """Send a request; return its answer as soon as its head is there.

        Args:
            method: HTTP method.
            url: Percent-encoded.
            headers: All but the length of the body; ASCII.
            body: The whole body.

        Returns:
            None if botocore has to send it: nothing was sent.

        Raises:
            Exception: One of ``aws_session.CALL_ERRORS``.
        """
        parts = urlsplit(url)
        pool = self._pool(f"{parts.scheme}://{parts.netloc}", url)
        if pool is None:
            return None
        conn = _connected(pool, parts.scheme)
        target = url[len(parts.scheme) + 3 + len(parts.netloc) :]
        try:
            _write(conn, _head(method, target, headers, len(body)), body)
            return _answer(pool, conn)
        except TimeoutError as exc:
            conn.close()
            raise ReadTimeoutError(pool, url, "Read timed out.") from exc
        except OSError as exc:
            conn.close()
            raise _broken(exc) from exc
        except BaseException:
            conn.close()
            raise

    def _pool(self, origin: str, url: str) -> Any | None:
        """Return botocore's pool of connections to a host; None if they are not usual."""
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._usual_pool(url)
            if pool is not None:
                self._pools[origin] = pool
        return pool

    def _usual_pool(self, url: str) -> Any | None:
        session = self._session
        try:
            proxy_url = session._proxy_config.proxy_url_for(url)  # noqa: SLF001
            manager = session._get_connection_manager(url, proxy_url)  # noqa: SLF001
            pool = manager.connection_from_url(url)
            session._setup_ssl_cert(pool, url, session._verify)  # noqa: SLF001
            _tunnelled(pool, pool.scheme)
        except (AttributeError, TypeError, _NoTunnel):
            return None
        usual = all(hasattr(pool, name) for name in ("_get_conn", "_put_conn", "_prepare_proxy"))
        return pool if usual else None


class _NoTunnel(Exception):  # noqa: N818 - a finding
    """A proxy is asked for the URL itself."""


def _tunnelled(pool: Any, scheme: str) -> bool:
    """Return whether a proxy passes the bytes on; False if there is none."""
    if pool.proxy is None:
        return False
    if not connection_requires_http_tunnel(pool.proxy, pool.proxy_config, scheme):
        raise _NoTunnel
    return True


def _connected(pool: Any, scheme: str) -> Any:
    """Return a connection that is open."""
    conn = pool._get_conn()  # noqa: SLF001
    try:
        if conn.is_closed:
            conn.timeout = pool.timeout.connect_timeout
            if _tunnelled(pool, scheme):
                pool._prepare_proxy(conn)  # noqa: SLF001
            else:
                conn.connect()
        conn.sock.settimeout(pool.timeout.read_timeout)
    except BaseException:
        conn.close()
        raise
    return conn


def _head(method: str, target: str, headers: Mapping[str, str], length: int) -> bytes:
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    if length or method != "GET":
        lines.append(f"content-length: {length}\r\n")
    lines.append("accept-encoding: identity\r\n\r\n")
    return f"{method} {target} HTTP/1.1\r\n{''.join(lines)}".encode("ascii")


def _write(conn: Any, head: bytes, body: bytes) -> None:
    if len(body) <= CHUNK_BYTES:
        conn.sock.sendall(head + body)
    else:
        conn.sock.sendall(head)
        conn.sock.sendall(body)


def _answer(pool: Any, conn: Any) -> Answer:
    """Read a head."""
    start = b""
    while _END not in start and len(start) < MAX_HEAD_BYTES:
        more = conn.sock.recv(CHUNK_BYTES)
        if not more:
            raise ProtocolError("Connection broken: it ended before the answer began")
        start += more
    head, end, rest = start.partition(_END)
    lines = head.decode("latin-1").split("\r\n")
    status = _PLAIN.fullmatch(lines[0])
    headers = _plain_headers(lines[1:]) if status and end else None
    if status is None or headers is None:
        return _other_answer(conn, start)
    code = int(status[1])
    length = "0" if code in _BODYLESS else headers.get("content-length", "")
    if not length.isdigit():
        return _other_answer(conn, start)
    body = _PlainBody(
        pool, conn, rest, int(length), keep=headers.get("connection", "").lower() != "close"
    )
    return Answer(code, headers, body)


def _plain_headers(lines: list[str]) -> dict[str, str] | None:
    """Return headers by names in lower case; None if they are not plain."""
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        lower = name.lower()
        # A line that goes on, a name twice, and bytes of text that is not ASCII.
        if not colon or name != name.strip() or lower in found or not line.isascii():
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
            raise _broken(exc) from exc

    def _release_at_end(self) -> None:
        if self._left or self._conn is None:
            return
        if self._keep:
            self._pool._put_conn(self._conn)  # noqa: SLF001
            self._conn = self._pool = None
        self.close()


def _other_answer(conn: Any, start: bytes) -> Answer:
    """Let ``http.client`` read an answer from its start."""
    response = http.client.HTTPResponse(_Replay(start, conn.sock))  # type: ignore[arg-type]  # makefile is all it wants
    body = _OtherBody(conn, response)
    with body.guarded():
        response.begin()
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        lower = name.lower()
        headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
    return Answer(response.status, headers, body)


class _OtherBody:
    """A body that ``http.client`` reads, on a connection that is closed afterwards."""

    def __init__(self, conn: Any, response: http.client.HTTPResponse) -> None:
        self._conn, self._response = conn, response

    def read1(self, size: int) -> bytes:
        with self.guarded():
            found = self._response.read1(size)
        if not found:
            self.close()
        return found

    def close(self) -> None:
        self._response.close()
        self._conn.close()

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
            raise _broken(exc) from exc


class _Replay(io.RawIOBase):
    """What was read of a socket, and then the socket."""

    def __init__(self, start: bytes, sock: Any) -> None:
        self._start, self._sock = start, sock

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return what ``http.client`` reads from."""
        del mode
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._start:
            return int(self._sock.recv_into(buffer))
        size = min(len(buffer), len(self._start))
        buffer[:size], self._start = self._start[:size], self._start[size:]
        return size


def _broken(exc: Exception) -> HTTPError:
    return ProtocolError(f"Connection broken: {type(exc).__name__}", exc)
