"""CPU time that a page adds to a file: its picture in the decoding child, the rest in the worker.

``python benchmarks/pages.py`` prints the median of several runs for images of four sizes, a video
and a recording. CPU time, not elapsed time: other processes do not disturb it.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import AudioSampling, ImageSampling, VideoSampling
from detection_worker.media.decode import decode_file
from detection_worker.media.jail.child import load_everything
from detection_worker.media.values import DecodeOrder, DecodeRequest
from detection_worker.pipeline.files.pictures import with_previews
from detection_worker.report.page import result_page
from detection_worker.report.values import Pictures
from detection_worker.settings import MediaLimits

RUNS = 15
SAMPLES = Path(__file__).parents[1] / "testing" / "detection_testing" / "samples"
IMAGE = ImageSampling()
VIDEO = VideoSampling()
AUDIO = AudioSampling()


def cpu_ms(act: Callable[[], object]) -> float:
    """Median CPU time of several runs, milliseconds."""
    act()
    times = []
    for _ in range(RUNS):
        started = time.process_time()
        act()
        times.append(time.process_time() - started)
    return 1000 * statistics.median(times)


@contextmanager
def photograph(width: int, height: int) -> Iterator[Path]:
    """Yield a JPEG of this size with the detail of a real one."""
    source = Image.open(SAMPLES / "astronaut.jpg").convert("RGB").resize((width, height))
    noise = np.random.default_rng(0).integers(-6, 7, (height, width, 3))
    pixels = np.clip(np.asarray(source, dtype=np.int16) + noise, 0, 255).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        Image.fromarray(pixels).save(path, quality=90)
        yield path


def decoded(path: Path, *, preview: bool, kind: MediaKind) -> Any:
    """Decode a file as the child does, here."""
    order = DecodeOrder(
        suffix=path.suffix,
        announced=kind,
        image=IMAGE,
        video=VIDEO,
        audio=AUDIO,
        limits=MediaLimits(),
        preview=preview,
    )
    with path.open("rb") as file:
        return decode_file(file, order, tick=lambda: None)


def envelope(kind: MediaKind, media: Any) -> dict[str, Any]:
    """An envelope of the usual size."""
    model = {"name": "m", "version": "1", "sha256": "0" * 64, "grade": "experimental"}
    segments: list[dict[str, Any]] = [
        {"start_s": float(at), "end_s": float(at) + 4, "score": 0.5} for at in media.at_s.tolist()
    ]
    for i, segment in enumerate(segments):
        boxes = media.boxes[media.frame == i] if len(media.boxes) else []
        segment["regions"] = [list(map(int, box)) for box in boxes]
        segment["region_scores"] = [0.5] * len(boxes)
    return {
        "request_id": "r",
        "file_path": "s3://bucket/file",
        "file_type": kind.value,
        "error": None,
        "label": "REAL",
        "verdict": "real",
        "confidence": 0.6,
        "prediction_score": 0.4,
        "threshold": 0.5,
        "model": model,
        "media": {"width": media.info.width, "height": media.info.height, "duration_s": 60.0},
        "segments": segments,
    }


def measured(name: str, path: Path, kind: MediaKind) -> None:
    """Print what a page of this file costs."""
    plain = cpu_ms(lambda: decoded(path, preview=False, kind=kind))
    seen = cpu_ms(lambda: decoded(path, preview=True, kind=kind))
    media = decoded(path, preview=True, kind=kind)
    request = DecodeRequest(
        path=path, announced=kind, image=IMAGE, video=VIDEO, audio=AUDIO, limits=MediaLimits()
    )
    encoded = cpu_ms(lambda: with_previews(media, request))
    previews = with_previews(media, request).previews
    sound = kind is MediaKind.AUDIO
    pictures = Pictures(sound=previews[0]) if sound else Pictures(frames=previews)
    result = envelope(kind, media)
    page = cpu_ms(lambda: result_page(result, pictures).encode())
    size = len(result_page(result, pictures).encode())
    child = seen - plain
    print(
        f"{name:<22} decoding {plain:6.1f} ms; page: {child:5.1f} ms in the child, "
        f"{encoded:5.1f} ms for JPEG, {page:4.1f} ms for HTML, "
        f"{child + encoded + page:5.1f} ms together; {size / 1000:.0f} kB"
    )


def main() -> None:
    """Measure."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    load_everything()
    for width, height in ((1024, 1024), (2000, 1500), (4000, 3000), (8000, 6000)):
        with photograph(width, height) as path:
            measured(f"image {width} x {height}", path, MediaKind.IMAGE)
    measured("video, 16 frames", SAMPLES / "dandelion-pan.mp4", MediaKind.VIDEO)
    measured("recording", SAMPLES / "reading.wav", MediaKind.AUDIO)


if __name__ == "__main__":
    main()
