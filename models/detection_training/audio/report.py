"""What the audio detector is judged by: rows, intervals, false alarms and its grade."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from detection_training import metrics
from detection_training.audio import leaks
from detection_training.audio.dataset import REAL, ClipRow, Clips, originals_of
from detection_training.audio.order import ENGINES, UNSEEN
from detection_training.audio.sound import RATE_HZ
from detection_training.evaluation.intervals import Sample, measures, share
from detection_training.metrics import Flags, Floats
from detection_training.pipeline.splits import Split
from detection_worker.detectors.base import Grade

SEEN: Final = "seen families, unseen speakers and languages"
UNSEEN_TTS: Final = "unseen text-to-speech engine (piper)"
UNSEEN_NEURAL: Final = "unseen neural vocoder (hifi-gan)"
MOST_SEEN_EER: Final = 0.15
MOST_FALSE_ALARMS: Final = 0.10
LEAST_CLIPS: Final = 10
"""Clips that a source needs for its false alarms to be judged."""
INTERVALS: Final = (
    "auc",
    "eer",
    "average_precision",
    "tpr_at_fpr_1pct",
    "detection_rate",
    "false_alarm_rate",
    "ece",
)
"""Measures of a row that get an interval."""
UNDECIDED: Final = (0.1, 0.9)
"""Furthest ends of the band of inconclusive scores."""
MOST_DEV_ALARMS: Final = 0.05
"""Share of the real clips of any one voice of the dev split that may lie above even odds. Voices
differ by several times, and the worst one that comes is to stay under ``MOST_FALSE_ALARMS``."""


def used(rows: Sequence[ClipRow]) -> dict[str, dict[str, Any]]:
    """Return counts and minutes of real speech by package, for the data card."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row.family == REAL:
            entry = found.setdefault(row.source, {"clips": 0, "minutes": 0.0, "splits": {}})
            entry["clips"] += 1
            entry["minutes"] = round(entry["minutes"] + row.samples / RATE_HZ / 60, 3)
            entry["splits"][row.split.value] = entry["splits"].get(row.split.value, 0) + 1
    return found


def family_weights(rows: Sequence[ClipRow]) -> Floats:
    """Return a weight for each clip, so that families weigh alike, and voices within them."""
    groups: dict[str, dict[str, int]] = {}
    for row in rows:
        voices = groups.setdefault(row.family, {})
        voices[row.speaker] = voices.get(row.speaker, 0) + 1
    return np.array([1 / len(groups[r.family]) / groups[r.family][r.speaker] for r in rows])


def sigmoid(x: Floats) -> Floats:
    """Return 1/(1+e^-x)."""
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))), np.float64)


def balanced_logit(logits: Floats, fake: Flags, weights: Floats) -> float:
    """Return the logit at which as large a share of real clips lies above as of made ones below.

    Args:
        logits: Logits of both classes, shape ``(n,)``.
        fake: Truth.
        weights: Weight of each clip, see ``family_weights``.
    """
    order = np.argsort(logits)
    made, real = (np.where(chosen, weights, 0.0)[order] for chosen in (fake, ~fake))
    missed = np.cumsum(made) / made.sum()
    alarms = 1 - np.cumsum(real) / real.sum()
    at = int(np.argmax(missed >= alarms))
    return float((logits[order][at] + logits[order][min(at + 1, len(logits) - 1)]) / 2)


def even_logit(logits: Floats, fake: Flags, weights: Floats, voices: Sequence[str]) -> float:
    """Return the logit of even odds: the balanced one, or higher for the voice mistaken most.

    Args:
        logits: Logits of both classes, shape ``(n,)``.
        fake: Truth.
        weights: Weight of each clip, see ``family_weights``.
        voices: Who speaks in each clip; of those with few real clips none is judged by itself.
    """
    found = [balanced_logit(logits, fake, weights)]
    for voice in sorted(set(voices)):
        spoken: Flags = np.array([name == voice for name in voices], np.bool_)
        heard = logits[np.logical_and(~fake, spoken)]
        if len(heard) >= LEAST_CLIPS:
            allowed = int(MOST_DEV_ALARMS * len(heard))
            found.append(float(np.sort(heard)[-allowed - 1 :][:2].mean()))
    # What lies on even odds counts as fake.
    return float(np.nextafter(max(found), np.inf))


