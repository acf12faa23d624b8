"""CPU of decoding JPEGs: libjpeg-turbo itself against Pillow, and the resize of ``centre``.

What a decoding child does with a file, in its environment: hashing, decoding, cutting units out.
CPU time, the median of several; the pixels of both ways are compared. ``in one pass`` is Pillow
with the ``centre`` of a picture resized in a single pass.

    python benchmarks/decoding/stills.py
    python benchmarks/decoding/stills.py --json
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from detection_testing.media.decoding import decode_here
from detection_testing.media.sample_media import texture
from detection_worker.core.sampling import ImageSampling
from detection_worker.media import views
from detection_worker.media.jail.process import CHILD_ENVIRONMENT
from detection_worker.media.stills import image, turbo

SIZES: Final = ("640x480", "1920x1080", "2048x1536", "4000x3000")
QUALITY: Final = 88
VIEWS: Final = {
    "crops": ImageSampling(crop_px=128, max_crops=4),
    "centre": ImageSampling(crop_px=224, max_crops=1, view="centre"),
}
MOST_LEVELS: Final = 2


@contextmanager
def by_pillow() -> Iterator[None]:
    """Decode and resize as without libjpeg-turbo itself and without a gap."""
    ours, gap = turbo.decode, views.CENTRE_GAP
    vars(turbo)["decode"] = lambda *_args, **_options: None
    vars(views)["CENTRE_GAP"] = None
    try:
        yield
    finally:
        vars(turbo)["decode"], vars(views)["CENTRE_GAP"] = ours, gap


def cpu_ms(run: Callable[[], object], repeat: int) -> float:
    """Return the median CPU ms of a call; the first does not count."""
    run()
    times = []
    for _ in range(repeat):
        before = time.process_time()
        run()
        times.append(time.process_time() - before)
    return statistics.median(times) * 1000


def measure(path: Path, name: str, *, repeat: int) -> dict[str, object]:
    """Return the row of one picture in one view."""
    sampling = VIEWS[name]
    ours = cpu_ms(lambda: decode_here(path, sampling), repeat)
    units = decode_here(path, sampling).units.astype(np.int16)
    with by_pillow():
        pillow = cpu_ms(lambda: decode_here(path, sampling), repeat)
        difference = int(np.abs(units - decode_here(path, sampling).units).max())
    most = MOST_LEVELS if sampling.view == "centre" else 0
    if difference > most:
        raise SystemExit(f"{path.stem}, {name}: units differ by {difference} levels")
    return {
        "size": path.stem,
        "view": name,
        "pillow_ms": pillow,
        "ours_ms": ours,
        "levels": difference,
    }


def main() -> int:
    """Measure every size in every view."""
    parser = argparse.ArgumentParser(description="CPU of decoding JPEGs.")
    parser.add_argument("--sizes", nargs="*", default=SIZES, metavar="WIDTHxHEIGHT")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    if not CHILD_ENVIRONMENT.items() <= os.environ.items():  # malloc reads its part at the start
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | CHILD_ENVIRONMENT)
    image.prepare()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in args.sizes:
            width, height = map(int, size.split("x"))
            path = Path(folder) / f"{size}.jpg"
            Image.fromarray(texture(width=width, height=height, seed=1)).save(
                path, quality=QUALITY
            )
            rows += [measure(path, name, repeat=args.repeat) for name in VIEWS]
    if args.json:
        print(json.dumps({"rows": rows}))
        return 0
    print(f"{'':12} {'view':8} {'Pillow, ms':>11} {'ours, ms':>9} {'levels':>7}")
    for row in rows:
        print(
            f"{row['size']:12} {row['view']:8} {row['pillow_ms']:11.1f} {row['ours_ms']:9.1f} "
            f"{row['levels']:7}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
