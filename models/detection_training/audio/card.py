"""The text of the audio detector's model card."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from torch import nn

from detection_training import metrics
from detection_training.audio.dataset import ClipRow
from detection_training.audio.report import (
    LEAST_CLIPS,
    MOST_DEV_ALARMS,
    MOST_FALSE_ALARMS,
    SEEN,
    UNSEEN_NEURAL,
    UNSEEN_TTS,
    source_alarms,
)
from detection_training.pipeline.package import DEMO_WARNING, LICENSE, Design
from detection_training.pipeline.sources import Source
from detection_training.pipeline.splits import Split

COLUMNS: Final = {
    "AUC": ("auc", "auc"),
    "EER": ("eer", "eer"),
    "AP": ("average_precision", "average_precision"),
    "found at 1 % false alarms": ("tpr_at_fpr_1pct", "tpr_at_fpr_1pct"),
    "found at 0.5": ("tpr_at_0.5", "detection_rate"),
    "false alarms at 0.5": ("fpr_at_0.5", "false_alarm_rate"),
    "ECE": ("ece", "ece"),
}
"""Columns of the tables: the key of the value and that of its interval."""
INTENDED: Final = """\
> **Research model, grade `{grade}`.** It finds speech that classical vocoders, older synthesisers
> and small neural vocoders made, within the limits below.
> **Do not use its scores to accuse, block or clear anybody**, and do not use them on today's
> cloned voices, on which it was never measured and is expected to be near chance.

Intended: triage of recordings of speech, beside other evidence, by people who read the tables
below; research; a starting point for training on your own recordings. Not intended: music, sound
effects, singing, identification of speakers, decisions without a person.
"""
HOW: Final = """\
Sound at 16 kHz in windows of four seconds, every two seconds. Log energies of {bands} linear
bands, each without its mean over the window (which is mostly microphone and line), go through a
residual network with squeeze-and-excitation (four stages, width {width}) and attentive mean and
spread over time{rows}: {parameters:,} parameters, one logit a window.
Half of what it was trained on were pairs of a clip and its copy, cut and treated alike. The
windows' mean becomes P(fake) =
sigmoid({a:.3f} x + {b:.3f}): the slope by Platt scaling on the dev split, the offset so that at
0.5 no more than {alarms:.0%} of the real clips of any of its voices are called fake. Scores from
{low:.2f} to {high:.2f} are inconclusive: on the dev split 10 % of the made clips lie below and 1 %
of the real ones above (no further than 0.1 and 0.9).
"""
HISTORY: Final = """\
Version 1.0.0 erred as often on either side of the dev split; on the test split it called up to a
quarter of a source of real speech fake, and that was known when the rule for the offset was
chosen. No weight and no number of this version was chosen by the test split.
"""
DATA: Final = """\
{counts}

Real clips are {shortest:g} to {longest:g} seconds joined from utterances of one voice, with
cross-fades and without pauses; utterances without a pitch (bangs, animals) were dropped by rule,
not by ear. A language is in one split only. Made clips by family:

{families}

Both classes pass the same storage (the codec that the real packages were kept in), noise floor,
loudness and channel (none, G.722, Vorbis, Opus 16 and 24, MP3 32 and 64, mu-law and GSM at 8 kHz),
drawn from one distribution for every family. How well length, loudness, silence, bandwidth and
channel alone tell the classes apart (0.5 is not at all; with too few voices to hold some back,
voices help): {trivial}.
"""
FAMILIES: Final = """\
Copies: WORLD (kept and moved pitch), Griffin-Lim, linear prediction, a cepstral source-filter
vocoder, and small networks trained on the training voices (transposed convolution; inverse Fourier
transform; for train alone, one with an adversary and a codec of the waveform; for dev alone,
repeated samples and another codec). In train the networks also ran at 22.05 and 24 kHz, and there
are copies that keep all of their original but one trace: another phase, a part of the copy, or
what a mel spectrogram loses.
Engines: eSpeak NG, flite and a distilled neural voice (hibari; its one voice is in train and test,
with other words). Only ever measured on: a VITS voice (piper), a published HiFi-GAN, and a phase
vocoder.
"""
DEMO_LIMITS: Final = """\
- No modern neural voice was available for training or testing. Published measurements of models
  of this size on such voices are near chance; expect the same.
