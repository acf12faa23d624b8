"""Connections that reach checked addresses only, and answer within a deadline."""

import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, Final

import certifi
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse

from detection_worker.callback.addresses import Network, denial

BODY_TIMEOUT_S: Final = 2.0
"""The status decides; the body is read only so that the connection can serve again."""
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

    def connect(self, host: str, port: int, *, timeout_s: float) -> "DeadlineSocket":
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


def _open(family: int, address: str, port: int, *, timeout_s: float) -> "DeadlineSocket":
    sock = DeadlineSocket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


class DeadlineSocket(socket.socket):
    """A socket whose reads end at ``deadline_s``, however many small ones they are.

    An ordinary timeout starts anew with every byte, so an answer that drips never ends.
    """

    deadline_s: float = float("inf")

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive, but not beyond the deadline."""
        _arm(self, self.deadline_s)
        return super().recv_into(*args, **kwargs)


class DeadlineTlsSocket(ssl.SSLSocket):
    """The same above TLS."""

    deadline_s: float = float("inf")

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive, but not beyond the deadline."""
        _arm(self, self.deadline_s)
        return super().recv_into(*args, **kwargs)


def _arm(sock: socket.socket, deadline_s: float) -> None:
    if deadline_s == float("inf"):
        return
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("the answer took too long")
    sock.settimeout(left_s)


class GuardedConnection(HTTPConnection):
    """An HTTP connection through a guard; its read timeout is for the whole answer."""

    guard: Guard

    def _new_conn(self) -> socket.socket:
        timeout_s = float(self.timeout or 0.0)
        return self.guard.connect(self._dns_host, self.port, timeout_s=timeout_s)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # urllib3 narrows it too
        """Read status and headers; what follows has ``BODY_TIMEOUT_S`` at most."""
        sock: Any = self.sock  # the connection forgets it when the peer wants to close
        deadline_s = time.monotonic() + float(self.timeout or 0.0)
        if sock is not None:
            sock.deadline_s = deadline_s
        response = super().getresponse()
        sock.deadline_s = min(deadline_s, time.monotonic() + BODY_TIMEOUT_S)
        return response


class GuardedTlsConnection(GuardedConnection, HTTPSConnection):
    """The same over TLS; certificate and SNI are for the name, not the address."""


def pool_manager(guard: Guard, *, connections: int, tls: ssl.SSLContext | None) -> PoolManager:
    """Return pools whose every connection goes through ``guard``.

    Args:
        guard: Opens the sockets.
        connections: Kept for each receiver.
        tls: Whom to trust; by default the system's store and certifi's.
    """
    context = tls or trusting_public_authorities()
    context.sslsocket_class = DeadlineTlsSocket
    manager = PoolManager(HOSTS, maxsize=connections, ssl_context=context)
    plain = type("PlainConnection", (GuardedConnection,), {"guard": guard})
    over_tls = type("TlsConnection", (GuardedTlsConnection,), {"guard": guard})
    manager.pool_classes_by_scheme = {
        "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("TlsPool", (HTTPSConnectionPool,), {"ConnectionCls": over_tls}),
    }
    return manager


def trusting_public_authorities() -> ssl.SSLContext:
    """Return a context that trusts the system's certificates and certifi's.

    Slim images may come without a store; private authorities come by ``SSL_CERT_FILE``.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
