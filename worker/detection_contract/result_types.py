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
]
"""Why the verdict is what it is; codes are added, never renamed."""
REASON_CODES: Final[tuple[ReasonCode, ...]] = get_args(ReasonCode)


class S3FileInfo(TypedDict):
    """What S3 says about an object: bytes, declared type, and when it was written (UTC)."""

    size: int
    content_type: str | None
    last_modified: str | None


class ErrorInfo(TypedDict):
    """Why a job failed: a code of ``ErrorCode``, and a sentence."""

    code: str
    message: str


class VerdictReason(TypedDict):
    """Why the verdict is what it is: a code, and a sentence."""

    code: ReasonCode
    message: str


class ModelThresholds(TypedDict):
    """Scores of a model, 0 to 1: it cannot tell between ``low`` and ``high``."""

    fake: float
    low: float
    high: float


class ModelInfo(TypedDict):
    """The detector that scored."""

    name: str
    version: str
    sha256: str
    grade: Literal["demo", "experimental", "published"]
    calibrated: bool
    thresholds: ModelThresholds | None


class StreamInfo(TypedDict):
    """One stream of a container; a cover is a still picture beside sound."""

    type: Literal["video", "audio", "cover"]
    codec: str | None
    language: str | None
    title: str | None
    default: bool
    analysed: bool
    width: int | None
    height: int | None


class MediaFacts(TypedDict):
    """Facts about the file, found in its content; later versions may tell more."""

    container: str
    codec: str | None
    width: int | None
    height: int | None
    duration_s: float | None
    frames_analysed: int
    sample_rate_hz: int | None
    size_bytes: int
    sha256: str
    truncated: bool
    damaged: bool
    streams: list[StreamInfo]
    warnings: list[str]
    quality: list[str]


class TrackResult(TypedDict):
    """What is found in the pictures or the sound of a video, by itself."""

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


class DetectionResult(TypedDict):
    """The result of one file; every field is always there.

    Of a failed job (``status`` ``failed``) all that depends on a score is None. Read ``verdict``
    before ``label``: a label takes a side also where the model cannot tell.
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
