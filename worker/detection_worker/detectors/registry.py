"""Load the best model of each kind: the only way from a directory of models to detectors."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from detection_contract import user_messages
from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import PictureSampling, looked_at
from detection_worker.cores import let_idle_threads_sleep, usable_cores
from detection_worker.detectors.architectures import build_network
from detection_worker.detectors.base import Detector, DetectorCard
from detection_worker.detectors.faces import model as face_model
from detection_worker.detectors.model_folder import manifest as manifests
from detection_worker.detectors.model_folder.listing import bundled_models_dir, ranked, read_all
from detection_worker.detectors.model_folder.manifest import Borrowed, Manifest, ModelError
from detection_worker.errors import UsageError
from detection_worker.memory import uncollected
from detection_worker.settings import AnalysisSettings

if TYPE_CHECKING:
    import torch

    from detection_worker.detectors.device.start import DeviceStart
    from detection_worker.detectors.faces.finding import MtcnnFinder
    from detection_worker.detectors.torch_detector import TorchDetector

_BREAKAGE: Final = (
    RuntimeError,
    MemoryError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
)
"""Exceptions that a bad model folder can cause in torch or on disk. They become a problem of that
folder alone: the other models still load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedDetectors:
    """The detectors of one directory of models.

    Attributes:
        by_kind: One detector for each kind that has a usable model; order: image, video, audio.
        cards: Cards of the detectors, in the same order.
        problems: Model folders that could not be loaded, each with the reason.
    """

    by_kind: dict[MediaKind, Detector]
    cards: tuple[DetectorCard, ...]
    problems: list[str]


def load_detectors(
    models_dir: Path,
    *,
    device: str = "cpu",
    threads: int = 0,
    prefer: Sequence[str] = (),
    analysis: AnalysisSettings = AnalysisSettings(),  # noqa: B008 - frozen
    batch_units: int = 0,
) -> LoadedDetectors:
    """Load the best usable model of each kind and check its known answers.

    If several models score one kind, a preferred one wins, then a calibrated one, then the higher
    grade (published, experimental, demo), then the higher version, then the name that sorts first.
    A model that does not load is noted and the next one is tried.

    Args:
        models_dir: Holds one folder for each model.
        device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``, which takes the GPU if there is one.
        threads: Threads of one forward pass, for the whole process; 0: one for each core in a long
            pass, one alone in a short one.
        prefer: Names of models that win over others of their kind.
        analysis: What it says takes the place of the models' own numbers of frames and windows;
            and the precision of the networks.
        batch_units: Most units of one pass on a GPU; 0 lets measured times decide.

    Raises:
        UsageError: If no model could be loaded, the device is absent, or a preferred model is.
    """
    models = ModelDirectory(
        models_dir,
        device=device,
        threads=threads,
        prefer=prefer,
        analysis=analysis,
        batch_units=batch_units,
    )
    models.load(MediaKind)
    cards = tuple(detector.card for detector in models.by_kind.values())
    return LoadedDetectors(by_kind=models.by_kind, cards=cards, problems=models.problems)


class ModelDirectory:
    """The models of one directory, of which those of a kind are loaded when they are asked for.

    Not thread-safe: one thread loads, and no loaded detector may be in use meanwhile.

    Args:
        models_dir: As for ``load_detectors``.
        device: As for ``load_detectors``.
        threads: As for ``load_detectors``.
        prefer: As for ``load_detectors``.
        analysis: As for ``load_detectors``.
        batch_units: As for ``load_detectors``.

    Attributes:
        by_kind: The detectors that are loaded; grows.

    Raises:
        UsageError: The device is absent, or a preferred model is.
    """

    def __init__(
        self,
        models_dir: Path,
        *,
        device: str,
        threads: int,
        prefer: Sequence[str],
        analysis: AnalysisSettings,
        batch_units: int = 0,
    ) -> None:
        self.by_kind: dict[MediaKind, Detector] = {}
        self._found, self._problems = read_all(models_dir)
        self._prefer = prefer
        for name in prefer:
            if name not in self._found:
                choice = f"Choose from: {', '.join(sorted(self._found)) or 'none'}"
                reason = self._problems.get(name) or choice
                raise UsageError(f"Model not found or not usable: {name}\n{reason}")
        on = chosen_device(device)
        self._loader = _Loader(
            models_dir=models_dir,
            manifests=self._found,
            device=on,
            analysis=analysis,
            batch_units=batch_units,
            threads=threads,
        )
        self._tried: set[MediaKind] = set()

    @property
    def problems(self) -> list[str]:
        """Model folders that could not be loaded so far, each with the reason."""
        return [f"{name}: {problem}" for name, problem in sorted(self._problems.items())]

    def load(self, kinds: Iterable[MediaKind]) -> bool:
        """Load the best usable model of each of these kinds; return whether any came.

        Raises:
            UsageError: None is loaded, and no other model of the directory can be.
        """
        before = len(self.by_kind)
        self._load(kinds)
        if not self.by_kind:
            self._load(MediaKind)
        if not self.by_kind:
            raise UsageError("\n".join([user_messages.NO_MODELS, *self.problems]))
        return len(self.by_kind) > before

    @uncollected()
    def _load(self, kinds: Iterable[MediaKind]) -> None:
        for kind in kinds:
            if kind in self._tried:
                continue
            self._tried.add(kind)
            for candidate in ranked(self._found, kind, self._prefer):
                try:
                    self.by_kind[kind] = self._loader.load(candidate)
                except ModelError as exc:
                    self._problems[candidate.id] = str(exc)
                else:
                    break


