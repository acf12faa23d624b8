"""Media kinds and the file extensions that announce them."""

from enum import StrEnum
from typing import Final


class MediaKind(StrEnum):
    """What a media object is, as ``file_type`` of a result."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


EXTENSIONS: Final[dict[MediaKind, tuple[str, ...]]] = {
    MediaKind.IMAGE: (".jpg", ".jpeg", ".png", ".bmp", ".tiff", ".webp"),
    MediaKind.VIDEO: (".mp4", ".avi", ".mov", ".mkv", ".wmv"),
    MediaKind.AUDIO: (".wav", ".mp3", ".flac", ".m4a", ".ogg"),
}


def kind_of_name(name: str) -> MediaKind | None:
    """Return the kind that the extension of ``name`` announces, or None if it announces none.

    Args:
        name: A file name, S3 key or URL path without query; upper case counts too.
    """
    lower = name.lower()
    for kind, extensions in EXTENSIONS.items():
        if lower.endswith(extensions):
            return kind
    return None
