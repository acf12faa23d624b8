from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from torch import Tensor, nn

from detection_training.image import data, results
from detection_training.image.clips import FRAMES, HEIGHT_PX, WIDTH_PX, move
from detection_training.image.data import REMAKES_EACH, SEEN, UNSEEN, Pool, build_pool
from detection_training.image.fit import CROP_PX, Pairs
from detection_training.image.making.passages import TESTED
from detection_training.image.making.upscalers import Remake
from detection_training.image.measure import (
    Contest,
    Instrument,
    rows,
    sample_of,
    score,
)
from detection_training.image.plan import IMAGE
from detection_training.pipeline import calibration, package
from detection_training.pipeline.calibration import calibrated
from detection_worker.core.sampling import ImageSampling
from detection_worker.core.verdict import Calibration, Pooling


def photographs(folder: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(8)
    paths = []
    for i in range(count):
        coarse = rng.integers(0, 256, (14, 20, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (700, 500), interpolation=cv2.INTER_CUBIC)
        grained = np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        paths.append(folder / f"{i}.png")
        cv2.imwrite(str(paths[-1]), grained)
    return paths


def shifted(by: int) -> Remake:
    """Return a maker that is known by the brightness that it adds."""
    return lambda pixels: (pixels.astype(int) + by).clip(0, 255).astype(np.uint8)


REMAKES: Mapping[str, Remake] = {name: shifted(3 + 3 * i) for i, name in enumerate(SEEN)}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    paths = photographs(tmp_path_factory.mktemp("photos"), 5)
    rng = np.random.default_rng(1)
    return build_pool(paths, REMAKES, each=4, rng=rng, log=lambda _: None)


def test_every_patch_is_remade_by_different_makers(pool: Pool) -> None:
    assert pool.fakes.shape[:2] == (20, REMAKES_EACH)
    assert all(len(set(made)) == REMAKES_EACH for made in pool.maker.tolist())


def test_a_remake_is_of_its_own_patch_by_the_maker_that_is_noted(pool: Pool) -> None:
    added = (pool.fakes.astype(int) - pool.real[:, None]).mean(axis=(2, 3, 4))

    assert np.abs(added - (3 + 3 * pool.maker)).max() < 2.5


def test_what_was_trained_on_is_never_called_unseen() -> None:
    assert not set(SEEN) & set(UNSEEN)
    assert set(SEEN) | set(UNSEEN) == set(data.OWN) | set(data.PUBLISHED)


def test_a_pool_is_what_was_saved(pool: Pool, tmp_path: Path) -> None:
    pool.save(tmp_path / "pool.npz")

    loaded = Pool.load(tmp_path / "pool.npz")

    assert np.array_equal(loaded.fakes, pool.fakes)
    assert np.array_equal(loaded.compress, pool.compress)


def test_a_batch_has_as_many_real_crops_as_remakes_of_the_same_places(pool: Pool) -> None:
    pixels, labels = Pairs(pool, pairs=30, rng=np.random.default_rng(2))()

    assert pixels.shape == (60, 3, CROP_PX, CROP_PX)
    assert labels.tolist() == [0.0, 1.0] * 30
    means = pixels.float().mean(dim=(1, 2, 3))
    # Brighter by 3 to 21, after whatever happened to both.
    assert float((means[1::2] - means[::2]).min()) > 1
    assert float((means[1::2] - means[::2]).max()) < 23


class Brightness(nn.Module):
    """Scores a crop by how much brighter than 128 it is."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float().mean(dim=(1, 2, 3)) - 128


def contest(maker: str, *, by: int, seen: bool, count: int = 12) -> Contest:
    rng = np.random.default_rng(4)
    level = rng.integers(100, 120, (count, 1, 1, 1))
    real = np.broadcast_to(level, (count, 128, 128, 3)).astype(np.uint8)
    names = tuple(f"source/{i // 2}" for i in range(count))
    return Contest(
        maker=maker,
        seen=seen,
        size="whole",
        real=real,
        fake=shifted(by)(real),
        real_photo=names,
        fake_photo=names,
    )


def instrument() -> Instrument:
    return Instrument(
        detector=package.provisional(IMAGE, Brightness()),
        sampling=ImageSampling(crop_px=128, max_crops=2),
        pooling=Pooling(),
        calibration=Calibration(a=0.05, b=0.0),
    )


def test_a_maker_that_is_told_sometimes_gets_an_interval() -> None:
    found = [contest("near", by=4, seen=True)]

    row = dict(rows(found, score(instrument(), found, TESTED["none"], seed=0), treated="none"))[
        "near, none"
    ]

    assert 0.5 < row["auc"] < 1
    assert row["auc_low"] < row["auc"] < row["auc_high"]


def test_each_maker_gets_a_row_and_shared_real_pictures_count_once() -> None:
    found = [contest("nearest", by=40, seen=True), contest("new", by=0, seen=False)]

    scored = score(instrument(), found, TESTED["none"], seed=0)
    table = dict(rows(found, scored, treated="none"))

    assert table["nearest, none"]["auc"] == 1
    assert table["new (unseen), none"]["auc"] == pytest.approx(0.5)
    assert table["all seen, none"] == table["nearest, none"]
    assert "auc_low" not in table["nearest, none"], "all draws agree, so they tell no interval"
    together = sample_of(found, scored)
    assert (~together.is_fake).sum() == 12
    assert together.is_fake.sum() == 24


def test_false_alarms_are_counted_by_source_and_by_passage() -> None:
    found = [contest("nearest", by=40, seen=True)]

    report = results.evaluate(instrument(), found, seed=0, log=lambda _: None)

    alarms = report["false_alarms"]
    assert set(alarms) == {"from source", *(f"after {name}" for name in TESTED)}
    assert alarms["from source"]["share"] == 0
    assert alarms["from source"]["photographs"] == 6
    assert len(report["rows"]) == 2 * len(TESTED)


def test_size_codec_and_brightness_tell_nothing_of_pairs_that_went_the_same_way() -> None:
    even = [contest("nearest", by=0, seen=True, count=40)]

    told = results.trivial(even, seed=0)

    assert told["leaks"]["auc"] < 0.6
    assert {"width", "height", "luminance", "quality", "codec"} >= set(told["leaks"]["features"])


def test_a_leak_is_found() -> None:
    bright = [contest("nearest", by=100, seen=True, count=40)]

    assert results.trivial(bright, seed=0)["leaks"]["auc"] > 0.9


def test_thresholds_leave_few_real_above_and_few_fakes_below() -> None:
    rng = np.random.default_rng(7)
    real, fake = rng.beta(2, 4, 2000), rng.beta(4, 2, 2000)

    limits = calibration.thresholds(real, fake)

    assert limits.low <= 0.5 <= limits.high
    assert (real >= limits.high).mean() <= calibration.FALSE_FAKE
    assert (fake <= limits.low).mean() <= calibration.FALSE_REAL
    assert (real >= limits.high - 0.05).mean() > calibration.FALSE_FAKE


def test_classes_far_apart_leave_nothing_inconclusive() -> None:
    limits = calibration.thresholds(np.full(50, 0.1), np.full(50, 0.9))

    assert (limits.low, limits.high) == (0.5, 0.5)


def test_a_move_over_a_photograph_is_smooth_and_stays_inside() -> None:
    ramp = np.linspace(20, 220, 1200).astype(np.uint8)
    picture = np.broadcast_to(ramp[None, :, None], (900, 1200, 3)).copy()

    frames = move(picture, rng=np.random.default_rng(3))

    assert frames.shape == (FRAMES, HEIGHT_PX, WIDTH_PX, 3)
    means = frames.mean(axis=(1, 2, 3))
    assert np.abs(np.diff(means)).max() < 15
    assert (np.diff(frames[0, 100, :, 0].astype(int)) >= -1).all()


def test_a_picture_that_shows_nothing_gets_the_prior() -> None:
    rng = np.random.default_rng(9)
    real, fake = rng.normal(-1, 1, 4000), rng.normal(1, 1, 4000)

    fitted = calibration.platt(real, fake, prior=0.2)

    assert float(calibrated(np.zeros(1), fitted)[0]) == pytest.approx(0.2, abs=0.02)
    # Two classes of variance 1, 2 apart: the log-odds rise by 2 for each unit.
    assert fitted.a == pytest.approx(2, rel=0.1)


def test_the_prior_is_the_largest_that_keeps_false_alarms_rare() -> None:
    rng = np.random.default_rng(9)
    real, fake = rng.normal(-1, 1.5, 4000), rng.normal(1, 1.5, 4000)

    fitted = calibration.fit(real, fake)

    alarms = (calibrated(real, fitted.calibration) >= 0.5).mean()
    more = calibration.platt(real, fake, prior=fitted.prior + 0.05)
    assert alarms <= calibration.FALSE_ALARMS
    assert (calibrated(real, more) >= 0.5).mean() > calibration.FALSE_ALARMS


def test_classes_that_are_apart_need_no_other_prior_than_even_odds() -> None:
    fitted = calibration.fit(np.linspace(-3, -2, 50), np.linspace(2, 3, 50))

    assert fitted.prior == 0.5
