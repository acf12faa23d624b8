"""Video frames as ffmpeg and players show them: upright by display matrix, transparency white."""

import math
import struct
from fractions import Fraction
from typing import Any

import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

from detection_worker.media.crops import Pixels
from detection_worker.media.stills.shown import VISIBLE_ALPHA, on_white

# Not ``frame.side_data``: a frame keeps that, in a circle, and is not freed when it should be.
_side_data: Any = SideDataContainer
UNUSED_ALPHA = frozenset({"bgra"})
"""Raw AVI of 32 bits: most programs leave its fourth byte at 0, and players show it opaque."""
_MATRIX = struct.Struct("=9i")
"""Native order, row by row: ``a b u, c d v, x y w`` (libavutil/display.h)."""


def upright(frame: Any) -> Pixels:
    """Return a frame as RGB ``(height, width, 3)``, turned and mirrored as its metadata asks.

    What is transparent is white.
    As with ffmpeg's ``-autorotate`` angles are rounded to whole degrees, multiples of 90 only move
    pixels, one degree is none, and any other angle keeps the frame's size: its corners are lost
    and black ones appear. Scale and shear are ignored, and so is a matrix without a direction.
    """
    matrix = _side_data(frame).get(Type.DISPLAYMATRIX)
    frame = opaque(frame)
    if matrix is None or len(raw := bytes(matrix)) < _MATRIX.size:
        return _rgb(frame)
    a, b, _, c, d, *_ = _MATRIX.unpack_from(raw)
    widths, heights = math.hypot(a, c), math.hypot(b, d)
    if not widths or not heights:
        return _rgb(frame)
    degrees = round(math.degrees(math.atan2(b / heights, a / widths))) % 360  # clockwise
    if degrees % 90:  # ffmpeg leaves one degree alone, too
        return _rgb(frame) if degrees == 1 else _rotated(frame, degrees)
    return _moved(_rgb(frame), degrees, (a, c, d))


def _rgb(frame: Any) -> Pixels:
    pixels: Pixels = frame.to_ndarray(format="rgb24")
    return pixels


def _moved(pixels: Pixels, degrees: int, signs: tuple[int, int, int]) -> Pixels:
    a, c, d = signs
    if degrees == 0:
        return pixels[::-1] if d < 0 else pixels
    if degrees == 180:
        return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    if degrees == 90:
        return pixels.swapaxes(0, 1) if c > 0 else np.rot90(pixels, -1)
    return np.rot90(pixels.swapaxes(0, 1), 2) if c < 0 else np.rot90(pixels)


def _rotated(frame: Any, degrees: int) -> Pixels:
    graph = Graph()
    graph.threads = 1  # the pool runs one child for each core
    steps = [
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base or Fraction(1, 1),
        ),
        graph.add("rotate", f"{degrees}*PI/180"),
        graph.add("format", "rgb24"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*steps).configure()
    graph.push(frame)
    return _rgb(graph.pull())


def alpha_of(frame: Any) -> NDArray[np.uint8] | None:
    """Return how opaque each pixel is, 0 to 255, shape ``(height, width)``; None if all are."""
    rgba = _transparent(frame)
    return None if rgba is None else rgba[..., 3]


def hides_all(alpha: NDArray[np.uint8]) -> bool:
    """Return whether nothing differs visibly from the white behind it."""
    return int(alpha.max()) < VISIBLE_ALPHA


def opaque(frame: Any) -> Any:
    """Return a frame itself, or what is seen of it on white, without its metadata."""
    rgba = _transparent(frame)
    if rgba is None:
        return frame
    image = Image.fromarray(rgba)
    seen = on_white(image, image.getchannel("A"), (0, 0, *image.size))
    return VideoFrame.from_ndarray(seen, format="rgb24")


def _transparent(frame: Any) -> NDArray[np.uint8] | None:
    kind = frame.format
    if not kind.has_palette and not any(part.is_alpha for part in kind.components):
        return None
    rgba: NDArray[np.uint8] = frame.to_ndarray(format="rgba")
    alpha = rgba[..., 3]
    unused = kind.name in UNUSED_ALPHA and not alpha.any()
    return None if unused or alpha.min() == 255 else rgba
