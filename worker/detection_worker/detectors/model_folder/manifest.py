"""``manifest.json`` of a model folder: what it may say, checked, as frozen values."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, ValidationError, model_validator

from detection_contract.media_types import MediaKind
from detection_worker.core.applicability import Scope
from detection_worker.core.sampling import AudioSampling, ImageSampling, Sampling, VideoSampling
from detection_worker.core.verdict import Calibration, Pooling, Thresholds
from detection_worker.detectors.base import DetectorCard, Grade
from detection_worker.detectors.model_folder.manifest_parts import (
    AggregatePart,
    AppliesToPart,
    ArchitecturePart,
    AudioPart,
    CalibrationPart,
    ImagePart,
    ModelId,
    OutputPart,
    Part,
    SelfTestPart,
    ThresholdsPart,
    UsesPart,
    Version,
    VideoPart,
    WeightsFormat,
    WeightsPart,
)
from detection_worker.errors import UsageError

SCHEMA: Final = 1
"""Newest manifest schema that this program reads."""
MANIFEST_NAME: Final = "manifest.json"
ONNX: Final = "onnx"
"""Format of weights, and name of the architecture that goes with it and no other."""
MAX_MANIFEST_BYTES: Final = 1 << 20
"""A manifest is a page of text; more is a mistake or an attack."""


class ModelError(UsageError):
    """A model folder cannot be used; the text names the file, the field and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Which network to build.

    Attributes:
        name: Key of ``architectures.ARCHITECTURES``.
        params: Keyword arguments of its factory.
    """

    name: str
    params: Mapping[str, bool | int | float | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """The weights beside a manifest.

    Attributes:
        file: Name inside the model's folder.
        sha256: Digest of the whole file, lower-case hex.
        size_bytes: Length of the file.
        format: ``onnx`` brings its own network, of the architecture ``ONNX``.
    """

    file: str
    sha256: str
    size_bytes: int
    format: WeightsFormat = "safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Borrowed:
    """Another model of the same models directory whose network and weights are used.

    Attributes:
        id: Name of that model.
        sha256: Digest of its weights; pins what the calibration here was fitted on.
    """

    id: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """One known answer, proving at load that weights, code and class order belong together.

    Attributes:
        seed: Seed of the pseudo-random unit, see ``self_test.unit``.
        logit: Expected logit of "fake" on a CPU in float32.
    """

    seed: int
    logit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A model folder's checked description.

    Attributes:
        id: Name of the model and of its folder.
        version: Version of the weights, numbers separated by dots.
        kind: Media kind that it scores.
        grade: How far its scores can be trusted.
        network: Own architecture and weights, or another model's.
        fake_index: Which class of the network's output means fake; 1, or 0 for networks whose
            positive class is "real".
        sampling: Units that it takes.
        pooling: From units to one logit.
        calibration: From that logit to P(fake).
        calibrated: The calibration was fitted on labelled files.
        thresholds: Scores between which the verdict is inconclusive; None if not measured.
        scope: What it can judge.
        self_test: Known answers, at least one.
        license: License of the weights, an SPDX expression or a sentence.
    """

    id: str
    version: str
    kind: MediaKind
    grade: Grade
    network: tuple[Architecture, WeightsFile] | Borrowed
    fake_index: int
    sampling: Sampling
    pooling: Pooling
    calibration: Calibration
    calibrated: bool
    thresholds: Thresholds | None
    scope: Scope
    self_test: tuple[SelfTest, ...]
    license: str

    @property
    def weights_sha256(self) -> str:
        """Digest of the weights that score, own or borrowed."""
        return (
            self.network.sha256 if isinstance(self.network, Borrowed) else self.network[1].sha256
        )

    def card(self) -> DetectorCard:
        """Return what the pipeline needs to know."""
        return DetectorCard(
            name=self.id,
            version=self.version,
            sha256=self.weights_sha256,
            grade=self.grade,
            kind=self.kind,
            sampling=self.sampling,
            pooling=self.pooling,
            calibration=self.calibration,
            calibrated=self.calibrated,
            thresholds=self.thresholds,
            scope=self.scope,
        )


