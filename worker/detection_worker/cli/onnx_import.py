"""``models import --architecture onnx``: options for what an ONNX file does not contain."""

import argparse
from pathlib import Path
from typing import Final, get_args

from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import AudioSampling, ImageSampling, View
from detection_worker.core.verdict import Pooling
from detection_worker.detectors.importing.published import FACES, MOST_FAKE_FACE, Published
from detection_worker.detectors.model_folder.manifest import ONNX
from detection_worker.detectors.model_folder.manifest_parts import (
    MAX_CROP_PX,
    MAX_SAMPLE_RATE_HZ,
    MAX_WINDOW,
)
from detection_worker.errors import UsageError

OPTIONS: Final = ("kind", "classes", "side", "view", "scale", "sample_rate", "window")
SCALES: Final = ("none", "unit", "symmetric", "imagenet", "clip")
"""Same as in ``onnx.network``, repeated here because that module loads torch."""
MAX_CROPS: Final = 4
SAMPLE_RATE_HZ: Final = 16_000
_PICTURE_ONLY: Final = ("side", "view", "scale")
_SOUND_ONLY: Final = ("sample_rate", "window")
_MOST: Final = {"side": MAX_CROP_PX, "sample_rate": MAX_SAMPLE_RATE_HZ, "window": MAX_WINDOW}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``--architecture onnx``."""
    group = parser.add_argument_group("import of ONNX files (--architecture onnx)")
    group.add_argument(
        "--kind", choices=("image", "audio"), help="kind of media that the model scores"
    )
    group.add_argument(
        "--classes",
        choices=("real,fake", "fake,real"),
        help="classes of the outputs, in order; a single output is the logit of the second",
    )
    group.add_argument("--side", type=int, metavar="PX", help="image: side of the input, pixels")
    group.add_argument(
        "--view", choices=get_args(View), help="image: part of the picture that is scored (centre)"
    )
    group.add_argument(
        "--scale",
        choices=SCALES,
        help="image: scale of the pixels; none leaves them 0 to 255 (none)",
    )
    group.add_argument(
        "--sample-rate",
        type=int,
        metavar="HZ",
        help="audio: sample rate of the input (16000)",
    )
    group.add_argument(
        "--window", type=int, metavar="SAMPLES", help="audio: length of the input, samples"
    )


def published(args: argparse.Namespace, *, max_bytes: int) -> Published:
    """Return how to use an ONNX file, according to the options.

    Args:
        args: With ``OPTIONS``.
        max_bytes: Longest file.

    Raises:
        UsageError: An option is missing, belongs to the other kind, or is out of bounds.
    """
    _check(args)
    image = args.kind == "image"
    first, second = args.classes.split(",")
    return Published(
        architecture=ONNX,
        kind=MediaKind(args.kind),
        classes=(first, second),
        sampling=_image(args) if image else _audio(args),
        pooling=MOST_FAKE_FACE if args.view == "faces" else Pooling(),
        paper="",
        max_bytes=max_bytes,
        params={"scale": args.scale or "none"} if image else {},
    )


def _check(args: argparse.Namespace) -> None:
    needed = {"image": ("side",), "audio": ("window",)}.get(args.kind or "", ())
    for option in ("kind", "classes", *needed):
        if getattr(args, option) is None:
            raise UsageError(f"--{option} is missing: an ONNX file does not contain it")
    for option in _SOUND_ONLY if args.kind == "image" else _PICTURE_ONLY:
        if getattr(args, option) is not None:
            raise UsageError(f"{_spelled(option)} is not for models of kind {args.kind}")
    for option in _MOST:
        value = getattr(args, option)
        if value is not None and not 1 <= value <= _MOST[option]:
            raise UsageError(f"{_spelled(option)} must be 1 to {_MOST[option]}, not {value}")


def _spelled(option: str) -> str:
    return "--" + option.replace("_", "-")


def _image(args: argparse.Namespace) -> ImageSampling:
    view: View = args.view or "centre"
    most = {"crops": MAX_CROPS, "faces": FACES}.get(view, 1)
    return ImageSampling(crop_px=args.side, max_crops=most, view=view)


def _audio(args: argparse.Namespace) -> AudioSampling:
    return AudioSampling(
        sample_rate_hz=args.sample_rate or SAMPLE_RATE_HZ,
        window=args.window,
        hop=max(1, args.window // 2),
        max_windows=16,
    )


def run(args: argparse.Namespace, folder: Path) -> Path:
    """Import the file into the directory of models; return the new folder.

    Raises:
        UsageError: The options or the file are refused.
    """
    # Torch takes seconds to import; the other actions must not wait for it.
    from detection_worker.detectors.importing.from_onnx import import_onnx  # noqa: PLC0415 - heavy
    from detection_worker.detectors.onnx.network import MAX_BYTES  # noqa: PLC0415 - heavy

    source, name = Path(args.model), args.name or ONNX
    manifest = import_onnx(
        source,
        published=published(args, max_bytes=MAX_BYTES),
        name=name,
        models_dir=folder,
        license_text=args.license,
        video=args.video,
        force=args.force,
    )
    weights = manifest["weights"]
    print(f"Wrote {folder / name}: {weights['bytes']} bytes, sha256 {weights['sha256'][:12]}…")
    return folder / name
