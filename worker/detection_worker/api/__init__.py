"""The Python API, with the names of the original guide.

Importing it does not import torch; loading models does. Errors that callers handle are
``UsageError`` (wrong setting, no model, no queue) and ``JobError`` (this file cannot be analysed).
"""

from detection_contract.error_codes import ErrorCode
from detection_contract.messages import InvalidMessage, create_test_message
from detection_contract.result_types import DetectionResult
from detection_worker.api.consumer import SQSDeepfakeConsumer
from detection_worker.api.enhanced import EnhancedDeepfakePredictor
from detection_worker.api.files import PredictionContext, S3FileHandler
from detection_worker.errors import JobError, UsageError, WorkerError

__all__ = [
    "DetectionResult",
    "EnhancedDeepfakePredictor",
    "ErrorCode",
    "InvalidMessage",
    "JobError",
    "PredictionContext",
    "S3FileHandler",
    "SQSDeepfakeConsumer",
    "UsageError",
    "WorkerError",
    "create_test_message",
]
