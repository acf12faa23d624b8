"""One training loop for every detector."""

import copy
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from detection_training.sources import Log

Batch = Callable[[], tuple[Tensor, Tensor]]
LABEL_SMOOTHING = 0.02
"""Keeps logits small, which keeps the calibration well conditioned."""


def fit(
    network: nn.Module, batch: Batch, *, steps: int, rate: float, seconds: float, log: Log
) -> nn.Module:
    """Train a network of one logit and return the moving average of its weights.

    Args:
        network: Is trained in place.
        batch: Returns the next inputs and labels, 1 for fake.
        steps: Batches to train on.
        rate: Highest learning rate of a one-cycle schedule.
        seconds: Stop early after so long; the schedule is then cut short, and the log says so.
        log: Takes progress lines.
    """
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=steps + 1)
    ema = get_ema_multi_avg_fn(0.98)  # type: ignore[no-untyped-call]
    average = AveragedModel(network, multi_avg_fn=ema, use_buffers=True)
    network.train()
    started = time.monotonic()
    losses: list[float] = []
    for step in range(steps):
        losses.append(_step(network, batch, optimiser))
        schedule.step()
        average.update_parameters(network)
        spent = time.monotonic() - started
        if step % 50 == 49 or step == steps - 1:
            recent = sum(losses[-50:]) / len(losses[-50:])
            log(f"  step {step + 1}/{steps}, loss {recent:.3f}, {spent:.0f} s")
        if spent > seconds:
            log(f"  stopped after {step + 1} of {steps} steps: {seconds:.0f} s are over")
            break
    return copy.deepcopy(average.module).eval()


def _step(network: nn.Module, batch: Batch, optimiser: torch.optim.Optimizer) -> float:
    inputs, labels = batch()
    targets = labels * (1 - LABEL_SMOOTHING) + LABEL_SMOOTHING / 2
    loss = functional.binary_cross_entropy_with_logits(network(inputs), targets)
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), 2.0)
    optimiser.step()
    return float(loss.detach())
