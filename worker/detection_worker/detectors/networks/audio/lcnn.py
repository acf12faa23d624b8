"""``lfcc-lcnn``: is this speech of a person? A baseline of ASVspoof 2021; published weights load.

Lavrentyeva et al., "STC Antispoofing Systems for the ASVspoof2019 Challenge" (Interspeech 2019),
with the recurrent layers of Wang and Yamagishi, "A Comparative Study on Recent Neural Spoofing
Countermeasures for Synthetic Speech Detection" (Interspeech 2021). Tensors have the names of the
published weights. The one output is the log-odds of "bona fide".
"""

from typing import Final

from torch import Tensor, nn

from detection_worker.detectors.networks.audio.lfcc import COEFFICIENTS, Lfcc
from detection_worker.detectors.networks.parts import in_parts

FEATURES: Final = 3 * COEFFICIENTS // 16 * 32
"""Features of a frame after four poolings by two: 32 channels of three bands."""
AT_ONCE: Final = {"cpu": 8, "cuda": 64}
"""Windows whose first map, 6 MB each, is held at once."""


class MaxFeatureMap(nn.Module):
    """The greater of two halves of the channels (Wu et al. 2018): a choice, not a threshold."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, channels // 2, …)`` for ``(n, channels, …)``."""
        first, second = x.chunk(2, dim=1)
        return first.maximum(second)


class Blstm(nn.Module):
    """A recurrent layer in both directions of time, as wide as its input."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.l_blstm = nn.LSTM(features, features // 2, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, frames, features)`` for the same."""
        result: Tensor = self.l_blstm(x)[0]
        return result


class LfccLcnn(nn.Module):
    """Cepstral coefficients, convolutions that choose, recurrent layers beside a shortcut, a mean.

    Each of its four parts is a list of one, as in the published network, which could hold several
    of them for several kinds of frames.
    """

    def __init__(self) -> None:
        super().__init__()
        self.m_frontend = nn.ModuleList([Lfcc()])
        self.m_transform = nn.ModuleList([_convolutions()])
        recurrent = nn.Sequential(Blstm(FEATURES), Blstm(FEATURES))
        self.m_before_pooling = nn.ModuleList([recurrent])
        self.m_output_act = nn.ModuleList([nn.Linear(FEATURES, 1)])

    def forward(self, x: Tensor) -> Tensor:
        """Return the log-odds of "bona fide", ``(n,)``, for sound ``(n, samples)``."""
        frames = in_parts(self._frames, x.float(), at_once=AT_ONCE)
        summary = (self.m_before_pooling[0](frames) + frames).mean(dim=1)
        logits: Tensor = self.m_output_act[0](summary).squeeze(1)
        return logits

    def _frames(self, x: Tensor) -> Tensor:
        """Return ``(n, frames, FEATURES)``."""
        maps = self.m_transform[0](self.m_frontend[0](x).unsqueeze(1))
        result: Tensor = maps.transpose(1, 2).flatten(2)
        return result


def build() -> LfccLcnn:
    """Return an untrained LFCC-LCNN for the registry."""
    return LfccLcnn()


def _convolutions() -> nn.Sequential:
    return nn.Sequential(
        *_choice(1, 32, side=5),
        nn.MaxPool2d(2),
        *_choice(32, 32, side=1),
        _norm(32),
        *_choice(32, 48, side=3),
        nn.MaxPool2d(2),
        _norm(48),
        *_choice(48, 48, side=1),
        _norm(48),
        *_choice(48, 64, side=3),
        nn.MaxPool2d(2),
        *_choice(64, 64, side=1),
        _norm(64),
        *_choice(64, 32, side=3),
        _norm(32),
        *_choice(32, 32, side=1),
        _norm(32),
        *_choice(32, 32, side=3),
        nn.MaxPool2d(2),
        nn.Dropout(0.7),
    )


def _choice(inputs: int, outputs: int, *, side: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, 2 * outputs, side, padding=side // 2), MaxFeatureMap()


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, affine=False)
