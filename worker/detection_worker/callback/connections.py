"""HTTP connections to checked addresses only, with a deadline for each answer."""

import http.client
import socket
import ssl
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import certifi
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse

from detection_worker.callback.addresses import Network, denial

BODY_TIMEOUT_S: Final = 2.0
"""The status decides; the body is read only so that the connection can be reused."""
MAX_HEAD_BYTES: Final = 256 * 1024
"""Limit for interim answers, status and headers together; servers allow 8 to 64 KiB."""
HOSTS: Final = 64
"""Number of receivers whose idle connections are kept."""

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

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive, within the limits."""
        _arm(self, self)
        return _count(self, super().recv_into(*args, **kwargs))


class LimitedTlsSocket(_Limits, ssl.SSLSocket):
    """A TLS socket with limits on reading."""

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


class FinalResponse(http.client.HTTPResponse):
    """Skips every interim answer; ``http.client`` skips only status 100 (RFC 9110, 15.2)."""

    def begin(self) -> None:
        """Read status and headers of the final answer.

        101 counts as final: no upgrade was requested, and HTTP ends with it.
        """
        super().begin()
        while 100 <= self.status < 200 and self.status != HTTPStatus.SWITCHING_PROTOCOLS:
            self.headers = None  # type: ignore[assignment]  # what begin() takes for "not begun"
            super().begin()
        if self.status == HTTPStatus.SWITCHING_PROTOCOLS:
            self.will_close = True


class GuardedConnection(HTTPConnection):
    """An HTTP connection through a guard; its read timeout covers the whole answer."""

    guard: Guard
    response_class = FinalResponse

    def _new_conn(self) -> socket.socket:
        timeout_s = float(self.timeout or 0.0)
        return self.guard.connect(self._dns_host, self.port, timeout_s=timeout_s)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # urllib3 narrows it too
        """Read status and headers; the body may take ``BODY_TIMEOUT_S``."""
        sock: Any = self.sock  # the connection forgets it when the peer wants to close
        deadline_s = time.monotonic() + float(self.timeout or 0.0)
        if sock is not None:
            sock.deadline_s, sock.left_bytes = deadline_s, MAX_HEAD_BYTES
        response = super().getresponse()
        sock.deadline_s = min(deadline_s, time.monotonic() + BODY_TIMEOUT_S)
        sock.left_bytes = float("inf")  # the reader of the body counts by itself
        return response


class GuardedTlsConnection(GuardedConnection, HTTPSConnection):
    """An HTTPS connection through a guard; certificate and SNI are for the name."""


class GuardedAdapter(HTTPAdapter):
    """requests' transport over connections that all go through a guard.

    Use it without a session: a session follows redirects and reads their bodies, keeps cookies,
    and takes proxies, credentials and certificates from the environment.
    """

    def __init__(self, guard: Guard, *, connections: int, tls: ssl.SSLContext | None) -> None:
        """Connect to nothing yet.

        Args:
            guard: Opens the sockets.
            connections: Idle connections kept for each receiver.
            tls: Trusted authorities; None means the system's and certifi's.
        """
        self._guard = guard
        self._tls = tls or trusting_public_authorities()
        self._tls.sslsocket_class = LimitedTlsSocket
        super().__init__(pool_connections=HOSTS, pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make pools of guarded connections."""
        super().init_poolmanager(*args, **kwargs, ssl_context=self._tls)
        plain = type("PlainConnection", (GuardedConnection,), {"guard": self._guard})
        over_tls = type("TlsConnection", (GuardedTlsConnection,), {"guard": self._guard})
        self.poolmanager.pool_classes_by_scheme = {
            "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("TlsPool", (HTTPSConnectionPool,), {"ConnectionCls": over_tls}),
        }

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        """Leave TLS to the pools' own context."""
        place, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return place, {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Change nothing: the context always verifies chain and name."""


def trusting_public_authorities() -> ssl.SSLContext:
    """Return a context that trusts the system's certificates and certifi's.

    Slim images may have no system store; private authorities are added by ``SSL_CERT_FILE``.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
