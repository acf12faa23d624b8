"""The Python API by the guide's names."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from detection_testing.aws.local_aws import LocalAws
from detection_testing.media import sample_media
from detection_worker.api import (
    DetectionResult,
    EnhancedDeepfakePredictor,
    ErrorCode,
    JobError,
    PredictionContext,
    S3FileHandler,
    SQSDeepfakeConsumer,
    UsageError,
    create_test_message,
)


@pytest.fixture(autouse=True)
def nothing_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QUEUE_URL", "MODELS_DIR", "AWS_REGION", "AWS_PROFILE", "LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("DETECTION_S3_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def files() -> Iterator[S3FileHandler]:
    with S3FileHandler("AKIATESTTESTTEST", "secret", "us-east-1") as handler:
        yield handler


def test_importing_the_api_loads_no_torch() -> None:
    program = "import sys, detection_worker.api; print('torch' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == "False"


class TestPredictionContext:
    """Temporary files are removed, whatever happens."""

    def test_files_and_folders_are_gone_afterwards(self, tmp_path: Path) -> None:
        with PredictionContext() as context:
            file, folder = context.add(tmp_path / "a"), context.add(tmp_path / "d")
            file.write_text("x")
            folder.mkdir()
            (folder / "b").write_text("y")

        assert not file.exists()
        assert not folder.exists()

    def test_files_are_gone_after_an_error_too(self, tmp_path: Path) -> None:
        file = tmp_path / "a"
        file.write_text("x")

        with pytest.raises(RuntimeError, match="boom"), PredictionContext(file):
            raise RuntimeError("boom")

        assert not file.exists()

    def test_what_is_gone_already_is_no_error(self, tmp_path: Path) -> None:
        with PredictionContext(tmp_path / "never") as context:
            pass

        assert context.paths == []


class TestS3FileHandler:
    """What needs no S3."""

    @pytest.mark.parametrize(
        ("url", "place"),
        [
            ("s3://bucket/path/to/file.jpg", ("bucket", "path/to/file.jpg")),
            ("https://bucket.s3.eu-west-1.amazonaws.com/a%20b.mp4", ("bucket", "a b.mp4")),
        ],
    )
    def test_urls_give_bucket_and_key(
        self, files: S3FileHandler, url: str, place: tuple[str, str]
    ) -> None:
        assert files.is_s3_url(url)
        assert files.parse_s3_url(url) == place

    @pytest.mark.parametrize("url", ["photo.jpg", "https://example.com/x.jpg", "s3://bucket", ""])
    def test_other_texts_are_no_s3_urls(self, files: S3FileHandler, url: str) -> None:
        assert not files.is_s3_url(url)
        with pytest.raises(JobError) as caught:
            files.parse_s3_url(url)
        assert caught.value.code is ErrorCode.BAD_URL

    def test_urls_of_the_own_endpoint_are_s3_urls(self) -> None:
        with S3FileHandler("AKIA", "s", endpoint_url="http://localhost:9000") as files:
            assert files.parse_s3_url("http://localhost:9000/bucket/a/b.png") == (
                "bucket",
                "a/b.png",
            )

    def test_cleanup_leaves_foreign_paths_alone(
        self, files: S3FileHandler, tmp_path: Path
    ) -> None:
        mine = tmp_path / "mine.jpg"
        mine.write_text("x")

        files.cleanup(mine)
        files.cleanup()

        assert mine.exists()


@pytest.mark.slow
class TestPredictor:
    """Local files through real decoding and real, if untrained, networks."""

    def test_a_local_file_gives_the_envelope(self, tiny_models: Path, tmp_path: Path) -> None:
        image = sample_media.make_image(tmp_path / "a.jpg")

        with EnhancedDeepfakePredictor(models_dir=tiny_models) as predictor:
            kinds = predictor.load_models()
            result = predictor.predict_auto(str(image), confidence_threshold=0.0)
            again = predictor.predict_auto(image)

        assert kinds == ["image", "video", "audio"]
        assert (result["label"], result["file_type"]) == ("FAKE", "image")
        assert result["local_path"] == result["file_path"] == str(image)
        assert result["is_s3_file"] is False
        assert result["prediction_score"] == again["prediction_score"]
        assert set(result["timings_ms"]) == {"decode", "inference", "total"}
        assert image.exists()

    def test_many_files_give_the_results_of_each_by_itself_in_order(
        self, tiny_models: Path, tmp_path: Path
    ) -> None:
        paths: list[str | Path] = [
            sample_media.make_video(tmp_path / "a.mp4"),
            str(sample_media.make_image(tmp_path / "b.jpg")),
            "gone.png",
            sample_media.make_audio(tmp_path / "c.wav", codec="pcm_s16le"),
            sample_media.make_image(tmp_path / "d.png"),
        ] * 4
        (tmp_path / "broken.png").write_bytes(b"no picture")
        paths.append(tmp_path / "broken.png")

        with EnhancedDeepfakePredictor(models_dir=tiny_models) as predictor:
            results = list(predictor.predict_many(iter(paths), confidence_threshold=0.9))
            alone = [predictor.predict_auto(path, confidence_threshold=0.9) for path in paths[:2]]
            with pytest.raises(JobError) as caught:
                predictor.predict_auto("gone.png")

        assert [r["file_path"] for r in results] == [str(path) for path in paths]
        statuses = ["finished", "finished", "failed", "finished", "finished"] * 4 + ["failed"]
        assert [r["status"] for r in results] == statuses
        assert {r["threshold"] for r in results} == {0.9}
        assert len({r["request_id"] for r in results}) == len(paths)
        for one, many in zip(alone, results, strict=False):
            assert many["prediction_score"] == pytest.approx(one["prediction_score"], abs=1e-4)
        error = results[2]["error"]
        assert error is not None
        assert (error["code"], error["message"]) == (caught.value.code, caught.value.message)

    def test_a_loop_that_ends_early_leaves_nothing_running(
        self, tiny_models: Path, tmp_path: Path
    ) -> None:
        image = sample_media.make_image(tmp_path / "a.jpg")
        before = set(threading.enumerate())

        with EnhancedDeepfakePredictor(models_dir=tiny_models) as predictor:
            for result in predictor.predict_many([image] * 200):
                assert result["status"] == "finished"
                break
            assert predictor.predict_auto(image)["status"] == "finished"
        left = set(threading.enumerate()) - before
        threads = {thread.name.partition("-")[0] for thread in left}

        assert threads.isdisjoint({"decode", "inference", "download"})

    def test_several_threads_may_use_one_predictor(
        self, tiny_models: Path, tmp_path: Path
    ) -> None:
        image = sample_media.make_image(tmp_path / "a.jpg")
        scores: list[float | None] = []

        with EnhancedDeepfakePredictor(models_dir=tiny_models) as predictor:

            def work() -> None:
                scores.append(predictor.predict_auto(image)["prediction_score"])
                scores.extend(r["prediction_score"] for r in predictor.predict_many([image] * 5))

            workers = [threading.Thread(target=work) for _ in range(6)]
            for thread in workers:
                thread.start()
            for thread in workers:
                thread.join(120)

        assert len(scores) == 36
        assert scores == [pytest.approx(scores[0], abs=1e-4)] * 36

    def test_the_predictors_own_threshold_and_models_are_used(
        self, tiny_models: Path, tmp_path: Path
    ) -> None:
        image = sample_media.make_image(tmp_path / "a.jpg")

        with EnhancedDeepfakePredictor(
            models_dir=tiny_models, threshold=0.0, device="cpu", prefer="tiny-image"
        ) as predictor:
            own, given = (
                predictor.predict_auto(image),
                predictor.predict_auto(image, confidence_threshold=1.0),
            )
        with (
            EnhancedDeepfakePredictor(models_dir=tiny_models, prefer=["gone"]) as absent,
            pytest.raises(UsageError, match="Model not found or not usable: gone"),
        ):
            absent.load_models()
        with (
            EnhancedDeepfakePredictor(models_dir=tiny_models, device="cuda:77") as nowhere,
            pytest.raises(UsageError, match="No such device: cuda:77"),
        ):
            nowhere.load_models()

        assert (own["label"], own["threshold"]) == ("FAKE", 0.0)
        assert (given["label"], given["threshold"]) == ("REAL", 1.0)

    def test_only_the_models_that_a_file_needs_are_loaded(
        self, tiny_models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        image = sample_media.make_image(tmp_path / "a.jpg")
        called_image = sample_media.make_audio(tmp_path / "b.wav", codec="pcm_s16le", seconds=5)
        called_image = called_image.rename(tmp_path / "b.jpg")

        with EnhancedDeepfakePredictor(models_dir=tiny_models) as predictor:
            results = list(predictor.predict_many([image, image, called_image, called_image]))

        assert [result["file_type"] for result in results] == ["image", "image", "audio", "audio"]
        assert [r.message for r in caplog.records if "Loaded models" in r.message] == [
            "Loaded models: ['image']",
            "Loaded models: ['image', 'video', 'audio']",
        ]

    def test_a_kind_whose_models_are_broken_stops_no_other(
        self, tiny_models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        models = shutil.copytree(tiny_models, tmp_path / "models")
        (models / "tiny-image" / "model.safetensors").write_bytes(b"")
        image = sample_media.make_image(tmp_path / "a.jpg")
        sound = sample_media.make_audio(tmp_path / "b.wav", codec="pcm_s16le", seconds=5)

        with EnhancedDeepfakePredictor(models_dir=models) as predictor:
            broken, heard = predictor.predict_many([image, sound])

        assert (broken["status"], heard["status"]) == ("failed", "finished")
        assert broken["error"] is not None
        assert broken["error"]["code"] == "no_model"
        told = [
            r.message for r in caplog.records if r.message.startswith("model not loaded: tiny")
        ]
        assert len(told) == len(set(told)) >= 1

    def test_another_number_of_frames_and_windows_is_looked_at(
        self, tiny_models: Path, tmp_path: Path
    ) -> None:
        video = sample_media.make_video(tmp_path / "a.mp4")
        sound = sample_media.make_audio(tmp_path / "a.wav", codec="pcm_s16le", seconds=30)

        with EnhancedDeepfakePredictor(models_dir=tiny_models, frames=7, windows=2) as predictor:
            seen, heard = predictor.predict_many([video, sound])
        with pytest.raises(UsageError, match="--frames is 257"):
            EnhancedDeepfakePredictor(models_dir=tiny_models, frames=257)

        assert seen["media"] is not None
        assert heard["media"] is not None
        assert (seen["media"]["frames_analysed"], len(seen["segments"])) == (7, 7)
        assert (heard["media"]["frames_analysed"], len(heard["segments"])) == (2, 2)

    def test_a_closed_predictor_says_so(self, tiny_models: Path, tmp_path: Path) -> None:
        image = sample_media.make_image(tmp_path / "a.jpg")
        predictor = EnhancedDeepfakePredictor(models_dir=tiny_models)
        predictor.load_models()
        predictor.close()

        with pytest.raises(UsageError, match="closed"):
            predictor.predict_auto(image)

    def test_one_path_is_not_taken_for_many(self, tiny_models: Path) -> None:
        with (
            EnhancedDeepfakePredictor(models_dir=tiny_models) as predictor,
            pytest.raises(TypeError, match="a list of paths"),
        ):
            predictor.predict_many("a.jpg")

    def test_what_is_no_media_is_a_job_error(self, tiny_models: Path, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(b"no picture")

        with (
            EnhancedDeepfakePredictor(models_dir=tiny_models) as predictor,
            pytest.raises(JobError) as caught,
        ):
            predictor.predict_auto(tmp_path / "a.jpg")

        assert caught.value.code in (ErrorCode.UNDECODABLE, ErrorCode.UNSUPPORTED_TYPE)

    def test_without_models_the_text_of_the_guide_is_raised(self, tmp_path: Path) -> None:
        with (
            EnhancedDeepfakePredictor(models_dir=tmp_path / "gone") as predictor,
            pytest.raises(UsageError, match="No models could be loaded!"),
        ):
            predictor.load_models()


def test_a_threshold_out_of_range_is_refused_before_any_work(tmp_path: Path) -> None:
    with EnhancedDeepfakePredictor() as predictor, pytest.raises(ValueError, match=r"1\.5"):
        predictor.predict_auto(tmp_path / "a.jpg", confidence_threshold=1.5)


def test_a_threshold_of_the_predictor_is_checked_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="threshold is -1"):
        EnhancedDeepfakePredictor(threshold=-1)


def test_a_profile_that_is_not_there_is_an_error_about_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "gone")

    with EnhancedDeepfakePredictor() as predictor, pytest.raises(JobError) as caught:
        predictor.predict_auto("s3://bucket/a.png")

    assert caught.value.code is ErrorCode.CREDENTIALS
    assert "AWS credentials not found! The config profile (gone)" in caught.value.message


def test_a_missing_config_file_is_refused_with_the_text_of_the_guide() -> None:
    with pytest.raises(UsageError, match="Configuration file not found"):
        EnhancedDeepfakePredictor(config="gone.json")


class TestConsumerSettings:
    """What is wrong is said before anything runs."""

    def test_a_queue_url_is_needed(self) -> None:
        with pytest.raises(UsageError, match="No SQS queue URL given"):
            SQSDeepfakeConsumer()

    def test_an_unknown_option_is_a_type_error(self) -> None:
        with pytest.raises(TypeError, match="no option wait_tmie"):
            SQSDeepfakeConsumer("https://sqs.us-east-1.amazonaws.com/1/q", wait_tmie=5)

    def test_an_option_out_of_range_is_named(self) -> None:
        with pytest.raises(UsageError, match="--max-messages is 11"):
            SQSDeepfakeConsumer("https://sqs.us-east-1.amazonaws.com/1/q", max_messages=11)

    def test_there_are_statistics_before_the_first_run(self) -> None:
        consumer = SQSDeepfakeConsumer("https://sqs.us-east-1.amazonaws.com/1/q", "us-east-1")

        assert consumer.get_stats()["messages_processed"] == 0


def test_a_test_message_has_what_was_asked_for_and_an_id() -> None:
    message = create_test_message(
        sqs_to_ml_url="s3://bucket/file.png",
        callback_url="https://api.example.com/callback",
        confidence_threshold=0.7,
    )

    assert message.pop("request_id")
    assert message == {
        "sqs_to_ml_url": "s3://bucket/file.png",
        "callback_url": "https://api.example.com/callback",
        "confidence_threshold": 0.7,
    }


@pytest.fixture
def local_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    with LocalAws.in_thread() as aws:
        monkeypatch.setenv("DETECTION_ENDPOINT_URL", aws.endpoint_url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", aws.credentials.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", aws.credentials.secret_access_key)
        yield aws


@pytest.fixture
def image_url(local_aws: LocalAws, tmp_path: Path) -> str:
    data = sample_media.make_image(tmp_path / "a.png").read_bytes()
    return local_aws.put_object("media", "in/a.png", data, content_type="image/png")


class TestS3Downloads:
    """Fetching from a local S3."""

    def test_a_file_is_fetched_to_the_cache_and_cleaned_up(
        self, local_aws: LocalAws, image_url: str, tmp_path: Path
    ) -> None:
        with S3FileHandler(aws_region=local_aws.region) as files:
            first, second = files.download_file(image_url), files.download_file(image_url)
            content = Path(first).read_bytes()
            files.cleanup(first)
            left = (Path(first).exists(), Path(second).exists())

        assert content == (tmp_path / "a.png").read_bytes()
        assert left == (False, True)
        assert list((tmp_path / "cache").iterdir()) == []

    def test_a_file_fetched_to_a_place_of_the_callers_stays(
        self, image_url: str, tmp_path: Path
    ) -> None:
        with S3FileHandler() as files:
            path = files.download_file(image_url, tmp_path / "mine.png")

        assert Path(path).read_bytes() == (tmp_path / "a.png").read_bytes()

    def test_the_info_of_a_file_needs_no_download(self, image_url: str, tmp_path: Path) -> None:
        with S3FileHandler() as files:
            info = files.get_file_info(image_url)

        assert (info["content_type"], info["size"]) == (
            "image/png",
            (tmp_path / "a.png").stat().st_size,
        )
        assert str(info["last_modified"]).endswith("Z")
        assert not (tmp_path / "cache").exists()

    @pytest.mark.parametrize("method", ["download_file", "get_file_info"])
    def test_a_missing_file_is_an_error_that_leaves_nothing(
        self, image_url: str, tmp_path: Path, method: str
    ) -> None:
        url = image_url.replace("a.png", "gone.png")

        with S3FileHandler() as files:
            with pytest.raises(JobError, match=f"S3 file not found: {url}") as caught:
                getattr(files, method)(url)
            left = list((tmp_path / "cache").iterdir()) if (tmp_path / "cache").exists() else []

        assert caught.value.code is ErrorCode.S3_NOT_FOUND
        assert left == []

    @pytest.mark.slow
    def test_the_example_of_the_guide_works(
        self, local_aws: LocalAws, image_url: str, tiny_models: Path, tmp_path: Path
    ) -> None:
        predictor = EnhancedDeepfakePredictor(
            aws_access_key_id=local_aws.credentials.access_key_id,
            aws_secret_access_key=local_aws.credentials.secret_access_key,
            aws_region="us-east-1",
            models_dir=tiny_models,
        )
        predictor.load_models()
        result = predictor.predict_auto(image_url)
        predictor.close()

        assert result["label"] in ("FAKE", "REAL")
        assert isinstance(result["confidence"], float)
        assert result["is_s3_file"] is True
        assert not Path(str(result["local_path"])).exists()
        assert list((tmp_path / "cache").iterdir()) == []

    @pytest.mark.slow
    def test_a_file_that_cannot_be_decoded_is_removed_all_the_same(
        self, local_aws: LocalAws, tiny_models: Path, tmp_path: Path
    ) -> None:
        url = local_aws.put_object("media", "bad.png", b"no picture")

        with EnhancedDeepfakePredictor(models_dir=tiny_models) as predictor:
            with pytest.raises(JobError):
                predictor.predict_auto(url)
            left = list((tmp_path / "cache").iterdir())

        assert left == []


@pytest.mark.slow
class TestConsuming:
    """``SQSDeepfakeConsumer`` on a local queue."""

    def test_one_poll_in_another_thread_hands_results_to_the_handler(
        self, local_aws: LocalAws, image_url: str, tiny_models: Path
    ) -> None:
        queue_url = local_aws.create_queue("deepfake-queue").queue_url
        message = create_test_message(sqs_to_ml_url=image_url, request_id="r1")
        local_aws.send(queue_url, [json.dumps(message)])
        consumer = SQSDeepfakeConsumer(
            queue_url=queue_url, aws_region="us-east-1", models_dir=tiny_models, decoders=1
        )
        results: list[DetectionResult] = []
        codes: list[int] = []

        thread = threading.Thread(
            target=lambda: codes.append(
                consumer.start_consuming(run_once=True, message_handler=results.append)
            )
        )
        thread.start()
        thread.join(120)

        assert codes == [0]
        assert [r["request_id"] for r in results] == ["r1"]
        assert results[0]["label"] in ("FAKE", "REAL")
        stats = consumer.get_stats()
        assert (stats["messages_processed"], stats["messages_failed"]) == (1, 0)
        assert stats["runtime_s"] > 0
        assert local_aws.in_flight("deepfake-queue") == []

    def test_stop_ends_an_endless_run(
        self, local_aws: LocalAws, image_url: str, tiny_models: Path
    ) -> None:
        queue_url = local_aws.create_queue("deepfake-queue").queue_url
        local_aws.send(queue_url, [json.dumps(create_test_message(sqs_to_ml_url=image_url))])
        consumer = SQSDeepfakeConsumer(queue_url, models_dir=tiny_models, decoders=1, wait_time=1)
        came = threading.Event()
        codes: list[int] = []
        thread = threading.Thread(
            target=lambda: codes.append(
                consumer.start_consuming(message_handler=lambda _: came.set())
            )
        )
        thread.start()
        try:
            assert came.wait(120)
            with pytest.raises(UsageError, match="This consumer is running"):
                consumer.start_consuming()
        finally:
            consumer.stop()
            thread.join(60)

        assert codes == [0]
