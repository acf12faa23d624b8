"""Files with what a new head says of them: what fitting makes and the card tells of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detection_training import metrics
from detection_training.head.features import Seen
from detection_training.metrics import Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """Files with their part of the split and the scores of the new head.

    Attributes:
        seen: Files and features.
        groups: Group of each file; no group is in two parts.
        parts: Part of each file, a key of ``files.SHARES``.
        logits: Logit of each file before calibration.
        is_fake: Whether each file is labelled fake.
    """

    seen: Seen
    groups: Sequence[str]
    parts: Sequence[str]
    logits: Floats
    is_fake: metrics.Flags

    def of(self, part: str, *, fake: bool) -> Floats:
        """Return the logits of one class in one part."""
        chosen = self.chosen(part) & (self.is_fake == fake)
        found: Floats = self.logits[chosen]
        return found

    def test_groups(self) -> int:
        """Return how many groups the test part has of the class that has fewer."""
        test = self.chosen("test")
        of_class = (test & (self.is_fake == fake) for fake in (False, True))
        return min(len({self.groups[i] for i in np.flatnonzero(c).tolist()}) for c in of_class)

    def chosen(self, part: str) -> metrics.Flags:
        """Return which files are in a part."""
        return np.array([one == part for one in self.parts])
