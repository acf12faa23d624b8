"""The result envelope as types: what a callback, ``--output`` and the Python API deliver.

``schemas/result.schema.json`` says the same with ranges and conditions; a test compares the two.
"""

from typing import Final, Literal, NotRequired, TypedDict, get_args

Label = Literal["FAKE", "REAL"]
VerdictWord = Literal["fake", "real", "inconclusive", "not_applicable"]
ReasonCode = Literal[
    "above_threshold",
    "below_threshold",
    "between_thresholds",
    "no_face",
    "no_speech",
    "too_short",
    "too_small",
    "sound_above_threshold",
    "sound_between_thresholds",
    "declared_by_ai_tool",
]
"""Why the verdict is what it is; codes are added, never renamed."""
REASON_CODES: Final[tuple[ReasonCode, ...]] = get_args(ReasonCode)


class S3FileInfo(TypedDict):
    """Metadata of an S3 object: size in bytes, declared content type, UTC time of the upload."""

    size: int
    content_type: str | None
    last_modified: str | None


class ErrorInfo(TypedDict):
    """Why a job failed: a code of ``ErrorCode`` and a human-readable sentence."""

    code: str
    message: str


class VerdictReason(TypedDict):
    """Why the verdict is what it is: a code and a human-readable sentence."""

    code: ReasonCode
    message: str


class ModelThresholds(TypedDict):
    """A model's thresholds, 0 to 1; scores between ``low`` and ``high`` are inconclusive."""

    fake: float
    low: float
    high: float


class ModelInfo(TypedDict):
    """The detector that made the score."""

    name: str
    version: str
    sha256: str
    grade: Literal["demo", "experimental", "published"]
    calibrated: bool
    thresholds: ModelThresholds | None
    precision: NotRequired[Literal["float16", "bfloat16"]]


class StreamInfo(TypedDict):
    """One stream of a container; ``cover`` is a still picture that accompanies sound."""

    type: Literal["video", "audio", "cover"]
    codec: str | None
    language: str | None
    title: str | None
    default: bool
    analysed: bool
    width: int | None
    height: int | None


class MediaFacts(TypedDict):
    """Facts found in the file's content; later versions may add fields."""

    container: str
    codec: str | None
    width: int | None
    height: int | None
    duration_s: float | None
    frames_analysed: int
    analysed_s: float | None
    sample_rate_hz: int | None
    size_bytes: int
    sha256: str
    truncated: bool
    damaged: bool
    streams: list[StreamInfo]
    warnings: list[str]
    quality: list[str]


class TrackResult(TypedDict):
    """The result for one track of a video, its pictures or its sound."""

    track: Literal["video", "audio"]
    label: Label | None
    score: float | None
    confidence: float | None
    verdict: VerdictWord
    verdict_reason: VerdictReason
    counts: bool
    model: ModelInfo
    statistics: dict[str, float] | None
    segments: NotRequired[list[dict[str, object]]]


Declared = Literal["ai_generated", "ai_edited", "captured"]


class C2paInfo(TypedDict):
    """The Content Credential (C2PA manifest) inside of a file; see docs/provenance.md."""

    state: Literal["trusted", "valid", "invalid", "unreadable", "not_checked"]
    issuer: str | None
    claim_generator: str | None
    problem: str | None


class EvidenceInfo(TypedDict):
    """One statement of a file about its making: where it stands, its name, value and meaning."""

    source: Literal["c2pa", "xmp", "exif", "iptc", "png_text", "tag"]
    field: str
    value: str
    declares: Declared | None


class ProvenanceInfo(TypedDict):
    """What a file says of its own making; it can be forged and stripped, and moves no score."""

    declares: Declared | None
    signed: bool
    generator: str | None
    camera: str | None
    software: str | None
    c2pa: C2paInfo | None
    evidence: list[EvidenceInfo]


class DetectionResult(TypedDict):
    """The result for one file; every field but ``cached`` is always present.

    For a failed job (``status`` ``failed``), fields that depend on a score are None. Read
    ``verdict`` before ``label``: the label is FAKE or REAL even for inconclusive scores.
    ``cached`` is there if the scores are those of an earlier analysis of the same object.
    ``confidence``, ``prediction_score``, ``threshold`` and ``margin`` are in [0, 1]; see
    docs/messages.md for each field.
    """

    request_id: str
    sqs_to_ml_url: str | None
    file_path: str | None
    local_path: str | None
    file_type: Literal["image", "video", "audio"] | None
    label: Label | None
    confidence: float | None
    prediction_score: float | None
    is_s3_file: bool
    processed_at: str
    queue_url: str | None
    s3_file_info: S3FileInfo | None
    original_message: dict[str, object] | None
    metadata: dict[str, object] | None
    status: Literal["finished", "failed"]
    error: ErrorInfo | None
    threshold: float | None
    model: ModelInfo | None
    timings_ms: dict[str, float]
    segments: list[dict[str, object]]
    media: MediaFacts | None
    verdict: VerdictWord | None
    verdict_reason: VerdictReason | None
    margin: float | None
    raw_score: float | None
    tracks: list[TrackResult] | None
    provenance: ProvenanceInfo | None
    cached: NotRequired[bool]
