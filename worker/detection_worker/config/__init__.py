"""From options, environment and config file to checked ``settings``; nothing else reads them.

Precedence: option, environment, config file, default. Credentials differ: options, config file,
then boto3's own chain, which itself begins with the environment.
"""

from detection_worker.config.load import Loaded, load_consumer, load_settings, region_of_queue

__all__ = ["Loaded", "load_consumer", "load_settings", "region_of_queue"]
