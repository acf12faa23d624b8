"""Reads options, environment and config file into checked ``settings``.

Precedence: option, environment, config file, default. Credentials differ: options, config file,
then boto3's own chain, which itself begins with the environment.
"""

from detection_worker.config.load import (
    Loaded,
    consumer_value,
    load_consumer,
    load_settings,
)

__all__ = ["Loaded", "consumer_value", "load_consumer", "load_settings"]
