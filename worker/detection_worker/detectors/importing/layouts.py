"""Names that published files give the tensors of our networks. No torch here."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final

COUNTER: Final = ".num_batches_tracked"
"""Ends the name of a normalisation's count of training batches: says nothing in scoring, and files
from before PyTorch 0.4.1 do not have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Tensor names of one origin.

    Attributes:
        name: Value of ``--layout``.
        markers: Names of which a file in this layout has one, and files in other layouts of its
            architecture have none; empty if there are no others.
        renames: Beginnings of names, each with what it is called here; the first that fits is
            exchanged, and a name that none fits stays.
        unused: Beginnings of names, as in the file, of tensors that score nothing.
        plain_too: A file in our own names, which say nothing about its training, is accepted as
            this layout if ``--layout`` names it.
    """

    name: str
    markers: tuple[str, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    unused: tuple[str, ...] = ()
    plain_too: bool = False

    def ours(self, name: str) -> str:
        """Return what a tensor of the file is called here."""
        for old, new in self.renames:
            if name.startswith(old):
                return new + name.removeprefix(old)
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """The names of a file, sorted out.

    Attributes:
        ours: Our name of each tensor that is used, to its name in the file.
        unused: Names in the file of what is left out.
        clashing: Names in the file whose place another tensor has.
    """

    ours: Mapping[str, str]
    unused: tuple[str, ...]
    clashing: tuple[str, ...]


def sort_out(names: Collection[str], layout: Layout) -> Naming:
    """Return what becomes of each name of a file in this layout."""
    ours: dict[str, str] = {}
    unused = [name for name in names if name.startswith(layout.unused)] if layout.unused else []
    clashing = []
    for name in names:
        if name in unused:
            continue
        if ours.setdefault(layout.ours(name), name) != name:
            clashing.append(name)
    return Naming(ours=ours, unused=tuple(unused), clashing=tuple(clashing))


def _timm_block(
    theirs: str, ours: str, *, convolutions: tuple[tuple[str, str], ...]
) -> Iterator[tuple[str, str]]:
    squeeze = (("se.conv_reduce", "_se_reduce"), ("se.conv_expand", "_se_expand"))
    norms = ((f"bn{i + 1}", new) for i, (_, new) in enumerate(_norms(convolutions)))
    for old, new in (*convolutions, *norms, *squeeze):
        yield f"{theirs}{old}.", f"{ours}{new}."


def _norms(convolutions: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, str]]:
    after = {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}
    return ((old, after[new]) for old, new in convolutions)


def _timm_efficientnet(repeats: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """Yield timm's names of an EfficientNet: stages and blocks in them, convolutions by purpose.

    Args:
        repeats: Blocks of each stage.
    """
    number = count()
    for stage, blocks in enumerate(repeats):
        first = (("conv_dw", "_depthwise_conv"), ("conv_pw", "_project_conv"))
        later = (
            ("conv_pw", "_expand_conv"),
            ("conv_dw", "_depthwise_conv"),
            ("conv_pwl", "_project_conv"),
        )
        for block in range(blocks):
            yield from _timm_block(
                f"blocks.{stage}.{block}.",
                f"_blocks.{next(number)}.",
                convolutions=later if stage else first,
            )
    yield from (("conv_stem.", "_conv_stem."), ("bn1.", "_bn0."))
    yield from (("conv_head.", "_conv_head."), ("bn2.", "_bn1."), ("classifier.", "_fc."))


OWN: Final = Layout(name="own")
"""The names that our network itself has."""

XCEPTION_DEEPFAKEBENCH: Final = Layout(
    name="deepfakebench",
    # The second form where training dropped features out before the last layer.
    markers=("backbone.last_linear.weight", "backbone.last_linear.1.weight"),
    renames=(("backbone.last_linear.1.", "last_linear."), ("backbone.", "")),
    # A narrower map for other detectors of that collection, which this one never computes.
    unused=("backbone.adjust_channel.",),
    plain_too=True,
)
XCEPTION_CADENE: Final = Layout(
    name="cadene",
    markers=("last_linear.weight", "last_linear.1.weight"),
    renames=(("last_linear.1.", "last_linear."),),
)
XCEPTION_TIMM: Final = Layout(
    name="timm", markers=("fc.weight",), renames=(("fc.", "last_linear."),)
)

EFFICIENTNET_DEEPFAKEBENCH: Final = Layout(
    name="deepfakebench",
    markers=("backbone.efficientnet._conv_stem.weight",),
    renames=(("backbone.efficientnet.", ""), ("backbone.last_layer.", "_fc.")),
    unused=("backbone.adjust_channel.",),
    plain_too=True,
)
EFFICIENTNET_SBI: Final = Layout(
    name="sbi",
    markers=("net._conv_stem.weight",),
    renames=(("net.", ""),),
    plain_too=True,
)
EFFICIENTNET_LUKEMELAS: Final = Layout(name="efficientnet-pytorch", markers=("_conv_stem.weight",))
EFFICIENTNET_TIMM: Final = Layout(
    name="timm",
    markers=("conv_stem.weight",),
    renames=tuple(_timm_efficientnet((2, 4, 4, 6, 6, 8, 2))),
)

EFFORT_FACES: Final = Layout(name="faces")
"""Effort trained on faces; its files do not say what they were trained on."""
EFFORT_PICTURES: Final = Layout(name="pictures")
"""Effort trained on whole pictures."""

LFCC_LCNN: Final = Layout(
    name="own",
    # Mean and spread of inputs and outputs, which its toolkit keeps for every network and this
    # one never applies.
    unused=("input_mean", "input_std", "output_mean", "output_std"),
)

XLSR_AASIST: Final = Layout(
    name="own",
    # What wav2vec 2.0 needs to be trained without labels: masks, quantiser, and projections of
    # what is compared.
    unused=tuple(
        f"ssl_model.model.{part}"
        for part in ("mask_emb", "quantizer.", "project_q.", "final_proj.")
    ),
)
