"""What scores depend on besides the media object: models, decoding, limits and libraries."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from detection_worker.detectors.base import DetectorCard
from detection_worker.settings import MediaLimits

LIBRARIES: Final = (
    "detection-queue",
    "av",
    "c2pa-python",
    "numpy",
    "onnxruntime",
    "pillow",
    "simplejpeg",
    "torch",
)
"""Distributions that decode and compute; a new version of one may move a score, or say something
else about the file."""
DECODING: Final = 3
"""Goes up with each release that makes other units of the same file."""
_LIMITS: Final = ("max_bytes", "max_pixels", "max_duration_s", "max_frames_decoded")
"""Limits of the file itself. Time and memory only decide whether decoding fails."""


def scoring_digest(
    cards: Iterable[DetectorCard],
    limits: MediaLimits,
    *,
    video_audio: bool,
    libraries: Mapping[str, str],
    trust_list: bytes | None = None,
) -> str:
    """Return the digest of everything that changes a score, lower-case hex.

    What only changes what is made of scores is left out, for it is applied to cached ones too:
    pooling, calibration, thresholds, grade, and the sizes and lengths that a model applies to.

    Args:
        cards: All loaded detectors': the kind of an object is only known once it is decoded.
        limits: What one file may cost.
        video_audio: The sound of videos is scored too.
        libraries: Versions by distribution.
        trust_list: Content of the list of trusted issuers.
    """
    every = asdict(limits)
    return digest_of(
        {
            "models": sorted((_of_card(card) for card in cards), key=lambda c: str(c["kind"])),
            "limits": {name: every[name] for name in _LIMITS},
            "video_audio": video_audio,
            "libraries": dict(libraries),
            "decoding": DECODING,
            **(
                {}
                if trust_list is None
                else {"trust_list": hashlib.sha256(trust_list).hexdigest()}
            ),
        }
    )


def digest_of(value: object) -> str:
    """Return the SHA-256 of a JSON value, lower-case hex; the order of its fields is no matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def installed(names: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Return the versions of the distributions among ``names`` that are installed here.

    Builds of one version for different devices count as one: ``2.14.1+cpu`` is ``2.14.1``.
    """
    found = {}
    for name in names:
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
    return found


def _of_card(card: DetectorCard) -> dict[str, object]:
    return {
        "kind": card.kind.value,
        "name": card.name,
        "version": card.version,
        "sha256": card.sha256,
        "finder_sha256": card.finder_sha256,
        "sampling": [type(card.sampling).__name__, asdict(card.sampling)],
        "speech": card.scope.speech,
        # Left out where it is the usual one: scores that were stored before stay found.
        **({} if card.precision == "float32" else {"precision": card.precision}),
    }
