"""Whether length, loudness, silence, bandwidth and codec alone tell real from made clips.

A detector of such clips would have learned that instead of the traces of vocoders.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detection_training.audio.dataset import Clips
from detection_training.audio.sound import RATE_HZ, Samples
from detection_training.evaluation.baseline import baseline
from detection_training.evaluation.features import rolloff_hz, silence_share
from detection_training.evaluation.intervals import Measure
from detection_worker.errors import UsageError

MOST_TRIVIAL_AUC: Final = 0.6
MOST_TRIVIAL_AUC_OF_CLIPS: Final = 0.65
"""Limit for a split with too few voices to hold some back: what tells voices apart helps there."""
TRIVIAL_CLIPS: Final = 3_000
"""Most clips of a split that the trivial features are measured on."""


def measure(clips: Clips) -> dict[str, Any]:
    """Return how well trivial features tell the classes of a split apart, for ``eval.json``.

    ``auc`` is cross-validated over voices, or over clips where voices are too few, as
    ``held_back`` says; ``single`` has the AUC of each feature by itself, 0.5 to 1.
    """
    step = max(1, len(clips) // TRIVIAL_CLIPS)
    chosen = range(0, len(clips), step)
    rows = [clips.rows[i] for i in chosen]
    features = [trivial(clips.sound(i)) for i in chosen]
    fake = np.array([row.fake for row in rows])
    channels = [row.channel for row in rows]
    voices = [row.speaker for row in rows]
    found = baseline(features, channels, fake, voices, draws=200)
    held_back = "voices"
    if found.auc.value is None:
        held_back = "clips"
        found = baseline(features, channels, fake, [str(i) for i in chosen], draws=200)
    single = {name: round(value, 4) for name, value in found.single.items()}
    return {
        "auc": found.auc.value,
        "interval": ends(found.auc),
        "held_back": held_back,
        "single": single,
    }


def trivial(sound: Samples) -> dict[str, float]:
    """Return what has nothing to do with being fake: length, loudness, silence, bandwidth."""
    x: NDArray[np.float64] = sound.astype(np.float64)
    return {
        "duration_s": len(x) / RATE_HZ,
        "silence_share": silence_share(x, rate_hz=RATE_HZ),
        "rolloff_hz": rolloff_hz(x[None], rate_hz=RATE_HZ),
        "loudness_dbfs": float(10 * np.log10(np.square(x).mean() + 1e-12)),
    }


def check_gates(report: Mapping[str, Any]) -> None:
    """Refuse to package a detector of a data set whose classes trivial features tell apart.

    Raises:
        UsageError: They do.
    """
    for split, found in report["trivial"].items():
        by_voice = found["held_back"] == "voices"
        allowed = MOST_TRIVIAL_AUC if by_voice else MOST_TRIVIAL_AUC_OF_CLIPS
        if found["auc"] is not None and found["auc"] > allowed:
            best = max(found["single"], key=found["single"].get)
            raise UsageError(
                f"The {split} split leaks: length, loudness, silence, bandwidth and codec alone "
                f"tell real from fake (AUC {found['auc']:.2f}, allowed {allowed}; worst: "
                f"{best})!\nA detector of these clips would have learned that, so it is not "
                "packaged. Treat both classes alike and build them again."
            )


def ends(measure: Measure) -> list[float] | None:
    """Return the interval of a measure to four digits, None if it has none."""
    if measure.low is None or measure.high is None:
        return None
    return [round(measure.low, 4), round(measure.high, 4)]
