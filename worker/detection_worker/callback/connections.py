"""HTTP connections to checked addresses only, with a deadline for each answer."""

import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import certifi
from requests import PreparedRequest
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from detection_contract.aws.quick.answers import Answer, read_answer
from detection_contract.aws.quick.exchange import closed_after_error, connected, write
from detection_worker.callback.addresses import Network, denial

BODY_TIMEOUT_S: Final = 2.0
"""The status decides; the body is read only so that the connection can be reused."""
MAX_HEAD_BYTES: Final = 256 * 1024
"""Limit for interim answers, status and headers together; servers allow 8 to 64 KiB."""
HOSTS: Final = 64
"""Number of receivers whose idle connections are kept."""
KEPT_URLS: Final = 256
"""Number of URLs that are not normalised again."""

Resolve = Callable[[str, int], list[tuple[int, str]]]
"""Resolves host and port to (address family, address), best first; raises ``OSError``."""


class ForbiddenAddress(Exception):  # noqa: N818 - reads as what it says
    """No address of a host may be called; the message says what they are."""


def resolve(host: str, port: int) -> list[tuple[int, str]]:
    """Ask the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, str(address[0])) for family, _, _, _, address in found]


class Guard:
    """Opens sockets to permitted addresses.

    A name is resolved once for each connection, and the socket connects to an address that was
    checked: a second look-up could be answered differently (DNS rebinding).
    """

    def __init__(
        self, *, allow_any: bool, allowed: tuple[Network, ...], resolve: Resolve = resolve
    ) -> None:
        self._allow_any = allow_any
        self._allowed = allowed
        self._resolve = resolve

    def connect(self, host: str, port: int, *, timeout_s: float) -> "LimitedSocket":
        """Connect to the first permitted address that answers.

        Args:
            host: Name or literal address.
            port: TCP port.
            timeout_s: Seconds for all addresses together; each gets its share of the rest.

        Raises:
            ForbiddenAddress: No address of ``host`` may be called.
            OSError: The name cannot be resolved, or no address accepts the connection.
        """
        targets = self._permitted(host, port)
        until_s = time.monotonic() + timeout_s
        for number, (family, address) in enumerate(targets):
            share_s = (until_s - time.monotonic()) / (len(targets) - number)
            try:
                sock = _open(family, address, port, timeout_s=max(share_s, 0.001))
            except OSError:
                if number == len(targets) - 1:
                    raise
            else:
                sock.settimeout(timeout_s)
                return sock
        raise OSError("the host name has no address")

    def _permitted(self, host: str, port: int) -> list[tuple[int, str]]:
        try:
            found = self._resolve(host.strip("[]"), port)
        except UnicodeError as exc:  # a label that is empty or too long for IDNA
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from exc
        if self._allow_any:
            return found
        reasons = [denial(address, allowed=self._allowed) for _, address in found]
        targets = [target for target, reason in zip(found, reasons, strict=True) if not reason]
        if found and not targets:
            raise ForbiddenAddress(", ".join(sorted({reason for reason in reasons if reason})))
        return targets


def _open(family: int, address: str, port: int, *, timeout_s: float) -> "LimitedSocket":
    sock = LimitedSocket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


class EndlessAnswer(OSError):  # noqa: N818 - reads as what it says
    """An answer exceeds the limit of what is read."""


class _Limits:
    """Limits on reading one answer.

    Attributes:
        deadline_s: Monotonic seconds at which reading ends. An ordinary timeout restarts with
            every byte, so a slow answer could last forever.
        left_bytes: Bytes that may still be read, interim answers included.
    """

    deadline_s: float = float("inf")
    left_bytes: float = float("inf")


class LimitedSocket(_Limits, socket.socket):
    """A socket with limits on reading."""

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        """Receive, within the limits."""
        _arm(self, self)
        received = super().recv(*args, **kwargs)
        _count(self, len(received))
        return received

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive, within the limits."""
        _arm(self, self)
        return _count(self, super().recv_into(*args, **kwargs))


