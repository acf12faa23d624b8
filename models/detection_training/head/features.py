"""What a frozen network says of files, decoded as a worker does it, and kept between runs."""

import hashlib
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray

from detection_contract.media_types import MediaKind
from detection_training.evaluation.items import Item
from detection_training.pipeline.sources import Log
from detection_training.pipeline.steps import write_atomically
from detection_worker.core.applicability import Scope
from detection_worker.core.sampling import AudioSampling, ImageSampling
from detection_worker.detectors import architectures, self_test
from detection_worker.detectors.base import Detector
from detection_worker.detectors.faces import model as face_model
from detection_worker.detectors.faces.view import FaceViewDetector
from detection_worker.detectors.frozen_head import NAME, FrozenHead
from detection_worker.detectors.model_folder import listing, weights
from detection_worker.detectors.model_folder import manifest as manifests
from detection_worker.detectors.model_folder.manifest import Borrowed, Manifest
from detection_worker.detectors.torch_detector import TorchDetector
from detection_worker.errors import JobError, UsageError
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.values import DecodedMedia, Decoder, DecodeRequest
from detection_worker.pipeline.files.analysis import units_of
from detection_worker.pipeline.files.applicability import not_applicable_reason
from detection_worker.settings import MediaLimits

if TYPE_CHECKING:
    from detection_worker.core.sampling import Sampling

PROGRESS_S: Final = 5.0
AT_ONCE: Final = 16
"""Units of one pass through the network."""
Units = NDArray[np.uint8] | NDArray[np.float32]


