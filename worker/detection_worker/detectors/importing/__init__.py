"""From files that others published to model folders: ``detection-worker models import``."""
