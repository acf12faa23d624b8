"""How much the audio pipeline makes and trains, for each preset."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from detection_training.pipeline.presets import PresetName
from detection_training.pipeline.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioFullPlan:
    """Amounts.

    Attributes:
        per_voice: Most real clips of one voice, by split.
        copies: Copies of each real clip by vocoders without a network.
        neural_share: Share of real clips that each neural vocoder copies.
        per_language: Sentences of eSpeak NG in each language, by split.
        per_engine: Clips of every other engine, by split.
        vocoder_seconds: Most time for training each neural vocoder.
        vocoder_steps: Most batches for each.
        steps: Batches for the detector.
        seconds: Most time for the detector.
        width: Of the network, see ``detection_worker.detectors.networks.audio.audio_lfb``.
        bands: Likewise.
        rows: Likewise.
        processes: For making clips.
    """

    per_voice: Mapping[Split, int]
    copies: int
    neural_share: float
    per_language: Mapping[Split, int]
    per_engine: Mapping[Split, int]
    vocoder_seconds: float
    vocoder_steps: int
    steps: int
    seconds: float
    width: int
    bands: int
    rows: bool
    processes: int


PLANS: Final[Mapping[PresetName, AudioFullPlan]] = {
    "full": AudioFullPlan(
        per_voice={Split.TRAIN: 80, Split.DEV: 40, Split.TEST: 36},
        copies=1,
        neural_share=0.35,
        per_language={Split.TRAIN: 24, Split.DEV: 24, Split.TEST: 12},
        per_engine={Split.TRAIN: 120, Split.DEV: 60, Split.TEST: 60},
        vocoder_seconds=420.0,
        vocoder_steps=1_500,
        steps=4_000,
        seconds=2_100.0,
        width=12,
        bands=160,
        rows=True,
        processes=2,
    ),
    "tiny": AudioFullPlan(
        per_voice={Split.TRAIN: 3, Split.DEV: 3, Split.TEST: 3},
        copies=1,
        neural_share=0.5,
        per_language={Split.TRAIN: 1, Split.DEV: 1, Split.TEST: 1},
        per_engine={Split.TRAIN: 2, Split.DEV: 2, Split.TEST: 2},
        vocoder_seconds=5.0,
        vocoder_steps=2,
        steps=4,
        seconds=20.0,
        width=8,
        bands=80,
        rows=True,
        processes=1,
    ),
}
