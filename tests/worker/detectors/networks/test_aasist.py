"""AASIST: the parts by their laws, the whole by the authors' own weights where those are at hand.

The authors' own program, run with the authors' weights, gave the answers in ``AUTHORS_ANSWERS``.
Three further kinds of evidence need nobody else's code: the authors' file has a place for every
tensor; the statistics that their training left in its normalisation layers fit what flows through
here; and known real and synthesised speech lands on its side. Golden scores come last: they only
tell that nothing changed.
"""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from detection_contract.media_types import MediaKind
from detection_testing.samples import SAMPLES, sample_path
from detection_training.audio.sound import read_sound
from detection_training.evaluation.items import Item
from detection_training.evaluation.scoring import scorer
from detection_worker.detectors import registry
from detection_worker.detectors.importing.from_checkpoint import import_checkpoint
from detection_worker.detectors.importing.published import PUBLISHED
from detection_worker.detectors.networks.audio.aasist import WINDOW, Aasist, build, build_light
from detection_worker.detectors.networks.audio.graph_attention import (
    GraphAttention,
    GraphPooling,
    HeterogeneousGraphAttention,
    NodeNorm,
)
from detection_worker.detectors.networks.audio.rawnet2 import band_passes, mel_edges_hz

WEIGHTS = Path(__file__).resolve().parents[5] / "shared" / "models"
Seen = dict[str, tuple[torch.Tensor, torch.Tensor]]
FILES = {"aasist": "AASIST.pth", "aasist-l": "AASIST-L.pth"}
AUTHORS_ANSWERS = {
    ("aasist", "a sine"): (10.2509, -11.9555),
    ("aasist", "reading.wav"): (-2.0693, 1.0676),
    ("aasist-l", "a sine"): (7.6374, -6.5537),
    ("aasist-l", "reading.wav"): (0.0339, 0.3108),
}
"""Outputs (fake, real) of the public program of clovaai/aasist at a04c986, from a run on
2026-11-27 with the configuration and the weights that lie in it."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def published_file(name: str) -> Path:
    path = WEIGHTS / FILES[name]
    if not path.is_file():
        pytest.skip(f"the authors' {path.name} is not at {path.parent}")
    return path


def published_weights(name: str) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(
        published_file(name), weights_only=True, map_location="cpu"
    )
    return loaded


def published_network(name: str) -> Aasist:
    network = {"aasist": build, "aasist-l": build_light}[name]().eval()
    network.load_state_dict(published_weights(name), strict=True)
    return network


def test_the_edges_of_the_bands_are_evenly_apart_in_mel() -> None:
    edges = mel_edges_hz(70, sample_rate_hz=16_000)
    mel = 2595 * torch.log10(1 + edges / 700)

    assert edges.shape == (71,)
    assert float(edges[0]) == 0
    assert float(edges[-1]) == pytest.approx(8000)
    np.testing.assert_allclose(np.diff(mel), float(mel[-1]) / 70, rtol=1e-9)


def test_the_filters_together_let_everything_pass_once() -> None:
    whole = band_passes(70, taps=129, sample_rate_hz=16_000).sum(dim=0)[0]

    impulse = torch.zeros(129)
    impulse[64] = 1
    torch.testing.assert_close(whole, impulse, atol=1e-5, rtol=0)


def test_each_filter_passes_its_own_band() -> None:
    edges = mel_edges_hz(70, sample_rate_hz=16_000).numpy()
    response = torch.fft.rfft(band_passes(70, taps=129, sample_rate_hz=16_000)[:, 0], 4096).abs()
    peak_hz = response.argmax(dim=1).numpy() * 16_000 / 4096

    # A filter of 129 taps cannot tell frequencies apart that differ by less than 124 Hz.
    assert (peak_hz > edges[:-1] - 124).all()
    assert (peak_hz < edges[1:] + 124).all()
    assert (np.diff(peak_hz) >= 0).all()


def test_attention_does_not_depend_on_the_order_of_nodes() -> None:
    layer = GraphAttention(6, 4, temperature=2.0).eval()
    nodes, order = torch.randn(2, 5, 6), torch.randperm(5)

    torch.testing.assert_close(layer(nodes[:, order]), layer(nodes)[:, order])


def test_attention_mixes_a_node_most_with_those_that_score_highest() -> None:
    layer = GraphAttention(2, 2, temperature=0.01).eval()
    with torch.no_grad():
        for linear in (layer.att_proj, layer.proj_with_att):
            linear.weight.copy_(torch.eye(2))
            linear.bias.zero_()
        layer.att_weight.fill_(1.0)
        layer.proj_without_att.weight.zero_()
        layer.proj_without_att.bias.zero_()
    nodes = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.1, 0.1]]])

    mixed = layer(nodes)

    # At so low a temperature each takes all from one node; the small one prefers nobody much.
    torch.testing.assert_close(mixed[0, :2], layer.act(layer.bn(nodes))[0, :2])


def test_joint_attention_knows_kinds_but_no_order_within_them() -> None:
    layer = HeterogeneousGraphAttention(6, 4, temperature=100.0).eval()
    first, second, stack = torch.randn(2, 5, 6), torch.randn(2, 3, 6), torch.randn(2, 1, 6)
    order, other = torch.randperm(5), torch.randperm(3)

    plain = layer(first, second, stack)
    shuffled = layer(first[:, order], second[:, other], stack)
    exchanged = layer(second, first, stack)

    torch.testing.assert_close(shuffled[0], plain[0][:, order])
    torch.testing.assert_close(shuffled[1], plain[1][:, other])
    torch.testing.assert_close(shuffled[2], plain[2])
    assert not torch.allclose(exchanged[1], plain[0], atol=1e-3)


def test_nodes_read_nothing_from_the_stack_node() -> None:
    layer = HeterogeneousGraphAttention(6, 4, temperature=100.0).eval()
    first, second = torch.randn(1, 5, 6), torch.randn(1, 3, 6)

    one = layer(first, second, torch.randn(1, 1, 6))
    two = layer(first, second, torch.randn(1, 1, 6))

    torch.testing.assert_close(one[:2], two[:2])
    assert not torch.allclose(one[2], two[2], atol=1e-3)


@pytest.mark.parametrize(
    ("ratio", "kept"), [(0.5, [3, 1]), (0.7, [3, 1, 0]), (0.01, [3])], ids=str
)
def test_pooling_keeps_the_best_nodes_times_their_gates_best_first(
    ratio: float, kept: list[int]
) -> None:
    layer = GraphPooling(ratio, 1).eval()
    with torch.no_grad():
        layer.proj.weight.fill_(1.0)
        layer.proj.bias.zero_()
    nodes = torch.tensor([1.0, 2.0, -1.0, 3.0, 0.5])[None, :, None]

    pooled = layer(nodes)

    torch.testing.assert_close(pooled, (nodes * torch.sigmoid(nodes))[:, kept])


@pytest.mark.parametrize(
    ("make", "parameters", "values"),
    [
        pytest.param(build, 297_866, 299_550, id="AASIST: 297 k in the paper"),
        pytest.param(build_light, 85_306, 86_270, id="AASIST-L: 85 k in the paper"),
    ],
)
def test_the_network_is_as_large_as_the_published_one(
    make: Any, parameters: int, values: int
) -> None:
    network: Aasist = make()

    assert sum(p.numel() for p in network.parameters()) == parameters
    assert sum(v.numel() for v in network.state_dict().values()) == values
    assert not any("filters" in name for name in network.state_dict())


@pytest.mark.slow
def test_a_unit_scores_the_same_whatever_shares_its_batch() -> None:
    network = build_light().eval()
    units = torch.randn(3, WINDOW // 4) * 0.1

    with torch.inference_mode():
        together = network(units)
        alone = torch.cat([network(unit[None]) for unit in units])

    assert together.shape == (3, 2)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_gradients_reach_every_parameter_that_training_uses() -> None:
    network = build_light().train()

    network(torch.randn(2, WINDOW // 4) * 0.1).sum().backward()

    unreached = {name for name, p in network.named_parameters() if p.grad is None}
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in unreached} == {"bn1"}


@pytest.mark.parametrize("name", FILES)
def test_the_authors_file_loads_strictly(name: str) -> None:
    published_network(name)


def heard(what: str) -> torch.Tensor:
    """Return one unit, ``(1, WINDOW)``."""
    sound = (
        np.sin(np.arange(WINDOW) * 0.05)
        if what == "a sine"
        else np.resize(read_sound(sample_path(what)), WINDOW)
    )
    return torch.from_numpy(sound.astype(np.float32))[None]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "what"), AUTHORS_ANSWERS)
def test_the_network_answers_as_the_authors_program_does(name: str, what: str) -> None:
    network = published_network(name)

    with torch.inference_mode():
        outputs = network(heard(what))[0]

    assert outputs.tolist() == pytest.approx(AUTHORS_ANSWERS[name, what], abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["GAT_layer_S", "GAT_layer_T"])
def test_those_answers_would_show_another_temperature(layer: str) -> None:
    network = published_network("aasist")
    getattr(network, layer).temperature *= 2

    with torch.inference_mode():
        outputs = network(heard("reading.wav"))[0]

    fake, real = AUTHORS_ANSWERS["aasist", "reading.wav"]
    assert abs(float(outputs[0]) - fake) + abs(float(outputs[1]) - real) > 0.02


@pytest.mark.parametrize("name", FILES)
def test_the_authors_training_never_used_bn1(name: str) -> None:
    weights = published_weights(name)
    blocks = [f"encoder.{i}.0" for i in range(1, 6)]

    assert all(bool((weights[f"{block}.bn1.weight"] == 1).all()) for block in blocks)
    assert all(bool((weights[f"{block}.bn1.bias"] == 0).all()) for block in blocks)
    assert not any(bool((weights[f"{block}.bn2.bias"] == 0).all()) for block in blocks)


def sample_units() -> torch.Tensor:
    """Return two windows of each speech sample, each from another start; ``(6, WINDOW)``."""
    names = [sample.name for sample in SAMPLES if sample.kind is MediaKind.AUDIO]
    sounds = [read_sound(sample_path(name)) for name in names]
    windows = [np.resize(np.roll(s, -k * len(s) // 2), WINDOW) for s in sounds for k in range(2)]
    return torch.from_numpy(np.stack(windows).astype(np.float32))


def watched(network: Aasist, work: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, Seen]:
    """Return what ``work`` makes and what reached each normalisation meanwhile, by layer."""
    seen: dict[str, list[torch.Tensor]] = {}
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):

            def look(_: nn.Module, inputs: tuple[torch.Tensor], name: str = name) -> None:
                features = inputs[0].transpose(1, -1) if inputs[0].ndim == 4 else inputs[0]
                seen.setdefault(name, []).append(features.flatten(0, -2).clone())

            hooks.append(module.register_forward_pre_hook(look))
    with torch.inference_mode():
        made = work()
    for hook in hooks:
        hook.remove()
    return made, {name: _moments(torch.cat(values)) for name, values in seen.items()}


def _moments(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return values.mean(dim=0), values.var(dim=0)


@functools.cache
def encoded(name: str) -> tuple[torch.Tensor, Seen]:
    """Return the encoder's maps of the samples, and what its normalisations saw."""
    network = published_network(name)
    units = sample_units()
    return watched(network, lambda: torch.cat([network._encode(unit[None]) for unit in units]))


