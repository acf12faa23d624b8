"""An HTTP proxy with CONNECT, and a TLS front for a plain HTTP server."""

import base64
import contextlib
import select
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

CHUNK_BYTES: Final = 65_536
DIAL_S: Final = 10.0
Place = tuple[str, int]


class Relay(ABC):
    """Accepts connections on loopback and passes bytes on until closed.

    Attributes:
        port: Where it listens.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        handler = type("Handler", (_Handler,), {"relay": self})
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = False
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """End all connections."""
        self._server.shutdown()
        with self._lock:
            for item in self._sockets:
                _end(item)
        self._server.server_close()
        self._thread.join()

    @abstractmethod
    def serve(self, connection: socket.socket) -> None:
        """Serve one connection; it is closed afterwards."""

    def join(self, near: socket.socket, place: Place) -> None:
        """Pass bytes on between a connection and a place until either side ends it."""
        with socket.create_connection(place, DIAL_S) as far, self._tracked(near, far):
            far.settimeout(None)
            # One thread for both directions: a TLS connection must not be used by two.
            while all(_passed_on(*pair) for pair in _readable(near, far)):
                pass

    @contextlib.contextmanager
    def _tracked(self, *sockets: socket.socket) -> Iterator[None]:
        with self._lock:
            self._sockets.update(sockets)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.difference_update(sockets)


class ConnectProxy(Relay):
    """An HTTP proxy for TLS: knows names that no resolver knows.

    Args:
        places: What host and port stand for; everything else is refused.
        credentials: ``user:password`` that it asks for; None asks for none.

    Attributes:
        asked: Host and port of each CONNECT that it let through.
        refusing: Answer to each CONNECT instead of letting it through; None lets it.
    """

    def __init__(self, places: Mapping[str, Place], credentials: str | None = None) -> None:
        self._places = places
        self._credentials = credentials
        self.asked: list[str] = []
        self.refusing: str | None = None
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        """Answer a CONNECT and pass on what follows."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)
            if not byte:
                return
            head += byte
        verb, target, *_ = head.decode("latin-1").split()
        refusal = self._refusal(verb, target, head)
        if refusal is not None:
            connection.sendall(f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n".encode())
            return
        self.asked.append(target)
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.join(connection, self._places[target])

    def _refusal(self, verb: str, target: str, head: bytes) -> str | None:
        if self.refusing is not None:
            return self.refusing
        if verb != "CONNECT" or target not in self._places:
            return "403 Forbidden"
        if self._credentials is None:
            return None
        wanted = b"proxy-authorization: basic " + base64.b64encode(self._credentials.encode())
        given = {line.partition(b": ")[::2] for line in head.split(b"\r\n")}
        lines = {name.lower() + b": basic " + value[len(b"Basic ") :] for name, value in given}
        return None if wanted in lines else "407 Proxy Authentication Required"


class TlsFront(Relay):
    """Speaks TLS and passes on what it decrypts.

    Args:
        place: Where plain HTTP is spoken.
        certificate: Its own, with the key.

    Attributes:
        named: Names that clients asked for (SNI), in order.
    """

    def __init__(self, place: Place, certificate: Path) -> None:
        self._place = place
        self.named: list[str | None] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._context.sni_callback = lambda _, name, __: self.named.append(name)
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        """Speak TLS with one client."""
        with self._context.wrap_socket(connection, server_side=True) as decrypted:
            self.join(decrypted, self._place)


class _Handler(socketserver.BaseRequestHandler):
    relay: Relay

    def handle(self) -> None:
        """Serve a connection; what goes wrong is the client's to see."""
        with contextlib.suppress(OSError):
            self.relay.serve(self.request)


def make_certificate(folder: Path, name: str) -> Path:
    """Return a file with a new key and a certificate for a DNS name, signed by itself.

    Raises:
        FileNotFoundError: ``openssl`` is not installed.
    """
    program = shutil.which("openssl")
    if program is None:
        raise FileNotFoundError("openssl is not installed")
    path = folder / f"{name}.pem"
    subprocess.run(  # noqa: S603 - fixed arguments
        [
            *(program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *(
                "-nodes",
                "-days",
                "2",
                "-subj",
                f"/CN={name}",
                "-addext",
                f"subjectAltName=DNS:{name}",
            ),
            *("-keyout", str(path), "-out", str(folder / f"{name}.crt")),
        ],
        check=True,
        capture_output=True,
    )
    with path.open("a", encoding="ascii") as file:
        file.write((folder / f"{name}.crt").read_text(encoding="ascii"))
    return path


def _readable(
    near: socket.socket, far: socket.socket
) -> list[tuple[socket.socket, socket.socket]]:
    """Return from where something can be passed on now, and whereto; waits for it."""
    pairs = {near: (near, far), far: (far, near)}
    decrypted = [item for item in pairs if isinstance(item, ssl.SSLSocket) and item.pending()]
    return [pairs[item] for item in decrypted or select.select(list(pairs), [], [])[0]]


def _passed_on(source: socket.socket, target: socket.socket) -> bool:
    data = source.recv(CHUNK_BYTES)
    target.sendall(data)
    return bool(data)


def _end(item: socket.socket) -> None:
    with contextlib.suppress(OSError):
        item.shutdown(socket.SHUT_RDWR)
