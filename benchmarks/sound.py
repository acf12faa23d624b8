"""What a sound costs before it is scored: decoding, the speech gate, and an hour of it.

CPU time, the median of several runs: decoding with the environment of a decoding child, the gate
with that of the command. With ``--against`` the same is measured of another version first, for
example of a ``git worktree``.

If torchcodec and FFmpeg's shared libraries are installed, it decodes the same files in turn with
us. It returns less: all samples of the mix, or of each channel (``apart``). Ours returns windows
that overlap by half, and where the channels cancel in the mix, the channels too.

    python benchmarks/sound.py
    git worktree add ../before v1.2.0 && python benchmarks/sound.py --against ../before
"""

import argparse
import gc
import importlib
import inspect
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType

import av
import numpy as np
from numpy.typing import NDArray

from detection_testing.media.sample_media import tone
from detection_worker.core import speech
from detection_worker.core.sampling import AudioSampling
from detection_worker.media.decode import decode_file
from detection_worker.media.jail.process import scrubbed_environment
from detection_worker.media.values import DecodedMedia, DecodeOrder
from detection_worker.settings import MediaLimits

CODECS = {
    "wav": ("pcm_s16le", 44_100),
    "mp3": ("libmp3lame", 44_100),
    "m4a": ("aac", 44_100),
    "opus": ("libopus", 48_000),
}
RATE_HZ = 16_000
RUNS = 9
BLOCK = 16 * 1024
Sound = NDArray[np.float32]


def write_sound(path: Path, channels: Sound, rate_hz: int) -> None:
    """Write channels, shape ``(channels, samples)``, in the format of the file's extension."""
    layout = "mono" if len(channels) == 1 else "stereo"
    packed = np.ascontiguousarray(channels.T * 32_767).astype(np.int16)
    muxer = {"m4a": "mp4", "opus": "ogg"}.get(path.suffix[1:], path.suffix[1:])
    # Without a header that says how long it is, MP3 can be joined as bytes.
    options = {"write_xing": "0"} if muxer == "mp3" else {}
    with av.open(str(path), "w", format=muxer, options=options) as container:
        stream = container.add_stream(CODECS[path.suffix[1:]][0], rate=rate_hz, layout=layout)
        if not isinstance(stream, av.AudioStream):
            raise TypeError(path)
        if stream.codec_context.name != "pcm_s16le":
            stream.bit_rate = 64_000 * len(channels)
        for at in range(0, len(packed), BLOCK):
            part = packed[at : at + BLOCK].reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout=layout)
            frame.sample_rate, frame.pts = rate_hz, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def make_files(folder: Path, *, seconds: float, hour: bool) -> None:
    """Write what is decoded: a voice with noise of its own in each channel."""
    for suffix, (_, rate_hz) in CODECS.items():
        voice = tone(seconds=seconds, rate_hz=rate_hz, seed=1)
        noise = np.random.default_rng(1).normal(0, 0.01, (2, len(voice)))
        stereo = (voice * [[0.9], [0.6]] + noise).astype(np.float32)
        write_sound(folder / f"stereo.{suffix}", stereo, rate_hz)
        write_sound(folder / f"mono.{suffix}", stereo[:1], rate_hz)
    if hour:
        minute = (folder / "stereo.mp3").read_bytes()
        (folder / "hour.mp3").write_bytes(minute * round(3600 / seconds))


def no_speech() -> dict[str, Sound]:
    """Return 10 s each of sound that the gate keeps back, the cheapest first."""
    t = np.arange(10 * RATE_HZ) / RATE_HZ
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * t)
    noise = np.random.default_rng(0).normal(0, 0.1, len(t))
    chord = sum(np.sin(2 * np.pi * hz * t) for hz in (262, 330, 392)) / 6
    found = {"silence": 0 * t, "noise": noise, "swelling noise": noise * swell}
    found["swelling chord"] = chord * swell
    return {name: sound.astype(np.float32) for name, sound in found.items()}


def decode(path: Path) -> DecodedMedia:
    """Decode a sound as the child does."""
    order = DecodeOrder(
        suffix=path.suffix,
        announced=None,
        image=None,
        video=None,
        audio=AudioSampling(),
        limits=MediaLimits(max_duration_s=4000),
    )
    with path.open("rb") as file:
        return decode_file(file, order, tick=lambda: None)


def torchcodec() -> ModuleType | str:
    """Return torchcodec's decoders, or why there are none."""
    try:
        return importlib.import_module("torchcodec.decoders")
    except ModuleNotFoundError:
        return "not installed: pip install --no-deps -r requirements/bench.txt"
    except RuntimeError as exc:  # of several hundred lines, if FFmpeg's libraries are missing
        return f"it cannot be loaded: {str(exc).strip().splitlines()[0]}"


