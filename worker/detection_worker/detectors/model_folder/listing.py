"""Which models a directory holds, and which of them scores each kind of media. No torch here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detection_contract import user_messages
from detection_contract.media_types import MediaKind
from detection_worker.detectors.model_folder.manifest import (
    MANIFEST_NAME,
    Manifest,
    ModelError,
    read_manifest,
    version_key,
)
from detection_worker.errors import UsageError

GRADE_ORDER: Final = ("demo", "experimental", "published")
"""Later is preferred."""
MERITS: Final = ("preferred", "calibrated", "higher grade", "newer version")
"""What decides between models of one kind, in this order; then the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One row of ``models list``.

    Attributes:
        name: Name of the folder.
        manifest: None if there is a problem.
        chosen: Whether it scores its kind of media.
        why: Why it was chosen, in a few words; empty if it was not.
        problem: Why it cannot be used; None if its manifest is valid.
    """

    name: str
    manifest: Manifest | None
    chosen: bool
    problem: str | None
    why: str = ""


def bundled_models_dir() -> Path:
    """Return the models that ship with the package.

    They lie in the package in an installed wheel, and in the repository's ``models`` folder in an
    editable installation.
    """
    package = Path(__file__).resolve().parents[2]
    installed = package / "bundled_models"
    return installed if installed.is_dir() else package.parents[1] / "models"


def list_models(models_dir: Path, *, prefer: Sequence[str] = ()) -> tuple[ModelEntry, ...]:
    """Return every model folder with its manifest or its problem, by name; loads no weights.

    Args:
        models_dir: Holds one folder for each model.
        prefer: As for ``load_detectors``; names that are not there are passed over.

    Raises:
        UsageError: ``user_messages.NO_MODELS`` if there is no such directory.
    """
    found, problems = read_all(models_dir)
    by_kind = [ranked(found, kind, prefer) for kind in MediaKind]
    why = {models[0].id: _why(models, prefer) for models in by_kind if models}
    good = [
        ModelEntry(name=m.id, manifest=m, chosen=m.id in why, problem=None, why=why.get(m.id, ""))
        for m in found.values()
    ]
    bad = [
        ModelEntry(name=name, manifest=None, chosen=False, problem=problem)
        for name, problem in problems.items()
    ]
    return tuple(sorted(good + bad, key=lambda entry: entry.name))


def read_all(models_dir: Path) -> tuple[dict[str, Manifest], dict[str, str]]:
    """Return the manifests of a directory of models, and the problem of each unusable folder.

    Args:
        models_dir: Holds one folder for each model.

    Returns:
        Manifests and problems, both by folder name.

    Raises:
        UsageError: ``user_messages.NO_MODELS`` if there is no such directory.
    """
    found: dict[str, Manifest] = {}
    problems: dict[str, str] = {}
    for folder in _entries(models_dir):
        try:
            if (folder / MANIFEST_NAME).is_file():
                found[folder.name] = read_manifest(folder)
        except ModelError as exc:
            problems[folder.name] = str(exc)
        except OSError as exc:
            # For example ``lost+found`` on a volume: an unreadable folder may be a model.
            problems[folder.name] = f"{folder}: cannot be read: {exc.strerror}"
    return found, problems


def _entries(models_dir: Path) -> list[Path]:
    try:
        return sorted(models_dir.iterdir())
    except OSError as exc:
        raise UsageError(f"{user_messages.NO_MODELS}\n{models_dir}: {exc.strerror}") from exc


def ranked(
    found: Mapping[str, Manifest], kind: MediaKind, prefer: Sequence[str]
) -> list[Manifest]:
    """Return the models of one kind, best first; ``MERITS`` has the order.

    Args:
        found: Manifests by name.
        kind: Kind of media that the models score.
        prefer: Names of models that win over others of their kind.
    """
    by_name = sorted((m for m in found.values() if m.kind is kind), key=lambda m: m.id)
    return sorted(by_name, key=lambda m: _merits(m, prefer), reverse=True)


def _merits(manifest: Manifest, prefer: Sequence[str]) -> tuple[object, ...]:
    """What ranks a model, most important first; higher is better. ``MERITS`` has the words.

    Calibration comes before the grade: a published network whose scores were not fitted here can
    call nearly every recording fake at the usual threshold.
    """
    return (
        manifest.id in prefer,
        manifest.calibrated,
        GRADE_ORDER.index(manifest.grade),
        version_key(manifest.version),
    )


def _why(models: Sequence[Manifest], prefer: Sequence[str]) -> str:
    """The first merit in which the best model beats the next."""
    if len(models) == 1:
        return "the only one"
    best, second = (_merits(m, prefer) for m in models[:2])
    return next(
        (word for word, a, b in zip(MERITS, best, second, strict=True) if a != b), "first by name"
    )
