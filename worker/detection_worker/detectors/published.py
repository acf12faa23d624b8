"""Published architectures: what a checkpoint of each does not say about itself. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import AudioSampling, Sampling
from detection_worker.core.verdict import Pooling

MIB: Final = 1 << 20
SPEECH_4_S: Final = AudioSampling(sample_rate_hz=16_000, window=64_600, hop=32_300, max_windows=16)
"""What ASVspoof models are trained on. Their papers score the first window alone; a long
recording is scored in windows spread over the whole of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """How to use weights that others trained.

    Attributes:
        architecture: Name in the registry.
        kind: Media that it scores.
        classes: What each output means, in the order of the published weights.
        sampling: Units as in its training.
        pooling: From units to one logit.
        paper: Where it was described.
        max_bytes: Largest checkpoint taken: the weights in double precision, with an optimiser's
            state beside them, and some more.
    """

    architecture: str
    kind: MediaKind
    classes: tuple[str, str]
    sampling: Sampling
    pooling: Pooling
    paper: str
    max_bytes: int

    @property
    def fake_index(self) -> int:
        """Which output means fake."""
        return self.classes.index("fake")


_AASIST_PAPER: Final = (
    "Jung et al., AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal Graph Attention "
    "Networks, ICASSP 2022"
)

PUBLISHED: Final[Mapping[str, Published]] = {
    name: Published(
        architecture=name,
        kind=MediaKind.AUDIO,
        classes=("fake", "real"),
        sampling=SPEECH_4_S,
        pooling=Pooling(),
        paper=_AASIST_PAPER,
        max_bytes=16 * MIB,
    )
    for name in ("aasist", "aasist-l")
}
"""By name of the architecture."""
