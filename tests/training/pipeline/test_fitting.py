import pytest
import torch

from detection_training.pipeline.fitting import fit, share_of_rate


def test_the_rate_rises_then_falls_to_zero() -> None:
    shares = [share_of_rate(i / 100) for i in range(101)]

    assert shares[10] == max(shares) == pytest.approx(1.0)
    assert shares[:11] == sorted(shares[:11])
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert shares[-1] == pytest.approx(0.0)


class Slope(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(1))
    return x, (x[:, 0] > 0).float()


def test_training_finds_the_feature_that_tells_the_classes() -> None:
    said: list[str] = []

    trained = fit(Slope(), batch, name="slope", steps=100, rate=0.1, seconds=60, log=said.append)

    x, labels = batch()
    assert ((trained(x) > 0) == labels.bool()).float().mean() > 0.95
    assert not trained.training
    assert said[-1].startswith("  slope: step 100/100")


def test_a_slow_machine_ends_in_time() -> None:
    said: list[str] = []

    fit(Slope(), batch, name="slope", steps=10**9, rate=0.1, seconds=0.05, log=said.append)

    assert len(said) >= 1
