"""Speech networks against their authors' programs and independent ones, with the same weights.

``published_speech.json`` holds what the networks of the ASVspoof 2021 baselines (RawNet2 and
LFCC-LCNN) and of "wav2vec 2.0 and Data Augmentation" (its part after wav2vec 2.0) call their
tensors, and what they answered for weights and sounds that follow from numbers alone. They were
run from their public source; no file of weights of theirs was at hand. wav2vec 2.0 is compared
with torchaudio's, and with transformers' where that is installed, in a small size; the names of
fairseq's files are those that torchaudio's import knows.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torchaudio
from torch import Tensor, nn
from torchaudio.models.wav2vec2.utils import import_fairseq

from detection_contract.media_types import MediaKind
from detection_testing.media import known_values
from detection_worker.core.sampling import AudioSampling
from detection_worker.detectors import architectures, registry, self_test
from detection_worker.detectors.importing import from_checkpoint, published
from detection_worker.detectors.importing.checkpoint import Checkpoint
from detection_worker.detectors.importing.matching import Match, best_match
from detection_worker.detectors.importing.published import PUBLISHED, Published
from detection_worker.detectors.model_folder.manifest import ModelError
from detection_worker.detectors.networks.audio import lfcc
from detection_worker.detectors.networks.audio.lfcc import Lfcc
from detection_worker.detectors.networks.audio.wav2vec2 import Wav2Vec2
from detection_worker.detectors.networks.audio.xlsr_aasist import XlsrAasist

FIXTURE = Path(__file__).with_name("published_speech.json")
GAINS = {"rawnet2": 2.5, "lfcc-lcnn": 1.0, "xlsr-aasist": 1.0}
"""Gain of the weights, chosen so that the answers neither vanish nor run away."""
FIXED = ("m_frontend.0.lfcc_fb", "m_frontend.0.l_dct.weight")
"""Tensors of a file that are computed, not trained."""
SMALL = {"channels": 32, "width": 64, "layers": 3, "heads": 4, "hidden": 96}
"""wav2vec 2.0 small enough for a test."""
Tensors = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@functools.cache
def fixture() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(FIXTURE.read_text())
    return loaded


def weights(shapes: Mapping[str, tuple[int, ...]], *, gain: float) -> Tensors:
    return known_values.weights(shapes, gain=gain)


def sounds(samples: int = 64_600) -> Tensor:
    """Return noise, noise that swells from silence, and a rising tone: ``(3, samples)``."""
    noise = self_test.unit(AudioSampling(window=samples, hop=samples), seed=3)[0]
    along = np.arange(samples) / samples
    tone = 0.4 * np.sin(2 * np.pi * along * along * samples / 10)
    return torch.from_numpy(np.stack([noise, noise * along**2, tone]).astype(np.float32))


def frames(width: int) -> Tensor:
    """Return what stands for the features of three sounds: ``(3, 201, width)``."""
    raw = self_test.unit(AudioSampling(window=3 * 201 * width, hop=1), seed=4)[0]
    return torch.from_numpy(raw).view(3, 201, width) * 2


def file_tensors(name: str) -> Tensors:
    """Return a file of the published layout, as its authors' program would write it."""
    told: dict[str, str] = fixture()["names"][name]
    shapes = {key: tuple(int(n) for n in size.split("x") if n) for key, size in told.items()}
    tensors = weights(shapes, gain=GAINS[name])
    if name == "lfcc-lcnn":
        tensors |= {f"m_frontend.0.{key}": value for key, value in Lfcc().state_dict().items()}
    return tensors


def small_file(*, prefix: str = "") -> Tensors:
    """Return a file with a small wav2vec 2.0 and everything that its training leaves in it."""
    tail = file_tensors("xlsr-aasist") | {"LL.weight": torch.ones(128, SMALL["width"])}
    speech = weights(
        {f"ssl_model.model.{k}": v for k, v in fairseq_shapes(**SMALL).items()}, gain=1.0
    )
    left = {
        "mask_emb": (64,),
        "quantizer.vars": (1, 4, 8),
        "quantizer.weight_proj.weight": (4, 32),
    }
    left |= {f"{part}.weight": (8, 64) for part in ("project_q", "final_proj")}
    tensors = tail | speech | {f"ssl_model.model.{k}": torch.ones(v) for k, v in left.items()}
    return {prefix + name: value for name, value in tensors.items()}


