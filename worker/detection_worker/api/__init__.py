"""The Python API, with the names of the original guide.

Importing it costs no torch; loading models does.
"""

from detection_contract.messages import create_test_message
from detection_worker.api.consumer import SQSDeepfakeConsumer
from detection_worker.api.files import PredictionContext, S3FileHandler
from detection_worker.api.predictor import EnhancedDeepfakePredictor

__all__ = [
    "EnhancedDeepfakePredictor",
    "PredictionContext",
    "S3FileHandler",
    "SQSDeepfakeConsumer",
    "create_test_message",
]
