"""CPU seconds that decoding one file costs, by kind of file.

Each row is a file that ffmpeg makes, decoded as the jailed child decodes it, in this process and
with one thread: the median of several runs by CPU time, so that a busy machine changes little.

    python benchmarks/decoding/videos.py                              # all rows
    python benchmarks/decoding/videos.py --rows h264 phone --turns 3
    python benchmarks/decoding/videos.py --json > before.json         # then change something
    python benchmarks/decoding/videos.py --before before.json         # both, and what was saved
"""

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from detection_testing.media.decoding import decode_here
from detection_worker.core.sampling import Sampling, VideoSampling
from detection_worker.media.values import DecodedMedia

GRAIN: Final = "noise=alls=6:allf=t,format=yuv420p"
"""Without noise a test picture is decoded faster than what a camera saw."""
UNEVEN: Final = rf"{GRAIN},select='gt(random(1)\,0.35)'"
X264: Final = ("-c:v", "libx264", "-preset", "fast", "-crf", "26")
X265: Final = ("-c:v", "libx265", "-preset", "superfast", "-tag:v", "hvc1")
WHOLE: Final = ("keyint=250", "bframes=4", "b-adapt=0", "log-level=error")
FACES: Final = VideoSampling(view="faces", crops_per_frame=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of file.

    Attributes:
        name: For ``--rows``.
        what: The file, in words.
        suffix: Extension of the file.
        made: Arguments of ffmpeg but for the output.
        sampling: What is looked at.
    """

    name: str
    what: str
    suffix: str
    made: tuple[str, ...]
    sampling: Sampling


def picture(size: str, *, fps: int, seconds: float, filters: str = GRAIN) -> tuple[str, ...]:
    """Return the arguments of ffmpeg for a moving test picture."""
    return ("-f", "lavfi", "-i", f"testsrc2=s={size}:r={fps}:d={seconds}", "-vf", filters)


ROWS: Final = (
    Row(
        name="h264",
        what="1080p, H.264, 20 s, a keyframe every 250 frames",
        suffix=".mp4",
        made=(
            *picture("1920x1080", fps=30, seconds=20),
            *(*X264, "-g", "250", "-keyint_min", "250", "-sc_threshold", "0"),
        ),
        sampling=VideoSampling(),
    ),
    Row(
        name="hevc-4k",
        what="2160p, HEVC, 6 s, one keyframe",
        suffix=".mp4",
        made=(*picture("3840x2160", fps=30, seconds=6), *X265, "-x265-params", ":".join(WHOLE)),
        sampling=VideoSampling(),
    ),
    Row(
        name="phone",
        what="1080p, H.264, 15 s, variable frame rate, a keyframe every 60 frames",
        suffix=".mp4",
        made=(
            *picture("1920x1080", fps=60, seconds=15, filters=UNEVEN),
            *("-fps_mode", "vfr", *X264, "-g", "60"),
        ),
        sampling=VideoSampling(),
    ),
    Row(
        name="faces",
        what="1080p, H.264, 20 s, whole frames for a model of faces",
        suffix=".mp4",
        made=(*picture("1920x1080", fps=30, seconds=20), *X264, "-g", "250"),
        sampling=FACES,
    ),
    Row(
        name="vp9",
        what="720p, VP9, 10 s",
        suffix=".webm",
        made=(
            *picture("1280x720", fps=30, seconds=10),
            *("-c:v", "libvpx-vp9", "-b:v", "2M", "-cpu-used", "8", "-deadline", "realtime"),
        ),
        sampling=VideoSampling(),
    ),
    Row(
        name="prores",
        what="1080p, ProRes 422, 5 s",
        suffix=".mov",
        made=(*picture("1920x1080", fps=25, seconds=5), "-c:v", "prores_ks"),
        sampling=VideoSampling(),
    ),
)
"""Another kind of file is another row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one row costs.

    Attributes:
        cpu_s: Median CPU seconds of decoding the file.
        units: Units that came of it.
        digest: Start of the digest of the units and their times, to compare two programs.
    """

    cpu_s: float
    units: int
    digest: str


def make(row: Row, folder: Path) -> Path:
    """Write the file of a row; one that is there already is kept."""
    path = folder / f"{row.name}{row.suffix}"
    if not path.exists():
        command = ["ffmpeg", "-nostdin", "-v", "error", *row.made, str(path)]
        subprocess.run(command, check=True)
    return path


def measure(row: Row, folder: Path, *, turns: int) -> Measured:
    """Return what decoding the file of a row costs."""
    path = make(row, folder)
    runs = [_decoded(path, row.sampling) for _ in range(turns)]
    media = runs[0][1]
    digest = hashlib.sha256(media.units.tobytes() + media.at_s.tobytes()).hexdigest()[:12]
    seconds = statistics.median(cpu_s for cpu_s, _ in runs)
    return Measured(cpu_s=round(seconds, 4), units=len(media.units), digest=digest)


def _decoded(path: Path, sampling: Sampling) -> tuple[float, DecodedMedia]:
    started_s = time.process_time()
    media = decode_here(path, sampling)
    return time.process_time() - started_s, media


def show(found: Mapping[str, Measured], before: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the table; with an earlier run, what was saved and whether the units are the same."""
    head = f"{'row':10} {'CPU s':>8}" + (f" {'before':>8} {'saved':>6}  units" if before else "")
    print(head)
    for row in ROWS:
        if row.name not in found:
            continue
        now, then = found[row.name], before.get(row.name)
        line = f"{row.name:10} {now.cpu_s:8.3f}"
        if then is not None:
            same = "same" if then["digest"] == now.digest else "others"
            line += f" {then['cpu_s']:8.3f} {1 - now.cpu_s / then['cpu_s']:6.0%}  {same:6}"
        print(f"{line} {row.what}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the rows and print them."""
    parser = argparse.ArgumentParser(description="CPU seconds of decoding, by kind of file.")
    parser.add_argument("--rows", nargs="*", choices=[row.name for row in ROWS], metavar="ROW")
    parser.add_argument("--turns", type=int, default=5, help="runs of each row")
    parser.add_argument("--folder", type=Path, help="keep the files here for the next run")
    parser.add_argument("--before", type=Path, help="output of an earlier run with --json")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(arguments)
    before = json.loads(args.before.read_text()) if args.before else {}
    chosen = [row for row in ROWS if not args.rows or row.name in args.rows]
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        found = {row.name: measure(row, folder, turns=args.turns) for row in chosen}
    if args.json:
        print(json.dumps({name: asdict(measured) for name, measured in found.items()}))
    else:
        show(found, before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
