"""``consume``, ``message`` and ``predict s3://…`` against a local AWS, as processes."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_testing.media import sample_media

pytestmark = pytest.mark.slow  # every test starts processes

MISSING_QUEUE = "https://sqs.us-east-1.amazonaws.com/123456789012/wrong-queue"
BUSES = ("default", "gone")


@pytest.fixture
def environment(local_aws: LocalAws, tiny_models: Path, home: Path) -> dict[str, str]:
    """As an operator would set it for a worker."""
    keys = local_aws.credentials
    return {
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_REGION": local_aws.region,
        "DETECTION_ENDPOINT_URL": local_aws.endpoint_url,
        "DETECTION_CALLBACK_ALLOW_PRIVATE": "true",
        "DETECTION_S3_CACHE_DIR": str(home / "cache"),
        "DETECTION_DECODERS": "1",
        "MODELS_DIR": str(tiny_models),
        "WAIT_TIME": "1",
    }


@pytest.fixture
def queue_url(local_aws: LocalAws) -> str:
    return local_aws.create_queue("deepfake-queue").queue_url


@pytest.fixture
def image_url(local_aws: LocalAws, home: Path) -> str:
    data = sample_media.make_image(home / "photo.png").read_bytes()
    return local_aws.put_object("media", "in/photo.png", data, content_type="image/png")


@pytest.fixture
def run(run_forked: Callable[..., Any], environment: dict[str, str]) -> Callable[..., Any]:
    """Run a command in that environment."""

    def start(*args: str, env: dict[str, str] | None = None, stdin: str = "") -> Any:
        return run_forked(*args, env={**environment, **(env or {})}, stdin=stdin)

    return start


@pytest.fixture
def worker(
    home: Path, clean_environment: dict[str, str], environment: dict[str, str], queue_url: str
) -> Iterator[subprocess.Popen[str]]:
    """A consumer that runs beside the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "detection_worker", "consume", "--queue-url", queue_url],
        cwd=home,
        env={**clean_environment, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


def depth(aws: LocalAws, queue_url: str) -> tuple[int, int]:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = aws.sqs().get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)
    return int(answer["Attributes"][names[0]]), int(answer["Attributes"][names[1]])


