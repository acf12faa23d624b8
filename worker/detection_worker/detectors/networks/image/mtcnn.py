"""``mtcnn``: three small networks that find faces, each surer than the one before.

Zhang, Zhang, Li and Qiao 2016, "Joint Face Detection and Alignment Using Multitask Cascaded
Convolutional Networks", figure 2. A proposal network slides over the picture, the refining and the
output network look at what it proposes. Parameters have the names of the published PyTorch
weights. How the three work together is ``face_finding``'s.
"""

import torch
from torch import Tensor, nn

PROPOSAL_PX = 12
"""Side of the window that the proposal network judges."""
REFINE_PX = 24
OUTPUT_PX = 48
STRIDE = 2
"""Pixels between neighbouring windows of the proposal network."""
LANDMARKS = 5


class ProposalNetwork(nn.Module):
    """Is there a face in each window of 12 x 12 pixels, and where exactly?"""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 10, 3)
        self.prelu1 = nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(10, 16, 3)
        self.prelu2 = nn.PReLU(16)
        self.conv3 = nn.Conv2d(16, 32, 3)
        self.prelu3 = nn.PReLU(32)
        self.conv4_1 = nn.Conv2d(32, 2, 1)
        self.conv4_2 = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-odds of a face ``(n, rows, columns)`` and offsets ``(n, 4, rows, columns)``.

        Args:
            x: Pixels about -1 to 1, ``(n, 3, h, w)``, at least 12 a side.
        """
        y = self.pool1(self.prelu1(self.conv1(x)))
        y = self.prelu3(self.conv3(self.prelu2(self.conv2(y))))
        classes = self.conv4_1(y)
        return classes[:, 1] - classes[:, 0], self.conv4_2(y)


class RefineNetwork(nn.Module):
    """Is a crop of 24 x 24 pixels a face, and where exactly?"""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 28, 3)
        self.prelu1 = nn.PReLU(28)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(28, 48, 3)
        self.prelu2 = nn.PReLU(48)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3 = nn.Conv2d(48, 64, 2)
        self.prelu3 = nn.PReLU(64)
        self.dense4 = nn.Linear(576, 128)
        self.prelu4 = nn.PReLU(128)
        self.dense5_1 = nn.Linear(128, 2)
        self.dense5_2 = nn.Linear(128, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-odds of a face ``(n,)`` and offsets ``(n, 4)`` for ``(n, 3, 24, 24)``."""
        y = self.pool1(self.prelu1(self.conv1(x)))
        y = self.pool2(self.prelu2(self.conv2(y)))
        y = self.prelu3(self.conv3(y))
        y = self.prelu4(self.dense4(_columns_first(y)))
        classes = self.dense5_1(y)
        return classes[:, 1] - classes[:, 0], self.dense5_2(y)


class OutputNetwork(nn.Module):
    """Is a crop of 48 x 48 pixels a face, where exactly, and where are its eyes, nose, mouth?"""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3)
        self.prelu1 = nn.PReLU(32)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.prelu2 = nn.PReLU(64)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3 = nn.Conv2d(64, 64, 3)
        self.prelu3 = nn.PReLU(64)
        self.pool3 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv4 = nn.Conv2d(64, 128, 2)
        self.prelu4 = nn.PReLU(128)
        self.dense5 = nn.Linear(1152, 256)
        self.prelu5 = nn.PReLU(256)
        self.dense6_1 = nn.Linear(256, 2)
        self.dense6_2 = nn.Linear(256, 4)
        self.dense6_3 = nn.Linear(256, 2 * LANDMARKS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log-odds ``(n,)``, offsets ``(n, 4)`` and landmarks ``(n, 10)``.

        Args:
            x: Pixels about -1 to 1, ``(n, 3, 48, 48)``.
        """
        y = self.pool1(self.prelu1(self.conv1(x)))
        y = self.pool2(self.prelu2(self.conv2(y)))
        y = self.pool3(self.prelu3(self.conv3(y)))
        y = self.prelu4(self.conv4(y))
        y = self.prelu5(self.dense5(_columns_first(y)))
        classes = self.dense6_1(y)
        return classes[:, 1] - classes[:, 0], self.dense6_2(y), self.dense6_3(y)


class Mtcnn(nn.Module):
    """The three networks, as one set of parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.pnet = ProposalNetwork()
        self.rnet = RefineNetwork()
        self.onet = OutputNetwork()


def _columns_first(y: Tensor) -> Tensor:
    # The published weights stem from a framework that stores pictures column by column.
    return y.permute(0, 3, 2, 1).flatten(1)


def build() -> Mtcnn:
    """Return untrained networks."""
    return Mtcnn().eval()


def normalised(pixels: Tensor) -> Tensor:
    """Return pixels 0 to 255 as the networks were trained on: about -1 to 1, float32."""
    return (pixels.to(torch.float32) - 127.5) / 128.0
