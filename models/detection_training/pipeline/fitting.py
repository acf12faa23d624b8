"""One training loop for every detector."""

import copy
import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from detection_training.pipeline.sources import Log
from detection_training.pipeline.steps import write_atomically

Batch = Callable[[], tuple[Tensor, Tensor]]
LABEL_SMOOTHING = 0.02
"""Keeps logits small, which keeps the calibration well conditioned."""

CHECKPOINT_EVERY_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a training stands; kept in a file, so that an interrupted one resumes.

    Attributes:
        path: The file; if it exists, training resumes from it.
    """

    path: Path

    def load(self) -> dict[str, Any] | None:
        """Return what ``save`` kept, None if nothing."""
        if not self.path.is_file():
            return None
        kept: dict[str, Any] = torch.load(self.path, weights_only=True)
        return kept

    def save(self, **state: Any) -> None:
        """Keep tensors and numbers by name."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(self.path, buffer.getvalue())


def fit(
    network: nn.Module,
    batch: Batch,
    *,
    name: str,
    steps: int,
    rate: float,
    seconds: float,
    log: Log,
    progress: Progress | None = None,
) -> nn.Module:
    """Train a network of one logit and return the moving average of its weights.

    Args:
        network: Is trained in place.
        batch: Returns the next inputs and labels, 1 for fake.
        name: What is trained, for the log.
        steps: Batches to train on.
        rate: Highest learning rate.
        seconds: Time limit. On a machine too slow for all steps the rate falls faster, so that
            training ends properly at the limit.
        log: Takes progress lines.
        progress: Keeps the state every minute; None keeps nothing.
    """
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.02)
    # Averages over about the last tenth of the training.
    ema = get_ema_multi_avg_fn(1 - 1 / max(2.0, steps / 20))  # type: ignore[no-untyped-call]
    average = AveragedModel(network, multi_avg_fn=ema, use_buffers=True)
    network.train()
    started = kept_at = time.monotonic()
    first = 1
    if progress is not None and (kept := progress.load()) is not None:
        network.load_state_dict(kept["network"])
        average.load_state_dict(kept["average"])
        optimiser.load_state_dict(kept["optimiser"])
        first, started = kept["step"] + 1, started - kept["spent"]
        log(f"  {name}: resuming after step {kept['step']}")
    losses: list[float] = []
    for step in range(first, steps + 1):
        spent = time.monotonic() - started
        done = max(step / steps, spent / seconds)
        for group in optimiser.param_groups:
            group["lr"] = rate * share_of_rate(min(done, 1.0))
        losses.append(_step(network, batch, optimiser))
        average.update_parameters(network)
        if step % 50 == 0 or step == steps or done >= 1:
            recent = sum(losses[-50:]) / len(losses[-50:])
            log(f"  {name}: step {step}/{steps}, loss {recent:.3f}, {spent:.0f} s")
        if done >= 1:
            break
        if progress is not None and time.monotonic() - kept_at > CHECKPOINT_EVERY_S:
            kept_at = time.monotonic()
            progress.save(
                network=network.state_dict(),
                average=average.state_dict(),
                optimiser=optimiser.state_dict(),
                step=step,
                spent=kept_at - started,
            )
    return copy.deepcopy(average.module).eval()


def share_of_rate(done: float) -> float:
    """Return the learning rate's share of its highest after ``done`` (0 to 1) of the training.

    A linear rise over the first tenth, then half a cosine down to zero (Loshchilov 2017).
    """
    if done < 0.1:
        return 0.05 + 9.5 * done
    return 0.5 * (1 + math.cos(math.pi * (done - 0.1) / 0.9))


def _step(network: nn.Module, batch: Batch, optimiser: torch.optim.Optimizer) -> float:
    inputs, labels = batch()
    targets = labels * (1 - LABEL_SMOOTHING) + LABEL_SMOOTHING / 2
    loss = functional.binary_cross_entropy_with_logits(network(inputs), targets)
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), 2.0)
    optimiser.step()
    return float(loss.detach())
