"""From a local file to a verdict; shared by the consumer and ``predict``."""