def decode_by_torchcodec(decoders: ModuleType, path: Path, *, apart: bool) -> object:
    """Decode a sound to the same rate, mixed or with its channels apart."""
    decoder = decoders.AudioDecoder(path, sample_rate=RATE_HZ, num_channels=None if apart else 1)
    return decoder.get_all_samples().data


def cpu_ms(works: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median CPU time of some runs in turn after a first one, by name."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(RUNS):
        for name, work in works.items():
            before_s = time.process_time()
            work()
            spent[name].append((time.process_time() - before_s) * 1000)
    return {name: round(statistics.median(runs), 1) for name, runs in spent.items()}


def gate(sound: Sound) -> bool:
    """Ask the gate for all windows of a sound, as the worker does; also that of older versions."""
    sampling = AudioSampling()
    windows = np.lib.stride_tricks.sliding_window_view(sound, sampling.window)[:: sampling.hop]
    known = inspect.signature(speech.has_speech).parameters
    hop = {"hop": sampling.hop} if "hop" in known else {}
    return speech.has_speech(
        np.ascontiguousarray(windows), sample_rate_hz=sampling.sample_rate_hz, **hop
    )


def measure_decoding(folder: Path) -> dict[str, float]:
    """Return milliseconds of CPU by name, for an hour seconds and the memory that it takes."""
    rows: dict[str, float] = {}
    peer = torchcodec()
    if isinstance(peer, str):
        print(f"without torchcodec: {peer}", file=sys.stderr)
    gc.freeze()  # as in a decoding child
    for hour in folder.glob("hour.*"):
        before_s, before_mib = time.process_time(), _memory_mib("VmRSS")
        media = decode(hour)
        rows["decode an hour of mp3, s"] = round(time.process_time() - before_s, 2)
        rows["decode an hour of mp3, MiB"] = round(_memory_mib("VmHWM") - before_mib)
        rows["windows of an hour"] = media.info.frames_analysed
    for channels in ("stereo", "mono"):
        for suffix in CODECS:
            path = folder / f"{channels}.{suffix}"
            works: dict[str, Callable[[], object]] = {"decode": partial(decode, path)}
            if not isinstance(peer, str):
                works["torchcodec"] = partial(decode_by_torchcodec, peer, path, apart=False)
                works["  apart"] = partial(decode_by_torchcodec, peer, path, apart=True)
            for name, spent in cpu_ms(works).items():
                rows[f"{name} {channels} {suffix}, ms"] = spent
    return rows


def measure_gate() -> dict[str, float]:
    """Return milliseconds of CPU by name."""
    rows: dict[str, float] = {}
    for name, sound in no_speech().items():
        if gate(sound):
            raise SystemExit(f"the gate takes {name} for speech")
        rows |= cpu_ms({f"gate {name}, ms": partial(gate, sound)})
    return rows


def _memory_mib(what: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) / 1024


def measured(folder: Path, version: Path | None) -> dict[str, float]:
    """Measure this version, or the one in a checkout: decoding with the environment of a child."""
    rows: dict[str, float] = {}
    for part, environment in (("decoding", scrubbed_environment()), ("gate", dict(os.environ))):
        if version is not None:
            sources = (version.absolute() / name for name in ("worker", "testing"))
            environment["PYTHONPATH"] = os.pathsep.join(map(str, sources))
        ended = subprocess.run(
            [sys.executable, __file__, "--measure", part, folder],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
        rows |= json.loads(ended.stdout)
    return rows


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60, help="length of what is decoded")
    parser.add_argument("--no-hour", action="store_true", help="leave out the hour")
    parser.add_argument("--against", type=Path, help="checkout of a version to compare with")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure is not None:
        part, folder = args.measure
        found = measure_gate() if part == "gate" else measure_decoding(Path(folder))
        print(json.dumps(found))
        return 0
    with tempfile.TemporaryDirectory() as name:
        make_files(Path(name), seconds=args.seconds, hour=not args.no_hour)
        before = measured(Path(name), args.against) if args.against is not None else {}
        rows = measured(Path(name), None)
    if args.json:
        print(json.dumps({"seconds": args.seconds, "before": before, "now": rows}))
        return 0
    print(f"{args.seconds:g} s of sound{'':19}{'before':>10}{'now':>10}")
    for row, now in rows.items():
        print(f"{row:32}{before.get(row, '-'):>10}{now:>10}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
