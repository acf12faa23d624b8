"""Finding, choosing and loading models: the only way from a models directory to detectors."""

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from detection_contract import user_messages
from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import PictureSampling
from detection_worker.detectors.base import Detector, DetectorCard
from detection_worker.detectors.faces import model as face_model
from detection_worker.detectors.model_folder import manifest as manifests
from detection_worker.detectors.model_folder.manifest import Borrowed, Manifest, ModelError
from detection_worker.errors import UsageError

if TYPE_CHECKING:
    import torch

    from detection_worker.detectors.faces.finding import FaceFinder

ARCHITECTURES: Final[Mapping[str, str]] = {
    "aasist": "detection_worker.detectors.networks.audio.aasist:build",
    "aasist-l": "detection_worker.detectors.networks.audio.aasist:build_light",
    "audio_lfb": "detection_worker.detectors.networks.audio.audio_lfb:build",
    "clip-b16": "detection_worker.detectors.networks.image.clip_heads:build_b16",
    "efficientnet-b4": "detection_worker.detectors.networks.image.efficientnet:build",
    "effort": "detection_worker.detectors.networks.image.clip_heads:build_effort",
    "frozen-head": "detection_worker.detectors.frozen_head:build",
    "image_residual": "detection_worker.detectors.networks.image.image_residual:build",
    "lfcc-lcnn": "detection_worker.detectors.networks.audio.lcnn:build",
    "meso4": "detection_worker.detectors.networks.image.mesonet:build_meso4",
    "mesoinception4": "detection_worker.detectors.networks.image.mesonet:build_mesoinception4",
    "npr": "detection_worker.detectors.networks.image.npr:build",
    "rawnet2": "detection_worker.detectors.networks.audio.rawnet2:build",
    "univfd": "detection_worker.detectors.networks.image.clip_heads:build_univfd",
    "xception": "detection_worker.detectors.networks.image.xception:build",
    "xlsr-aasist": "detection_worker.detectors.networks.audio.xlsr_aasist:build",
}
"""Name in a manifest to ``module:factory``; imported when a model asks for it."""
GRADE_ORDER: Final = ("demo", "experimental", "published")
"""Later is preferred."""
_BREAKAGE: Final = (
    RuntimeError,
    MemoryError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
)
"""What a folder's own numbers and weights make torch, or the disk below them, raise. It is noted
as the folder's problem, so that one bad folder does not keep the others from work."""
MERITS: Final = ("preferred", "calibrated", "higher grade", "newer version")
"""What decides between models of one kind, in this order; then the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedDetectors:
    """What can score.

    Attributes:
        by_kind: One detector for each kind that has a usable model, image, video, audio.
        cards: Who they are, in the same order.
        problems: Model folders that could not be loaded, each with the reason.
    """

    by_kind: dict[MediaKind, Detector]
    cards: tuple[DetectorCard, ...]
    problems: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One row of ``models list``.

    Attributes:
        name: Of the folder.
        manifest: None if there is a problem.
        chosen: It scores its kind.
        why: Why it was chosen, in a few words; empty if it was not.
        problem: Why it cannot be used; None if it can, as far as the manifest tells.
    """

    name: str
    manifest: Manifest | None
    chosen: bool
    problem: str | None
    why: str = ""


def bundled_models_dir() -> Path:
    """Return the models that ship with the package.

    They lie in the package in an installed wheel, and in the repository's ``models`` folder in an
    editable installation.
    """
    package = Path(__file__).resolve().parents[1]
    installed = package / "bundled_models"
    return installed if installed.is_dir() else package.parents[1] / "models"


def list_models(models_dir: Path, *, prefer: Sequence[str] = ()) -> tuple[ModelEntry, ...]:
    """Return every model folder with its manifest or its problem, by name; loads no weights.

    Args:
        models_dir: Holds one folder for each model.
        prefer: As for ``load_detectors``; names that are not there are passed over.

    Raises:
        UsageError: ``user_messages.NO_MODELS`` if there is no such directory.
    """
    found, problems = _read_all(models_dir)
    ranked = [_ranked(found, kind, prefer) for kind in MediaKind]
    why = {models[0].id: _why(models, prefer) for models in ranked if models}
    good = [
        ModelEntry(name=m.id, manifest=m, chosen=m.id in why, problem=None, why=why.get(m.id, ""))
        for m in found.values()
    ]
    bad = [
        ModelEntry(name=name, manifest=None, chosen=False, problem=problem)
        for name, problem in problems.items()
    ]
    return tuple(sorted(good + bad, key=lambda entry: entry.name))


