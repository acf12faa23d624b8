"""Scores as bytes: one JSON document for each media object, without its pixels.

Anyone who may write to the bucket can put anything there: what is read is checked in full, and
nothing of it is executed.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from detection_contract.media_types import MediaKind
from detection_worker.cache.digest import digest_of
from detection_worker.core.faces import SeenFace
from detection_worker.detectors.base import DetectorCard, ScoredTrack
from detection_worker.media.values import DecodedMedia, MediaInfo
from detection_worker.storage.base import ObjectFacts

SCHEMA: Final = 1
"""Raised when entries of older programs cannot be read any more."""
MAX_ENTRY_BYTES: Final = 1 << 20
"""A thousand units take a tenth of it."""


class BadEntry(Exception):  # noqa: N818 - reads as what it says
    """An entry is damaged, or of something else; the text says why, without its content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryId:
    """Which object an entry is about, and what scored it.

    Attributes:
        bucket: Bucket name, or the ARN or alias of an access point.
        key: Object key.
        version_id: The version that was asked for; None means the latest.
        scoring: See ``scoring_digest``.
    """

    bucket: str
    key: str
    version_id: str | None
    scoring: str

    @property
    def name(self) -> str:
        """Name of the entry, lower-case hex."""
        return digest_of([SCHEMA, self.bucket, self.key, self.version_id, self.scoring])


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What is known of a media object.

    Attributes:
        object: The state of the object that was scored.
        main: The file, for a video its pictures.
        sound: The sound of a video, if that was scored too.
    """

    object: ObjectFacts
    main: ScoredTrack
    sound: ScoredTrack | None


_Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31)]
_Box = tuple[_Int32, _Int32, _Int32, _Int32]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class _Track(_Part):
    model_sha256: str
    info: MediaInfo
    logits: list[float]
    frame: list[Annotated[int, Field(ge=0, lt=2**31)]]
    at_s: list[float]
    boxes: list[_Box]
    faces: list[SeenFace] | None
    end_s: list[float] | None
    speech: bool | None


class _Entry(_Part):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    bucket: str
    key: str
    version_id: str | None
    scoring: str
    etag: Annotated[str, Field(min_length=1)]
    size_bytes: Annotated[int, Field(ge=0, lt=2**63)]
    content_type: str | None
    last_modified: AwareDatetime | None
    tracks: Annotated[list[_Track], Field(min_length=1, max_length=2)]


def encode(about: EntryId, scores: Scores) -> bytes:
    """Return an entry.

    Logits are float32: as JSON numbers of a double they come back exactly.

    Raises:
        ValueError: A value has no place in JSON, or the entry would be too large.
    """
    known = scores.object
    tracks = (scores.main,) if scores.sound is None else (scores.main, scores.sound)
    entry = {
        "schema": SCHEMA,
        **asdict(about),
        "etag": known.etag,
        "size_bytes": known.size_bytes,
        "content_type": known.content_type,
        "last_modified": known.last_modified and known.last_modified.isoformat(),
        "tracks": [_track(track) for track in tracks],
    }
    text = json.dumps(entry, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    body = text.encode()
    if len(body) > MAX_ENTRY_BYTES:
        raise ValueError(f"the entry has {len(body)} bytes, allowed are {MAX_ENTRY_BYTES}")
    return body


def _track(track: ScoredTrack) -> dict[str, object]:
    media = track.decoded
    return {
        "model_sha256": track.card.sha256,
        "info": asdict(media.info),
        "logits": track.logits.tolist(),
        "frame": media.frame.tolist(),
        "at_s": media.at_s.tolist(),
        "boxes": media.boxes.tolist(),
        "faces": None if media.faces is None else [asdict(face) for face in media.faces],
        "end_s": None if media.end_s is None else media.end_s.tolist(),
        "speech": track.speech,
    }


def decode(body: bytes, about: EntryId, cards: Mapping[MediaKind, DetectorCard]) -> Scores:
    """Return the scores in an entry; they are ready for ``conclude_tracks``.

    Args:
        body: As read.
        about: What was asked for.
        cards: The loaded detectors'.

    Raises:
        BadEntry: It is not an entry, or not the one that was asked for.
    """
    entry = _parsed(body)
    if EntryId(**{name: getattr(entry, name) for name in _ID_FIELDS}) != about:
        raise BadEntry("it is about another object or other models")
    main, *sound = (_scored(track, cards) for track in entry.tracks)
    if sound and (_kind(main), _kind(sound[0])) != (MediaKind.VIDEO, MediaKind.AUDIO):
        raise BadEntry("its tracks do not belong together")
    return Scores(
        object=ObjectFacts(
            size_bytes=entry.size_bytes,
            content_type=entry.content_type,
            last_modified=entry.last_modified,
            etag=entry.etag,
        ),
        main=main,
        sound=sound[0] if sound else None,
    )


_ID_FIELDS: Final = ("bucket", "key", "version_id", "scoring")


def _parsed(body: bytes) -> _Entry:
    if len(body) > MAX_ENTRY_BYTES:
        raise BadEntry(f"it has more than {MAX_ENTRY_BYTES} bytes")
    try:
        return _Entry.model_validate_json(body, strict=True)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])[:100] or "entry"
        raise BadEntry(f"{field}: {first['msg'][:200]}") from None


def _kind(track: ScoredTrack) -> MediaKind:
    return track.decoded.info.kind


def _scored(track: _Track, cards: Mapping[MediaKind, DetectorCard]) -> ScoredTrack:
    card = cards.get(track.info.kind)
    if card is None or card.sha256 != track.model_sha256:
        raise BadEntry("it was scored by a model that is not loaded")
    _check_info(track.info)
    n = len(track.logits)
    if (track.speech is None) == (n > 0 and card.listens):
        raise BadEntry("it does not say whether anybody speaks")
    return ScoredTrack(
        decoded=_media(track),
        logits=_logits(track.logits),
        card=card,
        speech=track.speech,
    )


def _check_info(info: MediaInfo) -> None:
    sides = (info.width, info.height) if info.kind is not MediaKind.AUDIO else ()
    numbers = (*sides, *(info.visible_px or ()), info.frames_analysed, info.size_bytes)
    if any(number is None or number < 1 for number in numbers):
        raise BadEntry("a size of its file is not positive")
    if info.duration_s is not None and not (
        math.isfinite(info.duration_s) and info.duration_s >= 0
    ):
        raise BadEntry("its file has no duration that can be")


def _logits(values: Sequence[float]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        logits = np.array(values, dtype=np.float32)
    if not np.isfinite(logits).all():
        raise BadEntry("a score is not finite")
    return logits


def _media(track: _Track) -> DecodedMedia:
    n, frame = len(track.logits), np.array(track.frame, dtype=np.int32)
    boxes = np.array(track.boxes, dtype=np.int32).reshape(-1, 4)
    if not _fits(frame, frames=len(track.at_s), all_seen=track.faces is None):
        raise BadEntry("its units do not fit its frames")
    if len(boxes) not in {0, n} or len(frame) != n:
        raise BadEntry("its units do not fit its scores")
    try:
        return DecodedMedia(
            info=track.info,
            units=np.empty((n, 0), dtype=np.uint8),
            frame=frame,
            at_s=np.array(track.at_s, dtype=np.float64),
            boxes=boxes,
            faces=None if track.faces is None else tuple(track.faces),
            end_s=None if track.end_s is None else np.array(track.end_s, dtype=np.float64),
        )
    except ValueError as exc:
        raise BadEntry(str(exc)) from None


def _fits(frame: NDArray[np.int32], *, frames: int, all_seen: bool) -> bool:
    """Return whether units are in the order of their frames.

    Args:
        frame: Frame of each unit.
        frames: How many there are.
        all_seen: Each has a unit; only faces can be missing.
    """
    if not len(frame):
        return not all_seen
    steps = np.diff(frame)
    ends = bool(frame[0] == 0 and frame[-1] == frames - 1 and (steps <= 1).all())
    return bool((steps >= 0).all() and frame[-1] < frames) and (ends or not all_seen)
