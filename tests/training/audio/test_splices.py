"""A short generated part of a long recording: what pooling makes of it, with the bundled model."""

import numpy as np

from detection_contract.media_types import MediaKind
from detection_testing.samples import sample_path
from detection_training.audio.lengths import MODEL
from detection_training.audio.sound import RATE_HZ, read_sound
from detection_training.scripts.splices import Pair, measure, table
from detection_worker.detectors import registry
from detection_worker.detectors.model_folder import listing


def test_a_part_raises_its_own_windows_and_leaves_the_mean_of_all_below_the_threshold() -> None:
    loaded = registry.load_detectors(listing.bundled_models_dir(), threads=1, prefer=[MODEL])
    real = np.resize(read_sound(sample_path("reading.wav")), 40 * RATE_HZ)
    spliced = real.copy()
    spliced[16 * RATE_HZ : 20 * RATE_HZ] = read_sound(sample_path("sentence-synthesised.ogg"))[
        : 4 * RATE_HZ
    ]

    rows = measure(loaded.by_kind[MediaKind.AUDIO], [Pair(real=real, spliced=spliced)])

    called = {row.pooled: (row.false_alarms, row.found) for row in rows}
    assert called["mean of all windows"] == (0.0, 0.0)
    assert called["highest window"] == (0.0, 1.0)
    assert table(rows).splitlines()[1].split()[-3:] == ["0.000", "0.000", "0.00"]