class _File(Part):
    schema_: Annotated[int, Field(alias="schema")]
    id: ModelId
    version: Version
    modality: MediaKind
    grade: Grade
    architecture: ArchitecturePart | None = None
    weights: WeightsPart | None = None
    uses: UsesPart | None = None
    preprocess: dict[str, int | float | str]
    output: OutputPart
    aggregate: AggregatePart
    calibration: CalibrationPart
    thresholds: ThresholdsPart | None = None
    applies_to: AppliesToPart = AppliesToPart()
    selftest: Annotated[list[SelfTestPart], Field(min_length=1)]
    license: str
    metrics: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_network(self) -> "_File":
        own = self.architecture is not None and self.weights is not None
        if own == (self.uses is not None) or (self.architecture is None) != (self.weights is None):
            raise ValueError("give either 'architecture' and 'weights', or 'uses'")
        named = self.architecture is not None and self.architecture.name == ONNX
        written = self.weights is not None and self.weights.format == ONNX
        if named != written:
            raise ValueError("'architecture.name' and 'weights.format' are 'onnx' together")
        if self.output.classes[self.output.fake_index] != "fake":
            raise ValueError("'output.fake_index' must point at 'fake' in 'output.classes'")
        return self

    @model_validator(mode="after")
    def _scope_of_its_kind(self) -> "_File":
        sound = self.modality is MediaKind.AUDIO
        wanted = self.applies_to
        if (wanted.speech and not sound) or (wanted.min_side_px and sound):
            raise ValueError("'applies_to': 'speech' is for audio, 'min_side_px' for pictures")
        if wanted.min_duration_s and self.modality is MediaKind.IMAGE:
            raise ValueError("'applies_to': an image has no duration")
        return self


def read_manifest(folder: Path) -> Manifest:
    """Return the checked manifest of a model folder.

    Raises:
        ModelError: If it is missing, unreadable, newer than this program, or breaks the schema.
    """
    path = folder / MANIFEST_NAME
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as exc:
        raise ModelError(f"{path}: cannot be read: {exc.strerror}") from exc
    if len(raw) > MAX_MANIFEST_BYTES:
        raise ModelError(f"{path}: longer than {MAX_MANIFEST_BYTES} bytes; not a manifest")
    manifest = parse_manifest(raw, where=str(path))
    if manifest.id != folder.name:
        raise ModelError(f"{path}: id: is {manifest.id!r}, but the folder is {folder.name!r}")
    return manifest


def parse_manifest(raw: bytes, *, where: str) -> Manifest:
    """Return the checked manifest written in ``raw``, JSON in UTF-8.

    Args:
        raw: The file's bytes.
        where: Name of the file, for messages.

    Raises:
        ModelError: As ``read_manifest``.
    """
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise ModelError(f"{where}: not JSON: {exc}") from exc
    _check_schema(data, where)
    try:
        file = _File.model_validate_json(raw)
        return _manifest(file)
    except ValidationError as exc:
        raise ModelError(f"{where}: {_first(exc)}") from exc


def version_key(version: str) -> tuple[int, ...]:
    """Return a key that orders versions by number: 1.10 comes after 1.9."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _check_schema(data: object, where: str) -> None:
    if not isinstance(data, dict):
        raise ModelError(f"{where}: must be a JSON object, not {type(data).__name__}")
    schema = data.get("schema")
    if type(schema) is not int or schema < 1:
        raise ModelError(f"{where}: schema: must be an integer from 1 to {SCHEMA}")
    if schema > SCHEMA:
        raise ModelError(
            f"{where}: schema: {schema} is newer than this program reads ({SCHEMA})\n"
            "Upgrade detection-queue, or use a model made for this version."
        )


def _first(exc: ValidationError) -> str:
    errors = exc.errors(include_url=False, include_input=False, include_context=False)
    field = ".".join(str(part) for part in errors[0]["loc"]) or "manifest"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{field}: {errors[0]['msg']}{more}"


def _manifest(file: _File) -> Manifest:
    return Manifest(
        id=file.id,
        version=file.version,
        kind=file.modality,
        grade=file.grade,
        network=_network(file),
        fake_index=file.output.fake_index,
        sampling=_sampling(file),
        pooling=Pooling(**file.aggregate.model_dump()),
        calibration=Calibration(a=file.calibration.a, b=file.calibration.b),
        calibrated=file.calibration.method != "none",
        thresholds=None if file.thresholds is None else Thresholds(**file.thresholds.model_dump()),
        scope=Scope(**file.applies_to.model_dump()),
        self_test=tuple(SelfTest(seed=t.seed, logit=t.logit) for t in file.selftest),
        license=file.license,
    )


def _network(file: _File) -> tuple[Architecture, WeightsFile] | Borrowed:
    if file.uses is not None:
        return Borrowed(id=file.uses.id, sha256=file.uses.sha256)
    assert file.architecture is not None and file.weights is not None  # noqa: S101, PT018 - _one_network
    weights = file.weights
    return (
        Architecture(name=file.architecture.name, params=file.architecture.params),
        WeightsFile(
            file=weights.file,
            sha256=weights.sha256,
            size_bytes=weights.bytes,
            format=weights.format,
        ),
    )


def _sampling(file: _File) -> Sampling:
    match file.modality:
        case MediaKind.IMAGE:
            return ImageSampling(**ImagePart.model_validate(file.preprocess).model_dump())
        case MediaKind.VIDEO:
            return VideoSampling(**VideoPart.model_validate(file.preprocess).model_dump())
        case MediaKind.AUDIO:
            return AudioSampling(**AudioPart.model_validate(file.preprocess).model_dump())
