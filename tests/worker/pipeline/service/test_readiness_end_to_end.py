"""A whole worker whose services fail while it runs: probes, metric, messages, and the way back."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_testing.media import sample_media
from detection_worker.pipeline.messages import poller
from detection_worker.pipeline.service.consumer import Consumer
from detection_worker.pipeline.stages import breaker
from detection_worker.settings import (
    AwsSettings,
    CallbackSettings,
    ConsumerSettings,
    DataSettings,
    Settings,
)

pytestmark = pytest.mark.slow


@dataclass
class Stand:
    aws: LocalAws
    control: str
    queue_url: str
    dlq_url: str

    def ready(self) -> bool | str:
        """Return True, or why not, as the probe and the metric say alike."""
        while True:  # it may change between two questions
            answer = requests.get(self.control + "/readyz", timeout=5)
            metrics = requests.get(self.control + "/metrics", timeout=5).text
            again = requests.get(self.control + "/readyz", timeout=5)
            if again.status_code == answer.status_code:
                break
        good = answer.status_code == 200
        assert f"detection_worker_ready {1.0 if good else 0.0}" in metrics
        reasons = [str(v) for v in answer.json()["checks"].values() if v is not True]
        return " ".join(reasons) or True

    def send(self, request_id: str) -> None:
        body = {
            "sqs_to_ml_url": "s3://media/a.jpg",
            "request_id": request_id,
            "callback_url": self.aws.callback_url(),
        }
        self.aws.send(self.queue_url, [json.dumps(body)])

    def counts(self, url: str) -> dict[str, int]:
        counts: dict[str, int] = self.aws.stats()["queues"][url.rpartition("/")[2]]
        return counts

    def downloads(self) -> int:
        """Requests for objects so far, those that an injected fault answered too."""
        asked: dict[str, int] = self.aws.stats()["requests"]
        return sum(n for name, n in asked.items() if name.startswith("s3.GetObject"))

    def results(self, request_id: str) -> list[dict[str, Any]]:
        bodies = [json.loads(c.body) for c in self.aws.callbacks()]
        return [b for b in bodies if b["request_id"] == request_id]

    @staticmethod
    def eventually(condition: Callable[[], bool], *, timeout_s: float = 30.0) -> bool:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(0.05)
        return condition()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("readiness")
    port = free_port()
    with pytest.MonkeyPatch.context() as patch, LocalAws.in_process() as aws:
        patch.setattr(poller, "UNREADY_AFTER_S", 0.5)
        patch.setattr(breaker, "CHECK_PAUSE_S", 0.3)
        patch.setattr(breaker, "MAX_CHECK_PAUSE_S", 0.6)
        queue_url, dlq_url = aws.create_queue("ready", max_receive_count=2)
        image = sample_media.make_image(folder / "a.jpg", width=160, height=160)
        aws.put_object("media", "a.jpg", image.read_bytes())
        consumer = Consumer(
            Settings(
                aws=AwsSettings(
                    access_key_id=aws.credentials.access_key_id,
                    secret_access_key=aws.credentials.secret_access_key,
                    endpoint_url=aws.endpoint_url,
                ),
                data=DataSettings(s3_cache_dir=folder / "cache"),
                callback=CallbackSettings(allow_private=True),
            ),
            ConsumerSettings(
                queue_url=queue_url,
                wait_time_s=1,
                poll_interval_s=0.2,
                max_backoff_s=2,
                control_host="127.0.0.1",
                control_port=port,
            ),
        )
        thread = threading.Thread(target=consumer.run)
        thread.start()
        built = Stand(
            aws=aws, control=f"http://127.0.0.1:{port}", queue_url=queue_url, dlq_url=dlq_url
        )

        def up() -> bool:
            with contextlib.suppress(requests.ConnectionError):
                return built.ready() is True
            return False

        assert built.eventually(up, timeout_s=60)
        yield built
        aws.clear_faults()
        consumer.request_stop()
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param(
            Fault(
                operation="sqs.ReceiveMessage",
                kind="error",
                code="AWS.SimpleQueueService.NonExistentQueue",
                status=400,
            ),
            "SQS queue does not exist: ",
            id="the queue was deleted",
        ),
        pytest.param(
            Fault(operation="sqs.*", kind="access_denied"),
            "Access to the SQS queue is denied: ",
            id="access was revoked",
        ),
        pytest.param(
            Fault(operation="sqs.*", kind="error", code="KmsAccessDenied", status=400),
            "Access to the SQS queue is denied: ",
            id="the queue's key was revoked",
        ),
        pytest.param(
            Fault(operation="sqs.*", kind="error", code="ExpiredToken", status=403),
            "AWS credentials do not work: ExpiredToken",
            id="the credentials expired",
        ),
        pytest.param(
            Fault(operation="sqs.*", kind="error", code="SignatureDoesNotMatch", status=403),
            "AWS credentials do not work: SignatureDoesNotMatch",
            id="the secret was changed",
        ),
        pytest.param(
            Fault(operation="sqs.*", kind="reset"),
            "SQS cannot be reached: ",
            id="the network is cut",
        ),
        pytest.param(
            Fault(operation="sqs.*", kind="throttle"),
            "SQS answered ",
            id="it is throttled for long",
        ),
    ],
)
def test_a_queue_that_is_lost_makes_the_worker_unready_until_it_is_back(
    stand: Stand, fault: Fault, said: str
) -> None:
    stand.aws.inject(fault)

    assert stand.eventually(lambda: said in str(stand.ready()))
    assert requests.get(stand.control + "/healthz", timeout=5).status_code == 200
    assert requests.get(stand.control + "/state", timeout=5).json()["ready"] is False

    stand.aws.clear_faults()

    assert stand.eventually(lambda: stand.ready() is True)
    assert requests.get(stand.control + "/state", timeout=5).json()["ready"] is True


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param(
            Fault(operation="s3.GetObject", kind="error", code="RequestTimeTooSkewed", status=403),
            "RequestTimeTooSkewed",
            id="the clock",
        ),
        pytest.param(
            Fault(operation="s3.GetObject", kind="error", code="ExpiredToken", status=400),
            "ExpiredToken",
            id="an expired token",
        ),
        pytest.param(
            Fault(operation="s3.GetObject", kind="reset"), "S3 cannot be reached", id="the network"
        ),
    ],
)
def test_good_messages_outlive_the_workers_own_troubles(
    stand: Stand, fault: Fault, said: str, request: pytest.FixtureRequest
) -> None:
    request_id = request.node.callspec.id.replace(" ", "-")
    stand.aws.inject(fault)
    stand.send(request_id)
    assert stand.eventually(lambda: said in str(stand.ready()))
    # Two deliveries are allowed, and the longest pause is 2 s: ten checks take over 5 s.
    checked = stand.downloads()
    assert stand.eventually(lambda: stand.downloads() >= checked + 10)

    assert sum(stand.counts(stand.dlq_url).values()) == 0
    assert sum(stand.counts(stand.queue_url).values()) == 1
    assert said in str(stand.ready())

    stand.aws.clear_faults()

    assert stand.eventually(lambda: stand.ready() is True)
    assert stand.eventually(lambda: bool(stand.results(request_id)))
    assert stand.results(request_id)[0]["status"] == "finished"
    assert stand.eventually(lambda: sum(stand.counts(stand.queue_url).values()) == 0)