class TestValidateQueue:
    """``consume --validate-queue``."""

    def test_attributes_and_redrive_policy_are_shown(
        self, run: Callable[..., Any], local_aws: LocalAws, queue_url: str
    ) -> None:
        local_aws.send(queue_url, ["{}"])

        ended = run("consume", "--validate-queue", "--queue-url", queue_url)

        assert ended.code == 0
        assert f"Queue is valid: {queue_url}" in ended.out
        assert "Messages waiting:   about 1" in ended.out
        assert "Visibility timeout: 30 s" in ended.out
        assert "dead-lettered after 5 deliveries" in ended.out
        assert f"{queue_url}-dlq" in ended.out
        assert "Advice" not in ended.out

    def test_what_should_be_changed_is_advised(
        self, run: Callable[..., Any], local_aws: LocalAws
    ) -> None:
        plain = local_aws.create_queue("plain", dead_letter=False).queue_url
        hasty = local_aws.create_queue("hasty", max_receive_count=1).queue_url

        without = run("consume", "--validate-queue", "--queue-url", plain, "--wait-time", "0")
        few = run("consume", "--validate-queue", env={"QUEUE_URL": hasty})

        assert "Advice: there is no dead-letter queue" in without.out
        assert "Advice: --wait-time 0 polls without waiting" in without.out
        assert "Advice: maxReceiveCount is 1" in few.out

    @pytest.mark.parametrize("which", ["", "-dlq"], ids=["queue", "dead-letter queue"])
    def test_results_that_would_come_back_to_the_queue_are_refused(
        self, run: Callable[..., Any], queue_url: str, which: str
    ) -> None:
        name = queue_url.rpartition("/")[2]
        arn = f"arn:aws:sqs:us-east-1:123456789012:{name}{which}"

        ended = run("consume", "--validate-queue", "--queue-url", queue_url, "--on-failure", arn)

        assert ended.code == 2
        assert f"--on-failure names a queue of this worker: {arn}" in ended.err

    def test_the_outbox_is_shown_and_advised_about(
        self, run: Callable[..., Any], local_aws: LocalAws, queue_url: str
    ) -> None:
        outbox = local_aws.create_queue("outbox", dead_letter=False).queue_url
        options = ("consume", "--validate-queue", "--queue-url", queue_url, "--outbox")

        ended, same, none = (run(*options, url) for url in (outbox, queue_url, MISSING_QUEUE))

        assert ended.code == 0
        assert f"Outbox is valid: {outbox}" in ended.out
        assert "Advice: the outbox has no dead-letter queue" in ended.out
        assert same.code == 2
        assert "must be a queue of its own" in same.err
        assert none.code == 2
        assert "SQS queue does not exist" in none.err

    def test_a_bus_that_takes_events_and_does_not_exist_is_told(
        self, run: Callable[..., Any], local_aws: LocalAws, queue_url: str
    ) -> None:
        there, gone = (f"arn:aws:events:us-east-1:123456789012:event-bus/{name}" for name in BUSES)
        options = ("consume", "--validate-queue", "--queue-url", queue_url, "--on-success")

        ended = run(*options, f"{there},{gone}")
        local_aws.inject(Fault(operation="events.DescribeEventBus", kind="access_denied", count=1))
        denied = run(*options, there)

        assert ended.code == denied.code == 0
        lost = "events for a bus that does not exist are lost"
        assert f"Advice: EventBridge has no such bus; {lost}: {gone}" in ended.out
        assert ended.out.count("Advice") == 1
        unknown = "whether the event bus exists is not known (DescribeEventBus: AccessDenied)"
        assert f"Advice: {unknown}; {lost}: {there}" in denied.out

    def test_results_may_not_hide_what_the_outbox_could_not_deliver(
        self, run: Callable[..., Any], local_aws: LocalAws, queue_url: str
    ) -> None:
        outbox = local_aws.create_queue("outbox-of-results").queue_url
        arn = "arn:aws:sqs:us-east-1:123456789012:outbox-of-results-dlq"
        options = ("--queue-url", queue_url, "--outbox", outbox, "--on-success", arn)

        ended = run("consume", "--validate-queue", *options)

        assert ended.code == 2
        assert f"--on-success names a queue of this worker: {arn}" in ended.err

    def test_a_queue_that_is_not_there_is_named_with_the_guide_s_text(
        self, run: Callable[..., Any]
    ) -> None:
        ended = run("consume", "--validate-queue", "--queue-url", MISSING_QUEUE)

        assert ended.code == 2
        assert (
            f"SQS queue does not exist: {MISSING_QUEUE}\nVerify the queue URL and region."
            in ended.err
        )
        assert "Traceback" not in ended.text

    @pytest.mark.parametrize(
        "command",
        ["consume --validate-queue", "consume --run-once", "message --yes --url s3://bucket/k"],
    )
    def test_without_credentials_the_guide_s_text_is_shown(
        self, run: Callable[..., Any], command: str, queue_url: str
    ) -> None:
        env = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "QUEUE_URL": queue_url}

        ended = run(*command.split(), env=env)

        assert ended.code == 2
        assert "AWS credentials not found!\nSet AWS_ACCESS_KEY_ID" in ended.err
        assert "Traceback" not in ended.text


