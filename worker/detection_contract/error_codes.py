"""Every coded reason why a job can fail, and what becomes of its message.

A code is part of the result envelope (``error.code``), a metric label and a log key, so codes are
added and never renamed.
"""

from enum import StrEnum
from typing import Final


class Disposition(StrEnum):
    """What becomes of a message whose job failed with a given code."""

    DEAD_LETTER = "dead_letter"
    """A retry cannot help: report the failure, dead-letter the message with the reason."""
    RETRY = "retry"
    """The cause may pass: make the message visible again after a backoff."""


class ErrorCode(StrEnum):
    """Why a job failed, as ``error.code`` of a failed result."""

    BAD_JSON = "bad_json"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    THRESHOLD_OUT_OF_RANGE = "threshold_out_of_range"
    BAD_URL = "bad_url"
    BAD_CALLBACK_URL = "bad_callback_url"
    UNSUPPORTED_TYPE = "unsupported_type"
    S3_NOT_FOUND = "s3_not_found"
    S3_FORBIDDEN = "s3_forbidden"
    S3_NO_SUCH_BUCKET = "s3_no_such_bucket"
    S3_UNAVAILABLE = "s3_unavailable"
    EMPTY_FILE = "empty_file"
    TOO_LARGE = "too_large"
    TOO_LONG = "too_long"
    TOO_MANY_PIXELS = "too_many_pixels"
    UNDECODABLE = "undecodable"
    NO_FRAMES = "no_frames"
    DECODE_MEMORY = "decode_memory"
    DECODE_CRASHED = "decode_crashed"
    TIMEOUT = "timeout"
    NO_MODEL = "no_model"
    INFERENCE_FAILED = "inference_failed"
    CALLBACK_FORBIDDEN = "callback_forbidden"
    CALLBACK_REJECTED = "callback_rejected"
    CALLBACK_UNREACHABLE = "callback_unreachable"
    RESULT_NOT_STORED = "result_not_stored"
    NOTIFICATION_FAILED = "notification_failed"
    RESULT_GONE = "result_gone"
    CREDENTIALS = "credentials"
    GAVE_UP = "gave_up"
    INTERNAL = "internal"


TRANSIENT: Final = frozenset(
    {
        ErrorCode.S3_UNAVAILABLE,
        # A parser can crash or hang because the machine is short of memory or time; the
        # receive count bounds how often a truly bad file is tried again.
        ErrorCode.DECODE_CRASHED,
        ErrorCode.TIMEOUT,
        # Another worker, or a later roll-out of models, may have the detector that this one lacks.
        ErrorCode.NO_MODEL,
        ErrorCode.INFERENCE_FAILED,
        ErrorCode.CALLBACK_UNREACHABLE,
        # The result exists; where it was to go does not take it for now.
        ErrorCode.RESULT_NOT_STORED,
        ErrorCode.NOTIFICATION_FAILED,
        # Broken credentials are the worker's fault, never the message's.
        ErrorCode.CREDENTIALS,
        ErrorCode.INTERNAL,
    }
)
"""Codes whose cause may pass; every other code is permanent."""


def disposition(code: ErrorCode) -> Disposition:
    """Return what becomes of a message whose job failed with ``code``."""
    return Disposition.RETRY if code in TRANSIENT else Disposition.DEAD_LETTER
