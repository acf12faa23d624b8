"""CLIP's vision transformer: a picture as a vector, by a network that learned from captions.

Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021;
Dosovitskiy et al., An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale,
ICLR 2021.

Tensors are named as in the authors' files, below ``visual.`` there; what other files call them is
in ``clip_files``. Detectors that stand on it are in ``clip_heads``.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

HEAD_WIDTH: Final = 64
"""Channels of one attention head, in every published size."""
GELU_SLOPE: Final = 1.702
"""Slope of the sigmoid that stands for the normal distribution (Hendrycks & Gimpel 2016)."""
MLP_RATIO: Final = 4
"""Channels inside a block's perceptron over those outside."""


class QuickGelu(nn.Module):
    """The sigmoid approximation of GELU that CLIP was trained with; the exact one differs."""

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of ``x``."""
        return x * torch.sigmoid(GELU_SLOPE * x)


class Attention(nn.Module):
    """Every token looks at every other (Vaswani et al. 2017).

    Args:
        width: Channels; a multiple of ``HEAD_WIDTH``.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, tokens, width)`` for ``(n, tokens, width)``."""
        n, tokens, width = x.shape
        mixed = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = mixed.view(n, tokens, 3, self.heads, HEAD_WIDTH).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.out_proj(seen.transpose(1, 2).reshape(n, tokens, width))
        return projected


class Mlp(nn.Module):
    """Widen, bend, narrow, each token by itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, MLP_RATIO * width)
        self.gelu = QuickGelu()
        self.c_proj = nn.Linear(MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of ``x``, ``(n, tokens, width)``."""
        narrow: Tensor = self.c_proj(self.gelu(self.c_fc(x)))
        return narrow


class Block(nn.Module):
    """Attention and a perceptron, each normalised before and added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of ``x``, ``(n, tokens, width)``."""
        x = x + self.attn(self.ln_1(x))
        added: Tensor = x + self.mlp(self.ln_2(x))
        return added


class Blocks(nn.Module):
    """Blocks one after another, under the name that the authors' files have for them."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of ``x``, ``(n, tokens, width)``."""
        for block in self.resblocks:
            x = block(x)
        return x


class ClipVision(nn.Module):
    """Patches, blocks, the class token's normalised state, and its projection if there is one.

    Args:
        width: Channels of a token; a multiple of ``HEAD_WIDTH``.
        layers: Blocks.
        patch_px: Side of a patch.
        side_px: Side of the pictures; a multiple of ``patch_px``.
        embedding: Dimensions that pictures share with texts; 0 leaves the projection to them out.

    Raises:
        ValueError: The sizes do not divide.
    """

    def __init__(
        self, *, width: int, layers: int, patch_px: int, side_px: int, embedding: int
    ) -> None:
        super().__init__()
        if width < 1 or width % HEAD_WIDTH or patch_px < 1 or side_px % patch_px:
            raise ValueError(
                f"width {width} must be a multiple of {HEAD_WIDTH}, "
                f"side_px {side_px} of patch_px {patch_px}"
            )
        tokens = (side_px // patch_px) ** 2 + 1
        scale = width**-0.5
        self.conv1 = nn.Conv2d(3, width, patch_px, stride=patch_px, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(tokens, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Blocks(width, layers)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, embedding)) if embedding else None

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, embedding)``, or ``(n, width)`` without a projection.

        Args:
            x: Scaled pixels, ``(n, 3, side_px, side_px)``.
        """
        patches = self.conv1(x).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(x), 1, -1)
        tokens = torch.cat([first, patches], dim=1) + self.positional_embedding
        seen: Tensor = self.ln_post(self.transformer(self.ln_pre(tokens))[:, 0])
        return seen if self.proj is None else seen @ self.proj
