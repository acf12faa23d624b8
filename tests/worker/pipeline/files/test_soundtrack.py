"""Videos with sound from the file to the result: both tracks scored, told apart and fused."""

import json
import wave
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from numpy.typing import NDArray

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_contract.schemas import load_schema
from detection_testing.media import sample_media
from detection_testing.samples import sample_path
from detection_worker.core.applicability import Scope
from detection_worker.core.sampling import AudioSampling, VideoSampling
from detection_worker.core.verdict import Calibration, Pooling, Thresholds
from detection_worker.detectors.base import DetectorCard
from detection_worker.errors import JobError
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.values import DecodedMedia, DecodeRequest
from detection_worker.pipeline.files.analysis import Analysis, NotApplicableResult
from detection_worker.pipeline.files.analyzer import Analyzer
from detection_worker.pipeline.stages.envelopes import opinion_of, tracks_of
from detection_worker.settings import MediaLimits

RATE_HZ = 16_000
FAKE, REAL = 2.0, -2.0
SURE_AT_90 = Thresholds(fake=0.5, low=0.5, high=0.9)
SURE_AT_80 = Thresholds(fake=0.5, low=0.5, high=0.8)


class Fixed:
    """Gives every unit the same logit."""

    def __init__(self, kind: MediaKind, logit: float, **card: Any) -> None:
        self.logit = logit
        self.seen = 0
        sound = kind is MediaKind.AUDIO
        fields: dict[str, Any] = {
            "name": f"fixed-{kind.value}",
            "version": "1",
            "sha256": "f" * 64,
            "grade": "experimental",
            "kind": kind,
            "sampling": AudioSampling(window=16_000, hop=8_000, max_windows=3)
            if sound
            else VideoSampling(max_frames=4, crop_px=64, crops_per_frame=1),
            "pooling": Pooling(),
            "calibration": Calibration(),
            "calibrated": True,
            "scope": Scope(speech=sound),
        }
        self.card = DetectorCard(**(fields | card))

    def logits(self, units: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        self.seen += len(units)
        return np.full(len(units), self.logit, dtype=np.float32)


def speech() -> NDArray[np.float32]:
    with wave.open(str(sample_path("reading.wav"))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE_HZ, 1, 2)
        samples = np.frombuffer(file.readframes(4 * RATE_HZ), dtype="<i2")
    return np.asarray(samples / 32768, dtype=np.float32)


@pytest.fixture(scope="module")
def decoder() -> Iterator[ProcessDecoder]:
    with ProcessDecoder(1) as decoder:
        yield decoder


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = sample_media.make_video(tmp_path / "f.mp4", seconds=4, width=160, height=120)
    return sample_media.add_sound(path, speech(), rate_hz=RATE_HZ)


@pytest.fixture
def analyse(decoder: ProcessDecoder) -> Callable[..., Analysis | NotApplicableResult]:
    def run(
        path: Path, pictures: Fixed, sound: Fixed | None, *, video_audio: bool = True
    ) -> Analysis | NotApplicableResult:
        detectors = {MediaKind.VIDEO: pictures}
        if sound is not None:
            detectors[MediaKind.AUDIO] = sound
        analyzer = Analyzer(decoder, detectors, MediaLimits(), video_audio=video_audio)
        return analyzer.analyse(path, name=path.name, threshold=0.5)[0]

    return run


def tracks(found: Analysis | NotApplicableResult) -> dict[str, Any]:
    told = tracks_of(found)
    assert told is not None
    schema: Any = load_schema("result")
    Draft202012Validator({"properties": schema["properties"]}).validate({"tracks": told})
    return {str(track["track"]): track for track in told}


Analyse = Callable[..., Analysis | NotApplicableResult]


def test_a_forged_voice_makes_a_video_with_genuine_pictures_fake(
    analyse: Analyse, film: Path
) -> None:
    found = analyse(film, Fixed(MediaKind.VIDEO, REAL), Fixed(MediaKind.AUDIO, FAKE))
    opinion, told = opinion_of(found), tracks(found)

    assert (opinion.label, opinion.verdict) == ("FAKE", "fake")
    assert opinion.reason_code == "sound_above_threshold"
    assert opinion.score == pytest.approx(0.880797, abs=1e-6)
    assert (told["video"]["label"], told["audio"]["label"]) == ("REAL", "FAKE")
    assert told["audio"]["score"] == pytest.approx(0.880797, abs=1e-6)
    assert told["audio"]["counts"]
    assert told["audio"]["model"]["name"] == "fixed-audio"
    assert [s["end_s"] for s in told["audio"]["segments"]] == [1.0, 2.0, 3.0]
    assert found.model["name"] == "fixed-video"
    assert len(found.segments) == 4
    assert found.media["warnings"] == []


def test_a_genuine_voice_does_not_acquit_forged_pictures(analyse: Analyse, film: Path) -> None:
    found = analyse(film, Fixed(MediaKind.VIDEO, FAKE), Fixed(MediaKind.AUDIO, REAL))
    opinion = opinion_of(found)

    assert (opinion.label, opinion.reason_code) == ("FAKE", "above_threshold")
    assert opinion.score == pytest.approx(0.880797, abs=1e-6)


@pytest.mark.parametrize(
    "card",
    [
        pytest.param({"calibrated": False}, id="not calibrated"),
        pytest.param({"grade": "demo"}, id="demo, nobody measured when it is sure"),
        pytest.param({"grade": "demo", "thresholds": SURE_AT_90}, id="demo, not sure"),
    ],
)
def test_a_model_whose_scores_prove_little_is_told_and_has_no_say(
    analyse: Analyse, film: Path, card: dict[str, object]
) -> None:
    found = analyse(film, Fixed(MediaKind.VIDEO, REAL), Fixed(MediaKind.AUDIO, FAKE, **card))

    assert opinion_of(found).label == "REAL"
    assert tracks(found)["audio"]["label"] == "FAKE"
    assert not tracks(found)["audio"]["counts"]


def test_a_demo_model_has_a_say_where_it_was_measured_to_be_sure(
    analyse: Analyse, film: Path
) -> None:
    sound = Fixed(MediaKind.AUDIO, FAKE, grade="demo", thresholds=SURE_AT_80)

    found = analyse(film, Fixed(MediaKind.VIDEO, REAL), sound)

    assert opinion_of(found).reason_code == "sound_above_threshold"
    assert tracks(found)["audio"]["counts"]


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(np.zeros(4 * RATE_HZ, np.float32), id="silence"),
        pytest.param(
            0.3 * np.sin(np.arange(4 * RATE_HZ) * 2 * np.pi * 440 / RATE_HZ).astype(np.float32),
            id="a tone",
        ),
    ],
)
def test_sound_without_speech_is_not_judged(
    analyse: Analyse, tmp_path: Path, sound: NDArray[np.float32]
) -> None:
    path = sample_media.make_video(tmp_path / "f.mp4", seconds=4, width=160, height=120)
    sample_media.add_sound(path, sound, rate_hz=RATE_HZ)

    found = analyse(path, Fixed(MediaKind.VIDEO, REAL), Fixed(MediaKind.AUDIO, FAKE))

    audio = tracks(found)["audio"]
    assert opinion_of(found).label == "REAL"
    assert (audio["verdict"], audio["score"], audio["statistics"]) == (
        "not_applicable",
        None,
        None,
    )
    assert audio["verdict_reason"]["code"] == "no_speech"
    assert not audio["counts"]