def undecided(scores: Floats, fake: Flags, weights: Floats) -> tuple[float, float]:
    """Return between which scores the detector cannot tell, from the dev split.

    Above the upper end lie 1 % of the real clips; below the lower one 10 % of the made ones.
    """
    low = _quantile(scores[fake], weights[fake], 0.10)
    high = _quantile(scores[~fake], weights[~fake], 0.99)
    return (
        round(float(np.clip(low, UNDECIDED[0], 0.5)), 3),
        round(float(np.clip(high, 0.5, UNDECIDED[1])), 3),
    )


def _quantile(values: Floats, weights: Floats, at: float) -> float:
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order]) / weights.sum()
    at_most = len(values) - 1
    return float(values[order][min(int(np.searchsorted(cumulative, at)), at_most)])


def report(
    scored: Mapping[Split, tuple[Clips, Floats]],
    as_they_are: tuple[Sequence[ClipRow], Floats],
    everything: Mapping[Split, Clips],
    noisy: Mapping[str, tuple[Sequence[ClipRow], Floats]],
) -> dict[str, Any]:
    """Return the contents of ``eval.json``.

    Args:
        scored: Clips and P(fake) of the dev and the test split.
        as_they_are: Rows and P(fake) of the real test clips without noise floor and channel.
        everything: Clips of every split, for the trivial features.
        noisy: Rows and P(fake) of test clips with added noise, by how much.
    """
    clips, scores = scored[Split.TEST]
    rows = _rows(clips.rows, scores)
    dev_clips, dev_scores = scored[Split.DEV]
    rows["dev split (calibrated on)"] = _row(dev_clips.rows, dev_scores, lambda _: True)
    alarms = _alarms(clips.rows, scores, lambda r: (r.source, r.speaker, f"channel {r.channel}"))
    untouched = _alarms(*as_they_are, lambda r: (f"{r.source} as stored",))
    return {
        "summary": _summary(rows, {**alarms, **untouched}),
        "rows": rows,
        "by_channel": _by(clips.rows, scores, lambda r: r.channel),
        "by_language": _by(clips.rows, scores, lambda r: r.language),
        "by_noise": {
            name: row
            for name, found in noisy.items()
            if (row := _row(*found, lambda r: r.family not in UNSEEN))
        },
        "pairs": pairs(clips.rows, scores),
        "false_alarms": {**alarms, **untouched},
        "sources": sorted({row.source for row in clips.rows if not row.fake}),
        "trivial": {str(split): leaks.measure(found) for split, found in everything.items()},
    }


def _rows(rows: Sequence[ClipRow], scores: Floats) -> dict[str, dict[str, Any]]:
    found = {
        SEEN: _row(rows, scores, lambda r: r.family not in UNSEEN),
        UNSEEN_TTS: _row(rows, scores, lambda r: r.family in {REAL, "piper"}),
        UNSEEN_NEURAL: _row(rows, scores, lambda r: r.family in {REAL, "hifi-gan"}),
    }
    for family in sorted({row.family for row in rows} - {REAL}):
        name = f"{family} (unseen)" if family in UNSEEN else family
        found[name] = _row(rows, scores, lambda r, f=family: r.family in {REAL, f})  # type: ignore[misc]
    return {name: row for name, row in found.items() if row}


def _row(
    rows: Sequence[ClipRow], scores: Floats, wanted: Callable[[ClipRow], bool]
) -> dict[str, Any]:
    chosen = np.array([wanted(row) for row in rows])
    fake = np.array([row.fake for row in rows])[chosen]
    if not fake.any() or fake.all():
        return {}
    picked = scores[chosen]
    # Copies go with the voice that they copy; an engine of one voice has no voices to draw from.
    groups = [
        f"{row.speaker} {i}" if row.family in ENGINES else row.speaker
        for i, (row, keep) in enumerate(zip(rows, chosen, strict=True))
        if keep
    ]
    sample = Sample(scores=picked, is_fake=fake, groups=groups)
    wide = measures(sample, only=INTERVALS)
    strict = wide["tpr_at_fpr_1pct"].value
    return {
        **metrics.summary(picked[~fake], picked[fake]),
        "tpr_at_fpr_1pct": None if strict is None else round(strict, 4),
        "intervals": {name: leaks.ends(m) for name, m in wide.items()},
    }


