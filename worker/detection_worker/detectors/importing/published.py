"""Published architectures: what their checkpoints do not say about themselves. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import AudioSampling, ImageSampling, Sampling
from detection_worker.core.verdict import Pooling
from detection_worker.detectors.importing import layouts
from detection_worker.detectors.importing.layouts import Layout

MIB: Final = 1 << 20
SPEECH_4_S: Final = AudioSampling(sample_rate_hz=16_000, window=64_600, hop=32_300, max_windows=16)
"""What ASVspoof models are trained on. Their papers score the first window alone; a long
recording is scored in windows spread over the whole of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """How to use weights that others trained.

    Attributes:
        architecture: Name in the registry.
        kind: Media that it scores.
        classes: What each output means, in the order of the published weights.
        sampling: Units as in its training.
        pooling: From units to one logit.
        paper: Where it was described.
        max_bytes: Largest checkpoint taken: the weights in double precision, with an optimiser's
            state beside them, and some more.
        layout: Names of the tensors in its files.
        params: Parameters of the architecture's factory.
        activation: From the network's outputs to probabilities.
    """

    architecture: str
    kind: MediaKind
    classes: tuple[str, str]
    sampling: Sampling
    pooling: Pooling
    paper: str
    max_bytes: int
    layout: Layout = layouts.OWN
    params: Mapping[str, int | float | str] = field(default_factory=dict)
    activation: Literal["sigmoid", "softmax"] = "softmax"

    @property
    def fake_index(self) -> int:
        """Which output means fake."""
        return self.classes.index("fake")


_AASIST_PAPER: Final = (
    "Jung et al., AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal Graph Attention "
    "Networks, ICASSP 2022"
)
_RAWNET2_PAPER: Final = "Tak et al., End-to-End Anti-Spoofing with RawNet2, ICASSP 2021"
_LFCC_LCNN_PAPER: Final = (
    "Wang & Yamagishi, A Comparative Study on Recent Neural Spoofing Countermeasures for "
    "Synthetic Speech Detection, Interspeech 2021"
)
_XLSR_AASIST_PAPER: Final = (
    "Tak et al., Automatic Speaker Verification Spoofing and Deepfake Detection using wav2vec 2.0 "
    "and Data Augmentation, Odyssey 2022"
)
_XCEPTION_PAPER: Final = (
    "Chollet, Xception: Deep Learning with Depthwise Separable Convolutions, CVPR 2017"
)
_EFFICIENTNET_PAPER: Final = (
    "Tan & Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019"
)
_BENCH_PAPER: Final = (
    "Yan et al., DeepfakeBench: A Comprehensive Benchmark of Deepfake Detection, NeurIPS 2023"
)
_SBI_PAPER: Final = "Shiohara & Yamasaki, Detecting Deepfakes with Self-Blended Images, CVPR 2022"
_NPR_PAPER: Final = (
    "Tan et al., Rethinking the Up-Sampling Operations in CNN-based Generative Network for "
    "Generalizable Deepfake Detection, CVPR 2024"
)
_UNIVFD_PAPER: Final = (
    "Ojha et al., Towards Universal Fake Image Detectors that Generalize Across Generative "
    "Models, CVPR 2023"
)
_EFFORT_PAPER: Final = (
    "Yan et al., Orthogonal Subspace Decomposition for Generalizable AI-Generated Image "
    "Detection, ICML 2025"
)


def _faces(side_px: int) -> ImageSampling:
    """Return square cuts around the faces, 1.3 times as wide (Roessler et al. 2019)."""
    return ImageSampling(crop_px=side_px, max_crops=FACES, view="faces", face_scale=1.3)


FACES: Final = 8
"""Most faces of one picture that a published detector scores."""
MOST_FAKE_FACE: Final = Pooling(within_frame="max", over_frames="mean")
"""One forged face makes a picture fake; frames are averaged, as the papers do."""
SBI_FACES: Final = ImageSampling(
    crop_px=380, max_crops=FACES, view="faces", face_scale=1.25, face_shape="box"
)
"""An eighth of the detection's width and height on each side, stretched to a square."""
NATIVE_CROPS: Final = ImageSampling(crop_px=256, max_crops=9, view="crops")
"""NPR's paper scores whole pictures at their own resolution; a mean over crops stands for it."""
NATIVE_CENTRE: Final = ImageSampling(crop_px=224, max_crops=1, view="crops")
"""UnivFD's paper cuts 224 pixels out of the middle and resizes nothing."""
CLIP_CENTRE: Final = ImageSampling(crop_px=224, max_crops=1, view="centre")
"""CLIP's own: the shorter side resized to 224, then the middle."""


def _speech(
    name: str,
    *,
    paper: str,
    max_bytes: int,
    layout: Layout = layouts.OWN,
    activation: Literal["sigmoid", "softmax"] = "softmax",
) -> Published:
    return Published(
        architecture=name,
        kind=MediaKind.AUDIO,
        classes=("fake", "real"),
        sampling=SPEECH_4_S,
        pooling=Pooling(),
        paper=paper,
        max_bytes=max_bytes,
        layout=layout,
        activation=activation,
    )


def _xception(layout: Layout, *, side_px: int, paper: str) -> Published:
    return Published(
        architecture="xception",
        kind=MediaKind.IMAGE,
        classes=("real", "fake"),
        sampling=_faces(side_px),
        pooling=MOST_FAKE_FACE,
        paper=paper,
        max_bytes=512 * MIB,
        layout=layout,
        params={"scale": "symmetric"},
    )


