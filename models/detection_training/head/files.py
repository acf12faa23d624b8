"""Which files a head is fitted on, which calibrate it, and which it never sees. Pure."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Final

import numpy as np

SHARES: Final[Mapping[str, float]] = {"fit": 0.6, "calibrate": 0.2, "test": 0.2}
"""Share of each part of the split in the files of each class."""
LEAST_GROUPS: Final = 10
"""Groups that each class needs before files may be grouped more coarsely."""
SEED: Final = 7
TELLING: Final = 0.9
"""Share of one class that a file type must have, and the other must not, to give classes away."""

_NUMBER: Final = re.compile(r"[-_. (]*\d+\)?$")


def by_folder(name: str) -> str:
    """Return the folder of a file, below the folder of its class; ``""`` for that one itself."""
    folder = PurePath(*PurePath(name).parts[1:]).parent
    return "" if folder == PurePath() else str(folder)


def by_series(name: str) -> str:
    """Return a file's folder and its stem without the number at its end: ``anna_007`` is anna."""
    stem = PurePath(name).stem
    return f"{by_folder(name)}/{_NUMBER.sub('', stem) or stem}".lower()


def by_stem(name: str) -> str:
    """Return a file's stem: a fake is often called like the real file that it was made from."""
    return PurePath(name).stem.lower()


GROUPINGS: Final[Mapping[str, Callable[[str], str]]] = {
    "folder": by_folder,
    "series": by_series,
    "file": by_stem,
}
"""From coarse to fine. Names start with ``real/`` or ``fake/``, which no group depends on: a fake
and the real file that it was made from must be on one side of the split."""


def choose_grouping(names: Sequence[str], is_fake: Sequence[bool]) -> str:
    """Return the coarsest grouping that leaves enough groups of each class to split."""
    for grouping, key in GROUPINGS.items():
        groups = {
            fake: {key(n) for n, f in zip(names, is_fake, strict=True) if f == fake}
            for fake in (False, True)
        }
        if min(len(found) for found in groups.values()) >= LEAST_GROUPS:
            return grouping
    return "file"


def split(groups: Sequence[str], is_fake: Sequence[bool], *, seed: int = SEED) -> list[str]:
    """Return the part of each file, a key of ``SHARES``; files of one group are in one part.

    Groups are dealt in random order, larger ones first, to the part that lacks most.

    Args:
        groups: Group of each file.
        is_fake: Its class.
        seed: Seed of the order.
    """
    sizes: dict[str, Counter[bool]] = {}
    for group, fake in zip(groups, is_fake, strict=True):
        sizes.setdefault(group, Counter())[bool(fake)] += 1
    total = Counter(bool(fake) for fake in is_fake)
    order = sorted(sizes)
    np.random.default_rng(seed).shuffle(order)
    order.sort(key=lambda group: -sum(sizes[group].values()))
    has: dict[str, Counter[bool]] = {part: Counter() for part in SHARES}
    part_of: dict[str, str] = {}
    for group in order:
        part = max(SHARES, key=lambda p: _lack(sizes[group], has[p], total, share=SHARES[p]))
        part_of[group] = part
        has[part].update(sizes[group])
    return [part_of[group] for group in groups]


def telling_types(names: Iterable[str], is_fake: Iterable[bool]) -> list[str]:
    """Return file types that nearly all of one class have and hardly any of the other."""
    counts: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    for name, fake in zip(names, is_fake, strict=True):
        counts[bool(fake)][PurePath(name).suffix.lower()] += 1
    shares = [
        {suffix: n / max(counts[fake].total(), 1) for suffix, n in counts[fake].items()}
        for fake in (False, True)
    ]
    return sorted(
        suffix
        for one, other in (shares, shares[::-1])
        for suffix, share in one.items()
        if share >= TELLING and other.get(suffix, 0.0) <= 1 - TELLING
    )


def _lack(size: Counter[bool], has: Counter[bool], total: Counter[bool], *, share: float) -> float:
    """How much of its share a part lacks of the classes in a group, 0 to 1 for an empty part."""
    return sum(n * (1 - has[fake] / (share * total[fake])) for fake, n in size.items()) / max(
        size.total(), 1
    )
