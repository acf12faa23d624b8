"""C2PA manifests (Content Credentials) by the Content Authenticity Initiative's own library.

It is loaded and configured before the jail closes. Nothing is fetched: manifests that are only
linked to are not looked for, and the time of signing is not asked of anyone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
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
from detection_worker.media.provenance.source_types import declared_by_source_type, heaviest

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
_TRUSTED: Final = "signingCredential.trusted"
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
    told = _told(store, active, manifests, known)
    evidence = tuple(t.evidence for t in told)
    by_ai = heaviest([d for d in (e.declares for e in evidence) if d != "captured"])
    return facts, Statements(
        generator=next(
            (t.generator for t in told if by_ai and t.evidence.declares == by_ai), None
        ),
        software=facts.claim_generator,
        evidence=evidence,
        signed=frozenset(t.evidence.declares for t in told if t.signed and t.evidence.declares),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What one action declares, by what, and whether its manifest is as good as the active one."""

    evidence: Evidence
    generator: str | None
    signed: bool


def _told(
    store: dict[str, Any],
    active: dict[str, Any],
    manifests: dict[str, dict[str, Any]],
    state: SignatureState,
) -> list[_Told]:
    """Return what the actions of a manifest and of those it builds on declare."""
    deltas = [
        _object(_object(d).get("validationDeltas"))
        for d in _list(_object(store.get("validation_results")).get("ingredientDeltas"))
    ]
    found: list[_Told] = []
    todo = [(active, False, state in INTACT)]
    seen: set[tuple[int, bool, bool]] = set()
    while todo and len(seen) < MAX_MANIFESTS:
        manifest, component, signed = todo.pop()
        if (id(manifest), component, signed) in seen:
            continue
        seen.add((id(manifest), component, signed))
        found += [
            _Told(
                evidence=_declared(action, source_type, component=component),
                generator=_agent(action) or _claim_generator(manifest),
                signed=signed,
            )
            for action in _actions(manifest)
            if isinstance(source_type := action.get("digitalSourceType"), str)
        ]
        for ingredient in map(_object, _list(manifest.get("ingredients"))):
            label = ingredient.get("active_manifest")
            if isinstance(label, str) and label in manifests:
                part = component or ingredient.get("relationship") != "parentOf"
                good = signed and _stands(ingredient, label, deltas, state)
                todo.append((manifests[label], part, good))
    return found


def _stands(
    ingredient: dict[str, Any], label: str, deltas: list[dict[str, Any]], state: SignatureState
) -> bool:
    """Return whether an ingredient's manifest has the state of the active one, or a better one.

    An editor signs whatever is opened with it: that makes nobody's statement its own.

    Args:
        ingredient: With the checks that its signer recorded.
        label: That of its manifest.
        deltas: Checks of now that ended in another way than those recorded.
        state: That of the active manifest.
    """
    recorded = _object(_object(ingredient.get("validation_results")).get("activeManifest"))
    then = {side: _codes(recorded.get(side)) for side in ("success", "failure")}
    then["failure"] |= _codes(ingredient.get("validation_status"))
    now: dict[str, set[str]] = {"success": set(), "failure": set()}
    for delta in deltas:
        for side in now:
            now[side] |= _codes(delta.get(side), of=label)
    if (then["failure"] | now["failure"]) - {_UNTRUSTED}:
        return False
    trusted = _TRUSTED in now["success"] or (
        _TRUSTED in then["success"] and _UNTRUSTED not in now["failure"]
    )
    return trusted or state != "trusted"


def _codes(checks: object, *, of: str = "") -> set[str]:
    return {
        str(check.get("code"))
        for check in map(_object, _list(checks))
        if of in str(check.get("url"))
    }


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
