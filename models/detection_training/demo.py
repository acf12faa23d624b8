"""The whole demonstration training: fetch, train, calibrate, measure, write."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detection_training import audio_model, image_model, package, photos
from detection_training.audio_training import AudioPlan
from detection_training.image_training import ImagePlan
from detection_training.sources import LOCK_NAME, SOURCES, Log, fetch
from detection_training.splits import Split
from detection_worker.detectors.registry import load_detectors
from detection_worker.errors import UsageError

IDS: Final = (image_model.IMAGE.id, image_model.VIDEO.id, audio_model.AUDIO.id)
SEED: Final = 20_240


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """How much to do for each model."""

    image: ImagePlan
    audio: AudioPlan


def plan(minutes: float) -> DemoPlan:
    """Return the work that two cores of 2020 do in about ``minutes``.

    The counts follow from the minutes alone, so that a run can be repeated; the seconds only
    guard slower machines.
    """
    share = minutes / 5
    return DemoPlan(
        image=ImagePlan(
            patches=max(30, round(600 * min(share, 3))),
            autoencoder_steps=max(4, round(140 * share)),
            steps=max(4, round(260 * share)),
            seconds=80 * share + 2,
            pictures=max(6, round(40 * min(share, 3))),
            clips=max(6, round(24 * min(share, 3))),
        ),
        audio=AudioPlan(
            per_voice=max(3, round(36 * min(share, 4))),
            held_out_per_voice=max(3, round(16 * min(share, 4))),
            steps=max(4, round(220 * share)),
            seconds=90 * share + 2,
        ),
    )


def train_demo(cache: Path, output: Path, *, minutes: float, force: bool, log: Log) -> list[str]:
    """Fetch the media, make the three models and load them; return what is missing.

    Args:
        cache: Directory for downloads; kept, so that a second run fetches nothing.
        output: Models directory.
        minutes: About how long to take.
        force: Overwrite folders that training did not make.
        log: Takes progress lines.

    Raises:
        UsageError: Nothing could be fetched, or a folder is in the way.
    """
    package.check_free(output, IDS, force=force)
    log(f"Fetching freely licensed media into {cache}")
    folders = fetch(cache, log=log)
    lock = hashlib.sha256((cache / LOCK_NAME).read_bytes()).hexdigest()
    return make_models(
        folders, output, work=plan(minutes), cache=cache, provenance={"data_lock": lock}, log=log
    )


def make_models(
    folders: Mapping[str, Path],
    output: Path,
    *,
    work: DemoPlan,
    cache: Path,
    provenance: Mapping[str, str],
    log: Log,
) -> list[str]:
    """Make every model that the media at hand allow; return what is missing.

    Args:
        folders: Unpacked packages by name.
        output: Models directory.
        work: How much to do.
        cache: Where autoencoders are kept.
        provenance: For the manifests.
        log: Takes progress lines.

    Raises:
        UsageError: The media allow no model at all.
    """
    started = time.monotonic()
    missing = []
    facts = {**provenance, "seed": SEED}
    by_split = photos.available(folders)
    if all(by_split[split] for split in (Split.TRAIN, Split.DEV, Split.TEST)):
        inputs = image_model.Inputs(
            photos=by_split,
            cache=cache,
            sources=_licenses(folders, "photos"),
            provenance=facts,
            seed=SEED,
        )
        image_model.make(inputs, work.image, output=output, log=log)
    else:
        missing.append("image and video models: no photographs could be fetched")
    made = audio_model.make(
        folders,
        work.audio,
        sources=_licenses(folders, "speech", "synthesiser"),
        provenance=facts,
        seed=SEED,
        output=output,
        log=log,
    )
    if not made:
        missing.append("audio model: no speech could be fetched (it needs apt-get and dpkg-deb)")
    if len(missing) == 2:
        raise UsageError(
            "Not enough training media!\nMake `apt-get download` work on this machine, or use the "
            "models that ship with the package."
        )
    loaded = load_detectors(output)
    log(f"Loaded models: {[str(kind) for kind in loaded.by_kind]}")
    log(f"Done after {time.monotonic() - started:.0f} s: {output}")
    return missing


def _licenses(folders: Mapping[str, Path], *purposes: str) -> dict[str, str]:
    return {s.name: s.license for s in SOURCES if s.name in folders and s.holds in purposes}
