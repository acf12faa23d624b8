"""Real files of every kind, scored once by real models; two implementations of S3."""

import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from numpy.typing import NDArray

from detection_contract.aws.s3_urls import S3Location
from detection_contract.media_types import MediaKind
from detection_testing.aws.local_aws import LocalAws
from detection_testing.media import provenance_samples, sample_media
from detection_testing.samples import sample_path
from detection_worker.aws_session import make_session
from detection_worker.cache.codec import EntryId, Scores
from detection_worker.core.sampling import VideoSampling
from detection_worker.core.verdict import Calibration, Pooling
from detection_worker.detectors.base import Detector, DetectorCard, ScoredTrack
from detection_worker.detectors.model_folder.listing import bundled_models_dir
from detection_worker.detectors.registry import load_detectors
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.values import DecodedMedia
from detection_worker.pipeline.files.analysis import units_of
from detection_worker.pipeline.files.applicability import listened
from detection_worker.pipeline.files.decoding import Decoding
from detection_worker.settings import AwsSettings, MediaLimits
from detection_worker.storage.base import ObjectFacts

FACES = {"view": "faces", "face_scale": 1.3}
FACTS = ObjectFacts(
    size_bytes=4_711,
    content_type="image/png",
    last_modified=datetime(2026, 10, 21, 7, 28, tzinfo=UTC),
    etag="d41d8cd98f00b204e9800998ecf8427e-3",
)
ABOUT = EntryId(bucket="media", key="a/b ü.png", version_id=None, scoring="s" * 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A scored file and the cards of the detectors that were loaded."""

    scores: Scores
    cards: Mapping[MediaKind, DetectorCard]


def score(decoding: Decoding, path: Path) -> Example:
    def of(media: DecodedMedia) -> ScoredTrack:
        detector = decoding.detectors[media.info.kind]
        media = units_of(detector, media, on_progress=lambda: None)
        logits = np.empty(0, np.float32)
        if len(media.units):
            logits = detector.logits(media.units)
        return listened(ScoredTrack(decoded=media, logits=logits, card=detector.card))

    main, sound = decoding.decode(path, name=path.name)
    scores = Scores(object=FACTS, main=of(main), sound=None if sound is None else of(sound))
    cards = {kind: detector.card for kind, detector in decoding.detectors.items()}
    return Example(scores=scores, cards=cards)


def _declared(path: Path) -> Path:
    path.write_bytes(provenance_samples.png(provenance_samples.NOVELAI))
    return path


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("cache-files")
    rate_hz = 16_000
    film = sample_media.make_video(folder / "film.mp4", seconds=3, width=160, height=120)
    spoken = sample_media.make_video(folder / "spoken.mp4", seconds=3, width=160, height=120)
    tone = sample_media.tone(seconds=3, rate_hz=rate_hz, seed=1)
    return {
        "image": sample_path("cat.png"),
        "jpeg": sample_path("astronaut.jpg"),
        "declared": _declared(folder / "declared.png"),
        "wrong extension": Path(shutil.copy(sample_path("cat.png"), folder / "cat.mp3")),
        "small image": sample_media.make_image(folder / "small.png", width=40, height=30),
        "video": film,
        "video with sound": sample_media.add_sound(spoken, tone, rate_hz=rate_hz),
        "real video": sample_path("dandelion-pan.mp4"),
        "speech": sample_path("reading.wav"),
        "ogg": sample_path("sentence-synthesised.ogg"),
        "no speech": sample_media.make_audio(folder / "tone.wav", seconds=3, codec="pcm_s16le"),
    }


@pytest.fixture(scope="session")
def examples(
    files: dict[str, Path], tiny_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Example]:
    """Every kind of outcome: all modalities, faces, no face, no speech, clips."""
    found: dict[str, Example] = {}
    with ProcessDecoder(1) as decoder:

        def decoding(detectors: Mapping[MediaKind, Detector]) -> Decoding:
            return Decoding(
                decoder=decoder, detectors=detectors, limits=MediaLimits(), video_audio=True
            )

        bundled = load_detectors(bundled_models_dir(), threads=1).by_kind
        for name, path in files.items():
            found[name] = score(decoding(bundled), path)
        special = load_detectors(
            _models(tiny_models, tmp_path_factory.mktemp("face-models")), threads=1
        )
        for name in ("jpeg", "image", "real video"):
            found[f"{name}, faces"] = score(decoding(special.by_kind), files[name])
        found["clips"] = score(decoding({MediaKind.VIDEO: Flicker()}), files["real video"])
    return found


class Flicker:
    """Scores clips by how much neighbouring frames differ."""

    card = DetectorCard(
        name="flicker",
        version="1.0.0",
        sha256="a" * 64,
        grade="demo",
        kind=MediaKind.VIDEO,
        sampling=VideoSampling(
            max_frames=24, crop_px=32, crops_per_frame=1, view="whole", clip_frames=8
        ),
        pooling=Pooling(),
        calibration=Calibration(),
    )

    def logits(self, units: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        steps = np.abs(np.diff(units.astype(np.float32), axis=1))
        return np.asarray(steps.mean(axis=(1, 2, 3, 4)) - 5, dtype=np.float32)


def _models(tiny: Path, folder: Path) -> Path:
    """Untrained models that look at faces."""
    image = {"crop_px": 128, "max_crops": 3, **FACES}
    video = {"max_frames": 6, "crop_px": 128, "crops_per_frame": 2, **FACES}
    return _changed(tiny, folder, {"tiny-image": image, "tiny-video": video})


def _changed(tiny: Path, folder: Path, parts: Mapping[str, Mapping[str, object]]) -> Path:
    for name, preprocess in parts.items():
        path = Path(shutil.copytree(tiny / name, folder / name)) / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "preprocess": preprocess}))
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """An AWS to test against, with a bucket that no other test has."""

    aws: AwsSettings
    session: boto3.Session
    bucket: str
    s3: Any

    def put(self, key: str, body: bytes, **fields: str) -> S3Location:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **fields)
        return S3Location(bucket=self.bucket, key=key)


def _cloud(url: str, key: str, secret: str) -> Cloud:
    aws = AwsSettings(access_key_id=key, secret_access_key=secret, endpoint_url=url)
    session, bucket = make_session(aws), f"cache-{uuid.uuid4().hex[:12]}"
    s3 = session.client("s3", endpoint_url=url, region_name=aws.region)
    s3.create_bucket(Bucket=bucket)
    return Cloud(aws=aws, session=session, bucket=bucket, s3=s3)


@pytest.fixture
def local(local_aws: LocalAws) -> Cloud:
    found = local_aws.credentials
    return _cloud(local_aws.endpoint_url, found.access_key_id, found.secret_access_key)


@pytest.fixture
def moto(moto_server: str) -> Cloud:
    return _cloud(moto_server, "AKIAIOSFODNN7EXAMPLE", "secret")


@pytest.fixture(params=["local", "moto"])
def cloud(request: pytest.FixtureRequest) -> Cloud:
    """The strict local AWS and moto, in turn."""
    found: Cloud = request.getfixturevalue(request.param)
    return found
