import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.media_types import MediaKind
from detection_training.evaluation.baseline import (
    FOLDS,
    baseline,
    fit_logistic,
    group_folds,
)
from detection_training.evaluation.features import (
    FEATURES,
    rolloff_hz,
    silence_share,
    trivial_features,
)
from detection_worker.media.values import DecodedMedia, MediaInfo

RATE_HZ = 16_000


def test_features_that_tell_nothing_stay_near_one_half() -> None:
    rng = np.random.default_rng(0)
    features = [{"duration_s": rng.uniform(1, 9), "bytes_per_s": 32e3} for _ in range(400)]
    groups = [str(i) for i in range(400)]

    found = baseline(features, ["wav"] * 400, np.arange(400) % 2 == 0, groups, draws=200)

    assert found.auc.value == pytest.approx(0.5, abs=0.08)
    assert not found.leaks
    assert found.features == ("bytes_per_s", "duration_s")


@pytest.mark.parametrize("leak", ["codec", "longer", "middle"])
def test_a_leak_is_found(leak: str) -> None:
    rng = np.random.default_rng(1)
    is_fake = np.arange(200) % 2 == 0
    spread = rng.uniform(1, 9, 200)
    if leak == "longer":
        spread[is_fake] += 4
    if leak == "middle":  # all fakes have about the same length
        spread[is_fake] = rng.uniform(4.5, 5.5, int(is_fake.sum()))
    codecs = [("mp3" if fake and leak == "codec" else "wav") for fake in is_fake]

    found = baseline(
        [{"duration_s": s} for s in spread],
        codecs,
        is_fake,
        [str(i) for i in range(200)],
        draws=99,
    )

    assert found.leaks
    assert found.auc.value is not None
    assert found.auc.value > 0.8


