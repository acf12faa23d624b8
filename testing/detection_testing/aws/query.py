"""The query protocol of AWS: forms in, XML out. STS and SNS speak it."""

import re
import uuid
from collections import defaultdict
from xml.sax.saxutils import escape

from detection_testing.http.values import Response

FORM = "application/x-www-form-urlencoded"
_ITEM = re.compile(r"(\d+)\.(.+)")


class QueryError(Exception):
    """A request that the service refuses.

    Attributes:
        code: As the service names it.
        status: HTTP status.
    """

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def items_of(parameters: dict[str, str], prefix: str) -> list[dict[str, str]]:
    """Return the items of a list by their place: of ``PREFIX.N.NAME`` the names and values."""
    found: dict[int, dict[str, str]] = defaultdict(dict)
    start = f"{prefix}."
    for name, value in parameters.items():
        match = _ITEM.fullmatch(name, len(start)) if name.startswith(start) else None
        if match:
            found[int(match[1])][match[2]] = value
    return [found[number] for number in sorted(found)]


def map_of(parameters: dict[str, str], prefix: str) -> dict[str, str]:
    """Return a map that is sent as a list of keys and values."""
    return {item.get("key", ""): item.get("value", "") for item in items_of(parameters, prefix)}


def elements(texts: dict[str, str]) -> str:
    """Return texts as XML elements."""
    return "".join(f"<{name}>{escape(text)}</{name}>" for name, text in texts.items())


def members(items: list[str]) -> str:
    """Return elements as the members of a list."""
    return "".join(f"<member>{item}</member>" for item in items)


def render(action: str, result: str, *, namespace: str) -> Response:
    """Return an answer; ``result`` is XML."""
    body = (
        f'<{action}Response xmlns="{namespace}"><{action}Result>{result}</{action}Result>'
        f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata>"
        f"</{action}Response>"
    )
    return Response(headers={"Content-Type": "text/xml"}, body=body.encode())


def render_error(error: QueryError, *, namespace: str) -> Response:
    """Return an error."""
    fault = "Sender" if error.status < 500 else "Receiver"
    told = elements({"Type": fault, "Code": error.code, "Message": str(error)})
    body = (
        f'<ErrorResponse xmlns="{namespace}"><Error>{told}</Error>'
        f"<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
    )
    return Response(status=error.status, headers={"Content-Type": "text/xml"}, body=body.encode())