def test_spoilt_sound_costs_a_warning_and_the_pictures_are_judged(
    analyse: Analyse, film: Path
) -> None:
    sample_media.spoil_sound(film)

    found = analyse(film, Fixed(MediaKind.VIDEO, FAKE), Fixed(MediaKind.AUDIO, REAL))

    assert opinion_of(found).label == "FAKE"
    assert list(tracks(found)) == ["video"]
    assert found.media["warnings"] == ["the sound track was not judged: no sound could be decoded"]


@pytest.mark.parametrize("case", ["setting off", "no model", "no sound"])
def test_without_sound_to_judge_the_pictures_decide_as_ever(
    analyse: Analyse, film: Path, tmp_path: Path, case: str
) -> None:
    sound = None if case == "no model" else Fixed(MediaKind.AUDIO, FAKE)
    if case == "no sound":
        film = sample_media.make_video(tmp_path / "s.mp4", seconds=1, width=160, height=120)

    found = analyse(film, Fixed(MediaKind.VIDEO, REAL), sound, video_audio=case != "setting off")

    assert opinion_of(found).label == "REAL"
    assert list(tracks(found)) == ["video"]
    assert found.media["warnings"] == []
    assert sound is None or not sound.seen


def test_pictures_that_are_not_judged_leave_the_sound_to_convict_only(
    analyse: Analyse, film: Path
) -> None:
    small = Fixed(MediaKind.VIDEO, REAL, scope=Scope(min_side_px=500))
    forged = analyse(film, small, Fixed(MediaKind.AUDIO, FAKE))
    genuine = analyse(film, small, Fixed(MediaKind.AUDIO, REAL))
    unheard = analyse(film, small, None)

    assert (opinion_of(forged).label, opinion_of(forged).verdict) == ("FAKE", "fake")
    assert tracks(forged)["video"]["verdict_reason"]["code"] == "too_small"
    assert opinion_of(genuine).verdict == "not_applicable"
    assert tracks(genuine)["audio"]["label"] == "REAL"
    assert opinion_of(unheard).verdict == "not_applicable"
    assert list(tracks(unheard)) == ["video"]