class _Unusable(Exception):  # noqa: N818 - a file is left out, nothing fails
    """A file without features; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Backbone:
    """A network without its last layer.

    Attributes:
        manifest: Manifest of the model that it is from.
        network: Its ``head`` is untrained.
        detector: Finds units.
        base: Architecture below.
        params: Parameters of the architecture ``frozen-head``.
    """

    manifest: Manifest
    network: FrozenHead
    detector: Detector
    base: str
    params: dict[str, int | float | str]

    @property
    def sampling(self) -> "Sampling":
        """Units that it wants."""
        return self.manifest.sampling

    @property
    def key(self) -> str:
        """Names what its features depend on."""
        told = f"{self.manifest.weights_sha256} {self.base} {self.sampling!r}"
        return hashlib.sha256(told.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """Files that have features.

    Attributes:
        items: The files.
        features: Features of each file, float32 ``(units, d)``.
        skipped: Names of files without, each with the reason.
    """

    items: list[Item] = field(default_factory=list)
    features: list[NDArray[np.float32]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def load_backbone(folder: Path, *, kind: MediaKind, device: str = "cpu") -> Backbone:
    """Return the network of a model folder, after its digest and known answers are checked.

    Args:
        folder: The model's folder.
        kind: Media that the head is for.
        device: Where it runs.

    Raises:
        UsageError: It cannot be used.
    """
    manifest = manifests.read_manifest(folder)
    where = str(folder / manifests.MANIFEST_NAME)
    if isinstance(manifest.network, Borrowed) or manifest.kind is not kind:
        raise UsageError(
            f"{folder}: scores {manifest.kind.value} files"
            f"{' with the weights of another model' * isinstance(manifest.network, Borrowed)}\n"
            f"Name a model with weights of its own that scores {kind.value} files: --backbone."
        )
    architecture, file = manifest.network
    network = architectures.build_network(architecture.name, architecture.params, where=where)
    weights.fill(network, weights.load_weights(folder, file), where=where)
    detector = TorchDetector(
        card=manifest.card(), module=network, fake_index=manifest.fake_index, device=device
    )
    self_test.check(detector, manifest.self_test, device=device, where=where)
    params = dict(architecture.params)
    base = str(params.pop("base")) if architecture.name == NAME else architecture.name
    frozen = network if isinstance(network, FrozenHead) else _without_last(network, folder)
    return Backbone(
        manifest=manifest,
        network=frozen,
        detector=_finding(detector, manifest, folder, device=device),
        base=base,
        params={"base": base, **params},
    )


def look(
    backbone: Backbone, items: list[Item], *, scope: Scope, kept: Path, device: str, log: Log
) -> Seen:
    """Return the features of all files that can be read; those of an earlier run are reused.

    Args:
        backbone: The network.
        items: Files.
        scope: What the head will judge; other files are left out.
        kept: Folder of features.
        device: Where the network is.
        log: Takes progress lines.

    Raises:
        UsageError: One file lies in both folders.
    """
    seen, contents = Seen(), dict[str, Item]()
    folder = kept / backbone.key
    folder.mkdir(parents=True, exist_ok=True)
    started = said = time.monotonic()
    with _decoder() as decoder:
        looking = _Looking(backbone, decoder, scope, device)
        for done, item in enumerate(items, start=1):
            try:
                digest = _digest(item.path)
                _refuse_twin(item, contents.setdefault(digest, item))
                features = _kept_or(folder / f"{digest}.npy", looking, item)
            except _Unusable as exc:
                seen.skipped[item.name] = str(exc)
            else:
                seen.items.append(item)
                seen.features.append(features)
            now = time.monotonic()
            if now - said >= PROGRESS_S or done == len(items):
                said = now
                left_s = (now - started) / done * (len(items) - done)
                log(f"  {done}/{len(items)} files seen, about {left_s:.0f} s left")
    return seen


@dataclass(frozen=True, slots=True)
class _Looking:
    backbone: Backbone
    decoder: Decoder
    scope: Scope
    device: str

    def features(self, item: Item) -> NDArray[np.float32]:
        sampling = self.backbone.sampling
        request = DecodeRequest(
            path=item.path,
            announced=self.backbone.manifest.kind,
            image=sampling if isinstance(sampling, ImageSampling) else None,
            video=None,
            audio=sampling if isinstance(sampling, AudioSampling) else None,
            limits=MediaLimits(),
        )
        try:
            media = self.decoder.decode(request, on_progress=_nothing, cancelled=_never)
        except JobError as exc:
            raise _Unusable(exc.message) from exc
        found = units_of(self.backbone.detector, media, on_progress=_nothing)
        self._refuse_misfit(found)
        features = features_of(self.backbone.network, found.units, device=self.device)
        if not np.isfinite(features).all():
            raise _Unusable("the network gives no numbers for it")
        return features

    def _refuse_misfit(self, media: DecodedMedia) -> None:
        judging = replace(self.backbone.detector.card, scope=self.scope)
        if (reason := not_applicable_reason(media, judging)) is not None:
            raise _Unusable(f"not for this detector: {reason}")


def features_of(network: FrozenHead, units: Units, *, device: str) -> NDArray[np.float32]:
    """Return what the network hands to its last layer, float32 ``(units, d)``.

    Args:
        network: In evaluation mode, on ``device``.
        units: As in ``DecodedMedia.units``.
        device: Where the network is.
    """
    parts = []
    for start in range(0, len(units), AT_ONCE):
        some = np.require(units[start : start + AT_ONCE], requirements=["C", "W"])
        x = torch.from_numpy(some).to(device)
        with torch.inference_mode():
            found = network.features(x.permute(0, 3, 1, 2) if x.ndim == 4 else x)
        parts.append(found.float().cpu().numpy())
    return np.concatenate(parts)


def _without_last(network: torch.nn.Module, folder: Path) -> FrozenHead:
    try:
        return FrozenHead(network).eval()
    except ValueError as exc:
        raise UsageError(f"{folder}: {exc}\nName another model: --backbone.") from exc


def _finding(
    detector: TorchDetector, manifest: Manifest, folder: Path, *, device: str
) -> Detector:
    if not isinstance(manifest.sampling, ImageSampling) or manifest.sampling.view != "faces":
        return detector
    finder = face_model.load_face_finder(
        [folder.parent, listing.bundled_models_dir()], device=device
    )
    return FaceViewDetector(detector, finder)


def _kept_or(file: Path, looking: _Looking, item: Item) -> NDArray[np.float32]:
    try:
        features: NDArray[np.float32] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        features = np.empty(0, np.float32)
    if features.ndim == 2 and features.dtype == np.float32 and np.isfinite(features).all():
        return features
    features = looking.features(item)
    write_atomically(file, _as_npy(features))
    return features


def _as_npy(values: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _refuse_twin(item: Item, twin: Item) -> None:
    if twin is item:
        return
    if item.fake != twin.fake:
        raise UsageError(
            f"The same file is real and fake: {twin.path} and {item.path}\n"
            "Each file may lie in one of the folders."
        )
    raise _Unusable(f"the same as {twin.name}")


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise _Unusable(f"cannot be read: {exc.strerror}") from exc


@contextmanager
def _decoder() -> Iterator[Decoder]:
    decoder = ProcessDecoder(1)
    try:
        yield decoder
    finally:
        decoder.close()


def _nothing() -> None:
    return None


def _never() -> bool:
    return False
