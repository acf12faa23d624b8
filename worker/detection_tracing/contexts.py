"""Trace contexts as texts: W3C Trace Context and the tracing header of X-Ray. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

Carrier = Mapping[str, str]
"""A context as in headers or message attributes: ``traceparent``, and perhaps ``tracestate``."""

_TRACEPARENT: Final = re.compile(
    r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_XRAY_ROOT: Final = re.compile(r"1-([0-9a-fA-F]{8})-([0-9a-fA-F]{24})")
_XRAY_PARENT: Final = re.compile(r"[0-9a-fA-F]{16}")
_MAX_XRAY_CHARS: Final = 1024
_MAX_STATE_CHARS: Final = 512
"""What every participant has to carry on; longer ones may be cut, and here are dropped."""
SAMPLED: Final = 1


@dataclass(frozen=True, slots=True)
class Ids:
    """What a ``traceparent`` says.

    Attributes:
        trace_id: 128 bits, not 0.
        span_id: 64 bits, not 0.
        sampled: The trace is recorded.
    """

    trace_id: int
    span_id: int
    sampled: bool


def parse_traceparent(text: str) -> Ids | None:
    """Return what a ``traceparent`` says; None if it is malformed, which the standard ignores."""
    found = _TRACEPARENT.fullmatch(text)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    # Later versions may add fields; 00 has none, and ff is no version.
    if version == "ff" or (version == "00" and more is not None):
        return None
    ids = Ids(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & SAMPLED))
    return ids if ids.trace_id and ids.span_id else None


def traceparent(ids: Ids) -> str:
    """Return the ``traceparent`` of a context."""
    return f"00-{ids.trace_id:032x}-{ids.span_id:016x}-{int(ids.sampled):02x}"


def carrier_of(texts: Mapping[str, object]) -> Carrier | None:
    """Return the W3C context among headers or attributes; None if there is none, or a bad one."""
    parent = texts.get(TRACEPARENT)
    if not isinstance(parent, str) or parse_traceparent(parent) is None:
        return None
    state = texts.get(TRACESTATE)
    if not isinstance(state, str) or not 0 < len(state) <= _MAX_STATE_CHARS:
        return {TRACEPARENT: parent}
    # The SDK logs what it cannot read: no sender may write log lines.
    readable = state.isascii() and state.isprintable()
    return {TRACEPARENT: parent, TRACESTATE: state} if readable else {TRACEPARENT: parent}


def carrier_of_xray(header: str) -> Carrier | None:
    """Return the context in a tracing header of X-Ray (``Root=1-…;Parent=…;Sampled=1``).

    None if it is malformed or has no parent: its trace then has no span to go on from. A header
    that leaves the decision open (``Sampled=?``, or none) counts as sampled, as it is at X-Ray.
    """
    if len(header) > _MAX_XRAY_CHARS:
        return None
    parts = dict(part.strip().partition("=")[::2] for part in header.split(";"))
    root = _XRAY_ROOT.fullmatch(parts.get("Root", ""))
    parent = _XRAY_PARENT.fullmatch(parts.get("Parent", ""))
    if root is None or parent is None:
        return None
    ids = Ids(int(root[1] + root[2], 16), int(parent[0], 16), parts.get("Sampled") != "0")
    return {TRACEPARENT: traceparent(ids)} if ids.trace_id and ids.span_id else None


def xray_header(carrier: Carrier) -> str | None:
    """Return a context as a tracing header of X-Ray; None if it is malformed."""
    ids = parse_traceparent(carrier.get(TRACEPARENT, ""))
    if ids is None:
        return None
    trace_id = f"{ids.trace_id:032x}"
    return (
        f"Root=1-{trace_id[:8]}-{trace_id[8:]};Parent={ids.span_id:016x};"
        f"Sampled={int(ids.sampled)}"
    )
