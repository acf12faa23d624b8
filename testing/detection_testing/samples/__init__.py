"""Small real media files of known origin, for the demonstration and for tests.

None was used in training. ``LICENSES.md`` names the author and the licence of each.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from detection_contract.media_types import MediaKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One media file.

    Attributes:
        name: File name in this folder.
        kind: Kind of media.
        truth: What it is, whatever a detector says.
        sha256: Digest of the file, lower-case hex.
        note: What it shows and how it was made.
    """

    name: str
    kind: MediaKind
    truth: Literal["real", "fake"]
    sha256: str
    note: str


SAMPLES: Final[tuple[Sample, ...]] = (
    Sample(
        name="astronaut.jpg",
        kind=MediaKind.IMAGE,
        truth="real",
        sha256="945df306f127a6012259cb6b4694cd1f07c49d63e21136ff595cdd99f3516028",
        note="portrait, saved as JPEG",
    ),
    Sample(
        name="cat.png",
        kind=MediaKind.IMAGE,
        truth="real",
        sha256="596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        note="photograph, the original file",
    ),
    Sample(
        name="cat-reconstructed.png",
        kind=MediaKind.IMAGE,
        truth="fake",
        sha256="3f2d78c3873f217287b14f0ba468bf543f8134667fcf90602647e6f1dbee27bb",
        note="the same photograph through an autoencoder with transposed convolutions",
    ),
    Sample(
        name="dandelion-reconstructed.webp",
        kind=MediaKind.IMAGE,
        truth="fake",
        sha256="c0915a10983fe7bcbcf4b3c74d671eb3850eb899918451912a465dd1716b5a25",
        note="photograph through an autoencoder with nearest-neighbour up-sampling, as WebP",
    ),
    Sample(
        name="reading.wav",
        kind=MediaKind.AUDIO,
        truth="real",
        sha256="ae6f72126b4f33144e8fe0520d10fa52d1cc1595d6779791f681f89946dbcec6",
        note="a sentence of an audio book, read by a volunteer",
    ),
    Sample(
        name="reading-vocoded.mp3",
        kind=MediaKind.AUDIO,
        truth="fake",
        sha256="194724945062ff48f9647b3f560e3ed4ffd48723d728a601a8c51b7b497ebc45",
        note="the same reader, another sentence, rebuilt by Griffin-Lim, as MP3",
    ),
    Sample(
        name="sentence-synthesised.ogg",
        kind=MediaKind.AUDIO,
        truth="fake",
        sha256="a6bcc38bde8aee99da236dcd518ca25264c0091efe967452b93f1809fd973001",
        note="a sentence by a synthesiser's voice that training never heard, as Opus",
    ),
    Sample(
        name="dandelion-pan.mp4",
        kind=MediaKind.VIDEO,
        truth="real",
        sha256="ba2d2c05621eef3f7ae7fade1e2d499d3df96ae3f041a5a10ef686ebcc3acd86",
        note="view moving over a photograph",
    ),
    Sample(
        name="dandelion-pan-reconstructed.mkv",
        kind=MediaKind.VIDEO,
        truth="fake",
        sha256="4a9d2d45e529f349dbb903b37ff65169a975c0897cc27a182bee2ac828990852",
        note="the same view, every frame cut from the photograph's reconstruction",
    ),
)


def sample_path(name: str) -> Path:
    """Return where a sample lies.

    Raises:
        KeyError: There is no sample of that name.
    """
    if all(sample.name != name for sample in SAMPLES):
        raise KeyError(name)
    return Path(__file__).with_name(name)
