"""From the bands and the moments of a sound to its class: what all forms of AASIST end in.

Jung et al., "AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal Graph Attention
Networks" (ICASSP 2022). Parameters have the names of the published weights.
"""

from typing import Final

import torch
from torch import Tensor, nn

from detection_worker.detectors.networks.audio.graph_attention import (
    GraphAttention,
    GraphPooling,
    HeterogeneousGraphAttention,
)

GRAPH_TEMPERATURE: Final = 2.0
HETEROGENEOUS_TEMPERATURE: Final = 100.0
"""Those of the authors' public settings, of AASIST and of its successor on XLS-R; no checkpoint
says them."""


class JointGraphs(nn.Module):
    """A spectral and a temporal graph, and two branches in which they read from each other.

    Args:
        bands: Nodes of the spectral graph.
        nodes: Features of a node in the two graphs.
        graph: The same in the branches.
        ratios: Share of nodes kept in the spectral, the temporal and the joint graphs.
    """

    def __init__(
        self, *, bands: int, nodes: int, graph: int, ratios: tuple[float, float, float]
    ) -> None:
        super().__init__()
        spectral, temporal, joint = ratios
        self.pos_S = nn.Parameter(torch.randn(1, bands, nodes))
        self.master1 = nn.Parameter(torch.randn(1, 1, nodes))
        self.master2 = nn.Parameter(torch.randn(1, 1, nodes))
        self.GAT_layer_S = GraphAttention(nodes, nodes, temperature=GRAPH_TEMPERATURE)
        self.GAT_layer_T = GraphAttention(nodes, nodes, temperature=GRAPH_TEMPERATURE)
        self.pool_S = GraphPooling(spectral, nodes)
        self.pool_T = GraphPooling(temporal, nodes)
        self.HtrgGAT_layer_ST11 = _joint(nodes, graph)
        self.HtrgGAT_layer_ST12 = _joint(graph, graph)
        self.HtrgGAT_layer_ST21 = _joint(nodes, graph)
        self.HtrgGAT_layer_ST22 = _joint(graph, graph)
        self.pool_hS1 = GraphPooling(joint, graph)
        self.pool_hT1 = GraphPooling(joint, graph)
        self.pool_hS2 = GraphPooling(joint, graph)
        self.pool_hT2 = GraphPooling(joint, graph)
        self.branch_dropout = nn.Dropout(0.2)
        self.dropout = nn.Dropout(0.5)
        self.out_layer = nn.Linear(5 * graph, 2)

    def judge(self, spectral: Tensor, temporal: Tensor) -> Tensor:
        """Return logits of (synthetic, bona fide), ``(n, 2)``.

        Args:
            spectral: A node for each band, ``(n, bands, nodes)``, without their positions.
            temporal: A node for each moment, ``(n, moments, nodes)``.
        """
        spectral = self.pool_S(self.GAT_layer_S(spectral + self.pos_S))
        temporal = self.pool_T(self.GAT_layer_T(temporal))
        one = self._branch_1(temporal, spectral)
        two = self._branch_2(temporal, spectral)
        pairs = zip(one, two, strict=True)
        drop = self.branch_dropout
        temporal, spectral, stack = (torch.maximum(drop(a), drop(b)) for a, b in pairs)
        summary = torch.cat(
            [
                temporal.abs().amax(dim=1),
                temporal.mean(dim=1),
                spectral.abs().amax(dim=1),
                spectral.mean(dim=1),
                stack.squeeze(1),
            ],
            dim=1,
        )
        logits: Tensor = self.out_layer(self.dropout(summary))
        return logits

    def _branch_1(self, temporal: Tensor, spectral: Tensor) -> tuple[Tensor, ...]:
        t, s, stack = self.HtrgGAT_layer_ST11(temporal, spectral, self.master1)
        t, s = self.pool_hT1(t), self.pool_hS1(s)
        return _plus((t, s, stack), self.HtrgGAT_layer_ST12(t, s, stack))

    def _branch_2(self, temporal: Tensor, spectral: Tensor) -> tuple[Tensor, ...]:
        t, s, stack = self.HtrgGAT_layer_ST21(temporal, spectral, self.master2)
        t, s = self.pool_hT2(t), self.pool_hS2(s)
        return _plus((t, s, stack), self.HtrgGAT_layer_ST22(t, s, stack))


def _joint(inputs: int, outputs: int) -> HeterogeneousGraphAttention:
    return HeterogeneousGraphAttention(inputs, outputs, temperature=HETEROGENEOUS_TEMPERATURE)


def _plus(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))