# -- the consumer --------------------------------------------------------------------------------


class Film:
    """A decoder of films: pictures of the value in the name, sound of the value behind it."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.script = inner.script
        self.broken: JobError | None = None

    def decode(self, request: DecodeRequest, **calls: Any) -> DecodedMedia:
        name = request.path.read_text()
        if request.sound_only and self.broken is not None:
            raise self.broken
        media: DecodedMedia = self.inner.decode(request, **calls)
        if not name.endswith(".mp4"):
            return media
        value = int(name.split("_")[1 if request.sound_only else 0])
        kind = MediaKind.AUDIO if request.sound_only else MediaKind.VIDEO
        shape = (3, 16) if request.sound_only else (2, 8, 8, 3)
        units: Any = np.full(shape, value, np.float32 if request.sound_only else np.uint8)
        info = replace(media.info, kind=kind, sound_track=not request.sound_only)
        frame = np.arange(len(units), dtype=np.int32)
        return replace(
            media, info=info, units=units, frame=frame, at_s=np.arange(len(units), dtype=float)
        )

    def close(self) -> None:
        pass


class ByValue:
    """Logit = value - 5; refuses the value 13."""

    def __init__(self, kind: MediaKind) -> None:
        self.card = Fixed(kind, 0.0, scope=Scope()).card

    def logits(self, units: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        values = units.reshape(len(units), -1)[:, 0].astype(np.float32)
        if (values == 13).any():
            raise RuntimeError("the device does not like thirteen")
        return np.asarray(values - 5, dtype=np.float32)


@pytest.fixture
def films(rig: Any) -> Any:
    rig.decoder = Film(rig.decoder)
    rig.detectors.update({k: ByValue(k) for k in (MediaKind.VIDEO, MediaKind.AUDIO)})
    return rig


def test_the_consumer_posts_both_tracks_of_many_videos_at_once(films: Any) -> None:
    films.start()
    names = [f"{seen}_{heard}_.mp4" for seen in range(1, 9) for heard in (2, 9)]
    for name in names:
        films.send(name, request_id=name)
    films.send("9_x.wav", request_id="sound")

    assert films.eventually(films.empty)
    results = {post.request_id: post.result for post in films.callbacks.posted}
    schema = Draft202012Validator(load_schema("result"))
    assert results.pop("sound")["tracks"] is None
    assert sorted(results) == sorted(names)
    for name, result in results.items():
        seen, heard = (int(part) for part in name.split("_")[:2])
        schema.validate(json.loads(json.dumps(result)))
        told = {track["track"]: track["label"] for track in result["tracks"]}
        expected = {"video": seen >= 5, "audio": heard >= 5}
        assert told == {track: "FAKE" if fake else "REAL" for track, fake in expected.items()}
        assert result["label"] == ("FAKE" if max(seen, heard) >= 5 else "REAL")
        assert result["file_type"] == "video"


def test_the_consumer_delivers_the_pictures_where_the_sound_breaks(films: Any) -> None:
    films.decoder.broken = JobError(ErrorCode.TIMEOUT, "decoding took longer than allowed")
    films.start()
    films.send("2_9_.mp4")

    assert films.eventually(films.empty)
    [post] = films.callbacks.posted
    assert post.result["label"] == "REAL"
    assert post.result["media"]["warnings"] == [
        "the sound track was not judged: decoding took longer than allowed"
    ]


@pytest.mark.parametrize(
    ("code", "cached"),
    [
        (ErrorCode.TIMEOUT, False),
        (ErrorCode.DECODE_MEMORY, False),
        (ErrorCode.DECODE_CRASHED, False),
        (ErrorCode.UNDECODABLE, True),
        (ErrorCode.TOO_LONG, True),
    ],
)
def test_pictures_without_their_sound_are_cached_only_if_it_is_the_files_fault(
    code: ErrorCode, *, cached: bool, films: Any
) -> None:
    films.share_scores()
    films.decoder.broken = JobError(code, "the sound does not work out")
    films.start()
    for number in range(2):
        films.send("2_9_.mp4", request_id=f"r-{number}")
        assert films.eventually(films.empty)

    results = {post.request_id: post.result for post in films.callbacks.posted}
    assert ("cached" in results["r-1"]) is cached
    assert films.counts(0 if cached else 2, "detection_worker_cache_writes_total", result="unfit")
    for result in results.values():
        assert result["media"]["warnings"] == [
            "the sound track was not judged: the sound does not work out"
        ]


def test_cached_scores_of_a_video_have_both_tracks(films: Any) -> None:
    films.share_scores()
    films.start()
    for number in range(2):
        films.send("2_9_.mp4", request_id=f"r-{number}")
        assert films.eventually(films.empty)

    results = {post.request_id: post.result for post in films.callbacks.posted}
    assert results["r-1"]["cached"] is True
    assert results["r-0"]["tracks"] == results["r-1"]["tracks"]
    assert [track["label"] for track in results["r-1"]["tracks"]] == ["REAL", "FAKE"]
    for track in results["r-0"]["tracks"]:
        scored = {
            "kind": track["track"],
            "model": track["model"]["name"],
            "version": track["model"]["version"],
        }
        assert films.metric("detection_worker_score_count", **scored) == 1
        assert films.metric("detection_worker_score_sum", **scored) == pytest.approx(
            track["score"], abs=1e-3
        )


def test_the_setting_keeps_the_consumer_from_listening(films: Any) -> None:
    films.video_audio = False
    films.start()
    films.send("2_9_.mp4")

    assert films.eventually(films.empty)
    [post] = films.callbacks.posted
    assert post.result["label"] == "REAL"
    assert [track["track"] for track in post.result["tracks"]] == ["video"]
    assert films.decoder.script.count == {"2_9_.mp4": 1}


def test_a_detector_that_fails_on_the_sound_fails_the_job_and_no_other(films: Any) -> None:
    films.source.max_receive_count = 1
    films.start()
    for name in ("2_13_.mp4", "2_3_.mp4"):
        films.send(name, request_id=name)

    assert films.eventually(lambda: len(films.callbacks.posted) == 2)
    results = {post.request_id: post.result for post in films.callbacks.posted}
    assert results["2_13_.mp4"]["status"] == "failed"
    assert results["2_3_.mp4"]["label"] == "REAL"
