"""The audio detector, from speech packages to a folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from detection_contract.media_types import MediaKind
from detection_training import metrics
from detection_training.audio.making import speech
from detection_training.audio.making.speech import Clip
from detection_training.demo import audio_training
from detection_training.demo.audio_training import AudioPlan
from detection_training.demo.image_model import Rows, calibrated, summarised
from detection_training.metrics import Floats
from detection_training.pipeline import cards, package
from detection_training.pipeline.package import Design, Outcome
from detection_training.pipeline.sources import Log
from detection_training.pipeline.splits import Split
from detection_worker.core.verdict import Calibration, Pooling
from detection_worker.detectors import architectures

AUDIO: Final = Design(
    id="audio-lfb-demo",
    version="0.1.0",
    kind=MediaKind.AUDIO,
    architecture="audio_lfb",
    params={"width": 16},
    sampling=audio_training.SAMPLING,
    pooling=Pooling(over_frames="mean"),
)


def make(
    folders: Mapping[str, Path],
    plan: AudioPlan,
    *,
    sources: Mapping[str, str],
    provenance: Mapping[str, Any],
    seed: int,
    output: Path,
    log: Log,
) -> bool:
    """Train, calibrate, measure and write the audio model.

    Returns:
        False if there is not speech enough for every split; nothing is written then.
    """
    log("Audio: making clips")
    clips = {
        split: speech.build_clips(folders, split, per_voice=count, seed=seed + i, log=log)
        for i, (split, count) in enumerate(
            [
                (Split.TRAIN, plan.per_voice),
                (Split.DEV, plan.held_out_per_voice),
                (Split.TEST, plan.held_out_per_voice),
            ]
        )
    }
    if not all(clips.values()):
        log("Audio: no speech could be fetched, so no audio model is made")
        return False
    torch.manual_seed(seed)
    network = architectures.build_network(AUDIO.architecture, AUDIO.params, where=AUDIO.id)
    log(f"Audio: training on {len(clips[Split.TRAIN])} clips")
    network = audio_training.train(network, clips[Split.TRAIN], plan, seed=seed, log=log)
    log("Audio: measuring on voices not trained on")
    detector = package.provisional(AUDIO, network)
    dev, test = (
        audio_training.score_clips(detector, clips[split], pooling=AUDIO.pooling)
        for split in (Split.DEV, Split.TEST)
    )
    calibration = _fit(dev, clips[Split.DEV])
    scores = calibrated(test, calibration)
    rows = _rows(scores, clips[Split.TEST])
    alarms = _alarms(scores, clips[Split.TEST])
    log(metrics.table(rows))
    text = cards.card(
        title=AUDIO.id,
        what=cards.AUDIO_WHAT.format(parameters=sum(p.numel() for p in network.parameters())),
        data=cards.AUDIO_DATA.format(speakers=_speakers(clips[Split.TRAIN])),
        limits=cards.AUDIO_LIMITS,
        sources=sources,
        rows=rows,
        false_alarms=alarms,
    )
    made = Outcome(
        calibration=calibration,
        evaluation={"summary": summarised(rows), "rows": rows, "false_alarms": alarms},
        card=text,
        training=provenance,
        license=cards.LICENSE,
    )
    package.write_model(output, AUDIO, network=network, made=made)
    return True


def _fit(logits: Floats, clips: Sequence[Clip]) -> Calibration:
    a, b = metrics.fit_platt(_chosen(logits, clips, "real"), _made(logits, clips))
    return Calibration(a=a, b=b)


def _rows(scores: Floats, clips: Sequence[Clip]) -> Rows:
    real = _chosen(scores, clips, "real")
    known = set(speech.RESYNTHESISED[Split.TRAIN])
    rows = {"all": metrics.summary(real, _made(scores, clips))}
    for family in sorted({clip.family for clip in clips} - {"real"}):
        name = family if family in known else f"{family} (unseen)"
        rows[name] = metrics.summary(real, _chosen(scores, clips, family))
    return rows


def _alarms(scores: Floats, clips: Sequence[Clip]) -> dict[str, float]:
    found: dict[str, list[bool]] = {}
    for score, clip in zip(scores, clips, strict=True):
        if not clip.fake:
            for origin in (clip.speaker, f"channel {clip.channel}"):
                found.setdefault(origin, []).append(bool(score >= 0.5))
    return {origin: sum(alarms) / len(alarms) for origin, alarms in sorted(found.items())}


def _chosen(values: Floats, clips: Sequence[Clip], family: str) -> Floats:
    return values[[clip.family == family for clip in clips]]


def _made(values: Floats, clips: Sequence[Clip]) -> Floats:
    return values[[clip.fake for clip in clips]]


def _speakers(clips: Sequence[Clip]) -> int:
    return len({clip.speaker for clip in clips if not clip.fake})
