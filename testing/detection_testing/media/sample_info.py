"""Facts of a media file that no test looks at, where decoded media are made by hand."""

from detection_contract.media_types import MediaKind
from detection_worker.media.values import MediaInfo


def media_info(*, side_px: int, kind: MediaKind = MediaKind.IMAGE) -> MediaInfo:
    """Return what a decoder says of a tiny whole PNG, ``side_px`` wide and high.

    Args:
        side_px: Width and height.
        kind: Media kind that it claims to be.
    """
    return MediaInfo(
        kind=kind,
        container="png",
        codec=None,
        size_bytes=4,
        sha256="0" * 64,
        width=side_px,
        height=side_px,
        duration_s=None,
        frames_analysed=1,
        sample_rate_hz=None,
        truncated=False,
        warnings=(),
    )
