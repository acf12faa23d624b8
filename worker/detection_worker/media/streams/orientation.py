"""Frames turned and mirrored by their display matrix, as ffmpeg and players show them."""

import math
import struct
from fractions import Fraction
from typing import Any

import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideDataContainer, Type

from detection_worker.media.crops import Pixels
from detection_worker.media.streams.opacity import opaque

# Not ``frame.side_data``: a frame keeps that, in a circle, and is not freed when it should be.
_side_data: Any = SideDataContainer
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
