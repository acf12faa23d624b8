"""Which architecture and layout a file is, by names and shapes alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from detection_worker.detectors import architectures
from detection_worker.detectors.importing import layouts
from detection_worker.detectors.importing.checkpoint import Checkpoint
from detection_worker.detectors.importing.layouts import Layout, sort_out
from detection_worker.detectors.importing.matching import Match, best_match
from detection_worker.detectors.importing.published import PUBLISHED, Published
from detection_worker.detectors.model_folder.manifest import ModelError

Tensors = dict[str, Tensor]
CHOICES = [(name, one) for name, several in PUBLISHED.items() for one in several]


def empty(architecture: str, published: Published | None = None) -> Tensors:
    """Return tensors of the right names and shapes that take no memory."""
    params = {} if published is None else published.params
    with torch.device("meta"):
        wanted = architectures.build_network(architecture, params, where="test").state_dict()
    return {n: torch.zeros((), dtype=v.dtype).expand(v.shape) for n, v in wanted.items()}


def matched(tensors: Tensors, architecture: str, *, layout: str = "") -> Match:
    checkpoint = Checkpoint(tensors=tensors, sha256="0" * 64, wrapper=())
    several = [p for p in PUBLISHED[architecture] if layout in {"", p.layout.name}]
    return best_match(checkpoint, several, where="file")


def refusal(tensors: Tensors, architecture: str) -> str:
    with pytest.raises(ModelError) as caught:
        matched(tensors, architecture)
    return str(caught.value)


def prefixed(tensors: Tensors, prefix: str) -> Tensors:
    return {prefix + name: value for name, value in tensors.items()}


@pytest.mark.parametrize(
    ("prefix", "layout"),
    [
        pytest.param("", "efficientnet-pytorch", id="bare"),
        pytest.param("net.", "sbi", id="as SBI saves it"),
        pytest.param("module.net.", "sbi", id="trained on several devices"),
        pytest.param("_orig_mod.module.net.", "sbi", id="and compiled"),
        pytest.param("model.", "efficientnet-pytorch", id="in a training framework"),
    ],
)
def test_what_stands_before_every_name_is_taken_off_up_to_the_layout(
    prefix: str, layout: str
) -> None:
    found = matched(prefixed(empty("efficientnet-b4"), prefix), "efficientnet-b4")

    assert found.published.layout.name == layout
    assert found.report.complete


def test_a_layout_that_is_named_wins_over_what_the_names_tell() -> None:
    found = matched(empty("efficientnet-b4"), "efficientnet-b4", layout="sbi")

    assert found.published.params["scale"] == "unit"
    assert found.published.sampling.crop_px == 380  # type: ignore[union-attr] # an image model


def test_a_layout_that_the_names_speak_against_is_refused() -> None:
    theirs = prefixed(empty("efficientnet-b4"), "net.")

    with pytest.raises(ModelError, match=r"in the layout timm: .*\n.*--layout sbi\."):
        matched(theirs, "efficientnet-b4", layout="timm")


def test_what_a_collection_keeps_for_other_detectors_is_left_out_and_named() -> None:
    tensors = prefixed(empty("xception"), "backbone.")
    narrower = nn.Sequential(nn.Conv2d(2048, 512, 1), nn.BatchNorm2d(512)).state_dict()

    found = matched(tensors | prefixed(narrower, "backbone.adjust_channel."), "xception")

    assert found.report.complete
    assert "7 left out, which score nothing: backbone.adjust_channel.0.bias" in found.notes[1]


def test_a_last_layer_behind_dropout_is_the_last_layer() -> None:
    tensors = prefixed(empty("xception"), "backbone.")
    behind = {
        name.replace("last_linear.", "last_linear.1."): value for name, value in tensors.items()
    }

    assert matched(behind, "xception").report.complete


def test_two_tensors_for_one_place_are_refused() -> None:
    tensors = prefixed(empty("xception"), "backbone.")
    twice = tensors | {"backbone.last_linear.1.weight": tensors["backbone.last_linear.weight"]}

    assert "1 unexpected: backbone.last_linear.1.weight" in refusal(twice, "xception")


def test_some_counters_without_the_others_are_missing_ones() -> None:
    tensors = empty("xception")
    del tensors["bn1.num_batches_tracked"]

    assert "275 of 276 tensors match; 1 missing: bn1.num_batches_tracked" in refusal(
        tensors, "xception"
    )


def test_only_dimensions_of_one_at_the_end_are_given() -> None:
    tensors = empty("xception")
    narrow = tensors["conv3.pointwise.weight"].reshape(1, 1536, 1024)

    assert "conv3.pointwise.weight float[1, 1536, 1024]" in refusal(
        tensors | {"conv3.pointwise.weight": narrow}, "xception"
    )


@pytest.mark.parametrize(
    ("tensors", "asked", "said"),
    [
        pytest.param(
            prefixed(empty("efficientnet-b4"), "net."),
            "xception",
            "It fits --architecture efficientnet-b4 --layout sbi.",
            id="another architecture",
        ),
        pytest.param(empty("npr"), "univfd", "It fits --architecture npr.", id="without layouts"),
        pytest.param(
            prefixed(empty("efficientnet-b4"), "net.") | {"net._fc.bias": torch.zeros(1000)},
            "npr",
            "It looks most like --architecture efficientnet-b4 --layout sbi: 705 of 706 tensors "
            "match; 1 of another shape or type: _fc.bias float[1000] instead of float[2].",
            id="similar to another",
        ),
        pytest.param(
            empty("xception") | {"last_linear.weight": torch.zeros(1000, 2048)},
            "xception",
            "a classifier of other classes than real and fake?",
            id="of other classes",
        ),
        pytest.param({"a": torch.zeros(1)}, "npr", "It fits no known architecture", id="unlike"),
    ],
)
def test_a_refusal_says_what_the_file_is_instead(tensors: Tensors, asked: str, said: str) -> None:
    assert said in refusal(tensors, asked)


@pytest.mark.parametrize(
    ("architecture", "params"),
    [
        pytest.param("xception", {"scale": "bright"}, id="unknown scale"),
        pytest.param("efficientnet-b4", {"padding_px": "wide"}, id="padding in words"),
        pytest.param("npr", {"scale": "unit"}, id="no such parameter"),
    ],
)
def test_an_impossible_network_is_refused(architecture: str, params: dict[str, str]) -> None:
    with pytest.raises(ModelError, match="architecture\\.params"):
        architectures.build_network(architecture, params, where="test")


@pytest.mark.parametrize(
    ("name", "one"), [pytest.param(n, o, id=f"{n}-{o.layout.name}") for n, o in CHOICES]
)
def test_every_published_row_can_be_built(name: str, one: Published) -> None:
    assert one.architecture == name
    assert empty(name, one)
    assert one.classes[one.fake_index] == "fake"


@given(
    st.lists(st.text("ab.", max_size=4), unique=True),
    st.lists(st.tuples(st.text("ab.", min_size=1, max_size=2), st.text("ab.", max_size=2))),
    st.lists(st.text("ab.", min_size=1, max_size=2)),
)
def test_every_name_of_a_file_ends_in_one_place(
    names: list[str], renames: list[tuple[str, str]], unused: list[str]
) -> None:
    layout = Layout(name="any", renames=tuple(renames), unused=tuple(unused))

    found = sort_out(names, layout)

    assert sorted([*found.ours.values(), *found.unused, *found.clashing]) == sorted(names)
    assert all(layout.ours(theirs) == ours for ours, theirs in found.ours.items())


def test_a_file_in_our_own_names_is_not_renamed() -> None:
    assert sort_out(["a.weight"], layouts.OWN).ours == {"a.weight": "a.weight"}