- Few voices and two recording chains: see the false alarms by source.
"""
FULL_LIMITS: Final = """\
- Neural vocoders that it has not seen, and so today's cloned and synthesised voices: see the row
  "{neural}". The one unseen text-to-speech voice is one voice of one engine.
- The dev split's own neural vocoders were trained for minutes; calibration leans on them.
"""
LIMITS: Final = """\
- {missed}
- {alarming}
- Scores are cautious rather than odds: even odds lie where hardly a real clip is, so many made
  clips score below (the column ECE says how far off the scores are as probabilities).
- Speakers are professionals at a desk, actors and volunteers for children's software: no telephone
  calls as they happen, no crowds, no far microphones, few children. Age, sex and accent were not
  labelled, so error rates by group of people are unknown.
- Package names stand for speakers: volunteers who recorded two languages would be in two splits.
- Music, noise and silence get a score too, and it means nothing.
- A file that is fake for a few seconds only is averaged with the rest; read the segments.
"""
FULL_AGAIN: Final = """\
`detection-worker train --preset full --only audio --output DIR` with the extra `train-full`
(`pip install "detection-queue[train-full]"`). Sources are locked by sha256. Training stops by the
clock on slow machines, so weights differ a little from run to run.
"""
DEMO_AGAIN: Final = """\
`detection-worker train --demo --only audio --output DIR` with the extra `train`
(`pip install "detection-queue[train]"`). It takes the newest versions of the packages above.
"""


def card(
    design: Design,
    network: nn.Module,
    report: Mapping[str, Any],
    *,
    packages: Sequence[Source],
    rows: Sequence[ClipRow],
    calibration: Mapping[str, float],
    demo: bool,
) -> str:
    """Return the text of ``MODEL_CARD.md``.

    Args:
        design: The model.
        network: The model with its weights.
        report: Contents of ``eval.json``.
        packages: Packages that the media came from.
        rows: Every clip.
        calibration: ``a``, ``b``, ``low`` and ``high``.
        demo: It is the demonstration model.
    """
    parts = [
        f"# {design.id}\n",
        DEMO_WARNING if demo else INTENDED.format(grade=design.grade),
        "## How it works\n",
        _how(design, network, calibration),
        *([] if demo else [HISTORY]),
        "## Data\n",
        DATA.format(
            counts=_counts(rows),
            shortest=min(r.samples for r in rows) / 16_000 // 0.1 / 10,
            longest=5,
            families=_families(rows),
            trivial=_trivial(report),
        ),
        *([] if demo else [FAMILIES]),
        "Packages; none of their sound is in this folder, `splits.csv.gz` lists every clip by its "
        f"digest and `DATA_CARD.json` the counts:\n\n{_licences(packages)}\n",
        *_results(report),
        "## Where it is bad\n",
        (DEMO_LIMITS if demo else FULL_LIMITS.format(neural=UNSEEN_NEURAL))
        + LIMITS.format(missed=_missed(report), alarming=_alarming(report)),
        f"## Making it again\n\n{DEMO_AGAIN if demo else FULL_AGAIN}",
        f"## Licence\n\nWeights: {LICENSE}. The media keep their own licences, above.\n",
    ]
    return "\n".join(parts)


def _how(design: Design, network: nn.Module, calibration: Mapping[str, float]) -> str:
    return HOW.format(
        width=design.params["width"],
        bands=design.params["bands"],
        rows=", every 16 bands by themselves" if design.params["rows"] else "",
        parameters=sum(p.numel() for p in network.parameters()),
        alarms=MOST_DEV_ALARMS,
        **{k: calibration[k] for k in ("a", "b", "low", "high")},
    )


def _results(report: Mapping[str, Any]) -> list[str]:
    return [
        "## Held-out results\n\nTest voices and languages are in no other split. One row each: "
        "made by that family, against all real clips of the test split. Score at even odds; "
        f"intervals are 95 %, over speakers.\n\n{_table(report['rows'])}\n",
        f"By channel, seen families:\n\n{metrics.table(report['by_channel'])}\n",
        "With noise this far below the speech, seen families, every third clip:\n\n"
        f"{_table(report['by_noise'])}\n",
        "How often a copy scores above the very clip that it copies, whatever the score of even "
        f"odds (half is chance; intervals over voices):\n\n{_pairs(report)}\n",
        "False alarms at 0.5 by source of real speech, intervals over clips:\n\n"
        f"{_alarms(report)}\n",
    ]


def _counts(rows: Sequence[ClipRow]) -> str:
    lines = ["| split | real clips | minutes | voices | languages | made clips | families |"]
    lines.append("| --- |" + " ---: |" * 6)
    for split in (Split.TRAIN, Split.DEV, Split.TEST):
        real = [r for r in rows if r.split is split and not r.fake]
        made = [r for r in rows if r.split is split and r.fake]
        minutes = sum(r.samples for r in real) / 16_000 / 60
        lines.append(
            f"| {split} | {len(real)} | {minutes:.0f} | {len({r.speaker for r in real})} | "
            f"{len({r.language for r in real})} | {len(made)} | {len({r.family for r in made})} |"
        )
    return "\n".join(lines)


def _families(rows: Sequence[ClipRow]) -> str:
    lines = ["| family | train | dev | test |", "| --- | ---: | ---: | ---: |"]
    count = Counter((r.family, r.split) for r in rows if r.fake)
    for family in sorted({family for family, _ in count}):
        cells = [str(count[family, split]) for split in (Split.TRAIN, Split.DEV, Split.TEST)]
        lines.append(f"| {family} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _trivial(report: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{split} {found['auc']:.2f}" if found["auc"] is not None else f"{split} not measured"
        for split, found in report["trivial"].items()
    )


def _licences(packages: Sequence[Source]) -> str:
    return "\n".join(
        f"- `{p.name}`{p.label.removeprefix(p.name)} ({p.holds}): {p.license}"
        for p in packages
        if p.holds != "library"
    )


def _table(rows: Mapping[str, Any]) -> str:
    head = "| | " + " | ".join(COLUMNS) + " | real | made |"
    lines = [head, "| --- |" + " ---: |" * (len(COLUMNS) + 2)]
    for name, row in rows.items():
        cells = [_cell(row[key], row["intervals"].get(at)) for key, at in COLUMNS.values()]
        cells += [str(row["n_real"]), str(row["n_fake"])]
        bold = "**" if name in {SEEN, UNSEEN_TTS, UNSEEN_NEURAL} else ""
        lines.append(f"| {bold}{name}{bold} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: float | None, interval: Sequence[float] | None) -> str:
    return "too few" if value is None else f"{value:.3f}{_ends(interval)}"


def _pairs(report: Mapping[str, Any]) -> str:
    lines = ["| copied by | share | pairs |", "| --- | ---: | ---: |"]
    for name, found in report["pairs"].items():
        lines.append(f"| {name} | {found['share']:.3f}{_ends(found['interval'])} | {found['n']} |")
    return "\n".join(lines)


def _ends(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})"


def _alarms(report: Mapping[str, Any]) -> str:
    lines = ["| source | share | clips |", "| --- | ---: | ---: |"]
    for name, found in source_alarms(report).items():
        lines.append(f"| {name} | {found['share']:.3f}{_ends(found['interval'])} | {found['n']} |")
    return "\n".join(lines)


def _alarming(report: Mapping[str, Any]) -> str:
    over = {
        name: found["share"]
        for name, found in report["false_alarms"].items()
        if found["share"] > MOST_FALSE_ALARMS
        and found["n"] >= LEAST_CLIPS
        and not name.startswith("channel ")
    }
    if not over:
        return "No source of real speech is called fake more often than every tenth time."
    listed = ", ".join(f"{name} ({share:.0%})" for name, share in over.items())
    return f"Real voices that are called fake far too often: {listed}. Expect voices like them."


def _missed(report: Mapping[str, Any]) -> str:
    families = {
        name: row["tpr_at_0.5"]
        for name, row in report["rows"].items()
        if name not in {SEEN, UNSEEN_TTS, UNSEEN_NEURAL} and not name.startswith("dev")
    }
    worst = sorted(families, key=lambda name: families[name])[:3]
    listed = ", ".join(f"{name} ({families[name]:.0%} found)" for name in worst)
    return f"Families that are missed most at 0.5: {listed}."