class TestConsume:
    """The consumer by its command line."""

    def test_one_poll_processes_posts_and_deletes(
        self, run: Callable[..., Any], local_aws: LocalAws, queue_url: str, image_url: str
    ) -> None:
        message = {
            "sqs_to_ml_url": image_url,
            "callback_url": local_aws.callback_url("/ok"),
            "request_id": "req_001",
            "metadata": {"user_id": "user123"},
        }
        local_aws.send(queue_url, [json.dumps(message)])

        ended = run("consume", "--run-once", env={"QUEUE_URL": queue_url})

        assert ended.code == 0, ended.err
        [callback] = local_aws.callbacks()
        result = json.loads(callback.body)
        assert (result["request_id"], result["queue_url"]) == ("req_001", queue_url)
        assert result["metadata"] == {"user_id": "user123"}
        assert result["s3_file_info"]["content_type"] == "image/png"
        assert depth(local_aws, queue_url) == (0, 0)
        for line in (
            f"Starting SQS consumer for queue: {queue_url}",
            "Loaded models: ['image', 'video', 'audio']",
            "Received 1 message(s)",
            f"Processing deepfake detection for: {image_url} (ID: req_001)",
            f"Detection complete - {result['label']} (confidence: {result['confidence']:.1%}) "
            "for req_001",
            "Message processed and deleted\n",
        ):
            assert f" - INFO - {line}" in ended.err
        assert re.search(r"Finished message [-\w]+, request req_001\n", ended.err)

    def test_a_dry_run_leaves_the_message(
        self, run: Callable[..., Any], local_aws: LocalAws, queue_url: str, image_url: str
    ) -> None:
        local_aws.send(queue_url, [json.dumps({"sqs_to_ml_url": image_url})])

        ended = run("consume", "--dry-run", "--run-once", "--queue-url", queue_url)

        assert ended.code == 0
        assert f"would process {image_url}" in ended.err
        assert depth(local_aws, queue_url) == (1, 0)

    def test_json_logs_are_json_lines(self, run: Callable[..., Any], queue_url: str) -> None:
        ended = run(
            "consume",
            "--dry-run",
            "--run-once",
            "--queue-url",
            queue_url,
            env={"LOG_FORMAT": "json"},
        )

        lines = [json.loads(line) for line in ended.err.splitlines()]
        assert lines[0]["message"] == f"Starting SQS consumer for queue: {queue_url}"
        assert lines[0]["level"] == "INFO"

    def test_in_a_pod_logs_are_json_without_being_asked_for(
        self, run: Callable[..., Any], queue_url: str
    ) -> None:
        ended = run(
            "consume",
            "--dry-run",
            "--run-once",
            "--queue-url",
            queue_url,
            env={"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
        )

        assert all(json.loads(line) for line in ended.err.splitlines())

    def test_sigterm_ends_it_with_0_and_the_statistics(
        self,
        worker: subprocess.Popen[str],
        local_aws: LocalAws,
        queue_url: str,
        image_url: str,
    ) -> None:
        local_aws.send(queue_url, [json.dumps({"sqs_to_ml_url": image_url})])
        assert worker.stderr is not None
        seen = ""
        while "Message processed and deleted" not in seen:
            line = worker.stderr.readline()
            assert line, seen
            seen += line

        worker.send_signal(signal.SIGTERM)
        rest = worker.stderr.read()

        assert worker.wait(60) == 0, rest
        assert "Statistics: 1 processed, 0 failed" in rest
        assert "Traceback" not in rest


class TestMessage:
    """``message`` at a terminal and in scripts."""

    def test_it_asks_shows_and_sends(
        self,
        at_terminal: Callable[..., Any],
        environment: dict[str, str],
        local_aws: LocalAws,
        queue_url: str,
    ) -> None:
        terminal = at_terminal("message", env=environment)

        terminal.answer("S3 URL of the media:", "photo.png")
        terminal.answer("S3 URL of the media:", "s3://media/in/photo.png")
        terminal.answer("Confidence threshold [0.5]:", "7")
        terminal.answer("Confidence threshold [0.5]:", "0.7")
        terminal.answer("Callback URL (empty: none):", "https://api.example.com/callback")
        terminal.answer("SQS queue URL:", queue_url)
        terminal.answer(f"Send it to {queue_url}? [Y/n]:", "y")
        code = terminal.end()

        assert code == 0
        [received] = local_aws.sqs().receive_message(QueueUrl=queue_url)["Messages"]
        body = json.loads(received["Body"])
        assert body.pop("request_id")
        assert body == {
            "sqs_to_ml_url": "s3://media/in/photo.png",
            "callback_url": "https://api.example.com/callback",
            "confidence_threshold": 0.7,
        }
        assert '"confidence_threshold": 0.7' in terminal.seen
        assert f"Sent, message id {received['MessageId']}" in terminal.seen

    def test_nothing_is_sent_without_consent(
        self, run: Callable[..., Any], local_aws: LocalAws, queue_url: str
    ) -> None:
        ended = run(
            "message",
            "--url",
            "s3://bucket/k.png",
            "--threshold",
            "0.5",
            "--queue-url",
            queue_url,
            stdin="\n0\nn\n",
        )

        assert ended.code == 1
        assert "Nothing was sent." in ended.out
        assert depth(local_aws, queue_url) == (0, 0)

    @pytest.mark.parametrize("answers", ["", "s3://bucket/k.png\n", "s3://bucket/k.png\n\n\n\n"])
    def test_the_end_of_input_leaves_cleanly(
        self, run: Callable[..., Any], local_aws: LocalAws, queue_url: str, answers: str
    ) -> None:
        ended = run("message", "--queue-url", queue_url, stdin=answers)

        assert ended.code == 2
        assert "The input ended at the question" in ended.err
        assert "Traceback" not in ended.text
        assert depth(local_aws, queue_url) == (0, 0)

    def test_ctrl_c_leaves_cleanly(
        self, at_terminal: Callable[..., Any], environment: dict[str, str]
    ) -> None:
        terminal = at_terminal("message", env=environment)
        terminal.expect("S3 URL of the media:")

        terminal.interrupt()

        assert terminal.end() == 130
        assert "Traceback" not in terminal.seen

    def test_a_script_sends_all_that_its_options_say(
        self, run: Callable[..., Any], local_aws: LocalAws, queue_url: str
    ) -> None:
        ended = run(
            "message",
            "--yes",
            "--url",
            "s3://bucket/k.png",
            "--request-id",
            "r1",
            "--metadata",
            '{"a": 1}',
            "--queue-url",
            queue_url,
        )

        assert ended.code == 0, ended.err
        [received] = local_aws.sqs().receive_message(QueueUrl=queue_url)["Messages"]
        assert json.loads(received["Body"]) == {
            "sqs_to_ml_url": "s3://bucket/k.png",
            "request_id": "r1",
            "confidence_threshold": 0.5,
            "metadata": {"a": 1},
        }

    def test_a_fifo_queue_gets_group_and_deduplication_ids(
        self, run: Callable[..., Any], local_aws: LocalAws
    ) -> None:
        queue = local_aws.create_queue("jobs.fifo", attributes={"FifoQueue": "true"}).queue_url

        ended = run("message", "--yes", "--url", "s3://bucket/k.png", "--queue-url", queue)

        assert ended.code == 0, ended.err
        assert depth(local_aws, queue) == (1, 0)

    def test_an_emulator_s_queue_needs_no_endpoint_option(
        self, run: Callable[..., Any], local_aws: LocalAws, queue_url: str
    ) -> None:
        ended = run(
            "message",
            "--yes",
            "--url",
            "s3://bucket/k.png",
            "--queue-url",
            queue_url,
            env={"DETECTION_ENDPOINT_URL": ""},
        )

        assert ended.code == 0, ended.err
        assert depth(local_aws, queue_url) == (1, 0)

    def test_sending_to_a_queue_that_is_not_there_says_so(self, run: Callable[..., Any]) -> None:
        ended = run("message", "--yes", "--url", "s3://bucket/k.png", "--queue-url", MISSING_QUEUE)

        assert ended.code == 2
        assert f"SQS queue does not exist: {MISSING_QUEUE}\n" in ended.err

    def test_only_showing_it_needs_neither_queue_nor_credentials(
        self, run_cli: Callable[..., Any]
    ) -> None:
        ended = run_cli("message", "--print-only", "--url", "s3://bucket/k.png")

        assert ended.code == 0
        assert json.loads(ended.out)["sqs_to_ml_url"] == "s3://bucket/k.png"

    def test_the_result_is_waited_for_and_shown(
        self,
        run: Callable[..., Any],
        worker: subprocess.Popen[str],
        queue_url: str,
        image_url: str,
    ) -> None:
        ended = run(
            "message",
            "--yes",
            "--url",
            image_url,
            "--request-id",
            "r1",
            "--wait",
            "90",
            "--queue-url",
            queue_url,
        )

        assert ended.code == 0, ended.text
        assert worker.poll() is None
        assert f"{image_url}\n  Prediction: " in ended.out
        assert '"request_id": "r1"' in ended.out

    def test_waiting_ends_when_no_worker_answers(
        self, run: Callable[..., Any], queue_url: str
    ) -> None:
        ended = run(
            "message",
            "--yes",
            "--url",
            "s3://bucket/k.png",
            "--wait",
            "0.2",
            "--queue-url",
            queue_url,
        )

        assert ended.code == 1
        assert "No result came within 0.2 s." in ended.out


class TestPredictFromS3:
    """``predict s3://…``."""

    def test_an_object_is_fetched_analysed_and_removed(
        self, run: Callable[..., Any], home: Path, image_url: str
    ) -> None:
        ended = run("predict", image_url, "--output", "r.json")

        assert ended.code == 0, ended.err
        result = json.loads((home / "r.json").read_text())
        assert (result["is_s3_file"], result["file_path"]) == (True, image_url)
        assert result["s3_file_info"]["content_type"] == "image/png"
        assert result["s3_file_info"]["size"] == (home / "photo.png").stat().st_size
        assert set(result["timings_ms"]) == {"download", "decode", "inference", "total"}
        assert not Path(result["local_path"]).exists()
        assert list((home / "cache").iterdir()) == []

    def test_a_download_is_kept_on_request(
        self, run: Callable[..., Any], home: Path, image_url: str
    ) -> None:
        ended = run("predict", image_url, "--no-cleanup-temp-files", "--output", "-")

        kept = Path(json.loads(ended.out)["local_path"])
        assert kept.read_bytes() == (home / "photo.png").read_bytes()

    def test_credentials_of_the_config_file_win_over_the_environment(
        self, run: Callable[..., Any], local_aws: LocalAws, home: Path, image_url: str
    ) -> None:
        keys = local_aws.credentials
        aws = {"access_key_id": keys.access_key_id, "secret_access_key": keys.secret_access_key}
        (home / "aws_config.json").write_text(json.dumps({"aws": aws}))

        ended = run("predict", image_url, env={"AWS_ACCESS_KEY_ID": "AKIAWRONGWRONGWR"})

        assert ended.code == 0, ended.err

    @pytest.mark.parametrize(
        ("url", "fault", "env", "text"),
        [
            pytest.param(
                "s3://media/in/gone.png",
                None,
                {},
                "S3 file not found: s3://media/in/gone.png\nVerify the S3 URL",
                id="no such file",
            ),
            pytest.param(
                "s3://media/in/photo.png",
                Fault(operation="s3.GetObject", kind="access_denied"),
                {},
                "Failed to download S3 file: Access Denied\nCheck S3 bucket permissions",
                id="access denied",
            ),
            pytest.param(
                "s3://media/in/photo.png",
                None,
                {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
                "AWS credentials not found!",
                id="no credentials",
            ),
        ],
    )
    def test_what_goes_wrong_has_the_guide_s_text(
        self,
        run: Callable[..., Any],
        local_aws: LocalAws,
        image_url: str,
        *,
        url: str,
        fault: Fault | None,
        env: dict[str, str],
        text: str,
    ) -> None:
        if fault is not None:
            local_aws.inject(fault)

        ended = run("predict", url, env=env)

        assert image_url == "s3://media/in/photo.png"
        assert ended.code == 1
        assert text in ended.err
        assert len(ended.err.strip().splitlines()) == 2
        assert "Traceback" not in ended.text