def load_detectors(
    models_dir: Path, *, device: str = "cpu", threads: int = 0, prefer: Sequence[str] = ()
) -> LoadedDetectors:
    """Load the best usable model of each kind and prove it by its known answers.

    If several models score one kind, a preferred one wins, then a calibrated one, then the higher
    grade (published, experimental, demo), then the higher version, then the name that sorts first.
    A model that does not load is noted and the next one is tried.

    Args:
        models_dir: Holds one folder for each model.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: Threads of one forward pass, for the whole process; 0 leaves torch's own choice.
        prefer: Names of models that win over others of their kind.

    Raises:
        UsageError: If no model could be loaded, the device is absent, or a preferred model is.
    """
    found, problems = _read_all(models_dir)
    for name in prefer:
        if name not in found:
            reason = problems.get(name) or f"Choose from: {', '.join(sorted(found)) or 'none'}"
            raise UsageError(f"Model not found or not usable: {name}\n{reason}")
    _prepare_torch(device, threads)
    loader = _Loader(models_dir=models_dir, manifests=found, device=device)
    by_kind: dict[MediaKind, Detector] = {}
    for kind in MediaKind:
        for candidate in _ranked(found, kind, prefer):
            try:
                by_kind[kind] = loader.load(candidate)
            except ModelError as exc:
                problems[candidate.id] = str(exc)
            else:
                break
    notes = [f"{name}: {problem}" for name, problem in sorted(problems.items())]
    if not by_kind:
        raise UsageError("\n".join([user_messages.NO_MODELS, *notes]))
    cards = tuple(detector.card for detector in by_kind.values())
    return LoadedDetectors(by_kind=by_kind, cards=cards, problems=notes)


def build_network(name: str, params: Mapping[str, Any], *, where: str) -> "torch.nn.Module":
    """Return an untrained network of a registered architecture.

    Raises:
        ModelError: If there is no such architecture or it does not take these parameters.
    """
    target = ARCHITECTURES.get(name)
    if target is None:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ModelError(f"{where}: architecture.name: {name!r} is unknown; known: {known}")
    module, _, factory = target.partition(":")
    try:
        network: torch.nn.Module = getattr(importlib.import_module(module), factory)(**params)
    except (TypeError, ValueError, RuntimeError) as exc:
        raise ModelError(f"{where}: architecture.params: {exc}") from exc
    return network


class _Loader:
    """Loads models of one directory; a network that two models use is loaded once."""

    def __init__(
        self, *, models_dir: Path, manifests: Mapping[str, Manifest], device: str
    ) -> None:
        self._models_dir = models_dir
        self._manifests = manifests
        self._device = device
        self._networks: dict[str, torch.nn.Module] = {}
        self._faces: FaceFinder | None = None

    def load(self, manifest: Manifest) -> Detector:
        where = str(self._models_dir / manifest.id / manifests.MANIFEST_NAME)
        try:
            return self._load(manifest, where)
        except _BREAKAGE as exc:
            what = ": ".join([type(exc).__name__, *str(exc).splitlines()[:1]])
            raise ModelError(
                f"{where}: cannot be loaded: {what}\n"
                "Copy the whole model folder again, or see whether this machine is too small."
            ) from exc

    def _load(self, manifest: Manifest, where: str) -> Detector:
        # Torch takes seconds to import; whoever only lists models must not wait for it.
        from detection_worker.detectors import self_test  # noqa: PLC0415 - heavy
        from detection_worker.detectors.faces.view import FaceViewDetector  # noqa: PLC0415 - heavy
        from detection_worker.detectors.torch_detector import TorchDetector  # noqa: PLC0415 - heavy

        detector: Detector = TorchDetector(
            card=manifest.card(),
            module=self._network(self._owner(manifest, where)),
            fake_index=manifest.fake_index,
            device=self._device,
        )
        if isinstance(manifest.sampling, PictureSampling) and manifest.sampling.view == "faces":
            detector = FaceViewDetector(detector, self._face_finder())
        try:
            self_test.check(detector, manifest.self_test, device=self._device, where=where)
        except RuntimeError as exc:
            raise ModelError(f"{where}: selftest: {exc}") from exc
        return detector

    def _face_finder(self) -> "FaceFinder":
        if self._faces is None:
            self._faces = face_model.load_face_finder(
                [self._models_dir, bundled_models_dir()], device=self._device
            )
        return self._faces

    def _owner(self, manifest: Manifest, where: str) -> Manifest:
        if not isinstance(manifest.network, Borrowed):
            return manifest
        owner = self._manifests.get(manifest.network.id)
        if owner is None or isinstance(owner.network, Borrowed):
            raise ModelError(f"{where}: uses.id: no such model here: {manifest.network.id!r}")
        if owner.weights_sha256 != manifest.network.sha256:
            raise ModelError(f"{where}: uses.sha256: made for other weights of {owner.id!r}")
        return owner

    def _network(self, manifest: Manifest) -> "torch.nn.Module":
        from detection_worker.detectors.model_folder import weights  # noqa: PLC0415 - needs torch

        if manifest.id not in self._networks:
            assert not isinstance(manifest.network, Borrowed)  # noqa: S101 - _owner saw to it
            architecture, file = manifest.network
            folder = self._models_dir / manifest.id
            if file.format == manifests.ONNX:
                self._networks[manifest.id] = _onnx_network(folder / file.file, architecture, file)
                return self._networks[manifest.id]
            where = str(folder / manifests.MANIFEST_NAME)
            network = build_network(architecture.name, architecture.params, where=where)
            tensors = weights.load_weights(folder, file)
            weights.fill(network, tensors, where=str(folder / file.file))
            self._networks[manifest.id] = network
        return self._networks[manifest.id]