class _Loader:
    """Loads models of one directory; a network that two models share is loaded once."""

    def __init__(
        self,
        *,
        models_dir: Path,
        manifests: Mapping[str, Manifest],
        device: str,
        analysis: AnalysisSettings,
        batch_units: int,
        threads: int,
    ) -> None:
        self._models_dir = models_dir
        self._manifests = manifests
        self._device = device
        self._analysis = analysis
        self._networks: dict[str, torch.nn.Module] = {}
        self._faces: MtcnnFinder | None = None
        self._batch_units = batch_units
        self._threads = threads
        self._start: DeviceStart | None = None

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
        # Torch takes seconds to import: commands that only list models must not wait for it.
        from detection_worker.detectors import self_test, torch_detector  # noqa: PLC0415 - needs torch
        from detection_worker.detectors.faces import view  # noqa: PLC0415 - needs torch

        # Every time: passes of the networks that are there choose a number of their own.
        _set_threads(self._threads or usable_cores())
        finder = self._face_finder() if _looks_at_faces(manifest) else None
        scoring = torch_detector.TorchDetector(
            card=self._card(manifest, finder),
            module=self._network(self._owner(manifest, where)),
            fake_index=manifest.fake_index,
            device=self._device,
        )
        detector: Detector = scoring
        if finder is not None:
            detector = view.FaceViewDetector(scoring, finder)
        try:
            self_test.check(detector, manifest.self_test, device=self._device, where=where)
        except RuntimeError as exc:
            raise ModelError(f"{where}: selftest: {exc}") from exc
        self._prepare(scoring)
        return detector

    def _prepare(self, detector: "TorchDetector") -> None:
        """Set the precision; find out what a GPU does best."""
        precision = self._analysis.precision
        if self._device == "cpu":
            detector.use_precision("float32" if precision == "auto" else precision)
            return
        from detection_worker.detectors.device.start import DeviceStart  # noqa: PLC0415 - needs torch

        self._start = self._start or DeviceStart(
            device=detector.network[1], precision=precision, batch_units=self._batch_units
        )
        self._start.prepare(detector)

    def _card(self, manifest: Manifest, finder: "MtcnnFinder | None") -> DetectorCard:
        asked = self._analysis
        sampling = looked_at(manifest.sampling, frames=asked.frames, windows=asked.windows)
        sha256 = None if finder is None else finder.sha256
        return replace(manifest.card(), sampling=sampling, finder_sha256=sha256)

    def _face_finder(self) -> "MtcnnFinder":
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
            self._networks[manifest.id] = self._optimised(network, manifest)
        return self._networks[manifest.id]

    def _optimised(self, network: "torch.nn.Module", manifest: Manifest) -> "torch.nn.Module":
        from detection_worker.detectors import optimise, self_test  # noqa: PLC0415 - needs torch

        unit = self_test.unit(manifest.sampling, seed=0)
        optimise.fold(network.eval(), unit, name=manifest.id)
        most = usable_cores()
        if self._device == "cpu" and not self._threads and most > 1:
            optimise.choose_threads(network, unit, most=most)
        return optimise.laid_out(network, device=self._device)


def _looks_at_faces(manifest: Manifest) -> bool:
    return isinstance(manifest.sampling, PictureSampling) and manifest.sampling.view == "faces"


def _onnx_network(
    path: Path, architecture: manifests.Architecture, file: manifests.WeightsFile
) -> "torch.nn.Module":
    from detection_worker.detectors.model_folder import weights  # noqa: PLC0415 - needs torch
    from detection_worker.detectors.onnx import network  # noqa: PLC0415 - needs torch

    data = weights.checked_bytes(path, file)
    return network.build(data, architecture.params, where=path)


@uncollected()
def chosen_device(wanted: str) -> str:
    """Return the device that torch calls by this name, for ``auto`` the GPU if there is one.

    A GPU has its number: some calls of torch refuse ``cuda`` alone, and others take the one that
    is current in their thread.

    Raises:
        UsageError: The device is neither ``cpu`` nor ``auto`` nor a GPU of this machine.
    """
    let_idle_threads_sleep()
    import torch  # noqa: PLC0415 - slow import; see _Loader._load

    number = re.fullmatch(r"cuda(?::([0-9]{1,3}))?", wanted)
    asks = wanted == "auto" or number is not None
    count = torch.cuda.device_count() if asks and torch.cuda.is_available() else 0
    if wanted == "auto":
        return "cuda:0" if count else "cpu"
    if wanted != "cpu" and not (number and int(number[1] or 0) < count):
        raise UsageError(f"No such device: {wanted}\nUse cpu, or cuda on a machine with a GPU.")
    return wanted if number is None else f"cuda:{int(number[1] or 0)}"


def _set_threads(threads: int) -> None:
    import torch  # noqa: PLC0415 - slow import; see _Loader._load

    torch.set_num_threads(threads)
