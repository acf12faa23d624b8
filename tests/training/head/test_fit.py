"""The split and the fit of ``train head``: pure, so laws and known cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_training.head import files as head_files
from detection_training.head import fit
from detection_training.metrics import auc

Files = list[tuple[str, bool]]


@given(
    st.lists(st.tuples(st.sampled_from("abcdefghijklmnop"), st.booleans()), min_size=1),
    st.integers(0, 99),
)
def test_files_of_one_group_are_in_one_part(files: Files, seed: int) -> None:
    groups = [group for group, _ in files]

    parts = head_files.split(groups, [fake for _, fake in files], seed=seed)

    assert all(
        parts[i] == parts[j] for i in range(len(files)) for j in range(i) if groups[i] == groups[j]
    )


@pytest.mark.parametrize("seed", range(5))
def test_each_part_gets_its_share_of_both_classes(seed: int) -> None:
    fake = [i % 4 == 0 for i in range(400)]

    parts = head_files.split([f"group {i // 2}" for i in range(400)], fake, seed=seed)

    for part, share in head_files.SHARES.items():
        for wanted in (False, True):
            found = sum(p == part and f == wanted for p, f in zip(parts, fake, strict=True))
            assert abs(found / fake.count(wanted) - share) < 0.06


def test_a_fake_stays_with_the_real_file_that_it_is_named_after() -> None:
    assert head_files.by_stem("real/sea/Beach 12.jpg") == head_files.by_stem("fake/Beach 12.png")


@pytest.mark.parametrize(
    ("name", "series"),
    [
        pytest.param("real/anna_007.wav", "/anna", id="numbered"),
        pytest.param("fake/x/anna (3).wav", "x/anna", id="a copy's number"),
        pytest.param("real/0012.png", "/0012", id="a number alone"),
        pytest.param("real/take-1a.wav", "/take-1a", id="no number at the end"),
    ],
)
def test_a_series_is_a_stem_without_its_number(name: str, series: str) -> None:
    assert head_files.by_series(name) == series


@pytest.mark.parametrize(
    ("pattern", "grouping"),
    [
        pytest.param("{side}/voice{i}/clip.wav", "folder", id="folders"),
        pytest.param("{side}/{letter}_{i}.wav", "series", id="series"),
        pytest.param("{side}/img_{i:04}.png", "file", id="one long series"),
    ],
)
def test_the_coarsest_grouping_that_can_be_split_is_chosen(pattern: str, grouping: str) -> None:
    sides = [("real", False), ("fake", True)]
    names = [
        (pattern.format(side=side, i=i, letter=chr(97 + i % 20)), fake)
        for side, fake in sides
        for i in range(40)
    ]

    found = head_files.choose_grouping([n for n, _ in names], [f for _, f in names])

    assert found == grouping


def test_a_file_type_that_gives_the_classes_away_is_told() -> None:
    names = [f"{i}.jpg" for i in range(20)] + [f"{i}.png" for i in range(20)]
    fake = [False] * 20 + [True] * 20

    assert head_files.telling_types(names, fake) == [".jpg", ".png"]
    assert head_files.telling_types(names, fake[::2] * 2) == []


def test_a_line_finds_the_direction_in_which_classes_differ() -> None:
    rng = np.random.default_rng(3)
    is_fake = np.arange(200) % 2 == 1
    features = rng.normal(size=(200, 40)) * 7 + 100
    features[:, 5] += 14 * is_fake

    line = fit.fit(features, is_fake, [str(i) for i in range(200)], seed=0)
    fresh = rng.normal(size=(400, 40)) * 7 + 100
    fresh[200:, 5] += 14

    logits = line.logits(fresh)
    assert int(np.abs(line.weight).argmax()) == 5
    assert auc(logits[:200], logits[200:]) > 0.9
    assert abs(float(np.median(logits))) < 0.7


def test_more_files_of_one_class_do_not_move_the_middle() -> None:
    rng = np.random.default_rng(4)
    is_fake = np.arange(600) % 10 == 0
    features = rng.normal(size=(600, 1)) + 4 * is_fake[:, None]

    line = fit.fit(features, is_fake, [str(i) for i in range(600)], seed=0)

    assert abs(-line.bias / line.weight[0] - 2) < 0.5


@pytest.mark.parametrize("spread", [1e-12, 1.0], ids=["no variance at all", "separable"])
def test_hopeless_and_perfect_features_give_finite_numbers(spread: float) -> None:
    is_fake = np.arange(30) % 2 == 1
    features = np.outer(is_fake, np.ones(50)) * spread

    line = fit.fit(features, is_fake, [str(i) for i in range(30)], seed=0)

    assert np.isfinite(line.weight).all()
    assert np.isfinite(line.bias)


def test_noise_gets_the_strongest_ridge() -> None:
    rng = np.random.default_rng(5)
    is_fake = np.arange(60) % 2 == 1

    line = fit.fit(rng.normal(size=(60, 80)), is_fake, [str(i) for i in range(60)], seed=0)

    assert line.strength >= 1.0


@pytest.mark.parametrize(
    ("seed", "shape", "distance", "every", "strength", "first", "bias"),
    [
        pytest.param(0, (200, 40), 2.0, 2, 0.1, 0.79780, -0.80339, id="many features"),
        pytest.param(1, (600, 1), 4.0, 10, 0.001, 2.75883, -5.25949, id="one feature"),
        pytest.param(3, (90, 300), 1.0, 3, 1.0, 0.05808, -0.29450, id="more features than files"),
    ],
)
def test_a_line_is_that_of_newtons_method_on_the_same_loss(
    seed: int,
    shape: tuple[int, int],
    distance: float,
    every: int,
    strength: float,
    first: float,
    bias: float,
) -> None:
    """Numbers of an independent fit."""
    rng = np.random.default_rng(seed)
    is_fake = np.arange(shape[0]) % every == 0
    features = rng.normal(size=shape)
    features[:, 0] += distance * is_fake

    line = fit.fit(features, is_fake, [str(i // 2) for i in range(shape[0])], seed=0)

    assert line.strength == strength
    assert line.weight[0] == pytest.approx(first, rel=2e-4)
    assert line.bias == pytest.approx(bias, rel=2e-4)


def test_with_too_few_groups_to_leave_any_out_the_strongest_ridge_is_taken() -> None:
    is_fake = np.arange(20) % 2 == 1
    features = np.random.default_rng(6).normal(size=(20, 3))

    line = fit.fit(features, is_fake, ["one", "two"] * 10, seed=0)

    assert line.strength == fit.STRENGTHS[0]
