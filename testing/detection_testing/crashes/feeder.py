"""A feeder whose outbox has shorter pauses, for workers that are to be killed many times."""

import sys
from collections.abc import Callable
from typing import Final

from detection_testing.crashes.process import speed_up_outbox
from detection_worker.pipeline.service.feeders import feeder, process

MODULE: Final = "detection_testing.crashes.feeder"


def with_short_pauses(factor: float) -> Callable[[], None]:
    """Return what a new worker calls, so that it and its feeders divide the outbox's pauses."""

    def prepare() -> None:
        speed_up_outbox(factor)
        vars(process)["PROGRAM"] = (sys.executable, "-P", "-m", MODULE, str(factor))

    return prepare


def main() -> int:
    """Run a feeder; the first argument is the factor, the others are the feeder's."""
    speed_up_outbox(float(sys.argv.pop(1)))
    return feeder.main()


if __name__ == "__main__":
    sys.exit(main())
