"""What to do about a file that could not be analysed, by error code."""

from collections.abc import Mapping, Sequence
from typing import Final

from detection_contract import user_messages
from detection_contract.error_codes import ErrorCode
from detection_worker.report.texts import printable

_DAMAGED: Final = "Open it with another program: the file is damaged or incomplete."
_MODELS: Final = user_messages.NO_MODELS.partition("\n")[2]
STEPS: Final[Mapping[ErrorCode, str]] = {
    ErrorCode.BAD_URL: "Check the path; an S3 URL looks like s3://BUCKET/KEY.",
    ErrorCode.UNSUPPORTED_TYPE: (
        "Convert it to JPEG, PNG, BMP, TIFF, WebP, MP4, AVI, MOV, MKV, WMV, WAV, MP3, FLAC, M4A "
        "or OGG."
    ),
    ErrorCode.S3_NOT_FOUND: user_messages.FILE_NOT_FOUND.partition("\n")[2],
    ErrorCode.S3_FORBIDDEN: user_messages.ACCESS_DENIED.partition("\n")[2],
    ErrorCode.S3_NO_SUCH_BUCKET: "Check the name of the bucket, and --endpoint-url if you use it.",
    ErrorCode.S3_UNAVAILABLE: "Check the network and --endpoint-url, then try again.",
    ErrorCode.CREDENTIALS: user_messages.NO_CREDENTIALS.partition("\n")[2],
    ErrorCode.EMPTY_FILE: "Copy or upload it again.",
    ErrorCode.TOO_LARGE: "Raise --max-bytes if you trust the file.",
    ErrorCode.TOO_LONG: "Raise --max-duration if you trust the file.",
    ErrorCode.TOO_MANY_PIXELS: "Raise --max-pixels if you trust the file.",
    ErrorCode.UNDECODABLE: _DAMAGED,
    ErrorCode.NO_FRAMES: _DAMAGED,
    ErrorCode.DECODE_MEMORY: "Reduce its size: decoding it takes more memory than is allowed.",
    ErrorCode.DECODE_CRASHED: "Try it once more; a file that does it again is damaged.",
    ErrorCode.TIMEOUT: "Raise --decode-timeout, or cut the file.",
    ErrorCode.NO_MODEL: _MODELS,
    ErrorCode.INFERENCE_FAILED: "Check the model: detection-worker models verify",
}
"""Next step for every code that ``predict`` can meet, except ``INTERNAL``."""
_BUG: Final = "This is a bug of the program: report it with the log above."


def step(code: str) -> str:
    """Return the next step for an error code."""
    return STEPS.get(ErrorCode(code), _BUG)


def advice(failures: Sequence[tuple[str, str]]) -> str:
    """Return each error code's first message, with the next step on the line below.

    Args:
        failures: Code and message of each failed file.
    """
    by_code: dict[str, list[str]] = {}
    for code, message in failures:
        by_code.setdefault(code, []).append(message)
    lines = []
    for code, messages in by_code.items():
        more = f" (and {len(messages) - 1} more: {code})" if len(messages) > 1 else ""
        lines.append(f"{printable(messages[0])}{more}\n{step(code)}")
    return "\n".join(lines)
