"""Make docs/images/report.png: the page about a sample, photographed by Chromium.

Usage: ``python tools/report_image.py``. It needs chromium on the PATH.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from detection_testing.samples import sample_path
from detection_worker.api import EnhancedDeepfakePredictor

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "images" / "report.png"
SAMPLE = "cat-reconstructed.png"
WIDTH_PX, HEIGHT_PX = 860, 980
MOST_BYTES = 150_000
COLOURS = (128, 64, 32, 16)
"""Colours of the palette, tried one after another until the picture is small enough."""


def main() -> int:
    """Write the picture; return 1 if it cannot be made small enough."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        print("There is no chromium: install it first.", file=sys.stderr)
        return 1
    with TemporaryDirectory() as name:
        folder = Path(name)
        shown = Path(shutil.copy(sample_path(SAMPLE), folder / SAMPLE))
        with EnhancedDeepfakePredictor(device="cpu") as predictor:
            _, page = predictor.report(shown)
        path = folder / "report.html"
        path.write_text(page.replace(f"{folder}/", ""), encoding="utf-8")
        shot = folder / "report.png"
        subprocess.run(
            [
                program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                f"--window-size={WIDTH_PX},{HEIGHT_PX}", f"--screenshot={shot}", path.as_uri(),
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
        picture = Image.open(shot).convert("RGB")
        TARGET.parent.mkdir(exist_ok=True)
        for colours in COLOURS:
            picture.quantize(colours).save(TARGET, optimize=True)
            if TARGET.stat().st_size <= MOST_BYTES:
                print(f"{TARGET}: {TARGET.stat().st_size} bytes, {colours} colours")
                return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
