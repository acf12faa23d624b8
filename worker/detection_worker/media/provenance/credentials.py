"""C2PA manifests (Content Credentials) by the Content Authenticity Initiative's own library.

It is loaded and configured before the jail closes. Nothing is fetched: manifests that are only
linked to are not looked for, and the time of signing is not asked of anyone.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import c2pa

from detection_worker.media.declarations import (
    INTACT,
    C2paFacts,
    Declared,
    Evidence,
    SignatureState,
    Statements,
    printable,
    said,
)
from detection_worker.media.provenance.source_types import declared_by_source_type

MIME_TYPES: Final = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "tiff": "image/tiff",
    "mp4": "video/mp4",
    "m4a": "audio/mp4",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "avi": "video/avi",
}
"""Containers of ours that the library reads."""
MAX_MANIFESTS: Final = 64
_ACTIONS: Final = "c2pa.actions"
_STATES: Final[Mapping[str, SignatureState]] = {
    "trusted": "trusted",
    "valid": "valid",
    "invalid": "invalid",
}
_UNTRUSTED: Final = "signingCredential.untrusted"


class ManifestReader:
    """Reads manifests.

    Args:
        trust_list: PEM file with the certificates of trusted issuers; None trusts nobody, so that
            an intact manifest is ``valid``, not ``trusted``.

    Raises:
        ValueError: The trust list holds no certificate that can be read.
        OSError: It cannot be read.
    """

    def __init__(self, trust_list: Path | None = None) -> None:
        verify = {"remote_manifest_fetch": False, "ocsp_fetch": False}
        settings: dict[str, Any] = {"verify": verify | {"verify_trust": trust_list is not None}}
        if trust_list is not None:
            settings["trust"] = {"trust_anchors": trust_list.read_text(encoding="ascii")}
        try:
            self._context = c2pa.Context(c2pa.Settings.from_dict(settings))
        except c2pa.C2paError as exc:
            raise ValueError(f"{trust_list}: {printable(str(exc))}") from exc

    def read(self, file: BinaryIO, container: str) -> tuple[C2paFacts, Statements]:
        """Return what the manifest of a file says and whether it is intact.

        Args:
            file: Its position is moved.
            container: A key of ``MIME_TYPES``.
        """
        file.seek(0)
        try:
            with c2pa.Reader(MIME_TYPES[container], file, context=self._context) as reader:
                return _read(json.loads(reader.json()), reader.get_validation_state())
        except (c2pa.C2paError, ValueError, RecursionError):
            return C2paFacts(state="unreadable"), Statements()


def _read(store: dict[str, Any], state: str | None) -> tuple[C2paFacts, Statements]:
    manifests = _objects(store.get("manifests"))
    active = manifests.get(str(store.get("active_manifest")), {})
    signature = _object(active.get("signature_info"))
    known = _STATES.get(str(state).lower(), "unreadable")
    facts = C2paFacts(
        state=known,
        issuer=_name(signature.get("issuer")),
        claim_generator=_claim_generator(active),
        problem=None if known in INTACT else _problem(store),
    )
    evidence = tuple(_evidence(active, manifests))
    agents = [agent for agent in (_agent(a) for a in _actions(active)) if agent]
    generator = next(iter(agents), None) or facts.claim_generator
    return facts, Statements(
        generator=generator
        if any(e.declares in {"ai_generated", "ai_edited"} for e in evidence)
        else None,
        software=facts.claim_generator,
        evidence=evidence,
    )


def _evidence(active: dict[str, Any], manifests: dict[str, dict[str, Any]]) -> Iterator[Evidence]:
    """Yield what the actions of a manifest and of those it builds on declare."""
    todo: list[tuple[dict[str, Any], bool]] = [(active, False)]
    seen: set[int] = set()
    while todo and len(seen) < MAX_MANIFESTS:
        manifest, component = todo.pop()
        if id(manifest) in seen:
            continue
        seen.add(id(manifest))
        for action in _actions(manifest):
            source_type = action.get("digitalSourceType")
            if isinstance(source_type, str):
                yield _declared(action, source_type, component=component)
        for ingredient in _list(manifest.get("ingredients")):
            label = _object(ingredient).get("active_manifest")
            if isinstance(label, str) and label in manifests:
                whole = _object(ingredient).get("relationship") == "parentOf"
                todo.append((manifests[label], component or not whole))


def _declared(action: dict[str, Any], source_type: str, *, component: bool) -> Evidence:
    declares: Declared | None = declared_by_source_type(source_type)
    if component:
        # A part of the picture was generated, the picture was not; and a recorded part says
        # nothing of the whole.
        declares = "ai_edited" if declares in {"ai_generated", "ai_edited"} else None
    elif declares == "ai_generated" and action.get("action") not in {"c2pa.created", None}:
        declares = "ai_edited" if str(action.get("action")) in _PARTIAL else declares
    return said(
        "c2pa", f"{action.get('action') or 'action'} digitalSourceType", source_type, declares
    )


_PARTIAL: Final = frozenset({"c2pa.edited", "c2pa.placed", "c2pa.drawing", "c2pa.filtered"})
"""Actions that change a part of what was there."""


def _actions(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for assertion in _list(manifest.get("assertions")):
        if str(_object(assertion).get("label")).startswith(_ACTIONS):
            data = _object(_object(assertion).get("data"))
            found += [_object(action) for action in _list(data.get("actions"))]
    return found[:100]


def _agent(action: dict[str, Any]) -> str | None:
    agent = action.get("softwareAgent")
    return _name(agent.get("name") if isinstance(agent, dict) else agent)


def _claim_generator(manifest: dict[str, Any]) -> str | None:
    for info in _list(manifest.get("claim_generator_info")):
        name, version = (_object(info).get(key) for key in ("name", "version"))
        if isinstance(name, str):
            return printable(f"{name} {version}" if isinstance(version, str) else name, 120)
    return _name(manifest.get("claim_generator"))


def _problem(store: dict[str, Any]) -> str | None:
    codes = [str(_object(s).get("code")) for s in _list(store.get("validation_status"))]
    return next((printable(code, 80) for code in codes if code != _UNTRUSTED), None)


def _name(value: object) -> str | None:
    return (printable(value, 120) or None) if isinstance(value, str) else None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> dict[str, dict[str, Any]]:
    return {key: _object(item) for key, item in _object(value).items()}