def pairs(rows: Sequence[ClipRow], scores: Floats) -> dict[str, dict[str, Any]]:
    """Return how often a copy scores above the very clip that it copies, by family; 0.5 is chance.

    Channels are drawn for each by itself. Intervals are over voices.
    """
    originals = originals_of(rows)
    found = {}
    for family in sorted({rows[copy].family for copy in originals}):
        copies = [copy for copy in originals if rows[copy].family == family]
        above = np.array([scores[copy] > scores[originals[copy]] for copy in copies])
        measure = share(above, [rows[copy].speaker for copy in copies])
        value = round(float(above.mean()), 4)
        found[family] = {"n": len(copies), "share": value, "interval": leaks.ends(measure)}
    return found


def _by(
    rows: Sequence[ClipRow], scores: Floats, key: Callable[[ClipRow], str]
) -> dict[str, dict[str, float]]:
    """Return summaries of seen families by a key that both classes have."""
    found = {}
    for name in sorted({key(row) for row in rows}):
        chosen = np.array([key(r) == name and r.family not in UNSEEN for r in rows])
        fake = np.array([r.fake for r in rows])
        real = scores[chosen & ~fake]
        made = scores[chosen & fake]
        if len(real) and len(made):
            found[name] = metrics.summary(real, made)
    return found


def _alarms(
    rows: Sequence[ClipRow], scores: Floats, keys: Callable[[ClipRow], tuple[str, ...]]
) -> dict[str, dict[str, Any]]:
    found: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if not row.fake:
            for key in dict.fromkeys(keys(row)):
                found.setdefault(key, []).append(i)
    result = {}
    for key, indices in sorted(found.items()):
        groups = [f"{rows[i].speaker} {i}" for i in indices]
        measure = share(scores[indices] >= 0.5, groups)
        value = measure.value if measure.value is not None else 0.0
        result[key] = {
            "n": len(indices),
            "share": round(value, 4),
            "interval": leaks.ends(measure),
        }
    return result


def _summary(rows: Mapping[str, Any], alarms: Mapping[str, Any]) -> dict[str, Any]:
    judged = {k: v for k, v in alarms.items() if v["n"] >= LEAST_CLIPS}
    summary = {"false_alarms_worst": max((v["share"] for v in judged.values()), default=None)}
    for key, name in (
        ("seen", SEEN),
        ("unseen_tts", UNSEEN_TTS),
        ("unseen_neural", UNSEEN_NEURAL),
    ):
        if name in rows:
            summary[f"eer_{key}"] = rows[name]["eer"]
            summary[f"auc_{key}"] = rows[name]["auc"]
    return summary


def grade(report: Mapping[str, Any]) -> Grade:
    """Return ``experimental`` for a detector that keeps the limits, else ``demo``."""
    alarms = [v["share"] for v in source_alarms(report).values()]
    seen = report["summary"].get("eer_seen", 1.0)
    good = seen <= MOST_SEEN_EER and max(alarms, default=1.0) <= MOST_FALSE_ALARMS
    return "experimental" if good else "demo"


def source_alarms(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the false alarms of real sources that have clips enough to be judged."""
    return {
        name: found
        for name, found in report["false_alarms"].items()
        if name.removesuffix(" as stored") in report["sources"] and found["n"] >= LEAST_CLIPS
    }


def text(report: Mapping[str, Any]) -> str:
    """Return the rows as a table for a terminal."""
    alarms = "\n".join(
        f"  {name}: {found['share']:.3f} of {found['n']}"
        for name, found in source_alarms(report).items()
    )
    trivial = {split: found["auc"] for split, found in report["trivial"].items()}
    return f"{metrics.table(report['rows'])}\nFalse alarms:\n{alarms}\nTrivial AUC: {trivial}"
