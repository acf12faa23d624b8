"""One pool and one way to ask it for all tests of media."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import AudioSampling, ImageSampling, VideoSampling
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.values import DecodedMedia, DecodeRequest
from detection_worker.settings import MediaLimits

IMAGE = ImageSampling(crop_px=64, max_crops=4)
VIDEO = VideoSampling(max_frames=6, crop_px=64, crops_per_frame=2)
AUDIO = AudioSampling(sample_rate_hz=16_000, window=8_000, hop=4_000, max_windows=8)


@pytest.fixture(scope="session")
def pool() -> Iterator[ProcessDecoder]:
    with ProcessDecoder(1) as pool:
        pool.warm()
        yield pool


def make_request(
    path: Path,
    *,
    limits: MediaLimits | None = None,
    announced: MediaKind | None = None,
    image: ImageSampling | None = IMAGE,
    video: VideoSampling | None = VIDEO,
    audio: AudioSampling | None = AUDIO,
) -> DecodeRequest:
    return DecodeRequest(
        path=path,
        announced=announced,
        image=image,
        video=video,
        audio=audio,
        limits=limits or MediaLimits(),
    )


@pytest.fixture(scope="session")
def request_for() -> Callable[..., DecodeRequest]:
    return make_request


@pytest.fixture
def decode(pool: ProcessDecoder) -> Callable[..., DecodedMedia]:
    """Decode with the shared pool; takes what ``make_request`` takes."""

    def run(path: Path, **how: object) -> DecodedMedia:
        request = make_request(path, **how)  # type: ignore[arg-type]
        return pool.decode(request, on_progress=lambda: None, cancelled=lambda: False)

    return run