def test_what_tells_speakers_apart_but_not_classes_is_no_leak() -> None:
    """Each speaker has one loudness and one class: known speakers would be told by heart."""
    rng = np.random.default_rng(2)
    groups = [str(i // 10) for i in range(400)]
    is_fake = np.array([int(g) % 2 == 0 for g in groups])
    loudness = rng.normal(-20, 5, 40)[[int(g) for g in groups]]

    found = baseline([{"loudness_dbfs": x} for x in loudness], ["wav"] * 400, is_fake, groups)

    assert found.auc.low is not None
    assert found.auc.low < 0.5


def test_too_few_groups_give_no_number() -> None:
    groups = [str(i // 50) for i in range(200)]

    found = baseline([{"x": 1.0}] * 200, ["wav"] * 200, np.arange(200) % 100 < 50, groups)

    assert found.auc.value is None
    assert found.auc.reason == "needs 10 groups of each class, has 2 and 2"
    assert not found.leaks


def test_files_without_features_or_classes_crash_nothing() -> None:
    nothing = baseline([{}] * 40, [""] * 40, np.arange(40) % 2 == 0, [str(i) for i in range(40)])
    one = baseline([{"x": 1.0}] * 40, ["a"] * 40, np.ones(40, np.bool_), ["g"] * 40)
    some = baseline(
        [{"x": 1.0} if i % 3 else {} for i in range(40)],
        ["a"] * 40,
        np.arange(40) % 2 == 0,
        [str(i) for i in range(40)],
        draws=20,
    )

    assert nothing.auc.value == pytest.approx(0.5)
    assert (one.auc.value, dict(one.single)) == (None, {})
    assert some.auc.value is not None


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=100))
def test_no_group_is_in_two_folds(items: list[tuple[int, bool]]) -> None:
    groups = [str(group) for group, _ in items]

    folds = group_folds(groups, np.array([fake for _, fake in items]), seed=0)

    assert set(folds.tolist()) <= set(range(FOLDS))
    assert all(len(set(folds[np.array(groups) == g].tolist())) == 1 for g in set(groups))


def test_every_fold_gets_its_share_of_both_classes() -> None:
    is_fake = np.arange(100) < 30

    folds = group_folds([str(i) for i in range(100)], is_fake, seed=0)

    assert [int(is_fake[folds == f].sum()) for f in range(FOLDS)] == [6] * 5


def test_logistic_regression_is_at_the_minimum_of_its_loss() -> None:
    rng = np.random.default_rng(3)
    inputs = rng.normal(size=(300, 3))
    is_fake = rng.random(300) < 1 / (1 + np.exp(-inputs @ [1.0, -2.0, 0.0]))

    def loss(theta: np.ndarray) -> float:
        z = inputs @ theta[:-1] + theta[-1]
        weight = np.where(is_fake, 0.5 / is_fake.mean(), 0.5 / (1 - is_fake.mean()))
        each = np.logaddexp(0, np.where(is_fake, -z, z))
        return float((weight * each).sum() + 0.5 * (theta[:-1] ** 2).sum())

    theta = fit_logistic(inputs, is_fake)

    assert theta[0] > 0.5
    assert theta[1] < -1
    for step in np.vstack([np.eye(4), -np.eye(4)]) * 1e-3:
        assert loss(theta) < loss(theta + step)


def test_logistic_regression_is_that_of_newtons_method() -> None:
    rng = np.random.default_rng(0)
    is_fake = np.arange(60) % 2 == 0
    inputs = rng.normal(size=(60, 4))
    inputs[:, 1] += is_fake

    theta = fit_logistic(inputs, is_fake)

    expected = [0.3774682732, 1.4290720254, -0.2708564662, -0.0352184370, -0.8486848077]
    assert theta == pytest.approx(expected, abs=1e-5)


def test_separable_classes_do_not_blow_up() -> None:
    inputs = np.linspace(-1, 1, 50)[:, None]

    theta = fit_logistic(inputs, inputs[:, 0] > 0)

    assert np.isfinite(theta).all()
    assert theta[0] > 1


def test_silence_is_what_is_far_below_the_loudest_part() -> None:
    tone = np.sin(np.arange(RATE_HZ) * 0.3)

    assert silence_share(np.concatenate([tone, tone * 0.001]), rate_hz=RATE_HZ) == 0.5
    assert silence_share(tone, rate_hz=RATE_HZ) == 0.0
    assert silence_share(np.zeros(RATE_HZ), rate_hz=RATE_HZ) == 1.0
    assert silence_share(np.zeros(3), rate_hz=RATE_HZ) == 0.0


@pytest.mark.parametrize("tone_hz", [500, 3000, 7000])
def test_the_rolloff_of_a_tone_is_its_frequency(tone_hz: int) -> None:
    seconds = np.arange(RATE_HZ) / RATE_HZ
    tone = 0.5 + np.sin(2 * np.pi * tone_hz * seconds)

    assert rolloff_hz(tone[None], rate_hz=RATE_HZ) == pytest.approx(tone_hz, abs=2)
    assert rolloff_hz(np.zeros((2, 100)), rate_hz=RATE_HZ) == 0.0


@pytest.mark.parametrize("kind", list(MediaKind))
def test_every_kind_has_its_features_also_where_facts_are_missing(kind: MediaKind) -> None:
    sound = kind is MediaKind.AUDIO
    units = np.zeros((1, 100), np.float32) if sound else np.full((1, 8, 8, 3), 100, np.uint8)
    info = MediaInfo(
        kind=kind,
        container="x",
        codec=None,
        size_bytes=10,
        sha256="0" * 64,
        width=None,
        height=None,
        duration_s=None,
        frames_analysed=1,
        sample_rate_hz=None,
        truncated=False,
        warnings=(),
    )
    media = DecodedMedia(
        info=info,
        units=units,
        frame=np.zeros(1, np.int32),
        at_s=np.zeros(1),
        boxes=np.zeros((0, 4), np.int32),
    )

    found = trivial_features(media, unit_rate_hz=RATE_HZ)

    assert set(found) == set(FEATURES[kind])
    assert np.isfinite(list(found.values())).all()
    if not sound:
        assert found["luminance"] == pytest.approx(100)