def _onnx_network(
    path: Path, architecture: manifests.Architecture, file: manifests.WeightsFile
) -> "torch.nn.Module":
    from detection_worker.detectors.model_folder import weights  # noqa: PLC0415 - needs torch
    from detection_worker.detectors.onnx import network as onnx_network  # noqa: PLC0415 - needs torch

    data = weights.checked_bytes(path, file)
    return onnx_network.build(data, architecture.params, where=path)


def _read_all(models_dir: Path) -> tuple[dict[str, Manifest], dict[str, str]]:
    found: dict[str, Manifest] = {}
    problems: dict[str, str] = {}
    for folder in _entries(models_dir):
        try:
            if (folder / manifests.MANIFEST_NAME).is_file():
                found[folder.name] = manifests.read_manifest(folder)
        except ModelError as exc:
            problems[folder.name] = str(exc)
        except OSError as exc:
            # As of ``lost+found`` on a volume: what may not be looked into may be a model.
            problems[folder.name] = f"{folder}: cannot be read: {exc.strerror}"
    return found, problems


def _entries(models_dir: Path) -> list[Path]:
    try:
        return sorted(models_dir.iterdir())
    except OSError as exc:
        raise UsageError(f"{user_messages.NO_MODELS}\n{models_dir}: {exc.strerror}") from exc


def _ranked(
    found: Mapping[str, Manifest], kind: MediaKind, prefer: Sequence[str]
) -> list[Manifest]:
    by_name = sorted((m for m in found.values() if m.kind is kind), key=lambda m: m.id)
    return sorted(by_name, key=lambda m: _merits(m, prefer), reverse=True)


def _merits(manifest: Manifest, prefer: Sequence[str]) -> tuple[object, ...]:
    """What ranks a model, most important first; higher is better. ``MERITS`` has the words.

    Calibration comes before the grade: a published network whose scores nobody fitted here can
    call nearly every recording fake at the usual threshold.
    """
    return (
        manifest.id in prefer,
        manifest.calibrated,
        GRADE_ORDER.index(manifest.grade),
        manifests.version_key(manifest.version),
    )


def _why(ranked: Sequence[Manifest], prefer: Sequence[str]) -> str:
    """The first merit in which the best model beats the next."""
    if len(ranked) == 1:
        return "the only one"
    best, second = (_merits(m, prefer) for m in ranked[:2])
    return next(
        (word for word, a, b in zip(MERITS, best, second, strict=True) if a != b), "first by name"
    )


def check_device(device: str) -> None:
    """Refuse a device that torch cannot use.

    Raises:
        UsageError: It is neither ``cpu`` nor a GPU of this machine.
    """
    import torch  # noqa: PLC0415 - takes seconds; see _Loader.load

    number = re.fullmatch(r"cuda(?::([0-9]{1,3}))?", device)
    count = torch.cuda.device_count() if number and torch.cuda.is_available() else 0
    if device != "cpu" and not (number and int(number[1] or 0) < count):
        raise UsageError(f"No such device: {device}\nUse cpu, or cuda on a machine with a GPU.")


def _prepare_torch(device: str, threads: int) -> None:
    import torch  # noqa: PLC0415 - takes seconds; see _Loader.load

    if threads > 0:
        torch.set_num_threads(threads)
    check_device(device)
