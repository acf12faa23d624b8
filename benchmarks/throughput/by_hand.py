"""Decoding and networks as a worker of one's own usually has them.

Pillow and torchvision's transforms for pictures, PyAV for all of a video or sound, networks in
evaluation mode as they were saved. No jail, no limits, no look at what a file really is: its name
says it. Crops, frames and windows are those that the worker takes, so that the scores agree.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import torch
from av.audio.resampler import AudioResampler
from PIL import Image, ImageOps
from torchvision.transforms import v2

from detection_contract.media_types import MediaKind, kind_of_name
from detection_worker.core.sampling import (
    AudioSampling,
    ImageSampling,
    PictureSampling,
    VideoSampling,
    spread,
    units_per_picture,
)
from detection_worker.detectors.architectures import build_network
from detection_worker.detectors.base import Detector
from detection_worker.detectors.model_folder import weights
from detection_worker.detectors.model_folder.listing import read_all
from detection_worker.detectors.model_folder.manifest import ONNX, Borrowed, Manifest
from detection_worker.detectors.torch_detector import TorchDetector
from detection_worker.media.crops import Pixels, cut
from detection_worker.media.values import DecodedMedia, MediaInfo
from throughput.scoring import Detectors, detectors_of

_NO_BOXES: Final = np.empty((0, 4), np.int32)


def networks_by_hand(models_dir: Path) -> Detectors:
    """Return the models with their networks as they were saved: no batch norm is folded.

    Those in ONNX, and those that look at faces, stay as the worker loads them.
    """
    manifests, _ = read_all(models_dir)
    return {
        kind: _as_saved(detector, manifests, models_dir)
        for kind, detector in detectors_of(models_dir, threads=1).items()
    }


def _as_saved(detector: Detector, manifests: Mapping[str, Manifest], models_dir: Path) -> Detector:
    manifest = manifests[detector.card.name]
    borrowed = manifest.network
    owner = manifests[borrowed.id] if isinstance(borrowed, Borrowed) else manifest
    if not isinstance(detector, TorchDetector) or isinstance(owner.network, Borrowed):
        return detector
    architecture, file = owner.network
    if file.format == ONNX:
        return detector
    folder = models_dir / owner.id
    network = build_network(architecture.name, architecture.params, where=owner.id)
    weights.fill(network, weights.load_weights(folder, file), where=owner.id)
    return TorchDetector(card=detector.card, module=network.eval(), fake_index=manifest.fake_index)


def decode_by_hand(content: bytes, *, name: str, detectors: Detectors) -> DecodedMedia:
    """Return a downloaded file as units.

    Raises:
        SystemExit: The name is not that of a picture, video or sound, or a model looks at faces.
    """
    kind = kind_of_name(name)
    if kind is None:
        raise SystemExit(f"{name} is no media file by its name")
    sampling = detectors[kind].card.sampling
    if isinstance(sampling, ImageSampling):
        return _picture(content, sampling)
    if isinstance(sampling, VideoSampling):
        return _video(content, sampling)
    return _sound(content, sampling)


def _picture(content: bytes, sampling: ImageSampling) -> DecodedMedia:
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    units = _seen(np.asarray(picture), sampling)
    return _decoded(MediaKind.IMAGE, [units], size=picture.size)


def _video(content: bytes, sampling: VideoSampling) -> DecodedMedia:
    """Decode all frames and keep some."""
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.video[0]
        wanted = set(spread(stream.frames, sampling.max_frames))
        frames = [
            frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
            for number, frame in enumerate(container.decode(stream))
            if number in wanted
        ]
        seconds = float((stream.duration or 0) * (stream.time_base or 0))
    units = [_seen(frame, sampling) for frame in frames]
    size = frames[0].shape[1], frames[0].shape[0]
    return _decoded(MediaKind.VIDEO, units, size=size, duration_s=seconds)


def _sound(content: bytes, sampling: AudioSampling) -> DecodedMedia:
    """Decode all sound and cut windows."""
    resampler = AudioResampler(format="flt", layout="mono", rate=sampling.sample_rate_hz)
    parts: list[Any] = []
    with av.open(io.BytesIO(content), "r") as container:
        for frame in container.decode(audio=0):
            parts += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    parts += [out.to_ndarray()[0] for out in resampler.resample(None)]
    sound = torch.from_numpy(np.concatenate(parts))
    windows = sound.unfold(0, sampling.window, sampling.hop).contiguous().numpy()
    seconds = len(sound) / sampling.sample_rate_hz
    return _decoded(MediaKind.AUDIO, list(windows[:, None]), duration_s=seconds)


def _seen(pixels: Pixels, sampling: PictureSampling) -> Pixels:
    side = sampling.crop_px
    if sampling.view == "crops":
        return cut(pixels, crop_px=side, max_crops=units_per_picture(sampling))[0]
    if sampling.view == "faces":
        raise SystemExit("the pool by hand finds no faces: leave its row out")
    bicubic = v2.InterpolationMode.BICUBIC
    transform = (
        v2.Resize((side, side))
        if sampling.view == "whole"
        else v2.Compose([v2.Resize(side, interpolation=bicubic), v2.CenterCrop(side)])
    )
    return np.asarray(transform(Image.fromarray(pixels)))[None]


def _decoded(
    kind: MediaKind,
    units: list[Any],
    *,
    size: tuple[int, int] | None = None,
    duration_s: float | None = None,
) -> DecodedMedia:
    """Return units, those of each frame or window together, as the verdict wants them."""
    width, height = size or (None, None)
    info = MediaInfo(
        kind=kind,
        container="",
        codec=None,
        size_bytes=0,
        sha256="",
        width=width,
        height=height,
        duration_s=duration_s,
        frames_analysed=len(units),
        sample_rate_hz=None,
        truncated=False,
        warnings=(),
    )
    counts = [len(each) for each in units]
    return DecodedMedia(
        info=info,
        units=np.concatenate(units),
        frame=np.repeat(np.arange(len(units), dtype=np.int32), counts),
        at_s=np.zeros(len(units)),
        boxes=np.zeros((sum(counts), 4), np.int32) if size else _NO_BOXES,
    )
