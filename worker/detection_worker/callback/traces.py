"""The span of one attempt at a callback. Path and query of its URL may contain secrets."""

from contextlib import AbstractContextManager

from urllib3.util import parse_url

from detection_tracing.port import Span, within

PORTS = {"http": 80, "https": 443}


def attempt_span(
    trace: Span | None, origin: str, attempt: int
) -> AbstractContextManager[Span | None]:
    """Return the span of a request, to be used in a ``with``; nothing without a trace.

    Args:
        trace: What it is a step of.
        origin: Scheme, host and port of the callback URL.
        attempt: From 1.
    """
    if trace is None:
        return within(None, "")
    parsed = parse_url(origin)
    scheme = str(parsed.scheme)
    about: dict[str, str | int] = {
        "http.request.method": "POST",
        "url.scheme": scheme,
        "server.address": str(parsed.host),
        "server.port": parsed.port or PORTS[scheme],
    }
    if attempt > 1:
        about["http.request.resend_count"] = attempt - 1
    return within(trace, "POST callback", "client", about)


def note_status(span: Span, status: int) -> None:
    """Note the status of the answer; all but 2xx are failures of a callback."""
    span.set({"http.response.status_code": status})
    if not 200 <= status < 300:
        span.fail(str(status))
