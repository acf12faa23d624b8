"""The JSON objects that a ``manifest.json`` is made of, and what each field may be."""

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from detection_worker.core.sampling import FaceShape, VideoSampling, View

MAX_CROP_PX: Final = 2048
"""Longest side of a unit; frames are decoded to at most 1920. Beyond it a mistyped number asks for
more memory than there is before anything can be checked."""
MAX_WINDOW: Final = 2_880_000
"""Longest window of sound, in samples: a minute at 48 kHz."""
MAX_SAMPLE_RATE_HZ: Final = 192_000

ModelId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9}){0,3}$")]
"""Numbers that order versions; Python reads none of thousands of digits."""
Positive = Annotated[int, Field(ge=1)]
CropPx = Annotated[int, Field(ge=1, le=MAX_CROP_PX)]
Share = Annotated[float, Field(ge=0, le=1)]
WeightsFormat = Literal["safetensors", "onnx"]


class Part(BaseModel):
    """A JSON object without further fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ArchitecturePart(Part):
    """Which network to build."""

    name: str
    params: dict[str, bool | int | float | str] = {}


class WeightsPart(Part):
    """The weights beside a manifest."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]
    format: WeightsFormat
    sha256: Sha256
    bytes: Positive


class UsesPart(Part):
    """Another model's network and weights."""

    id: ModelId
    sha256: Sha256


class SeenPart(Part):
    """How a picture is seen."""

    view: View = "crops"
    face_scale: Annotated[float, Field(ge=0.5, le=2)] = 1.3
    face_shape: FaceShape = "square"


class ImagePart(SeenPart):
    """Preprocessing of images."""

    crop_px: CropPx
    max_crops: Positive


class VideoPart(SeenPart):
    """Preprocessing of videos."""

    max_frames: Positive
    crop_px: CropPx
    crops_per_frame: Positive
    clip_frames: Positive = 1
    clip_stride: Positive = 1

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        VideoSampling(**self.model_dump())
        return self


class AudioPart(Part):
    """Preprocessing of sound."""

    sample_rate_hz: Annotated[int, Field(ge=1, le=MAX_SAMPLE_RATE_HZ)]
    window: Annotated[int, Field(ge=1, le=MAX_WINDOW)]
    hop: Positive
    max_windows: Positive


class AggregatePart(Part):
    """From units to one logit."""

    within_frame: Literal["mean", "max"] = "mean"
    over_frames: Literal["mean", "topk_mean"] = "mean"
    top_share: Annotated[float, Field(gt=0, le=1)] = 0.25


class OutputPart(Part):
    """What the network puts out."""

    activation: Literal["sigmoid", "softmax"]
    classes: tuple[str, str]
    fake_index: Literal[0, 1]


class CalibrationPart(Part):
    """From the logit to P(fake)."""

    method: Literal["platt", "none"]
    a: Annotated[float, Field(gt=0)] = 1.0
    b: float = 0.0
    fitted_on: str = ""


class SelfTestPart(Part):
    """One known answer."""

    seed: Annotated[int, Field(ge=0)]
    logit: float


class ThresholdsPart(Part):
    """Scores between which the model cannot tell; measured by its makers."""

    fake: Share = 0.5
    low: Share
    high: Share

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low <= self.fake <= self.high:
            raise ValueError(
                f"low {self.low:g}, fake {self.fake:g} and high {self.high:g} must ascend"
            )
        return self


class AppliesToPart(Part):
    """What the model can judge; it has no opinion on anything else."""

    speech: bool = False
    min_duration_s: Annotated[float, Field(ge=0)] = 0.0
    min_side_px: Annotated[int, Field(ge=0)] = 0
