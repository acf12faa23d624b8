"""Requests and answers of the local HTTP server."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from urllib.parse import parse_qsl, quote_plus, unquote_plus

_CODES: Final = tuple((quote_plus(mark), mark) for mark in "\":,/{}[]\\+='@")
"""What JSON and URLs have besides letters and digits."""


class BadRequestError(Exception):
    """The bytes are no HTTP/1.1 request that this server takes.

    Attributes:
        status: To answer before the connection is closed.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Peer(Protocol):
    """The client of a request."""

    @property
    def gone(self) -> bool:
        """The client closed its connection."""
        ...


class Spoiled(NamedTuple):
    """Entries of a batch that fail on purpose: so many, from its first on, with this code.

    An empty code leaves the choice to the service.
    """

    entries: int
    code: str


@dataclass(slots=True, kw_only=True)
class Request:
    """One request, its body complete.

    Attributes:
        method: Upper case.
        path: As sent, still percent-encoded, without the query.
        query: As sent, without the question mark.
        headers: Names in lower case; a repeated header's values joined by a comma.
        body: Decoded from chunks, if it came in chunks.
        peer: The client that sent it.
        keep_alive: The connection may stay open afterwards.
        spoiled: What of a batch is to fail, whatever it says.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    peer: Peer
    keep_alive: bool = True
    body: bytes = b""
    spoiled: Spoiled | None = None
    _form: dict[str, str] | None = None

    def form(self) -> dict[str, str]:
        """Return the fields of a form in the body; the last one counts of those of one name."""
        if self._form is None:
            pairs = self.body.decode("utf-8", "replace").split("&")
            fields = (pair.partition("=") for pair in pairs if pair)
            self._form = {unquoted(name): unquoted(value) for name, _, value in fields}
        return self._form

    def parameters(self) -> dict[str, str]:
        """Return the query, decoded; parameters without a value are kept."""
        return dict(parse_qsl(self.query, keep_blank_values=True)) if self.query else {}


class FileSlice(NamedTuple):
    """Part of a file as the body of an answer."""

    path: Path
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How the bytes of an answer reach the client.

    Attributes:
        drop: Send nothing and close the connection.
        reset: Send nothing and reset the connection.
        stop_after_bytes: Close after this many bytes of the body, whatever was announced.
        stall_after_bytes: Pause ``stall_s`` seconds after this many bytes of the body.
        stall_s: See there.
        piece_bytes: Send the body in pieces of this size; None sends it whole.
        piece_pause_s: Seconds between pieces.
    """

    drop: bool = False
    reset: bool = False
    stop_after_bytes: int | None = None
    stall_after_bytes: int = 0
    stall_s: float = 0.0
    piece_bytes: int | None = None
    piece_pause_s: float = 0.0


PLAIN = Delivery()


@dataclass(slots=True, kw_only=True)
class Response:
    """One answer.

    Attributes:
        status: HTTP status.
        headers: Without Content-Length and Connection, which the server writes.
        body: Not sent for HEAD, though its length is announced.
        length: Content-Length where it is not that of ``body`` (HEAD of a large object).
        delivery: How it is sent.
        close: Close the connection afterwards.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | FileSlice = b""
    length: int | None = None
    delivery: Delivery = PLAIN
    close: bool = False

    @property
    def body_bytes(self) -> int:
        """Length of the body."""
        return self.body.length if isinstance(self.body, FileSlice) else len(self.body)


def unquoted(text: str) -> str:
    """Return what ``unquote_plus`` does; quicker for JSON, which is codes for a large part."""
    if "%" not in text:
        return text.replace("+", " ")
    found = text.replace("+", " ")
    for code, mark in _CODES:
        found = found.replace(code, mark)
    # What is left of codes must be those of the sign itself, or there are rarer ones.
    if found.count("%") != found.count("%25"):
        return unquote_plus(text)
    return found.replace("%25", "%")