def _efficientnet_b4(
    layout: Layout,
    *,
    paper: str,
    sampling: ImageSampling,
    params: Mapping[str, int | float | str],
) -> Published:
    return Published(
        architecture="efficientnet-b4",
        kind=MediaKind.IMAGE,
        classes=("real", "fake"),
        sampling=sampling,
        pooling=MOST_FAKE_FACE,
        paper=paper,
        max_bytes=512 * MIB,
        layout=layout,
        params=params,
    )


_XCEPTION: Final = (
    _xception(layouts.XCEPTION_DEEPFAKEBENCH, side_px=256, paper=_BENCH_PAPER),
    _xception(layouts.XCEPTION_CADENE, side_px=299, paper=_XCEPTION_PAPER),
    _xception(layouts.XCEPTION_TIMM, side_px=299, paper=_XCEPTION_PAPER),
)
_EFFICIENTNET_B4: Final = (
    _efficientnet_b4(
        layouts.EFFICIENTNET_DEEPFAKEBENCH,
        paper=_BENCH_PAPER,
        sampling=_faces(256),
        # Its first convolution was exchanged for a plain one, which pads nothing: recalled from
        # that collection, not read from it; no file says it.
        params={"scale": "symmetric", "padding_px": 380, "stem_padding": 0},
    ),
    _efficientnet_b4(
        layouts.EFFICIENTNET_SBI,
        paper=_SBI_PAPER,
        sampling=SBI_FACES,
        params={"scale": "unit", "padding_px": 380, "stem_padding": 1},
    ),
    _efficientnet_b4(
        layouts.EFFICIENTNET_LUKEMELAS,
        paper=_EFFICIENTNET_PAPER,
        sampling=_faces(380),
        params={"scale": "imagenet", "padding_px": 380, "stem_padding": 1},
    ),
    _efficientnet_b4(
        layouts.EFFICIENTNET_TIMM,
        paper=_EFFICIENTNET_PAPER,
        sampling=_faces(380),
        params={"scale": "imagenet", "padding_px": 0, "stem_padding": 1},
    ),
)
_NPR: Final = Published(
    architecture="npr",
    kind=MediaKind.IMAGE,
    classes=("real", "fake"),
    sampling=NATIVE_CROPS,
    pooling=Pooling(),
    paper=_NPR_PAPER,
    max_bytes=64 * MIB,
    activation="sigmoid",
)
_UNIVFD: Final = Published(
    architecture="univfd",
    kind=MediaKind.IMAGE,
    classes=("real", "fake"),
    sampling=NATIVE_CENTRE,
    pooling=Pooling(),
    paper=_UNIVFD_PAPER,
    max_bytes=4096 * MIB,
    activation="sigmoid",
)


def _effort(layout: Layout, sampling: ImageSampling) -> Published:
    return Published(
        architecture="effort",
        kind=MediaKind.IMAGE,
        classes=("real", "fake"),
        sampling=sampling,
        pooling=MOST_FAKE_FACE,
        paper=_EFFORT_PAPER,
        max_bytes=4096 * MIB,
        layout=layout,
    )


_LFCC_LCNN: Final = _speech(
    "lfcc-lcnn",
    paper=_LFCC_LCNN_PAPER,
    max_bytes=16 * MIB,
    layout=layouts.LFCC_LCNN,
    activation="sigmoid",
)
_RAWNET2: Final = _speech("rawnet2", paper=_RAWNET2_PAPER, max_bytes=512 * MIB)
_XLSR_AASIST: Final = _speech(
    "xlsr-aasist",
    paper=_XLSR_AASIST_PAPER,
    # 1.3 GB in single precision. A file with an optimiser's state, three times as much, is
    # refused: reading one takes several times its size in memory.
    max_bytes=2048 * MIB,
    layout=layouts.XLSR_AASIST,
)

PUBLISHED: Final[Mapping[str, tuple[Published, ...]]] = {
    "aasist": (_speech("aasist", paper=_AASIST_PAPER, max_bytes=16 * MIB),),
    "aasist-l": (_speech("aasist-l", paper=_AASIST_PAPER, max_bytes=16 * MIB),),
    "efficientnet-b4": _EFFICIENTNET_B4,
    "effort": (
        _effort(layouts.EFFORT_FACES, _faces(224)),
        _effort(layouts.EFFORT_PICTURES, CLIP_CENTRE),
    ),
    "lfcc-lcnn": (_LFCC_LCNN,),
    "npr": (_NPR,),
    "rawnet2": (_RAWNET2,),
    "univfd": (_UNIVFD,),
    "xception": _XCEPTION,
    "xlsr-aasist": (_XLSR_AASIST,),
}
"""By name of the architecture; several where files name their tensors differently or were trained
on other pictures, in order of preference."""
_AS_ONNX: Final = "Convert the network to ONNX and import that: --architecture onnx."
REMOVED: Final[Mapping[str, str]] = {
    "clip-b16": "Model folders that earlier versions made of it still load; to make one, take "
    "univfd or an ONNX file: --architecture onnx.",
    "meso4": _AS_ONNX,
    "mesoinception4": _AS_ONNX,
}
"""Names that earlier versions imported, and what to do instead."""
