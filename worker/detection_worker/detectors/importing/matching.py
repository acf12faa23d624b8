"""Match the tensors of a file with those of a network: renamed, reshaped, all accounted for."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from detection_worker.detectors import architectures
from detection_worker.detectors.importing.checkpoint import Checkpoint, listed, without_prefix
from detection_worker.detectors.importing.layouts import COUNTER, Layout, sort_out
from detection_worker.detectors.importing.published import PUBLISHED, Published
from detection_worker.detectors.model_folder.manifest import ModelError
from detection_worker.detectors.model_folder.weights import numbers_of

ALIKE: Final = 0.5
"""Share of tensors that must match for a file to be called similar to an architecture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReport:
    """How the tensors of a file compare with those of an architecture.

    Attributes:
        matched: Tensors of the right name, shape and type.
        wanted: Tensors that the architecture has.
        missing: Names that the file lacks.
        unexpected: Names that the architecture lacks.
        misshapen: Tensors of another shape or type, each with both.
    """

    matched: int
    wanted: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Every tensor has its place and every place its tensor."""
        return not (self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        parts = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape or type": self.misshapen,
        }
        told = [f"{len(names)} {what}: {listed(names)}" for what, names in parts.items() if names]
        return "; ".join([f"{self.matched} of {self.wanted} tensors match", *told])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Match:
    """A file seen as one published architecture.

    Attributes:
        published: That architecture.
        report: How well it fits.
        tensors: By our names, shaped as ours; of the file's own type.
        prefix: What stood before every name in the file.
        marked: The file has a name that belongs to this layout alone.
        notes: Human-readable notes on changed names and shapes.
    """

    published: Published
    report: KeyReport
    tensors: dict[str, Tensor]
    prefix: str
    marked: bool
    notes: tuple[str, ...]


def best_match(checkpoint: Checkpoint, published: Sequence[Published], *, where: str) -> Match:
    """Return the checkpoint as the one of ``published`` that it fits.

    Args:
        checkpoint: What to match.
        published: What it may be, in order of preference; one alone was asked for by name.
        where: Name of the file, for messages.

    Raises:
        ModelError: It fits none of them; the message reports on the nearest, and names another
            architecture if the file fits that or is similar to it.
    """
    matches = [match(checkpoint, one) for one in published]
    nearest = max(matches, key=_rank)
    named = len(published) == 1 and nearest.published.layout.plain_too
    if nearest.report.complete and (nearest.marked or named):
        return nearest
    raise ModelError(
        f"{where}: does not fit {_called(nearest.published)}: {nearest.report}\n"
        f"{_advice(checkpoint, nearest)}"
    )


def match(checkpoint: Checkpoint, published: Published) -> Match:
    """Return how the checkpoint fits, if its names are in ``published.layout``."""
    network = _shapes(published.architecture, tuple(published.params.items()))
    wanted = network.state_dict()
    layout = published.layout
    named, prefix = without_prefix(checkpoint.tensors, wanted.keys() | set(layout.markers))
    naming = sort_out(named.keys(), layout)
    tensors = {ours: named[theirs] for ours, theirs in naming.ours.items()}
    notes = [*checkpoint.notes, *_renamed(naming.ours, layout)]
    if naming.unused:
        notes.append(
            f"{len(naming.unused)} left out, which score nothing: {listed(naming.unused)}"
        )
    reshaped = _with_trailing_ones(tensors, wanted)
    if reshaped:
        notes.append(f"{reshaped} given their trailing dimensions of one")
    if counters := _counters(tensors, wanted):
        tensors |= counters
        notes.append(
            f"{len(counters)} counters of training batches set to zero: the file has none"
        )
    return Match(
        published=published,
        report=compare(network, tensors, also_unexpected=naming.clashing),
        tensors=tensors,
        prefix=prefix,
        marked=not layout.markers or any(name in named for name in layout.markers),
        notes=tuple(notes),
    )


def compare(
    network: nn.Module, tensors: Mapping[str, Tensor], *, also_unexpected: Sequence[str] = ()
) -> KeyReport:
    """Return how ``tensors`` compare with what ``network`` has; usual floats are alike.

    Args:
        network: Its values do not matter.
        tensors: By the network's names.
        also_unexpected: Further names that have no place.
    """
    wanted = {name: _kind(value) for name, value in network.state_dict().items()}
    found = {name: _kind(value) for name, value in tensors.items()}
    shared = wanted.keys() & found.keys()
    misshapen = [n for n in shared if wanted[n] != found[n]]
    return KeyReport(
        matched=len(shared) - len(misshapen),
        wanted=len(wanted),
        missing=tuple(sorted(wanted.keys() - found.keys())),
        unexpected=tuple(sorted([*(found.keys() - wanted.keys()), *also_unexpected])),
        misshapen=tuple(sorted(f"{n} {found[n]} instead of {wanted[n]}" for n in misshapen)),
    )


@functools.cache
def _shapes(architecture: str, params: tuple[tuple[str, int | float | str], ...]) -> nn.Module:
    """Return the network without room for its values."""
    with torch.device("meta"):
        return architectures.build_network(architecture, dict(params), where=architecture)


def _kind(tensor: Tensor) -> str:
    return f"{numbers_of(tensor)}{list(tensor.shape)}"


def _rank(found: Match) -> tuple[bool, bool, float]:
    return found.report.complete and found.marked, found.marked, _share(found)


def _share(found: Match) -> float:
    return found.report.matched / max(found.report.wanted, 1)


def _called(published: Published) -> str:
    layout = published.layout.name
    return published.architecture + (f" in the layout {layout}" if layout != "own" else "")


def _renamed(ours: Mapping[str, str], layout: Layout) -> list[str]:
    renamed = sum(name != theirs for name, theirs in ours.items())
    return [f"{renamed} renamed from the layout {layout.name}"] if renamed else []


def _with_trailing_ones(tensors: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> int:
    """Shape in place what lacks only dimensions of one at its end; return how many that were.

    Files from before PyTorch 0.4 keep 1x1 convolutions as plain matrices.
    """
    changed = 0
    for name, tensor in tensors.items():
        shape = wanted[name].shape if name in wanted else tensor.shape
        extra = len(shape) - tensor.ndim
        if extra > 0 and shape == (*tensor.shape, *(1,) * extra):
            tensors[name] = tensor.reshape(shape)
            changed += 1
    return changed


def _counters(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    counters = [name for name in wanted if name.endswith(COUNTER)]
    if any(name in tensors for name in counters):
        return {}
    return {name: torch.zeros((), dtype=torch.int64) for name in counters}


def _advice(checkpoint: Checkpoint, nearest: Match) -> str:
    everything = [one for several in PUBLISHED.values() for one in several]
    others = [match(checkpoint, one) for one in everything if one != nearest.published]
    best = max(others, key=_rank, default=nearest)
    option = f"--architecture {best.published.architecture}"
    if best.published.layout.name != "own":
        option += f" --layout {best.published.layout.name}"
    if best.report.complete:
        return f"It fits {option}."
    if _share(best) > max(ALIKE, _share(nearest)):
        return f"It looks most like {option}: {best.report}."
    if _share(nearest) > ALIKE:
        return "Is it a changed network, or a classifier of other classes than real and fake?"
    return f"It fits no known architecture ({', '.join(PUBLISHED)})."
