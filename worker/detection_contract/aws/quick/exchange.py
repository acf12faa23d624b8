"""One HTTP request and its answer on a connection of a urllib3 pool, without its layers.

A connection is opened, kept and closed as urllib3 does it for botocore: certificates, proxies and
timeouts are those of the pool. Only the bytes are written and read here, which costs an eighth of
what urllib3 and ``http.client`` need for them. An answer that is not plain is read by
``http.client``.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from urllib3.exceptions import ReadTimeoutError
from urllib3.util.proxy import connection_requires_http_tunnel

from detection_contract.aws.quick.answers import CHUNK_BYTES, Answer, broken, read_answer


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
            Exception: One of ``operations.CALL_ERRORS``.
        """
        parts = urlsplit(url)
        pool = self._pool(f"{parts.scheme}://{parts.netloc}", url)
        if pool is None:
            return None
        conn = connected(pool, connect_s=pool.timeout.connect_timeout)
        if conn.sock.gettimeout() != pool.timeout.read_timeout:  # each change is a system call
            conn.sock.settimeout(pool.timeout.read_timeout)
        target = url[len(parts.scheme) + 3 + len(parts.netloc) :]
        with closed_after_error(pool, conn):
            write(conn, method, target, headers=headers, body=body)
            return read_answer(pool, conn)

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


def connected(pool: Any, *, connect_s: float | None) -> Any:
    """Return a connection of a urllib3 pool that is open.

    Raises:
        Exception: urllib3's, or ``OSError``.
    """
    conn = pool._get_conn()  # noqa: SLF001
    if conn.is_closed:
        try:
            conn.timeout = connect_s
            if _tunnelled(pool, pool.scheme):
                pool._prepare_proxy(conn)  # noqa: SLF001
            else:
                conn.connect()
        except BaseException:
            conn.close()
            raise
    return conn


@contextmanager
def closed_after_error(pool: Any, conn: Any) -> Iterator[None]:
    """Close a connection after an error, and make those of its socket urllib3's."""
    try:
        yield
    except TimeoutError as exc:
        conn.close()
        raise ReadTimeoutError(pool, "", "Read timed out.") from exc
    except OSError as exc:
        conn.close()
        raise broken(exc) from exc
    except BaseException:
        conn.close()
        raise


def _head(method: str, target: str, headers: Mapping[str, str], length: int) -> bytes:
    if not all(value.isprintable() for value in headers.values()):
        raise ValueError("a header has a character that would end it")
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    if length or method != "GET":
        lines.append(f"content-length: {length}\r\n")
    lines.append("accept-encoding: identity\r\n\r\n")
    return f"{method} {target} HTTP/1.1\r\n{''.join(lines)}".encode("ascii")


def write(
    conn: Any, method: str, target: str, *, headers: Mapping[str, str], body: bytes = b""
) -> None:
    """Write a request.

    Raises:
        ValueError: A header is not ASCII, or would end before its value does.
        OSError: The connection broke off.
    """
    head = _head(method, target, headers, len(body))
    if len(body) <= CHUNK_BYTES:
        conn.sock.sendall(head + body)
    else:
        conn.sock.sendall(head)
        conn.sock.sendall(body)