def norm_agreement(network: Aasist, name: str) -> dict[str, tuple[float, float]]:
    """Return how well what reaches each normalisation fits the authors' training statistics.

    The graphs are run as in training, with dropout and the batch's own statistics, because those
    shape what later layers see; eight draws of dropout each.

    Args:
        network: With the weights of ``name``.
        name: Whose maps to use.

    Returns:
        By layer: correlation of the features' means, and the features' mean absolute difference
        of the logarithm of variance.
    """
    features, seen = encoded(name)
    for module in network.modules():
        if isinstance(module, nn.Dropout | NodeNorm):
            module.train()
    _, seen_later = watched(network, lambda: network._classify(features.repeat(8, 1, 1, 1)))
    weights = published_weights(name)
    found = {}
    for layer, (mean, variance) in (seen | seen_later).items():
        if len(mean) > 1:
            together = np.corrcoef(mean, weights[f"{layer}.running_mean"])[0, 1]
            spread = (variance / weights[f"{layer}.running_var"]).log().abs().mean()
            found[layer] = (float(together), float(spread))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_every_layer_sees_what_it_saw_in_the_authors_training(name: str) -> None:
    agreement = norm_agreement(published_network(name), name)

    # Three speakers at other microphones are not ASVspoof; measured 0.85 to 1.00 and 0.1 to 0.6.
    assert len(agreement) == 12
    assert min(r for r, _ in agreement.values()) > 0.8
    assert max(spread for _, spread in agreement.values()) < 0.7


