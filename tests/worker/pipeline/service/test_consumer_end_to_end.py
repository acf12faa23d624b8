"""The real consumer, with real adapters, decoders and bundled models, on a strict local AWS."""

import gzip
import json
import threading
import time
import uuid
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from detection_contract.schemas import load_schema
from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_testing.media import sample_media
from detection_testing.samples import sample_path
from detection_worker.errors import UsageError
from detection_worker.pipeline.service.consumer import Consumer
from detection_worker.settings import (
    MIB,
    AwsSettings,
    CallbackSettings,
    ConsumerSettings,
    DataSettings,
    MediaLimits,
    Settings,
)

pytestmark = pytest.mark.slow

BUCKET = "media"


@dataclass
class Stand:
    """A running consumer with everything around it."""

    aws: LocalAws
    queue_url: str
    dlq_url: str
    folder: Path
    seen: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def put(self, name: str, content: bytes) -> str:
        return self.aws.put_object(BUCKET, f"{uuid.uuid4().hex}/{name}", content)

    def send(self, url: str, *, callback: str = "/ok") -> str:
        request_id = uuid.uuid4().hex
        body = {
            "sqs_to_ml_url": url,
            "callback_url": self.aws.callback_url(callback),
            "request_id": request_id,
        }
        self.aws.send(self.queue_url, [json.dumps(body)])
        return request_id

    def result(self, request_id: str) -> dict[str, Any]:
        assert self.eventually(lambda: bool(self.results(request_id))), "no result arrived"
        return self.results(request_id)[0]

    def results(self, request_id: str) -> list[dict[str, Any]]:
        bodies = [json.loads(c.body) for c in self.aws.callbacks()]
        return [b for b in bodies if b["request_id"] == request_id]

    def counts(self, url: str) -> int:
        counts: dict[str, int] = self.aws.stats()["queues"][url.rpartition("/")[2]]
        return sum(counts.values())

    def dead_letter(self, request_id: str) -> dict[str, str]:
        """Return our attributes of the dead letter that holds ``request_id``."""
        found: dict[str, str] = {}

        def look() -> bool:
            answer = self.aws.sqs().receive_message(
                QueueUrl=self.dlq_url,
                MaxNumberOfMessages=10,
                VisibilityTimeout=0,
                MessageAttributeNames=["All"],
            )
            for message in answer.get("Messages", []):
                if request_id in message["Body"]:
                    found.update(
                        {k: v["StringValue"] for k, v in message["MessageAttributes"].items()}
                    )
            return bool(found)

        assert self.eventually(look), "no dead letter"
        return found

    @staticmethod
    def eventually(condition: Callable[[], bool], *, timeout_s: float = 60.0) -> bool:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(0.03)
        return condition()


def settings_for(aws: LocalAws, cache: Path, **changes: Any) -> Settings:
    return Settings(
        aws=AwsSettings(
            access_key_id=aws.credentials.access_key_id,
            secret_access_key=aws.credentials.secret_access_key,
            endpoint_url=aws.endpoint_url,
        ),
        data=DataSettings(s3_cache_dir=cache),
        limits=MediaLimits(max_bytes=2 * MIB, max_pixels=4_000_000, max_duration_s=30),
        callback=CallbackSettings(
            allow_private=True, retry_base_s=0.05, read_timeout_s=1.0, max_elapsed_s=5
        ),
        **changes,
    )


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("stand")
    with LocalAws.in_process() as aws:
        queue_url, dlq_url = aws.create_queue("e2e", visibility_s=30, max_receive_count=4)
        consumer = Consumer(
            settings_for(aws, folder / "cache"),
            ConsumerSettings(
                queue_url=queue_url, wait_time_s=1, max_backoff_s=1, poll_interval_s=0.1
            ),
        )
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(consumer.run()))
        thread.start()
        built = Stand(aws, queue_url, dlq_url, folder)
        yield built
        consumer.request_stop()
        thread.join(40)
        assert codes == [0]
        assert list((folder / "cache").iterdir()) == []


def test_all_three_kinds_give_envelopes_that_fit_the_schema(stand: Stand) -> None:
    image = sample_media.make_image(stand.folder / "a.JPG")
    video = sample_media.make_video(
        stand.folder / "b.mp4", codec="h264", seconds=2, fps=10, width=320, height=240, seed=1
    )
    audio = sample_path("reading.wav")
    ids = [stand.send(stand.put(p.name, p.read_bytes())) for p in (image, video, audio)]

    results = [stand.result(i) for i in ids]

    schema = load_schema("result")
    for result in results:
        jsonschema.validate(result, schema)
        assert result["status"] == "finished"
        assert result["label"] in {"FAKE", "REAL"}
    assert [r["file_type"] for r in results] == ["image", "video", "audio"]
    assert results[1]["media"]["frames_analysed"] > 1
    assert len(results[1]["segments"]) == results[1]["media"]["frames_analysed"]
    assert [s["start_s"] for s in results[2]["segments"]] == sorted(
        s["start_s"] for s in results[2]["segments"]
    )
    assert results[0]["s3_file_info"]["size"] == image.stat().st_size