def fairseq_shapes(
    *, channels: int, width: int, layers: int, heads: int, hidden: int
) -> dict[str, tuple[int, ...]]:
    """Return fairseq's names of what wav2vec 2.0 computes features with."""
    assert width % heads == 0
    shapes: dict[str, tuple[int, ...]] = {}

    def pair(name: str, *shape: int) -> None:
        shapes.update({f"{name}.weight": shape, f"{name}.bias": shape[:1]})

    for i, taps in enumerate((10, 3, 3, 3, 3, 2, 2)):
        pair(f"feature_extractor.conv_layers.{i}.0", channels, channels if i else 1, taps)
        pair(f"feature_extractor.conv_layers.{i}.2.1", channels)
    pair("layer_norm", channels)
    pair("post_extract_proj", width, channels)
    shapes["encoder.pos_conv.0.bias"] = (width,)
    shapes["encoder.pos_conv.0.weight_g"] = (1, 1, 128)
    shapes["encoder.pos_conv.0.weight_v"] = (width, width // 16, 128)
    for i in range(layers):
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            pair(f"encoder.layers.{i}.self_attn.{part}", width, width)
        pair(f"encoder.layers.{i}.self_attn_layer_norm", width)
        pair(f"encoder.layers.{i}.fc1", hidden, width)
        pair(f"encoder.layers.{i}.fc2", width, hidden)
        pair(f"encoder.layers.{i}.final_layer_norm", width)
    pair("encoder.layer_norm", width)
    return shapes


def only(architecture: str, **params: int) -> list[Published]:
    (one,) = PUBLISHED[architecture]
    values = {name: getattr(one, name) for name in Published.__slots__}
    return [Published(**values | {"params": params})]


def matched(tensors: Tensors, candidates: list[Published]) -> Match:
    checkpoint = Checkpoint(tensors=tensors, sha256="0" * 64, wrapper=())
    return best_match(checkpoint, candidates, where="file")


def network(found: Match) -> nn.Module:
    name, params = found.published.architecture, found.published.params
    ours = architectures.build_network(name, params, where="test")
    ours.load_state_dict(found.tensors)
    return ours.eval()


class Given(nn.Module):
    """Stands for wav2vec 2.0, with features that are known."""

    def forward(self, x: Tensor) -> Tensor:
        return frames(1024)[: len(x)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rawnet2", "lfcc-lcnn"])
def test_a_baseline_answers_as_its_authors_program_did(name: str) -> None:
    found = matched(file_tensors(name), only(name))

    with torch.inference_mode():
        ours = network(found)(sounds()).reshape(3, -1)

    known = torch.tensor(fixture()["scores"][name])
    ours = ours.log_softmax(dim=1) if name == "rawnet2" else ours
    assert found.report.complete
    assert float(known.std(dim=0).min()) > 0.03, "the answer hangs on the sound"
    torch.testing.assert_close(ours, known, atol=1e-4, rtol=1e-4)


def test_the_graphs_on_xlsr_answer_as_their_authors_program_did() -> None:
    ours = XlsrAasist(Wav2Vec2(**SMALL), width=1024)
    ours.ssl_model = nn.ModuleDict({"model": Given()})
    ours.load_state_dict(file_tensors("xlsr-aasist"))

    with torch.inference_mode():
        logits = ours.eval()(sounds(16_000)[:1])
        together = ours._classify(ours._encode(sounds(16_000)))

    known = torch.tensor(fixture()["scores"]["xlsr-aasist"])
    assert float(known.std(dim=0).min()) > 0.03, "the answer hangs on the sound"
    torch.testing.assert_close(together, known, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits, known[:1], atol=1e-4, rtol=1e-4)


def speech_network() -> tuple[Wav2Vec2, Tensors]:
    tensors = weights(fairseq_shapes(**SMALL), gain=1.5)
    ours = Wav2Vec2(**SMALL)
    ours.load_state_dict(tensors)
    return ours.eval(), tensors


def test_wav2vec2_gives_torchaudios_features_under_fairseqs_names() -> None:
    ours, tensors = speech_network()
    theirs = torchaudio.models.wav2vec2_model(
        extractor_mode="layer_norm",
        extractor_conv_layer_config=[(32, 10, 5), *[(32, 3, 2)] * 4, *[(32, 2, 2)] * 2],
        extractor_conv_bias=True,
        encoder_embed_dim=64,
        encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=128,
        encoder_pos_conv_groups=16,
        encoder_num_layers=3,
        encoder_num_heads=4,
        encoder_attention_dropout=0.0,
        encoder_ff_interm_features=96,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0,
        encoder_layer_norm_first=True,
        encoder_layer_drop=0.0,
        aux_num_out=None,
    ).eval()
    theirs.load_state_dict(import_fairseq._convert_state_dict(tensors))

    with torch.inference_mode():
        features, known = ours(sounds()), theirs(sounds())[0]

    assert features.shape == (3, 201, 64)
    assert float(known.std(dim=1).mean()) > 0.1, "the features hang on the sound"
    torch.testing.assert_close(features, known, atol=1e-4, rtol=1e-4)


def transformers_name(name: str) -> str:
    """Return what transformers calls a tensor of fairseq's."""
    parts = name.split(".")
    if parts[0] == "feature_extractor":
        kind = "conv" if parts[3] == "0" else "layer_norm"
        return ".".join([*parts[:3], kind, parts[-1]])
    renames = {
        "post_extract_proj": "feature_projection.projection",
        "pos_conv.0.weight_g": "pos_conv_embed.conv.parametrizations.weight.original0",
        "pos_conv.0.weight_v": "pos_conv_embed.conv.parametrizations.weight.original1",
        "pos_conv.0": "pos_conv_embed.conv",
        "self_attn_layer_norm": "layer_norm",
        "self_attn": "attention",
        "fc1": "feed_forward.intermediate_dense",
        "fc2": "feed_forward.output_dense",
    }
    if parts[0] == "layer_norm":
        return f"feature_projection.{name}"
    for old, new in renames.items():
        if f"{old}." in f"{name}.":
            return name.replace(old, new)
    return name


def test_wav2vec2_gives_transformers_features() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is needed to compare")
    ours, tensors = speech_network()
    config = transformers.Wav2Vec2Config(
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        conv_dim=(32,) * 7,
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        layerdrop=0.0,
    )
    theirs = transformers.Wav2Vec2Model(config).eval()
    given = {transformers_name(name): value for name, value in tensors.items()}
    left = theirs.load_state_dict(given, strict=False)

    with torch.inference_mode():
        features, known = ours(sounds()), theirs(sounds()).last_hidden_state

    assert (left.missing_keys, left.unexpected_keys) == (["masked_spec_embed"], [])
    torch.testing.assert_close(features, known, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_with_xlsr_is_imported_and_scores(prefix: str, tmp_path: Path) -> None:
    source = tmp_path / "LA_model.pth"
    torch.save(small_file(prefix=prefix), source)

    made = from_checkpoint.import_checkpoint(
        source,
        published=only("xlsr-aasist", **SMALL),
        name="ours",
        models_dir=tmp_path / "models",
        license_text="MIT",
    )
    detector = registry.load_detectors(tmp_path / "models").by_kind[MediaKind.AUDIO]
    scores = detector.logits(sounds().numpy())

    assert made.prefix == prefix
    assert made.notes == (
        "5 left out, which score nothing: ssl_model.model.final_proj.weight, "
        "ssl_model.model.mask_emb, ssl_model.model.project_q.weight, "
        "ssl_model.model.quantizer.vars, ssl_model.model.quantizer.weight_proj.weight",
    )
    found = matched(small_file(), only("xlsr-aasist", **SMALL))
    with torch.inference_mode():
        logits = network(found)(sounds())
    np.testing.assert_allclose(scores, (logits[:, 0] - logits[:, 1]).numpy(), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rawnet2", "lfcc-lcnn"])
def test_a_file_of_a_baseline_is_imported_and_scores_the_synthetic_class(
    name: str, tmp_path: Path
) -> None:
    source = tmp_path / "theirs.pt"
    torch.save({"state_dict": file_tensors(name), "info": "epoch 3"}, source)

    made = from_checkpoint.import_checkpoint(
        source,
        published=PUBLISHED[name],
        name=name,
        models_dir=tmp_path / "models",
        license_text="as published",
    )
    detector = registry.load_detectors(tmp_path / "models").by_kind[MediaKind.AUDIO]
    scores = detector.logits(sounds().numpy())

    known = np.array(fixture()["scores"][name])
    fake = known[:, 0] - known[:, 1] if name == "rawnet2" else -known[:, 0]
    left_out = "4 left out, which score nothing: input_mean, input_std, output_mean, output_std"
    assert made.notes == ((left_out,) if name == "lfcc-lcnn" else ())
    np.testing.assert_allclose(scores, fake, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("file", "asked", "said"),
    [
        pytest.param("rawnet2", "lfcc-lcnn", "It fits --architecture rawnet2.", id="another"),
        pytest.param(
            "lfcc-lcnn", "rawnet2", "It fits --architecture lfcc-lcnn.", id="yet another"
        ),
        pytest.param("xlsr-aasist", "xlsr-aasist", "missing: ssl_model.model.", id="only a part"),
    ],
)
def test_a_wrong_file_is_refused_and_named(file: str, asked: str, said: str) -> None:
    with pytest.raises(ModelError) as caught:
        matched(file_tensors(file), list(PUBLISHED[asked]))

    assert said in str(caught.value)


def test_a_file_without_one_layer_of_xlsr_is_refused() -> None:
    tensors = small_file()
    del tensors["ssl_model.model.encoder.layers.2.fc1.bias"]

    with pytest.raises(
        ModelError, match=r"1 missing: ssl_model\.model\.encoder\.layers\.2\.fc1\.bias"
    ):
        matched(tensors, only("xlsr-aasist", **SMALL))


@pytest.mark.parametrize("name", ["rawnet2", "lfcc-lcnn", "xlsr-aasist"])
def test_a_file_that_is_far_too_large_is_refused_unread(name: str, tmp_path: Path) -> None:
    source = tmp_path / "huge.pth"
    limit = PUBLISHED[name][0].max_bytes
    with source.open("wb") as file:
        file.truncate(limit + 1)

    with pytest.raises(ModelError, match=f"weights of this architecture have at most {limit}"):
        from_checkpoint.import_checkpoint(
            source,
            published=PUBLISHED[name],
            name="m",
            models_dir=tmp_path / "models",
            license_text="MIT",
        )


@pytest.mark.parametrize(
    ("name", "params", "parameters"),
    [
        pytest.param("rawnet2", {}, 17_621_410, id="RawNet2"),
        pytest.param("lfcc-lcnn", {}, 269_729, id="LFCC-LCNN"),
        pytest.param("xlsr-aasist", {}, 315_884_938, id="XLS-R 300M and AASIST"),
    ],
)
def test_a_network_has_as_many_parameters_as_the_table_of_models_says(
    name: str, params: dict[str, int], parameters: int
) -> None:
    with torch.device("meta"):
        ours = architectures.build_network(name, params, where="test")

    assert sum(p.numel() for p in ours.parameters()) == parameters


def test_a_width_that_heads_do_not_share_evenly_is_refused() -> None:
    with pytest.raises(ModelError, match="width: 40 is no multiple of 3 and 16"):
        architectures.build_network("xlsr-aasist", {"width": 40, "heads": 3}, where="m")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "params"),
    [
        pytest.param("rawnet2", {}, id="RawNet2"),
        pytest.param("lfcc-lcnn", {}, id="LFCC-LCNN"),
        pytest.param("xlsr-aasist", SMALL, id="XLS-R, small"),
    ],
)
def test_a_window_scores_the_same_whatever_shares_its_batch(
    name: str, params: dict[str, int]
) -> None:
    torch.manual_seed(0)
    ours = architectures.build_network(name, params, where="test").eval()

    with torch.inference_mode():
        together = ours(sounds())
        alone = torch.cat([ours(sound[None]) for sound in sounds()])

    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["rawnet2", "lfcc-lcnn"])
def test_silence_scores_a_number(name: str) -> None:
    ours = architectures.build_network(name, {}, where="test").eval()

    with torch.inference_mode():
        assert torch.isfinite(ours(torch.zeros(1, published.SPEECH_4_S.window))).all()


def test_cepstra_are_those_of_torchaudio_up_to_its_own_choices() -> None:
    theirs = torchaudio.transforms.LFCC(
        n_lfcc=20,
        n_filter=20,
        f_max=4_000.0,
        log_lf=True,
        speckwargs={
            "n_fft": 1024,
            "win_length": 320,
            "hop_length": 160,
            "window_fn": torch.hamming_window,
            "pad_mode": "constant",
        },
    )
    sound = sounds(16_000)
    ours = Lfcc()
    # Their triangles peak at the true frequencies of the bins, the baseline's at those stretched
    # to reach 4 kHz; and they take the natural logarithm.
    ours.lfcc_fb = theirs.filter_mat[: lfcc.BINS]
    emphasised = torch.cat([sound[:, :1], sound[:, 1:] - 0.97 * sound[:, :-1]], dim=1)

    found = ours(sound)[:, :, 1:20] * np.log(10)

    known = theirs(emphasised).transpose(1, 2)[:, :, 1:]
    loud = slice(40, None)
    torch.testing.assert_close(found[:2, loud], known[:2, loud], atol=0.05, rtol=1e-2)


def test_a_file_keeps_its_own_filters() -> None:
    tensors = file_tensors("lfcc-lcnn")
    tensors[FIXED[0]] = tensors[FIXED[0]] * 2

    ours = network(matched(tensors, only("lfcc-lcnn")))

    assert torch.equal(ours.state_dict()[FIXED[0]], tensors[FIXED[0]])


def test_a_safetensors_file_of_a_baseline_fits_too(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file(file_tensors("lfcc-lcnn"), path)

    assert matched(safetensors.torch.load_file(path), only("lfcc-lcnn")).report.complete
