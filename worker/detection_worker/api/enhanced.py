"""The predictor of the original guide: one that reads its own settings."""

import os
from collections.abc import Sequence
from pathlib import Path

from detection_contract.messages import DEFAULT_THRESHOLD
from detection_worker.api.predictor import Predictor
from detection_worker.config import consumer_value, load_settings


class EnhancedDeepfakePredictor(Predictor):
    """A ``Predictor`` that reads its own settings.

    Args:
        aws_access_key_id: Like every argument: None takes config file, environment or default.
        aws_secret_access_key: Of that key.
        aws_region: Of buckets whose URL names none.
        models_dir: Folder of detectors; by default those that ship with the package.
        config: Path of a config file.
        endpoint_url: Of an S3-compatible store.
        device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``: the GPU if there is one.
        prefer: Models that score their kind before all others.
        threshold: In [0, 1]; P(fake) from which on a file is FAKE.

    Raises:
        UsageError: A setting is wrong.
        ValueError: The threshold is out of range.
    """

    def __init__(  # noqa: PLR0913 - the guide's arguments and its own
        self,
        aws_access_key_id: str | None = None,
        aws_secret_access_key: str | None = None,
        aws_region: str | None = None,
        *,
        aws_session_token: str | None = None,
        models_dir: str | Path | None = None,
        config: str | Path | None = None,
        endpoint_url: str | None = None,
        device: str | None = None,
        prefer: str | Sequence[str] | None = None,
        threshold: float = DEFAULT_THRESHOLD,
    ) -> None:
        options: dict[str, object] = {
            "aws_access_key_id": aws_access_key_id,
            "aws_secret_access_key": aws_secret_access_key,
            "aws_region": aws_region,
            "aws_session_token": aws_session_token,
            "models_dir": models_dir,
            "config": config,
            "endpoint_url": endpoint_url,
            "prefer": prefer if prefer is None or isinstance(prefer, str) else list(prefer),
        }
        super().__init__(
            load_settings(options, os.environ, Path.cwd()).settings,
            device=str(consumer_value("device", {"device": device}, os.environ)),
            threshold=threshold,
        )
