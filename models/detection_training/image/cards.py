"""Model cards of the image and the video model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from detection_contract.media_types import MediaKind
from detection_training.image.clips import FRAMES, RealClip
from detection_training.image.fit import CROP_PX
from detection_training.image.making.photographs import Photo
from detection_training.image.measure import Row
from detection_training.pipeline.package import DEMO_WARNING, LICENSE, Design
from detection_training.pipeline.sources import Source
from detection_training.pipeline.splits import Split

WARNING: Final = """\
> **Experimental model.** It recognises the traces of the decoders named below, on the photographs
> listed in `splits.json`. It has seen no picture of a current text-to-image model, no face swap
> and no lip-sync; what it does with them is **not measured**, and published detectors of this kind
> are close to chance on them. **Do not use its scores to accuse, block or clear anybody or
> anything.**
"""
IMAGE_WHAT: Final = """\
Looks at 128-pixel crops at native resolution, at most four of a picture, for the traces that a
neural decoder leaves between neighbouring pixels. Fixed high-pass residuals of each colour go
through a four-stage residual network with {parameters:,} parameters; the crops' logits are
averaged and calibrated by Platt scaling on the dev split, for a world in
which {prior} of the pictures are fake: the most at which one real dev picture in ten scores 0.5.
It was trained on {crop}-pixel crops.
"""
VIDEO_WHAT: Final = """\
Has no weights of its own: up to sixteen frames spread over the video, two crops each, are scored
by `{owner}`; the logits of the quarter of frames that look most like a fake are averaged and
calibrated on clips of the dev split, for a world in which {prior} of the videos are fake: the most
at which one real dev clip in ten scores 0.5.
"""
IMAGE_DATA: Final = """\
Real: patches of {train} photographs, looked at and listed by hand (`splits.json`). Four in five
are reduced, by 0.25 to 0.7 and large photographs twice as far, so that their own compression is
gone, a third of these also blurred; the rest are as the photographer left them, and always
compressed again together with their remakes. Fake: the same patches, remade by {seen}.
Both of a pair go the same way: perhaps reduced, blurred or noisy, then nothing, JPEG or WebP
(quality 60 to 100); a quarter of them are frames of H.264.

Photographs of the dev ({dev}) and test ({test}) splits are in no other split, scenes neither.
Only tested on: {unseen}.
"""
VIDEO_DATA: Final = """\
Calibrated on clips of {frames} frames that pan and zoom over the dev photographs, real or remade
frame by frame, H.264 at a constant rate factor of 18 to 26, and on {dev_clips} filmed clips.
Measured in the same way on the test photographs and on {test_clips} other filmed clips.
"""
IMAGE_LIMITS: Final = """\
- Reducing a picture after it was made hides the traces: at half the size most rows are near
  chance. Compression hides some.
- Of makers that it was not trained on it finds few at 0.5, and of some next to none, even where
  the AUC is well above 0.5.
- Most makers remake photographs: they stand in for generators, whose decoders up-sample in the
  same ways but are larger and trained on more. Nobody measured how far the stand-in carries.
- The network also learns that remakes are smoother than originals: soft, denoised or enlarged
  photographs are the likeliest false alarms. One such photograph can make up a source's share.
