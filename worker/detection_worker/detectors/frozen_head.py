"""``frozen-head``: a new last layer on a network that was trained for another task.

Fitted by ``detection-worker train head``. Whatever the network below puts out is not used; what it
hands to its last layer is.
"""

from typing import Final

import torch
from torch import Tensor, nn

from detection_worker.detectors import architectures

NAME: Final = "frozen-head"
LIMIT: Final = 6.0
"""Bound of one unit's logit: far from the files that it was fitted on, a linear layer grows ever
more confident, which no held-out data can support."""


class Tap(nn.Module):
    """Stands in for a network's last layer and keeps what is handed to it.

    Args:
        outputs: Number of outputs of the layer that it replaces; all are zero.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.seen: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros ``(n, outputs)`` for features ``(n, d)``."""
        self.seen = x
        return x.new_zeros((*x.shape[:-1], self.outputs))


class FrozenHead(nn.Module):
    """A network up to its last layer, and another last layer.

    Args:
        base: Its last linear layer, in the order in which layers were made, is taken out.
        head_limit: Bound of one unit's logit.

    Raises:
        ValueError: It does not end in a linear layer of one or two outputs.
    """

    def __init__(self, base: nn.Module, *, head_limit: float = LIMIT) -> None:
        super().__init__()
        name, last = _last_layer(base)
        parent, _, attribute = name.rpartition(".")
        self.tap = Tap(last.out_features)
        setattr(base.get_submodule(parent), attribute, self.tap)
        self.base = base
        self.head = nn.Linear(last.in_features, 1)
        self.head_limit = head_limit

    def features(self, x: Tensor) -> Tensor:
        """Return what the last layer would see, float ``(n, d)``, for the base's own input."""
        self.base(x)
        seen, self.tap.seen = self.tap.seen, None
        if seen is None or len(seen) != len(x):
            raise RuntimeError("the network below did not use its last layer once for each unit")
        return seen.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the log-odds of fake within the limit, ``(n, 1)``."""
        logits: Tensor = self.head(self.features(x))
        return self.head_limit * torch.tanh(logits / self.head_limit)


def build(*, base: str, head_limit: float = LIMIT, **params: int | float | str) -> FrozenHead:
    """Return a network for the registry, untrained.

    Args:
        base: Registered architecture below.
        head_limit: As in ``FrozenHead``.
        **params: Parameters of that architecture's factory.
    """
    if base == NAME:
        raise ValueError(f"base: {NAME} stands on a network of another architecture")
    return FrozenHead(architectures.build_network(base, params, where=base), head_limit=head_limit)


def _last_layer(network: nn.Module) -> tuple[str, nn.Linear]:
    layers = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.Linear)]
    if not layers or layers[-1][1].out_features > 2:
        raise ValueError("the network below does not end in a linear layer of one or two outputs")
    return layers[-1]
