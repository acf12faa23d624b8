"""Connections that reach checked addresses only, and answer within a deadline."""

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
"""The status decides; the body is read only so that the connection can serve again."""
MAX_HEAD_BYTES: Final = 256 * 1024
"""Interim answers, status and headers together; servers themselves allow 8 to 64 KiB."""
HOSTS: Final = 64
"""Receivers whose idle connections are kept."""

Resolve = Callable[[str, int], list[tuple[int, str]]]
"""From host and port to (address family, address), best first; raises ``OSError``."""


class ForbiddenAddress(Exception):  # noqa: N818 - reads as what it says
    """A host name leads to no address that may be called; says what its addresses are."""


def resolve(host: str, port: int) -> list[tuple[int, str]]:
    """Ask the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, str(address[0])) for family, _, _, _, address in found]


class Guard:
    """Opens sockets to permitted addresses.

    A name is resolved once for a connection, and the socket goes to an address that was checked:
    a second look-up between check and use could be answered differently (DNS rebinding).
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
            timeout_s: For all addresses together; each gets its share of what is left.

        Raises:
            ForbiddenAddress: No address of ``host`` may be called.
            OSError: No look-up or no connection.
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
    """An answer is longer than anybody reads."""


class _Limits:
    """Bounds on what one answer may cost its reader.

    Attributes:
        deadline_s: Monotonic seconds at which reading ends. An ordinary timeout starts anew with
            every byte, so an answer that drips never ends.
        left_bytes: What may still be read; any number of interim answers may come.
    """

    deadline_s: float = float("inf")
    left_bytes: float = float("inf")


class LimitedSocket(_Limits, socket.socket):
    """A socket with bounds on what is read."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive, within the limits."""
        _arm(self, self)
        return _count(self, super().recv_into(*args, **kwargs))


class LimitedTlsSocket(_Limits, ssl.SSLSocket):
    """The same above TLS."""

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
    """Skips every interim answer; ``http.client`` skips 100 alone (RFC 9110, 15.2)."""

    def begin(self) -> None:
        """Read status and headers of the final answer.

        101 is final here: nobody asked for another protocol, and after it the connection speaks
        one.
        """
        super().begin()
        while 100 <= self.status < 200 and self.status != HTTPStatus.SWITCHING_PROTOCOLS:
            self.headers = None  # type: ignore[assignment]  # what begin() takes for "not begun"
            super().begin()
        if self.status == HTTPStatus.SWITCHING_PROTOCOLS:
            self.will_close = True


class GuardedConnection(HTTPConnection):
    """An HTTP connection through a guard; its read timeout is for the whole answer."""

    guard: Guard
    response_class = FinalResponse

    def _new_conn(self) -> socket.socket:
        timeout_s = float(self.timeout or 0.0)
        return self.guard.connect(self._dns_host, self.port, timeout_s=timeout_s)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # urllib3 narrows it too
        """Read status and headers; what follows has ``BODY_TIMEOUT_S`` at most."""
        sock: Any = self.sock  # the connection forgets it when the peer wants to close
        deadline_s = time.monotonic() + float(self.timeout or 0.0)
        if sock is not None:
            sock.deadline_s, sock.left_bytes = deadline_s, MAX_HEAD_BYTES
        response = super().getresponse()
        sock.deadline_s = min(deadline_s, time.monotonic() + BODY_TIMEOUT_S)
        sock.left_bytes = float("inf")  # the reader of the body counts by itself
        return response


class GuardedTlsConnection(GuardedConnection, HTTPSConnection):
    """The same over TLS; certificate and SNI are for the name, not the address."""


class GuardedAdapter(HTTPAdapter):
    """requests' transport over connections that all go through a guard.

    To be used by itself, without a session: a session follows redirects and reads their bodies,
    keeps cookies, and takes proxies, credentials and certificates from the environment.
    """

    def __init__(self, guard: Guard, *, connections: int, tls: ssl.SSLContext | None) -> None:
        """Connect to nothing yet.

        Args:
            guard: Opens the sockets.
            connections: Kept for each receiver.
            tls: Whom to trust; by default the system's store and certifi's.
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
        """Leave TLS to the context that the pools have."""
        place, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return place, {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Add nobody to whom the context trusts; it always verifies chain and name."""


def trusting_public_authorities() -> ssl.SSLContext:
    """Return a context that trusts the system's certificates and certifi's.

    Slim images may come without a store; private authorities come by ``SSL_CERT_FILE``.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