- Partly edited pictures are found only if a crop falls on the edit.
- {test} test photographs: the intervals are wide, and your cameras are not among them.
"""
VIDEO_LIMITS: Final = """\
- Looks at frames one by one; nothing about movement, lips, faces or sound.
- The fakes are moves over photographs: no motion blur, no person, no noise of a sensor.
- Strong compression hides the traces, and strong compression of real film resembles them.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a card tells beside the report.

    Attributes:
        photos: Photographs in use, each with its split.
        clips: Filmed clips in use, each with its split.
        packages: Packages that media and decoders came from.
        parameters: Number of weights.
        owner: Id of the image model.
        prior: Share of fakes for which P(fake) is meant, 0 to 1.
    """

    photos: Sequence[Photo]
    clips: Sequence[RealClip]
    packages: Sequence[Source]
    parameters: int
    owner: str
    prior: float


TEXTS: Final = {
    MediaKind.IMAGE: (IMAGE_WHAT, IMAGE_DATA, IMAGE_LIMITS),
    MediaKind.VIDEO: (VIDEO_WHAT, VIDEO_DATA, VIDEO_LIMITS),
}


def card(design: Design, facts: Facts, report: Mapping[str, Any]) -> str:
    """Return the text of a model card.

    Args:
        design: The model.
        facts: What it was made from.
        report: Contents of ``eval.json``.
    """
    numbers = _numbers(facts, report)
    what, data, limits = (text.format(**numbers) for text in TEXTS[design.kind])
    listed = "\n".join(f"- `{p.name}`{_version(p)}: {p.license}" for p in facts.packages)
    parts = [
        f"# {design.id}\n",
        DEMO_WARNING if design.grade == "demo" else WARNING,
        f"## How it works\n\n{what}",
        f"## Data\n\n{data}",
        f"Packages; nothing of them is in this folder:\n\n{listed}\n",
        "## Results on the test split\n\nReal ones against the remakes of one maker, both treated "
        "alike; 95 % bootstrap intervals over photographs. Rates are at 0.5.\n\n"
        f"{_rows(report['rows'])}\n",
        "False alarms at 0.5; intervals over photographs or clips:\n\n"
        f"{_alarms(report['false_alarms'])}\n",
        f"## Where it is bad\n\n{limits}",
        f"## Licence\n\nWeights: {LICENSE}. The media keep their own licences, above.\n",
    ]
    return "\n".join(parts)


def _numbers(facts: Facts, report: Mapping[str, Any]) -> dict[str, Any]:
    makers = report["makers"]
    return {
        **{str(split): sum(p.split is split for p in facts.photos) for split in Split},
        "dev_clips": sum(clip.split is Split.DEV for clip in facts.clips),
        "test_clips": sum(clip.split is Split.TEST for clip in facts.clips),
        "parameters": facts.parameters,
        "seen": ", ".join(f'"{name}"' for name in makers["seen"]),
        "unseen": ", ".join(f'"{name}"' for name in makers["unseen"]),
        "owner": facts.owner,
        "frames": FRAMES,
        "crop": CROP_PX,
        "prior": f"{facts.prior:.0%}".replace("%", " %"),
    }


def _version(package: Source) -> str:
    return package.label.removeprefix(package.name)


def _rows(rows: Mapping[str, Row]) -> str:
    lines = [
        "| | AUC | EER | false alarms | found | real | fake |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in rows.items():
        cells = [
            _with_interval(row, "auc"),
            f"{row['eer']:.3f}",
            f"{row['false_alarm_rate']:.3f}",
            f"{row['detection_rate']:.3f}",
            f"{row['n_real']:.0f}",
            f"{row['n_fake']:.0f}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _alarms(alarms: Mapping[str, Row]) -> str:
    lines = ["| | share | items | photographs or clips |", "| --- | --- | ---: | ---: |"]
    for name, row in alarms.items():
        share = _with_interval(row, "share")
        lines.append(f"| {name} | {share} | {row['n_real']:.0f} | {row['photographs']:.0f} |")
    return "\n".join(lines)


def _with_interval(row: Row, name: str) -> str:
    if f"{name}_low" not in row:
        return f"{row[name]:.3f}"
    return f"{row[name]:.3f} ({row[f'{name}_low']:.3f}-{row[f'{name}_high']:.3f})"


def summary(rows: Mapping[str, Row]) -> dict[str, float]:
    """Return the AUC of seen and unseen makers together by passage, for the manifest."""
    return {
        f"auc {name}": row["auc"]
        for name, row in rows.items()
        if name.startswith(("all seen", "all unseen"))
    }
