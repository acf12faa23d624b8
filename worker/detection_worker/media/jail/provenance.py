"""Checks on what a decoding child says of a file's making."""

import re
from typing import Any, Final

from detection_worker.media.declarations import (
    DECLARED,
    MAX_EVIDENCE,
    MAX_VALUE_CHARS,
    SOURCES,
    STATES,
    C2paFacts,
    Declared,
    Evidence,
    Provenance,
)
from detection_worker.media.jail.wire import ProtocolError, optional_text

_CODE: Final = re.compile(r"[A-Za-z0-9_.]{1,80}")


def parse_provenance(raw: object) -> Provenance | None:
    """Return what a child says of the making of a file.

    Raises:
        ProtocolError: It is malformed.
    """
    if raw is None:
        return None
    if not isinstance(raw, dict):
        raise ProtocolError("provenance is malformed")
    evidence = raw.get("evidence")
    if not isinstance(evidence, list) or len(evidence) > MAX_EVIDENCE:
        raise ProtocolError("evidence is malformed")
    return Provenance(
        declares=_declared(raw),
        signed=raw.get("signed") is True,
        generator=_text(raw, "generator"),
        camera=_text(raw, "camera"),
        software=_text(raw, "software"),
        c2pa=_c2pa(raw.get("c2pa")),
        evidence=tuple(_evidence(item) for item in evidence),
    )


def _c2pa(raw: object) -> C2paFacts | None:
    if raw is None:
        return None
    if not isinstance(raw, dict) or raw.get("state") not in STATES:
        raise ProtocolError("c2pa is malformed")
    problem = _text(raw, "problem")
    if problem is not None and not _CODE.fullmatch(problem):
        raise ProtocolError("problem is malformed")
    return C2paFacts(
        state=raw["state"],
        issuer=_text(raw, "issuer"),
        claim_generator=_text(raw, "claim_generator"),
        problem=problem,
    )


def _evidence(raw: object) -> Evidence:
    if not isinstance(raw, dict) or raw.get("source") not in SOURCES:
        raise ProtocolError("evidence is malformed")
    field, value = _text(raw, "field"), _text(raw, "value")
    if field is None or value is None:
        raise ProtocolError("evidence is malformed")
    return Evidence(source=raw["source"], field=field, value=value, declares=_declared(raw))


def _declared(raw: dict[str, Any]) -> Declared | None:
    value = raw.get("declares")
    if value is not None and value not in DECLARED:
        raise ProtocolError("declares is malformed")
    return value


def _text(raw: dict[str, Any], key: str) -> str | None:
    return optional_text(raw, key, most=MAX_VALUE_CHARS)
