"""What a piece of media may be used for; no photograph or voice is in two splits."""

from enum import StrEnum


class Split(StrEnum):
    """Use of a piece of media."""

    TRAIN = "train"
    DEV = "dev"
    """Calibration."""
    TEST = "test"
    """Reported numbers, nothing else."""
    SAMPLE = "sample"
    """Ships as a demonstration file; used for nothing else."""
