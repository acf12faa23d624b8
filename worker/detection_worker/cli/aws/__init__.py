"""AWS credentials on the command line: ``setup-aws`` and ``predict --setup-aws``."""