@pytest.mark.slow
def test_that_evidence_would_show_kinds_of_nodes_that_are_exchanged() -> None:
    network = published_network("aasist")
    for layer in (network.HtrgGAT_layer_ST11, network.HtrgGAT_layer_ST21):
        first, second = layer.proj_type1, layer.proj_type2
        layer.proj_type1, layer.proj_type2 = second, first
        layer.att_weight11, layer.att_weight22 = layer.att_weight22, layer.att_weight11

    agreement = norm_agreement(network, "aasist")

    assert min(r for r, _ in agreement.values()) < 0.6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "golden"),
    [
        pytest.param("aasist", (-3.137, 6.748, 17.791), id="aasist"),
        pytest.param("aasist-l", (-0.277, 5.990, 16.120), id="aasist-l"),
    ],
)
def test_the_authors_weights_tell_the_samples_apart(
    name: str, golden: tuple[float, ...], tmp_path: Path
) -> None:
    import_checkpoint(
        published_file(name),
        published=PUBLISHED[name],
        name=name,
        models_dir=tmp_path,
        license_text="MIT",
    )
    loaded = registry.load_detectors(tmp_path)

    with scorer(loaded) as scoring:
        scores = {
            sample.name: scoring.score(
                Item(
                    path=sample_path(sample.name),
                    name=sample.name,
                    fake=sample.truth == "fake",
                    family="",
                    source="",
                    group="",
                )
            ).score
            for sample in SAMPLES
            if sample.kind is MediaKind.AUDIO
        }

    truth = {sample.name: sample.truth for sample in SAMPLES}
    assert {n: "fake" if s is not None and s >= 0.5 else "real" for n, s in scores.items()} == {
        n: truth[n] for n in scores
    }
    logits = [math.log(score / (1 - score)) for score in scores.values() if score is not None]
    assert logits == pytest.approx(golden, abs=0.02)
