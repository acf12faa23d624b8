"""BMP: the length of the pixels compared with what the header announces."""

import struct
from typing import BinaryIO

from detection_worker.media.stills.source import StillSource, read_at, size_of

OLD_HEADER_BYTES = 12
RUN_LENGTHS = {1, 2}


def read_bmp(file: BinaryIO) -> StillSource:
    """Return a BMP as it is; it has no metadata that a decoder reads."""
    size = size_of(file)
    return StillSource(file=file, truncated=_announced(read_at(file, 0, 54)) > size)


def _announced(header: bytes) -> int:
    """Return where the pixels end; 0 if the header does not say."""
    header = header.ljust(54, b"\0")
    pixels_at, header_bytes = struct.unpack_from("<II", header, 10)
    if header_bytes == OLD_HEADER_BYTES:
        width, height, _, bits = struct.unpack_from("<4H", header, 18)
        compression = data_bytes = 0
    else:
        width, height, _, bits, compression, data_bytes = struct.unpack_from("<iiHHII", header, 18)
    if compression in RUN_LENGTHS:
        return int(pixels_at + data_bytes)
    # Writers leave the lengths of file and pixels at 0; the measures of the picture do not lie.
    return int(pixels_at + (width * bits + 31) // 32 * 4 * abs(height))
