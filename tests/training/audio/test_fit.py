from pathlib import Path

import numpy as np
import pytest
import torch

from detection_training.audio.dataset import REAL, ClipRow, Clips, originals_of
from detection_training.audio.fit import BATCH, CROP, BalancedBatches
from detection_training.audio.sound import RATE_HZ
from detection_training.pipeline.fitting import Progress, fit
from detection_training.pipeline.splits import Split


def clips(counts: dict[tuple[str, str], int]) -> Clips:
    """Return clips whose samples all have a value of their own family and voice."""
    rows, parts = [], []
    for level, ((family, speaker), count) in enumerate(counts.items(), start=1):
        for _ in range(count):
            rows.append(
                ClipRow(
                    split=Split.TRAIN,
                    family=family,
                    speaker=speaker,
                    language="fr",
                    source="s",
                    storage="clean",
                    channel="clean",
                    samples=RATE_HZ,
                    sha256="0" * 64,
                )
            )
            parts.append(np.full(RATE_HZ, 1000 * level, np.int16))
    return Clips(rows, np.concatenate(parts))


def test_a_batch_holds_as_many_real_as_made_windows() -> None:
    batches = BalancedBatches(
        clips({(REAL, "a"): 1, ("world", "a"): 9}), rng=np.random.default_rng(1)
    )

    sound, labels = batches()

    assert sound.shape == (BATCH, CROP)
    assert labels.sum() == BATCH / 2
    assert torch.isfinite(sound).all()


def test_families_are_drawn_alike_however_many_clips_they_have() -> None:
    found = clips({(REAL, "a"): 2, ("world", "a"): 40, ("espeak", "e"): 2, ("espeak", "f"): 8})
    batches = BalancedBatches(found, rng=np.random.default_rng(1))

    groups = batches._groups[True]

    weights = {found.rows[g.members[0]].speaker: g.weight for g in groups}
    assert weights == pytest.approx({"a": 1.0, "e": 1 / 3, "f": 2 / 3})


def test_half_of_a_batch_are_copies_beside_what_they_copy_cut_and_treated_alike() -> None:
    """The copy here is the original in another sign, so alike treatment leaves just that apart."""
    rng = np.random.default_rng(2)
    whole = (3000 * rng.standard_normal(4 * RATE_HZ)).astype(np.int16)
    rows = [
        ClipRow(
            split=Split.TRAIN,
            family=family,
            speaker="a",
            language="fr",
            source="s",
            storage="clean",
            channel="clean",
            samples=len(whole),
            sha256="0" * 64,
        )
        for family in (REAL, "world")
    ]
    found = Clips(rows, np.concatenate([whole, -whole]))
    batches = BalancedBatches(found, rng=np.random.default_rng(1))
    # Clipping and noise are no odd functions of a window; filters, speed and gain are.
    batches._augment = lambda window: window[::-1].copy()  # type: ignore[assignment]

    sound, labels = batches()

    alike = [bool(torch.equal(sound[i], -sound[i + 1])) for i in range(0, BATCH, 2)]
    assert alike == [False, True] * (BATCH // 4)
    assert labels.tolist() == [0.0, 1.0] * (BATCH // 2)


def test_what_an_engine_spoke_has_no_original() -> None:
    found = clips({(REAL, "a"): 2, ("world", "a"): 2, ("espeak", "e"): 2})

    assert originals_of(found.rows) == {2: 1, 3: 1}


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ones(4, 3), torch.tensor([0.0, 1.0, 0.0, 1.0])


class Single(torch.nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).squeeze(1)


def train(path: Path, *, steps: int, said: list[str]) -> None:
    fit(
        Single(3, 1),
        batch,
        name="x",
        steps=steps,
        rate=1e-3,
        seconds=60,
        log=said.append,
        progress=Progress(path=path),
    )


def test_a_training_goes_on_after_the_step_that_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "progress.pt"
    network = Single(3, 1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    torch.nn.functional.mse_loss(network(batch()[0]), batch()[1]).backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    average = torch.optim.swa_utils.AveragedModel(network, use_buffers=True)
    Progress(path=path).save(
        network=network.state_dict(),
        average=average.state_dict(),
        optimiser=optimiser.state_dict(),
        step=8,
        spent=1.0,
    )
    said: list[str] = []

    train(path, steps=10, said=said)

    assert said[0] == "  x: resuming after step 8"
    assert said[-1].startswith("  x: step 10/10")


def test_nothing_kept_starts_from_the_first_step(tmp_path: Path) -> None:
    said: list[str] = []

    train(tmp_path / "progress.pt", steps=2, said=said)

    assert not any("resuming" in line for line in said)
