"""Codecs that pictures and clips pass; drawn alike for real and fake ones."""

import io
from fractions import Fraction
from typing import Final

import av
import cv2
import numpy as np

from detection_training.image.making.photographs import Pixels

CLIP_FRAMES: Final = 3
"""Frames of the short clip that a still picture is compressed in: an I, a P or B, and the next."""


def h264(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the picture as a frame of a short H.264 clip; even sides."""
    frames = np.stack([np.roll(pixels, shift, axis=1) for shift in range(CLIP_FRAMES)])
    data = write_clip(frames, crf=int(rng.integers(17, 27)))
    decoded = read_frames(data)
    return decoded[int(rng.integers(len(decoded)))]


def write_clip(frames: Pixels, *, crf: int, rate: int = 10, container: str = "mp4") -> bytes:
    """Return frames ``(n, h, w, 3)`` as an H.264 video; even sides."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream("libx264", rate=Fraction(rate))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def read_frames(data: bytes) -> list[Pixels]:
    """Return all frames of a video as RGB."""
    with av.open(io.BytesIO(data), "r") as container:
        return [
            frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
            for frame in container.decode(video=0)
        ]


def compressed(pixels: Pixels, suffix: str, *, quality: int) -> Pixels:
    """Return the picture after a codec.

    Args:
        pixels: RGB, ``(h, w, 3)``.
        suffix: ``.jpg`` or ``.webp``.
        quality: Quality of the codec, 1 to 100.
    """
    option = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}[suffix]
    _, data = cv2.imencode(suffix, np.ascontiguousarray(pixels[:, :, ::-1]), [option, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if decoded is None:
        raise ValueError(f"{suffix} could not be read back")
    return np.ascontiguousarray(decoded[:, :, ::-1]).astype(np.uint8, copy=False)
