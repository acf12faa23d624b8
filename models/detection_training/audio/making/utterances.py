"""Utterances joined to clips, without silences and noises, which differ between sources."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from detection_training.audio.sound import RATE_HZ, Samples, levelled, read_sound, trimmed

CLIP_S: Final = (2.5, 5.0)
"""Shortest and longest clip; drawn alike for both classes."""
FADE: Final = RATE_HZ // 200
"""Samples of the cross-fade between the utterances of a clip."""
SHORTEST_UTTERANCE_S: Final = 0.3


def joined(
    files: Sequence[Path],
    *,
    count: int,
    rng: np.random.Generator,
    length_s: tuple[float, float] = CLIP_S,
) -> Iterator[tuple[Samples, Path]]:
    """Yield clips of random length and the last file of each, from files in random order.

    Args:
        files: Files of one voice; those without speech are skipped.
        count: Most clips.
        rng: Chooses order and lengths.
        length_s: Shortest and longest clip.
    """
    pending: list[Samples] = []
    made = 0
    wanted = int(rng.uniform(*length_s) * RATE_HZ)
    for index in rng.permutation(len(files)):
        try:
            sound = trimmed(read_sound(files[int(index)]))
        except ValueError:
            continue
        if len(sound) < SHORTEST_UTTERANCE_S * RATE_HZ or not voiced(sound):
            continue
        pending.append(levelled(sound, peak=0.8))
        if sum(map(len, pending)) - FADE * len(pending) >= wanted:
            yield crossfaded(pending)[:wanted], files[int(index)]
            made += 1
            pending, wanted = [], int(rng.uniform(*length_s) * RATE_HZ)
        if made == count:
            return


def crossfaded(parts: Sequence[Samples]) -> Samples:
    """Return parts joined by short cross-fades, so that no digital silence marks a joint."""
    whole = parts[0]
    ramp = np.linspace(0, 1, FADE, dtype=np.float32)
    for part in parts[1:]:
        if min(len(whole), len(part)) <= FADE:
            continue
        middle = whole[-FADE:] * (1 - ramp) + part[:FADE] * ramp
        whole = np.concatenate([whole[:-FADE], middle, part[FADE:]])
    return whole


def voiced(sound: Samples) -> bool:
    """Return whether a fifth of the frames has a pitch; bangs and animals mostly have none."""
    frame = RATE_HZ // 25
    count = len(sound) // frame
    if count < 4:
        return False
    frames = sound[: count * frame].reshape(count, frame).astype(np.float64)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 2 * frame)) ** 2)[:, :frame]
    ratio = correlation[:, RATE_HZ // 400 : RATE_HZ // 70] / np.maximum(correlation[:, :1], 1e-9)
    return bool((ratio.max(axis=1) > 0.45).mean() > 0.2)
