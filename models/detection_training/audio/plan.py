"""How much the audio pipeline makes and trains, and the model it makes, for each preset."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from detection_training.pipeline.presets import Order, PresetName
from detection_training.pipeline.splits import Split

ByVocoder = Mapping[Split, tuple[str, ...]]
CLASSICAL: Final[ByVocoder] = {
    Split.TRAIN: ("world", "world-shifted", "griffin-lim", "source-filter", "linear-prediction"),
    Split.DEV: ("world", "world-shifted", "griffin-lim", "linear-prediction"),
    Split.TEST: ("world", "world-shifted", "griffin-lim", "source-filter", "linear-prediction"),
}
"""Vocoders without a network that copy the clips of each split."""
NEURAL: Final[ByVocoder] = {
    Split.TRAIN: (
        "neural-transposed",
        "neural-spectral",
        "neural-adversarial",
        "neural-codec",
    ),
    # None of them in train: what the detector is chosen and calibrated by shall be new to it.
    Split.DEV: ("neural-repeated", "neural-folded"),
    Split.TEST: ("neural-transposed", "neural-spectral"),
}
"""Vocoders with a network that copy the clips of each split."""
SMALL_CLASSICAL: Final[ByVocoder] = dict.fromkeys(
    (Split.TRAIN, Split.DEV, Split.TEST), ("griffin-lim", "source-filter")
)
SMALL_PACKAGES: Final = (
    "asterisk-core-sounds-en-g722",
    "asterisk-core-sounds-es-g722",
    "asterisk-core-sounds-fr-g722",
    "asterisk-core-sounds-it-g722",
    "asterisk-core-sounds-ru-g722",
    "fillets-ng-data-cs",
    "fillets-ng-data-nl",
    "flite",
    "libflite1",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioPlan:
    """How much a preset does.

    Attributes:
        id: Folder name of the model.
        version: Version of the model.
        demo: The model's grade is ``demo`` whatever it achieves.
        newest: Packages of which the newest versions are taken, as far as they are available;
            empty takes all of the lock file, at their fixed versions.
        needs: Python packages that the steps import; missed before the first download, not after.
        per_voice: Largest number of real clips of one voice, by split.
        classical: Vocoders without a network, by split.
        copies: Copies of each real clip by vocoders without a network.
        neural: Vocoders with a network, by split.
        neural_share: Share of real clips that each neural vocoder copies, 0 to 1.
        per_language: Sentences of eSpeak NG in each language, by split.
        per_engine: Clips of every other engine, by split.
        vocoder_seconds: Time limit for training each neural vocoder, in seconds.
        vocoder_steps: Batches for each neural vocoder.
        steps: Batches for the detector.
        seconds: Time limit for training the detector, in seconds.
        width: Channels of the network's first stage, see ``audio_lfb``.
        bands: Bands of its filterbank.
        rows: Whether it looks at every 16 bands by themselves.
        processes: Processes that make clips.
    """

    id: str = "audio-lfb-resnet-s"
    version: str = "1.1.0"
    demo: bool = False
    newest: tuple[str, ...] = ()
    needs: tuple[str, ...] = ("onnxruntime", "pyworld", "soundfile")
    per_voice: Mapping[Split, int]
    classical: ByVocoder
    copies: int
    neural: ByVocoder
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


PLANS: Final[Mapping[PresetName, AudioPlan]] = {
    "full": AudioPlan(
        per_voice={Split.TRAIN: 80, Split.DEV: 40, Split.TEST: 36},
        classical=CLASSICAL,
        copies=1,
        neural=NEURAL,
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
    "tiny": AudioPlan(
        per_voice={Split.TRAIN: 3, Split.DEV: 3, Split.TEST: 3},
        classical=CLASSICAL,
        copies=1,
        neural=NEURAL,
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


def plan_of(order: Order) -> AudioPlan:
    """Return the plan of the order's preset."""
    return small(order.minutes) if order.preset == "small" else PLANS[order.preset]


def small(minutes: float) -> AudioPlan:
    """Return what two cores of 2020 do in ``minutes`` while the image model is trained beside it.

    The counts follow from the minutes alone, so that a run can be repeated; the limits in seconds
    only guard slower machines.
    """
    share = minutes / 5
    train, held_out = (max(3, round(n * min(share, 4))) for n in (40, 16))
    amounts = {Split.TRAIN: train, Split.DEV: held_out, Split.TEST: held_out}
    return AudioPlan(
        id="audio-lfb-demo",
        version="0.2.0",
        demo=True,
        newest=SMALL_PACKAGES,
        needs=("soundfile",),
        per_voice=amounts,
        classical=SMALL_CLASSICAL,
        copies=2,
        neural=dict.fromkeys(amounts, ()),
        neural_share=0.0,
        per_language=amounts,
        per_engine=amounts,
        vocoder_seconds=0.0,
        vocoder_steps=0,
        steps=max(4, round(350 * share)),
        seconds=170 * share,
        width=16,
        bands=80,
        rows=False,
        processes=1,
    )
