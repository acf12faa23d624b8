"""Attention over graphs whose nodes are bands or moments of sound.

After Jung et al., "AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal Graph Attention
Networks" (ICASSP 2022) and Tak et al., "End-to-End Spectro-Temporal Graph Attention Networks"
(ASVspoof 2021). Every graph is complete and every tensor of nodes is ``(n, nodes, features)``.
Parameters have the names of the published weights.
"""

import torch
from torch import Tensor, nn

NODE_DROPOUT = 0.2
POOL_DROPOUT = 0.3


class NodeNorm(nn.BatchNorm1d):
    """Batch normalisation of each feature over the nodes of all graphs."""

    def forward(self, nodes: Tensor) -> Tensor:
        """Return nodes of the same shape."""
        return super().forward(nodes.flatten(0, 1)).view_as(nodes)


def attention_weight(features: int) -> nn.Parameter:
    """Return an untrained vector that turns the features of a pair into its score."""
    weight = nn.Parameter(torch.empty(features, 1))
    nn.init.xavier_normal_(weight)
    return weight


def pairwise(nodes: Tensor) -> Tensor:
    """Return the products of all pairs of nodes, ``(n, nodes, nodes, features)``."""
    return nodes.unsqueeze(2) * nodes.unsqueeze(1)


class GraphAttention(nn.Module):
    """Attention among nodes of one kind.

    Args:
        inputs: Features of a node.
        outputs: Features of a node afterwards.
        temperature: Divides the scores before the softmax.
    """

    def __init__(self, inputs: int, outputs: int, *, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.dropout = nn.Dropout(NODE_DROPOUT)
        self.att_proj = nn.Linear(inputs, outputs)
        self.att_weight = attention_weight(outputs)
        self.proj_with_att = nn.Linear(inputs, outputs)
        self.proj_without_att = nn.Linear(inputs, outputs)
        self.bn = NodeNorm(outputs)
        self.act = nn.SELU()

    def forward(self, nodes: Tensor) -> Tensor:
        """Return as many nodes, each with the others' features mixed in."""
        nodes = self.dropout(nodes)
        pairs = torch.tanh(self.att_proj(pairwise(nodes)))
        scores = (pairs @ self.att_weight).squeeze(3)
        shares = torch.softmax(scores / self.temperature, dim=2)
        mixed = self.proj_with_att(shares @ nodes) + self.proj_without_att(nodes)
        result: Tensor = self.act(self.bn(mixed))
        return result


class HeterogeneousGraphAttention(nn.Module):
    """Attention among nodes of two kinds, and a stack node that reads from all of them.

    A pair's score depends on its kinds: both of the first, both of the second, or mixed. Shares
    are taken over the nodes of both kinds together.

    Args:
        inputs: Features of a node and of the stack node.
        outputs: The same afterwards.
        temperature: Divides the scores before the softmax.
    """

    def __init__(self, inputs: int, outputs: int, *, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.dropout = nn.Dropout(NODE_DROPOUT)
        self.proj_type1 = nn.Linear(inputs, inputs)
        self.proj_type2 = nn.Linear(inputs, inputs)
        self.att_proj = nn.Linear(inputs, outputs)
        self.att_weight11 = attention_weight(outputs)
        self.att_weight22 = attention_weight(outputs)
        self.att_weight12 = attention_weight(outputs)
        self.proj_with_att = nn.Linear(inputs, outputs)
        self.proj_without_att = nn.Linear(inputs, outputs)
        self.att_projM = nn.Linear(inputs, outputs)
        self.att_weightM = attention_weight(outputs)
        self.proj_with_attM = nn.Linear(inputs, outputs)
        self.proj_without_attM = nn.Linear(inputs, outputs)
        self.bn = NodeNorm(outputs)
        self.act = nn.SELU()

    def forward(self, first: Tensor, second: Tensor, stack: Tensor) -> tuple[Tensor, ...]:
        """Return the nodes of the first kind, of the second kind, and the stack node.

        Args:
            first: Nodes of the first kind.
            second: Nodes of the second kind.
            stack: ``(n, 1, features)``.
        """
        kinds = [first.shape[1], second.shape[1]]
        nodes = torch.cat([self.proj_type1(first), self.proj_type2(second)], dim=1)
        nodes = self.dropout(nodes)
        shares = torch.softmax(self._scores(nodes, kinds[0]) / self.temperature, dim=2)
        stack = self._read(nodes, stack)
        mixed = self.proj_with_att(shares @ nodes) + self.proj_without_att(nodes)
        first, second = self.act(self.bn(mixed)).split(kinds, dim=1)
        return first, second, stack

    def _scores(self, nodes: Tensor, of_first: int) -> Tensor:
        pairs = torch.tanh(self.att_proj(pairwise(nodes)))
        top, bottom = pairs[:, :of_first], pairs[:, of_first:]
        top = torch.cat(
            [top[:, :, :of_first] @ self.att_weight11, top[:, :, of_first:] @ self.att_weight12],
            dim=2,
        )
        bottom = torch.cat(
            [
                bottom[:, :, :of_first] @ self.att_weight12,
                bottom[:, :, of_first:] @ self.att_weight22,
            ],
            dim=2,
        )
        return torch.cat([top, bottom], dim=1).squeeze(3)

    def _read(self, nodes: Tensor, stack: Tensor) -> Tensor:
        """Return the stack node after it read from all nodes; none of them reads from it."""
        scores = torch.tanh(self.att_projM(nodes * stack)) @ self.att_weightM
        shares = torch.softmax(scores / self.temperature, dim=1)
        read: Tensor = self.proj_with_attM(shares.transpose(1, 2) @ nodes)
        kept: Tensor = self.proj_without_attM(stack)
        return read + kept


class GraphPooling(nn.Module):
    """Keeps the nodes with the highest gates, each times its gate, the highest first.

    The order counts: two branches are later compared node by node.

    Args:
        ratio: Share of nodes that stay, rounded down; at least one node stays.
        features: Features of a node.
    """

    def __init__(self, ratio: float, features: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.dropout = nn.Dropout(POOL_DROPOUT)
        self.proj = nn.Linear(features, 1)

    def forward(self, nodes: Tensor) -> Tensor:
        """Return fewer nodes."""
        gates = torch.sigmoid(self.proj(self.dropout(nodes)))
        keep = max(1, int(nodes.shape[1] * self.ratio))
        best = gates.topk(keep, dim=1).indices
        return (nodes * gates).gather(1, best.expand(-1, -1, nodes.shape[2]))
