"""Texts of the model cards: what a demonstration model is, was made of, and cannot do."""

from collections.abc import Mapping
from typing import Final

from detection_training.metrics import table

WARNING: Final = """\
> **Demonstration model.** It is small, was trained within minutes on a handful of freely licensed
> files, and exists so that the queue, the workers and the operator can be run with a real network.
> **Do not use its scores to accuse, block or clear anybody or anything.** It has not seen face
> swaps, lip-sync, diffusion images, or today's cloned voices, and is expected to fail on them.
"""
LICENSE: Final = "Apache-2.0"

IMAGE_WHAT: Final = """\
Looks at 128-pixel crops at native resolution, at most four of a picture, for the traces that a
neural decoder leaves between neighbouring pixels. Three fixed high-pass residuals of each colour
go through a four-stage residual network with {parameters:,} parameters; the crops' logits are
averaged and calibrated by Platt scaling.
"""
IMAGE_DATA: Final = """\
Real: random patches of {photos} photographs, each reduced by a random factor (0.3 to 0.8) and
sometimes blurred. Fake: the same patches, reconstructed by small autoencoders trained on the spot
(up-sampling by nearest neighbour and by transposed convolution). Both classes pass the same draw
of no compression, JPEG, WebP (quality 60 to 98) or H.264. Photographs of the dev and test splits
are in no other split. The decoder "shuffle" (sub-pixel convolution) was never trained on.
"""
IMAGE_LIMITS: Final = """\
- Reducing a picture after it was made hides the traces: most fakes in the rows "resized" are
  missed at 0.5.
- The decoder that was held out, "shuffle", comes from the same workshop as the others. Its rows
  say nothing about generators of other origin.
- Partly edited pictures are found only if a crop falls on the edit.
- Few scenes and cameras: false alarms on yours may be far above the table's.
"""
VIDEO_WHAT: Final = """\
Has no weights of its own: up to sixteen frames spread over the video are cut as pictures are and
scored by `{owner}`; the logits of the quarter of frames that look most like a fake are averaged
and calibrated on video.
"""
VIDEO_LIMITS: Final = """\
- Trained and measured on clips that pan over a photograph, not on filmed scenes: there is no
  motion blur, no person and no camera noise that changes between frames.
- Looks at frames one by one; nothing about movement, lips or sound.
- Strong compression hides the traces.
"""
AUDIO_WHAT: Final = """\
Looks at windows of four seconds at 16 kHz. 80 linear bands up to 8 kHz, normalised over each
window, go through a four-stage residual network with squeeze-and-excitation and attentive pooling
({parameters:,} parameters); the windows' logits are averaged and calibrated by Platt scaling.
"""
AUDIO_DATA: Final = """\
Real: utterances of {speakers} sets of speakers, joined to 2.5 to 5 seconds. Fake: the same
utterances rebuilt by Griffin-Lim from a mel spectrogram and by a pulse-and-noise source-filter
vocoder, and sentences spoken by flite (voices kal16 and awb). Both classes have the same lengths
and loudness and pass the same draw of no codec, white noise, G.722, MP3, Opus or telephone
mu-law. Voices of the dev and test splits are in no other split; "pitch-shift" and the flite voices
slt and rms were never trained on.
"""
AUDIO_LIMITS: Final = """\
- No modern neural voice was available for training or testing. Published measurements of models
  of this size on such voices are near chance; expect the same.
- Few voices and two recording chains: see the false alarms by speaker.
- Music, noise and silence get a score too, and it means nothing.
"""


def card(
    *,
    title: str,
    what: str,
    data: str,
    limits: str,
    sources: Mapping[str, str],
    rows: Mapping[str, Mapping[str, float]],
    false_alarms: Mapping[str, float],
) -> str:
    """Return the text of a model card.

    Args:
        title: Name of the model.
        what: How it works.
        data: What it was trained on.
        limits: Where it fails.
        sources: Licence of each package that media came from.
        rows: Held-out metrics by name.
        false_alarms: Share of real items scored 0.5 or more, by origin.
    """
    listed = "\n".join(f"- `{name}`: {terms}" for name, terms in sources.items())
    alarms = "\n".join(f"| {name} | {share:.3f} |" for name, share in false_alarms.items())
    parts = [
        f"# {title}\n",
        WARNING,
        f"## How it works\n\n{what}",
        f"## Data\n\n{data}",
        f"Packages the media came from; none of it is in the weights' folder:\n\n{listed}\n",
        "## Held-out results\n\nOne row each: made by that family, against the real ones treated "
        f"alike. Score at equal odds of real and fake.\n\n{table(rows)}\n",
        f"False alarms at 0.5 by origin of the real ones:\n\n| | share |\n| --- | ---: |\n{alarms}"
        "\n",
        f"## Where it is bad\n\n{limits}",
        f"## Licence\n\nWeights: {LICENSE}. The media keep their own licences, above.\n",
    ]
    return "\n".join(parts)
