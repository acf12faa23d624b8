"""Install and remove whole model folders. No torch here."""

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from detection_worker.detectors.model_folder.listing import bundled_models_dir, list_models
from detection_worker.detectors.model_folder.manifest import MANIFEST_NAME, Borrowed, ModelError

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
"""Same as ``manifest_parts.ModelId``: no path separator, so a name never leaves its directory."""


def check_name(name: str) -> None:
    """Check the name of a model.

    Raises:
        ModelError: The name breaks the rule, which the text states.
    """
    if not NAME.fullmatch(name):
        raise ModelError(
            f"Not a model's name: {name!r}\n"
            "Names have up to 64 of a-z, 0-9, dot and hyphen, and start with a letter or digit."
        )


def check_free(models_dir: Path, name: str, *, force: bool) -> None:
    """Check, before any work, that a model of this name can be installed.

    Raises:
        ModelError: The name is taken and ``force`` is not given, or it is no model's folder.
    """
    check_name(name)
    target = models_dir / name
    if not target.exists() and not target.is_symlink():
        return
    if not _is_model(target):
        raise ModelError(f"{target}: exists and is no model folder\nChoose another --name.")
    if not force:
        raise ModelError(f"{target}: exists\nChoose another --name, or replace it with --force.")


@contextmanager
def staged(models_dir: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield a directory with an empty folder for each name; install them if the block succeeds.

    Readers of ``models_dir`` do not see them before.

    Args:
        models_dir: Where they move to, in the order of their names: what lends weights comes
            first, so that no worker that starts meanwhile finds a borrower alone.
        names: Names of the folders.

    Raises:
        ModelError: The disk is full or may not be written to. Nothing half written is left then.
    """
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=models_dir, prefix=".staged-") as scratch:
            fresh, old = Path(scratch) / "new", Path(scratch) / "old"
            for folder in (old, *(fresh / name for name in names)):
                folder.mkdir(parents=True)
            yield fresh
            for name in names:
                _take_place(fresh / name, models_dir / name, aside=old / name)
    except OSError as exc:
        raise ModelError(
            f"{models_dir / names[0]}: cannot be written: {exc.strerror}\n"
            "Free some space, or choose a directory that you may write to."
        ) from exc


def check_lent(models_dir: Path, names: Sequence[str], *, sha256: str) -> None:
    """Check that no other model depends on the weights that are replaced.

    Args:
        models_dir: Directory of models; it may not exist yet.
        names: Names of the models that are replaced together; the first has the weights.
        sha256: Digest of the new weights.

    Raises:
        ModelError: A model that is not replaced too uses others.
    """
    lent = _borrowers(models_dir, names[0]) if models_dir.is_dir() else {}
    users = [n for n, uses in lent.items() if uses.sha256 != sha256 and n not in names]
    if users:
        raise ModelError(
            f"{names[0]} lends its weights to {', '.join(users)}, and these are others\n"
            "Choose another --name, remove the borrower first, or replace the video model of an "
            "import with it: --video."
        )


def check_removable(models_dir: Path, name: str) -> None:
    """Check that a model can be removed.

    Raises:
        ModelError: There is none, it ships with the program, or another model uses its weights.
    """
    check_name(name)
    folder = models_dir / name
    if not _is_model(folder):
        raise ModelError(f"No such model: {name}\nSee detection-worker models list.")
    if models_dir.resolve() == bundled_models_dir().resolve():
        raise ModelError(
            f"{name} ships with the program and stays\n"
            "To be rid of it, name another directory: --models-dir."
        )
    if users := _borrowers(models_dir, name):
        raise ModelError(f"{name} lends its weights to {', '.join(users)}\nRemove that first.")


def remove(models_dir: Path, name: str) -> None:
    """Delete a model's folder.

    Raises:
        ModelError: As ``check_removable``, or the disk refuses.
    """
    check_removable(models_dir, name)
    folder = models_dir / name
    try:
        with tempfile.TemporaryDirectory(dir=models_dir, prefix=".staged-") as scratch:
            # In one step, so that no worker that starts now finds half of it.
            folder.rename(Path(scratch) / name)
    except OSError as exc:
        raise ModelError(f"{folder}: cannot be removed: {exc.strerror}") from exc


def _borrowers(models_dir: Path, name: str) -> dict[str, Borrowed]:
    networks = {e.name: e.manifest.network for e in list_models(models_dir) if e.manifest}
    return {u: n for u, n in networks.items() if isinstance(n, Borrowed) and n.id == name}


def _is_model(folder: Path) -> bool:
    try:
        return not folder.is_symlink() and (folder / MANIFEST_NAME).is_file()
    except OSError as exc:
        raise ModelError(
            f"{folder}: cannot be read: {exc.strerror}\nGive yourself the right to read it."
        ) from exc


def _take_place(fresh: Path, target: Path, *, aside: Path) -> None:
    if not target.exists():
        fresh.rename(target)
        return
    shutil.move(target, aside)
    try:
        fresh.rename(target)
    except OSError:
        aside.rename(target)
        raise
