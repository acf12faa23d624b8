"""``train head``: a last layer for the user's own files, on a network that stays as it is."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from detection_contract.media_types import MediaKind, kind_of_name
from detection_training import metrics
from detection_training.evaluation import intervals
from detection_training.evaluation import items as evaluation_items
from detection_training.evaluation.intervals import Measure, Sample
from detection_training.evaluation.items import Item
from detection_training.head import card, features, files
from detection_training.head import fit as head_fit
from detection_training.head.features import Backbone, Seen
from detection_training.head.values import Scored
from detection_training.metrics import Floats
from detection_training.pipeline import calibration as calibrations
from detection_training.pipeline import package
from detection_training.pipeline.package import Design, Outcome
from detection_training.pipeline.sources import Log
from detection_worker.cli.terminal import shown
from detection_worker.core.applicability import Scope
from detection_worker.core.verdict import Calibration, Pooling, sigmoid
from detection_worker.detectors import frozen_head as heads
from detection_worker.detectors import registry
from detection_worker.detectors.model_folder import listing
from detection_worker.errors import UsageError

LEAST_FILES: Final = 20
"""Usable files that each class needs; a fifth of fewer tells nothing."""
LEAST_IN_PART: Final = 3
"""Files of each class in each part of the split."""
EVEN: Final = 0.5
"""Share of fakes for which P(fake) is meant: how rare they are for the user is unknown here."""
SHOWN: Final = 5
"""Most files that a message lists."""
WANTED: Final = ("auc", "eer", "balanced_accuracy", "false_alarm_rate", "detection_rate", "ece")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the user asked for.

    Attributes:
        real: Folder of real files.
        fake: Folder of fake files.
        output: Directory of models.
        work: Folder where features are kept.
        kind: Media; None takes what the folders hold.
        backbone: Id or folder of a model; empty takes the bundled one.
        name: Folder name of the new model; empty takes ``<kind>-head``.
        group: Key of ``files.GROUPINGS``; empty chooses.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        force: Overwrite a model that training did not make.
    """

    real: Path
    fake: Path
    output: Path
    work: Path
    kind: MediaKind | None = None
    backbone: str = ""
    name: str = ""
    group: str = ""
    device: str = "cpu"
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What came of it.

    Attributes:
        folder: The model's folder.
        measures: On files that it never saw, by name.
        warnings: What speaks against relying on it.
    """

    folder: Path
    measures: Mapping[str, Measure]
    warnings: Sequence[str]


def train_head(order: Order, *, log: Log) -> Made:
    """Fit, calibrate, measure and package a head.

    Raises:
        UsageError: The folders, the network or the device cannot be used.
    """
    registry.chosen_device(order.device)
    items, kind, others = _items(order)
    name = order.name or f"{kind.value}-head"
    package.check_free(order.output, (name,), force=order.force)
    folder = _backbone_folder(order, kind)
    backbone = features.load_backbone(folder, kind=kind, device=order.device)
    log(f"Looking at {len(items)} {kind.value} files with {backbone.manifest.id} ...")
    scope = Scope(**package.APPLIES_TO[kind])
    seen = features.look(
        backbone, items, scope=scope, kept=order.work, device=order.device, log=log
    )
    seen.skipped.update(others)
    _refuse_few(seen)
    if seen.skipped:
        log(f"Left out {len(seen.skipped)} of {len(seen.items) + len(seen.skipped)} files:")
        log("\n".join(_reasons(seen)))
    scored, line = _fitted(seen, backbone, order.group)
    return _packaged(order, name, backbone=backbone, scored=scored, line=line)


def _items(order: Order) -> tuple[list[Item], MediaKind, dict[str, str]]:
    """Files of one kind; the names of all others, each with why it is left out."""
    everything = evaluation_items.from_folders(order.real, order.fake).items
    kinds = Counter(kind_of_name(item.path.name) for item in everything)
    usable = [k for k in (MediaKind.IMAGE, MediaKind.AUDIO) if kinds[k]]
    if order.kind is MediaKind.VIDEO or (not usable and order.kind is None):
        raise UsageError(
            "A head is for images or sounds, not for videos\n"
            "Take frames out of the videos (ffmpeg -i VIDEO -vf fps=1 FOLDER/%04d.png), a folder "
            "for each video."
        )
    if order.kind is None and len(usable) > 1:
        raise UsageError("The folders hold images and sounds\nChoose: --kind image or audio.")
    kind = order.kind or usable[0]
    items = [item for item in everything if kind_of_name(item.path.name) is kind]
    others = {i.name: f"not {kind.value}" for i in everything if i not in items}
    return items, kind, others


def _backbone_folder(order: Order, kind: MediaKind) -> Path:
    bundled = listing.bundled_models_dir()
    if not order.backbone:
        entries = listing.list_models(bundled)
        own = [e.name for e in entries if e.chosen and e.manifest and e.manifest.kind is kind]
        if not own:
            raise UsageError(f"No bundled {kind.value} model\nName one: --backbone DIR.")
        return bundled / own[0]
    places = [Path(order.backbone), order.output / order.backbone, bundled / order.backbone]
    for place in places:
        if (place / "manifest.json").is_file():
            # A model folder must bear its model's name, also where it is called ``.``.
            return place.resolve()
    raise UsageError(
        f"No such model: {order.backbone}\n"
        f"Give a model's folder, or the name of a model in {order.output} or {bundled}."
    )


def _refuse_few(seen: Seen) -> None:
    counts = Counter(item.fake for item in seen.items)
    if min(counts[False], counts[True]) >= LEAST_FILES:
        return
    reasons = "\n".join(_reasons(seen))
    left_out = f"; {len(seen.skipped)} left out:\n{reasons}" if seen.skipped else ""
    raise UsageError(
        f"Too few files: {counts[False]} real and {counts[True]} fake ones can be used{left_out}\n"
        f"Give at least {LEAST_FILES} of each, better some hundred."
    )


def _reasons(seen: Seen) -> list[str]:
    """Return a line for each of the first files that are left out, and how many more there are."""
    first = list(seen.skipped.items())[:SHOWN]
    more = len(seen.skipped) - len(first)
    return [
        *(f"  {shown(name)}: {why}" for name, why in first),
        *([f"  and {more} more"] if more else []),
    ]


def _fitted(seen: Seen, backbone: Backbone, grouping: str) -> tuple[Scored, head_fit.Line]:
    names = [item.name for item in seen.items]
    is_fake = np.array([item.fake for item in seen.items], dtype=np.bool_)
    grouping = grouping or files.choose_grouping(names, is_fake.tolist())
    groups = [files.GROUPINGS[grouping](name) for name in names]
    parts = files.split(groups, is_fake.tolist())
    _refuse_lopsided(parts, is_fake, grouping)
    means = np.stack([f.mean(axis=0) for f in seen.features]).astype(np.float64)
    fit = np.array([part == "fit" for part in parts])
    line = head_fit.fit(
        means[fit],
        is_fake[fit],
        [g for g, chosen in zip(groups, fit, strict=True) if chosen],
        seed=files.SEED,
    )
    _install(backbone, line)
    limit = backbone.network.head_limit
    logits = np.array(
        [
            np.mean(limit * np.tanh(line.logits(f.astype(np.float64)) / limit))
            for f in seen.features
        ]
    )
    return Scored(seen=seen, groups=groups, parts=parts, logits=logits, is_fake=is_fake), line


def _refuse_lopsided(parts: Sequence[str], is_fake: metrics.Flags, grouping: str) -> None:
    counts = Counter(zip(parts, is_fake.tolist(), strict=True))
    least = min(counts[part, fake] for part in files.SHARES for fake in (False, True))
    if least < LEAST_IN_PART:
        raise UsageError(
            f"Too few groups to split: files that belong together by {grouping} are too many\n"
            "Add files of other origin, or group them finer: --group file."
        )


def _install(backbone: Backbone, line: head_fit.Line) -> None:
    head = backbone.network.head
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(line.weight)[None])
        head.bias.fill_(line.bias)


def _packaged(
    order: Order, name: str, *, backbone: Backbone, scored: Scored, line: head_fit.Line
) -> Made:
    calibration = calibrations.platt(
        scored.of("calibrate", fake=False), scored.of("calibrate", fake=True), prior=EVEN
    )
    p = {
        (part, fake): _calibrated(scored.of(part, fake=fake), calibration)
        for part in ("calibrate", "test")
        for fake in (False, True)
    }
    measures = _measures(scored, calibration)
    warnings = _warnings(scored, measures)
    design = Design(
        id=name,
        version="1.0.0",
        kind=backbone.manifest.kind,
        architecture=heads.NAME,
        params=backbone.params,
        sampling=backbone.sampling,
        pooling=Pooling(),
        grade="experimental",
    )
    summary = metrics.summary(p["test", False], p["test", True])
    evaluation = card.evaluation(scored, measures, warnings, summary=summary)
    made = Outcome(
        calibration=calibration,
        evaluation=evaluation,
        card=card.card(name, backbone.manifest, evaluation, line=line),
        training=_provenance(backbone, scored, line),
        license=f"head: its maker's; network below: {backbone.manifest.license}",
        thresholds=calibrations.thresholds(p["calibrate", False], p["calibrate", True]),
    )
    package.write_model(order.output, design, network=backbone.network.cpu(), made=made)
    return Made(folder=order.output / name, measures=measures, warnings=warnings)


def _calibrated(logits: Floats, calibration: Calibration) -> Floats:
    return np.array([sigmoid(calibration.a * x + calibration.b) for x in logits])


def _measures(scored: Scored, calibration: Calibration) -> dict[str, Measure]:
    test = scored.chosen("test")
    sample = Sample(
        scores=_calibrated(scored.logits[test], calibration),
        is_fake=scored.is_fake[test],
        groups=[g for g, chosen in zip(scored.groups, test, strict=True) if chosen],
    )
    return intervals.measures(sample, only=WANTED)


def _warnings(scored: Scored, measures: Mapping[str, Measure]) -> list[str]:
    found = []
    names = [item.name for item in scored.seen.items]
    auc = measures["auc"]
    if auc.value is not None and auc.value < 0.5:
        found.append(
            "It is worse than chance on files that it never saw: are the folders exchanged, or "
            "labels wrong?"
        )
    elif scored.test_groups() < intervals.LEAST_GROUPS:
        found.append("It was measured on too few groups of files to rely on: give more.")
    elif auc.low is not None and auc.low <= 0.5:
        found.append("Chance could explain what it gets right: give more files.")
    if types := files.telling_types(names, scored.is_fake.tolist()):
        found.append(
            f"The file type alone gives the classes away ({', '.join(types)}): it may have "
            "learned formats, not fakes. Save both classes in the same way."
        )
    return found


def _provenance(backbone: Backbone, scored: Scored, line: head_fit.Line) -> dict[str, Any]:
    return {
        "made_with": "train head",
        "backbone": backbone.manifest.id,
        "backbone_sha256": backbone.manifest.weights_sha256,
        "files": len(scored.seen.items),
        "left_out": len(scored.seen.skipped),
        "groups": len(set(scored.groups)),
        "ridge": line.strength,
        "seed": files.SEED,
    }