class LimitedTlsSocket(_Limits, ssl.SSLSocket):
    """A TLS socket with limits on reading."""

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        """Receive, within the limits."""
        _arm(self, self)
        received = super().recv(*args, **kwargs)
        _count(self, len(received))
        return received

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive, within the limits."""
        _arm(self, self)
        return _count(self, super().recv_into(*args, **kwargs))


def _arm(sock: socket.socket, limits: _Limits) -> None:
    if limits.left_bytes <= 0:
        raise EndlessAnswer("the answer has no end")
    if limits.deadline_s == float("inf"):
        return
    left_s = limits.deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("the answer took too long")
    sock.settimeout(left_s)


def _count(limits: _Limits, received_bytes: int) -> int:
    limits.left_bytes -= received_bytes
    return received_bytes


class GuardedConnection(HTTPConnection):
    """An HTTP connection through a guard."""

    guard: Guard

    def _new_conn(self) -> socket.socket:
        timeout_s = float(self.timeout or 0.0)
        return self.guard.connect(self._dns_host, self.port, timeout_s=timeout_s)


class GuardedTlsConnection(GuardedConnection, HTTPSConnection):
    """An HTTPS connection through a guard; certificate and SNI are for the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Address:
    """A URL as requests normalises it.

    Attributes:
        scheme: ``http`` or ``https``.
        host: Name or literal address, without brackets.
        port: None for the scheme's own.
        target: Path and query.
    """

    scheme: str
    host: str
    port: int | None
    target: str


@lru_cache(KEPT_URLS)
def _address(url: str) -> _Address:
    prepared = PreparedRequest()
    prepared.prepare_url(url, None)
    parts = urlsplit(str(prepared.url))
    return _Address(
        scheme=parts.scheme,
        host=str(parts.hostname),
        port=parts.port,
        target=prepared.path_url,
    )


class Receivers:
    """Kept connections to receivers, all of which go through a guard. Thread-safe.

    Pools and connections are urllib3's; requests and answers are written and read as those of AWS
    are, for a third of the CPU. Nothing is followed, unpacked or taken from the environment:
    no redirects, cookies, proxies, credentials or certificates.

    Args:
        guard: Opens the sockets.
        connections: Idle connections kept for each receiver.
        tls: Trusted authorities; None means the system's and certifi's.
    """

    def __init__(self, guard: Guard, *, connections: int, tls: ssl.SSLContext | None) -> None:
        context = tls or trusting_public_authorities()
        context.sslsocket_class = LimitedTlsSocket
        plain = type("PlainConnection", (GuardedConnection,), {"guard": guard})
        over_tls = type("TlsConnection", (GuardedTlsConnection,), {"guard": guard})
        self._pools: Any = PoolManager(HOSTS, maxsize=connections, ssl_context=context)
        self._pools.pool_classes_by_scheme = {
            "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("TlsPool", (HTTPSConnectionPool,), {"ConnectionCls": over_tls}),
        }

    def close(self) -> None:
        """Close all idle connections."""
        self._pools.clear()

    def post(
        self, url: str, body: bytes, *, headers: Mapping[str, str], connect_s: float, read_s: float
    ) -> Answer:
        """Post to a URL; return the answer, of which the body is not read yet.

        Args:
            url: http or https, without credentials.
            body: The whole body.
            headers: All but ``Host`` and the length of the body.
            connect_s: Limit of the handshakes, and of each write.
            read_s: Limit of status and headers together; the body has ``BODY_TIMEOUT_S``.

        Raises:
            InvalidURL: The URL cannot be called.
            ForbiddenAddress: No address of the host may be.
            HTTPError: There is no answer, for one of the reasons that urllib3 has.
            OSError: There is no connection.
        """
        to = _address(url)
        pool = self._pools.connection_from_host(to.host, to.port, to.scheme)
        conn = connected(pool, connect_s=connect_s)
        sock = conn.sock
        with closed_after_error(pool, conn):
            sock.settimeout(connect_s)
            # A receiver that reads no more may have answered already.
            with suppress(BrokenPipeError, ConnectionResetError):
                named = {"Host": _host(conn), **headers}
                write(conn, "POST", to.target, headers=named, body=body)
            deadline_s = time.monotonic() + read_s
            sock.deadline_s, sock.left_bytes = deadline_s, MAX_HEAD_BYTES

            def headed() -> None:
                sock.deadline_s = min(deadline_s, time.monotonic() + BODY_TIMEOUT_S)
                sock.left_bytes = float("inf")  # the reader of the body counts by itself

            return read_answer(pool, conn, headed=headed)


def _host(conn: Any) -> str:
    """Return the value of the header ``Host``, as ``http.client`` has it."""
    host = f"[{conn.host.partition('%')[0]}]" if ":" in conn.host else conn.host
    return host if conn.port == conn.default_port else f"{host}:{conn.port}"


def trusting_public_authorities() -> ssl.SSLContext:
    """Return a context that trusts the system's certificates and certifi's.

    Slim images may have no system store; private authorities are added by ``SSL_CERT_FILE``.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