def test_what_no_model_is_for_is_finished_without_a_label_and_leaves_the_queue(
    stand: Stand,
) -> None:
    dot = sample_media.make_image(stand.folder / "dot.png", width=1, height=1)
    hum = stand.folder / "hum.wav"
    with wave.open(str(hum), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(b"\x00\x10\x00\xf0" * 16_000)
    ids = [stand.send(stand.put(p.name, p.read_bytes())) for p in (dot, hum)]

    results = [stand.result(i) for i in ids]

    for result in results:
        jsonschema.validate(result, load_schema("result"))
        assert (result["status"], result["label"]) == ("finished", None)
        assert result["verdict"] == "not_applicable"
    assert [r["verdict_reason"]["code"] for r in results] == ["too_small", "no_speech"]
    assert stand.eventually(lambda: stand.counts(stand.queue_url) == 0)


@pytest.mark.parametrize(
    ("name", "make", "code"),
    [
        pytest.param("empty.png", lambda _: b"", "empty_file", id="0-byte object"),
        pytest.param("text.jpg", lambda _: b"hello, I am text", "unsupported_type", id="text"),
        pytest.param(
            "cut.jpg",
            lambda d: sample_media.make_image(d / "x.jpg").read_bytes()[:200],
            "undecodable",
            id="truncated in its header",
        ),
        pytest.param(
            "bomb.png",
            lambda d: sample_media.make_bomb_png(d / "b.png").read_bytes(),
            "too_many_pixels",
            id="huge image",
        ),
        pytest.param(
            "invisible.png",
            lambda d: sample_media.make_invisible_image(d / "i.png").read_bytes(),
            "no_frames",
            id="an image that shows nothing",
        ),
        pytest.param(
            "bomb.jpg",
            lambda _: gzip.compress(b"BM" + bytes(12) + b"\x28" + bytes(4 * MIB)),
            "too_large",
            id="gzip bomb",
        ),
        pytest.param("big.wav", lambda _: b"R" * (2 * MIB + 1), "too_large", id="huge object"),
        pytest.param(
            "unknown.xyz", lambda _: b"\x00" * 1000, "unsupported_type", id="unknown extension"
        ),
        pytest.param(
            "list.mp4",
            lambda _: b"ffconcat version 1.0\nfile other.mp4\n",
            "unsupported_type",
            id="a playlist that names another file",
        ),
    ],
)
def test_bad_media_is_reported_and_dead_lettered(
    stand: Stand, name: str, make: Callable[[Path], bytes], code: str
) -> None:
    request_id = stand.send(stand.put(name, make(stand.folder)))

    result = stand.result(request_id)

    assert (result["status"], result["label"]) == ("failed", None)
    assert result["error"]["code"] == code
    assert stand.dead_letter(request_id)["DetectionErrorCode"] == code
    jsonschema.validate(result, load_schema("result"))


def test_an_object_under_gzip_scores_as_the_plain_one(stand: Stand) -> None:
    data = sample_media.make_image(stand.folder / "plain.png", width=160, height=160).read_bytes()
    packed = stand.aws.put_object(
        BUCKET, "packed.png", gzip.compress(data), content_encoding="gzip"
    )

    plain, inflated = (
        stand.result(stand.send(url)) for url in (stand.put("plain.png", data), packed)
    )

    assert inflated["prediction_score"] == pytest.approx(plain["prediction_score"], abs=1e-4)
    assert inflated["media"]["warnings"] == ["the file was stored under gzip compression"]
    jsonschema.validate(inflated, load_schema("result"))


def test_missing_things_are_named_by_their_code(stand: Stand) -> None:
    missing_object = stand.send(f"s3://{BUCKET}/not/there.jpg")
    missing_bucket = stand.send("s3://no-such-bucket-here/a.jpg")

    assert stand.result(missing_object)["error"]["code"] == "s3_not_found"
    assert (
        "S3 file not found: s3://media/not/there.jpg"
        in (stand.result(missing_object)["error"]["message"])
    )
    assert stand.result(missing_bucket)["error"]["code"] == "s3_no_such_bucket"


def test_a_denied_object_is_no_secret_failure(stand: Stand) -> None:
    url = stand.put("denied.jpg", b"x")
    stand.aws.inject(Fault(operation="s3.GetObject", kind="access_denied", path="*denied.jpg*"))

    request_id = stand.send(url)

    error = stand.result(request_id)["error"]
    stand.aws.clear_faults()
    assert error["code"] == "s3_forbidden"
    assert "Access Denied" in error["message"]


def test_a_flaky_aws_costs_no_message(stand: Stand) -> None:
    image = sample_media.make_image(stand.folder / "flaky.jpg", width=160, height=160)
    url = stand.put("flaky.jpg", image.read_bytes())
    for fault in (
        Fault(operation="s3.GetObject", kind="error", status=503, rate=0.2),
        Fault(operation="s3.GetObject", kind="reset", rate=0.1),
        Fault(operation="sqs.*", kind="throttle", rate=0.2),
        Fault(operation="sqs.DeleteMessageBatch", kind="drop_response", rate=0.2),
    ):
        stand.aws.inject(fault)
    ids = [_send_until_taken(stand, url) for _ in range(20)]

    arrived = stand.eventually(lambda: all(stand.results(i) for i in ids))

    stand.aws.clear_faults()
    assert arrived
    assert {stand.results(i)[0]["status"] for i in ids} == {"finished"}
    assert stand.eventually(lambda: stand.counts(stand.queue_url) == 0)


def _send_until_taken(stand: Stand, url: str) -> str:
    """Send although the faults hit the sender too."""
    while True:
        try:
            return stand.send(url)
        except Exception:  # noqa: BLE001 - whatever the injected fault looks like here
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        pytest.param("/redirect", "callback_rejected", id="redirects"),
        pytest.param("/status/404", "callback_rejected", id="answers 404"),
        pytest.param("/status/410", "callback_rejected", id="answers 410"),
    ],
)
def test_a_callback_that_will_never_take_it_dead_letters_the_message(
    stand: Stand, path: str, code: str
) -> None:
    image = sample_media.make_image(stand.folder / "cb.jpg", width=160, height=160)

    request_id = stand.send(stand.put("cb.jpg", image.read_bytes()), callback=path)

    assert stand.dead_letter(request_id)["DetectionErrorCode"] == code


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/status/500", id="answers 500"),
        pytest.param("/refuse", id="refuses"),
        pytest.param("/slow/30", id="never answers"),
    ],
)
def test_a_callback_that_stays_down_is_given_up_without_computing_again(
    stand: Stand, path: str
) -> None:
    image = sample_media.make_image(stand.folder / "down.jpg", width=160, height=160)
    url = stand.put("down.jpg", image.read_bytes())
    key = url.partition(f"{BUCKET}/")[2]
    fetched = _gets(stand)

    request_id = stand.send(url, callback=path)

    reason = stand.dead_letter(request_id)
    assert reason["DetectionErrorCode"] == "gave_up"
    assert "callback_unreachable" in reason["DetectionErrorReason"]
    assert _gets(stand) - fetched == 1, f"{key} was fetched again"


