"""S3 prefixes among the inputs of ``predict``: counted before the work starts."""

from detection_worker.api.files import S3Files
from detection_worker.api.prefixes import nothing_in, pattern_of
from detection_worker.cli.batch.failures import explained
from detection_worker.cli.predict.inputs import Found
from detection_worker.cli.progress import Progress
from detection_worker.settings import Settings


def count_objects(found: Found, settings: Settings) -> None:
    """Count the objects of the S3 prefixes among the inputs, so that the total is known.

    Raises:
        UsageError: A prefix cannot be listed, or has no media.
    """
    patterns = {name: pattern for name in found.names if (pattern := pattern_of(name))}
    if not patterns:
        return
    progress = Progress(None, unit="objects listed")
    listed = 0
    try:
        with explained(), S3Files(settings) as files:
            for name, pattern in patterns.items():
                found.below[name] = 0
                for _, why in files.objects(pattern):
                    listed += 1
                    progress.show(listed)
                    if why is None:
                        found.below[name] += 1
                    else:
                        found.skipped_objects[why] += 1
                if not found.below[name]:
                    raise nothing_in(pattern)
    finally:
        progress.clear()
