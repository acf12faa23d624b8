"""How the bundled audio model errs on short clips: what its shortest judged length rests on.

``python -m detection_training.audio.lengths`` downloads held-out speech and prints a table. Each
length is the start of the same clips, so that nothing differs but the length.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from detection_contract.media_types import MediaKind
from detection_training.audio import corpus, report, stages
from detection_training.audio.fit import score
from detection_training.audio.making.copies import COPIES
from detection_training.audio.making.utterances import joined
from detection_training.audio.sound import RATE_HZ, Samples
from detection_training.pipeline import locked
from detection_training.pipeline.splits import Split
from detection_worker.detectors import registry
from detection_worker.detectors.base import Detector
from detection_worker.detectors.model_folder import listing

MODEL: Final = "audio-lfb-resnet-s"
PACKAGES: Final = (
    "asterisk-core-sounds-en-g722",
    "asterisk-core-sounds-ru-g722",
    "klettres-data",
    "ktuberling-data",
)
"""Packages of held-out speech that are small enough to be downloaded for a test."""
COPIED_BY: Final = ("griffin-lim", "source-filter", "linear-prediction")
LENGTHS_S: Final = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0)
LONGEST_S: Final = 4.0
"""The model's window."""
PER_VOICE: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthRow:
    """What the model makes of clips of one length.

    Attributes:
        length_s: Length of every clip in seconds.
        false_alarms: Share of real clips that are called fake, by source.
        found: Share of copies that are called fake; 0 without copies.
    """

    length_s: float
    false_alarms: Mapping[str, float]
    found: float


def shortest_s(rows: Sequence[LengthRow]) -> float | None:
    """Return the length from which on no source has too many false alarms; None if there is none.

    The limit is that for clips of full length, ``report.MOST_FALSE_ALARMS``.

    Args:
        rows: By length, ascending.
    """
    judged = None
    for row in reversed(rows):
        if max(row.false_alarms.values()) > report.MOST_FALSE_ALARMS:
            break
        judged = row.length_s
    return judged


def clips_of(
    folders: Mapping[str, Path], *, seed: int, per_voice: int = PER_VOICE
) -> tuple[dict[str, list[Samples]], list[Samples]]:
    """Return real clips of the window's length by source, and copies of some of them.

    Args:
        folders: Unpacked packages of ``PACKAGES`` by name.
        seed: Seed of the choice of clips.
        per_voice: Most real clips of a voice.
    """
    rng = np.random.default_rng(seed)
    real: dict[str, list[Samples]] = {}
    copies: list[Samples] = []
    for voice in corpus.voices(folders):
        if voice.split is not Split.TEST:
            continue
        length_s = (LONGEST_S, LONGEST_S)
        clips = [c for c, _ in joined(voice.files, count=per_voice, rng=rng, length_s=length_s)]
        real.setdefault(voice.source, []).extend(clips)
        copies += [COPIES[str(rng.choice(COPIED_BY))](c, rng) for c in clips[: per_voice // 6]]
    return real, copies


def measure(
    detector: Detector,
    real: Mapping[str, Sequence[Samples]],
    copies: Sequence[Samples],
    *,
    lengths_s: Sequence[float] = LENGTHS_S,
) -> list[LengthRow]:
    """Return a row for each length."""
    return [
        LengthRow(
            length_s=length_s,
            false_alarms={s: _called_fake(detector, clips, length_s) for s, clips in real.items()},
            found=_called_fake(detector, copies, length_s),
        )
        for length_s in lengths_s
    ]


def _called_fake(detector: Detector, clips: Sequence[Samples], length_s: float) -> float:
    at = detector.card.calibration
    starts = [clip[: int(length_s * RATE_HZ)] for clip in clips]
    if not starts:
        return 0.0
    return float(np.mean(report.sigmoid(at.a * score(detector, starts) + at.b) >= 0.5))


def table(rows: Sequence[LengthRow]) -> str:
    """Return the rows as a table for the terminal."""
    lines = [f"{'seconds':>7}  {'worst':>6}  {'mean':>6}  {'copies':>6}"]
    for row in rows:
        alarms = list(row.false_alarms.values())
        lines.append(
            f"{row.length_s:7.2f}  {max(alarms):6.3f}  {np.mean(alarms):6.3f}  {row.found:6.3f}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and the shortest judged length; return 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cache", type=Path, default=Path(".cache/training"))
    parser.add_argument("--seed", type=int, default=5)
    asked = parser.parse_args(arguments)
    wanted = [p for p in locked.read_lock(stages.LOCK) if p.name in PACKAGES]
    folders = locked.fetch_locked(wanted, asked.cache, log=print)
    loaded = registry.load_detectors(listing.bundled_models_dir(), threads=1, prefer=[MODEL])
    real, copies = clips_of(folders, seed=asked.seed)
    rows = measure(loaded.by_kind[MediaKind.AUDIO], real, copies)
    print(
        f"{sum(map(len, real.values()))} real clips of {len(real)} sources, {len(copies)} copies"
    )
    print("called fake: of real clips in the worst source and the mean of sources, of copies")
    print(table(rows))
    limit = report.MOST_FALSE_ALARMS
    print(f"at most {limit:.0%} in every source: from {shortest_s(rows)} s on")
    return 0


if __name__ == "__main__":
    sys.exit(main())
