"""The predictor of the original guide, which reads its own settings."""

import os
from collections.abc import Sequence
from pathlib import Path

from detection_contract.messages import DEFAULT_THRESHOLD
from detection_worker.api.predictor import Predictor
from detection_worker.config import consumer_value, load_settings


class EnhancedDeepfakePredictor(Predictor):
    """A ``Predictor`` that reads its own settings.

    An argument that is None takes its value from the environment, the config file or the default,
    in this order; AWS keys from the config file, then from boto3's own chain.

    Args:
        aws_access_key_id: AWS access key; give both keys or none.
        aws_secret_access_key: Secret of the access key.
        aws_region: AWS region of buckets whose URL does not name one.
        aws_session_token: Session token of temporary keys.
        models_dir: Folder of detectors; the default is the models in the package.
        config: Path of a config file; the default is ``aws_config.json``, if it exists.
        endpoint_url: http or https URL of an S3-compatible store.
        device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``, which takes the GPU if there is one.
        prefer: Names of models to use first for their media kind.
        threshold: P(fake) from which the label is FAKE, in [0, 1].
        frames: Most frames of a video to look at; None takes the model's own number.
        windows: Most windows of sound to look at; None takes the model's own number.
        precision: ``float32``, ``float16``, ``bfloat16``, or ``auto``: half on a GPU if scores
            hold.

    Raises:
        UsageError: A setting is wrong, or the config file that was named does not exist.
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
        frames: int | None = None,
        windows: int | None = None,
        precision: str | None = None,
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
            "frames": frames,
            "windows": windows,
            "precision": precision,
        }
        super().__init__(
            load_settings(options, os.environ, Path.cwd()).settings,
            device=str(consumer_value("device", {"device": device}, os.environ)),
            threshold=threshold,
        )
