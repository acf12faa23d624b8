"""The models of a predictor: those of a kind are loaded when the first file needs them."""

import logging
import time
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import Final

from detection_contract import user_messages
from detection_contract.media_types import MediaKind, kind_of_name
from detection_worker.detectors.base import Detector
from detection_worker.detectors.model_folder.listing import bundled_models_dir
from detection_worker.detectors.registry import ModelDirectory
from detection_worker.settings import Settings

ALL_KINDS: Final = tuple(MediaKind)

log = logging.getLogger(__name__)


class LazyModels:
    """Not thread-safe.

    Args:
        settings: Say which models, and how much of a file they look at.
        device: As for ``load_detectors``.
        threads: As for ``load_detectors``.
    """

    def __init__(self, settings: Settings, *, device: str, threads: int) -> None:
        self._settings = settings
        self._device = device
        self._threads = threads
        self._directory: ModelDirectory | None = None
        self._asked: set[MediaKind] = set()
        self._told: set[str] = set()

    @property
    def by_kind(self) -> Mapping[MediaKind, Detector]:
        """The detectors that are loaded; after the first ``load`` this mapping grows."""
        return {} if self._directory is None else self._directory.by_kind

    def needed_for(self, name: str) -> tuple[MediaKind, ...]:
        """Return which kinds of models a file of this name needs, if its content is what it says.

        Args:
            name: As for ``kind_of_name``.
        """
        kind = kind_of_name(name)
        if kind is None:
            return ALL_KINDS
        if kind is MediaKind.VIDEO and self._settings.video_audio:
            return MediaKind.VIDEO, MediaKind.AUDIO
        return (kind,)

    def load(self, kinds: Collection[MediaKind], *, idle: AbstractContextManager[object]) -> None:
        """Load the models of these kinds that are not loaded yet.

        Args:
            kinds: Media kinds that are about to be scored.
            idle: While it is entered, no detector is in use.

        Raises:
            UsageError: No model could be loaded, the device is absent, or a preferred model is.
        """
        if self._asked.issuperset(kinds):
            return
        started_s = time.perf_counter()
        with idle:
            fresh = self._opened().load(kinds)
        self._asked.update(kinds)
        self._tell()
        if fresh:
            loaded = [kind.value for kind in MediaKind if kind in self.by_kind]
            log.info(user_messages.LOG_LOADED.format(kinds=loaded))
            log.debug("models loaded in %.1f s", time.perf_counter() - started_s)

    def _tell(self) -> None:
        for problem in self._opened().problems:
            if problem not in self._told:
                self._told.add(problem)
                log.warning("model not loaded: %s", problem)

    def _opened(self) -> ModelDirectory:
        if self._directory is None:
            self._directory = ModelDirectory(
                self._settings.models_dir or bundled_models_dir(),
                device=self._device,
                threads=self._threads,
                prefer=self._settings.models_prefer,
                analysis=self._settings.analysis,
            )
        return self._directory
