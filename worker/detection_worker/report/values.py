"""What a page shows beside a result: pictures of the file, and what is known of the model."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A picture of the whole file with something drawn over it.

    Attributes:
        jpeg: The picture.
        title: What it shows.
        legend: How to read it.
    """

    jpeg: bytes
    title: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Pictures of one file, made of decoded pixels and samples, never bytes of the file.

    Attributes:
        frames: JPEG of a still image, or of each frame or clip of a video, as its segments.
        sound: JPEG of the spectrogram from the start to the end of the last window.
        drawings: Further evidence.
    """

    frames: tuple[bytes, ...] = ()
    sound: bytes | None = None
    drawings: tuple[Drawing, ...] = ()


NO_PICTURES: Final = Pictures()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNotes:
    """What the card of a model warns of.

    Attributes:
        warning: Its first remark, a paragraph.
        weaknesses: What it is known to be bad at.
    """

    warning: str = ""
    weaknesses: tuple[str, ...] = ()


NO_NOTES: Final = ModelNotes()