def _gets(stand: Stand) -> int:
    return int(stand.aws.stats()["requests"].get("s3.GetObject", 0))


def test_a_callback_that_recovers_gets_the_same_bytes(stand: Stand) -> None:
    image = sample_media.make_image(stand.folder / "again.jpg", width=160, height=160)

    request_id = stand.send(stand.put("again.jpg", image.read_bytes()), callback="/flaky/4")

    assert stand.eventually(lambda: len(stand.results(request_id)) >= 5)
    posts = [c for c in stand.aws.callbacks() if request_id.encode() in c.body]
    assert len({c.body for c in posts}) == 1
    assert len({c.headers["webhook-id"] for c in posts}) == 1


def test_an_unknown_queue_ends_the_command_with_the_text_to_search_for(
    stand: Stand, tmp_path: Path
) -> None:
    consumer = Consumer(
        settings_for(stand.aws, tmp_path),
        ConsumerSettings(queue_url=f"{stand.aws.endpoint_url}/123456789012/no-such-queue"),
    )

    with pytest.raises(UsageError, match=r"SQS queue does not exist: .*no-such-queue\n"):
        consumer.run()


def test_run_once_on_an_empty_queue_ends_at_once(stand: Stand, tmp_path: Path) -> None:
    queue_url, _ = stand.aws.create_queue("once")
    consumer = Consumer(
        settings_for(stand.aws, tmp_path),
        ConsumerSettings(queue_url=queue_url, wait_time_s=0, run_once=True),
    )

    assert consumer.run() == 0
    assert consumer.statistics.processed == 0


def test_dry_run_shows_messages_and_leaves_them(stand: Stand, tmp_path: Path) -> None:
    queue_url, _ = stand.aws.create_queue("dry")
    stand.aws.send(queue_url, ['{"sqs_to_ml_url": "s3://bucket/a.jpg"}', "{"])
    consumer = Consumer(
        settings_for(stand.aws, tmp_path),
        ConsumerSettings(queue_url=queue_url, wait_time_s=0, run_once=True, dry_run=True),
    )

    assert consumer.run() == 0

    assert stand.aws.stats()["queues"]["dry"] == {"visible": 2, "in_flight": 0, "delayed": 0}
