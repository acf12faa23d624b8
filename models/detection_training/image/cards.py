"""Model cards and designs of the full preset's image and video model."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from detection_contract.media_types import MediaKind
from detection_training.image.fit import ARCHITECTURE, PARAMS
from detection_training.image.measure import Row
from detection_training.pipeline.cards import LICENSE
from detection_training.pipeline.locked import Locked
from detection_training.pipeline.package import Design
from detection_worker.core.sampling import ImageSampling, VideoSampling
from detection_worker.core.verdict import Pooling

IMAGE: Final = Design(
    id="image-residual-s",
    version="1.0.0",
    kind=MediaKind.IMAGE,
    architecture=ARCHITECTURE,
    params=PARAMS,
    sampling=ImageSampling(crop_px=128, max_crops=4),
    pooling=Pooling(within_frame="mean", over_frames="mean"),
    grade="experimental",
)
VIDEO: Final = Design(
    id="video-frames",
    version="1.0.0",
    kind=MediaKind.VIDEO,
    architecture=ARCHITECTURE,
    params=PARAMS,
    sampling=VideoSampling(max_frames=16, crop_px=128, crops_per_frame=2),
    pooling=Pooling(within_frame="mean", over_frames="topk_mean", top_share=0.25),
    grade="experimental",
)

WARNING: Final = """\
> **Experimental model.** It recognises the traces of the decoders named below, on the photographs
> named below. It has seen no picture of a current text-to-image model, no face swap and no
> lip-sync; what it does with them is **not measured**, and published detectors of this kind are
> close to chance on them. **Do not use its scores to accuse, block or clear anybody or anything.**
"""
IMAGE_WHAT: Final = """\
Looks at 128-pixel crops at native resolution, at most four of a picture, for the traces that a
neural decoder leaves between neighbouring pixels. Fixed high-pass residuals of each colour go
through a four-stage residual network with {parameters:,} parameters; the crops' logits are
averaged and calibrated by Platt scaling on the dev split, for a world in
which {prior} of the pictures are fake: the most at which one real dev picture in ten scores 0.5.
It was trained on 96-pixel crops.
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
compressed anew with their remakes. Fake: the same patches, remade by {seen}.
Both of a pair go the same way: perhaps reduced, blurred or noisy, then nothing, JPEG or WebP
(quality 60 to 100); a quarter of them are frames of H.264.

Photographs of the dev ({dev}) and test ({test}) splits are in no other split, scenes neither.
Never trained or calibrated on: {unseen}, and the generator of faces "dcgan-faces".
"""
VIDEO_DATA: Final = """\
Calibrated on clips of {frames} frames that pan and zoom over the dev photographs, real or remade
frame by frame, H.264 at a constant rate factor of 18 to 26, and on two filmed clips. Measured
likewise on the test photographs and on seven other filmed clips.
"""
IMAGE_LIMITS: Final = """\
- Reducing a picture after it was made hides the traces: at half the size most rows are near
  chance. Compression hides some.
- Of makers that it was not trained on it finds few at 0.5, and of some ("realesrgan-x4plus",
  "dcgan-faces") none to speak of, even where the AUC is well above 0.5.
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


def card(
    *,
    title: str,
    texts: Mapping[str, str],
    packages: Sequence[Locked],
    evaluation: Mapping[str, Any],
) -> str:
    """Return the text of a model card.

    Args:
        title: Name of the model.
        texts: ``what``, ``data`` and ``limits``.
        packages: That media and decoders came from.
        evaluation: Contents of ``eval.json``.
    """
    listed = "\n".join(f"- `{p.name}` {p.version}: {p.license}" for p in packages)
    parts = [
        f"# {title}\n",
        WARNING,
        f"## How it works\n\n{texts['what']}",
        f"## Data\n\n{texts['data']}",
        f"Packages; nothing of them is in this folder:\n\n{listed}\n",
        "## Results on the test split\n\nReal ones against the remakes of one maker, both treated "
        "alike; 95 % bootstrap intervals over photographs. Rates are at 0.5.\n\n"
        f"{_rows(evaluation['rows'])}\n",
        "False alarms at 0.5; intervals over photographs or clips:\n\n"
        f"{_alarms(evaluation['false_alarms'])}\n",
        f"## Where it is bad\n\n{texts['limits']}",
        f"## Licence\n\nWeights: {LICENSE}. The media keep their own licences, above.\n",
    ]
    return "\n".join(parts)


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
