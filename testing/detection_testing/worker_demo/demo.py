"""``detection-worker demo``: the real worker on a local SQS, S3 and callback receiver.

No AWS account, no network: what is uploaded, sent, detected and called back stays on the loopback
interface of this machine.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from detection_testing.aws.local_aws import LocalAws
from detection_testing.worker_demo.check import Outcome, problems
from detection_testing.worker_demo.media import BUCKET, Upload, messages, uploads
from detection_testing.worker_demo.table import Table
from detection_testing.worker_demo.worker import WorkerProcess

QUEUE = "deepfake-queue"
TIMEOUT_S = 180.0
LAST_RESULT_S = 5.0
"""Once the queue is empty nothing more is to come; a callback may still be on its way."""
POLL_S = 0.05


def run(args: argparse.Namespace) -> int:
    """Run the demo and return the exit code: 0 only if everything ended as it should.

    Args:
        args: ``messages`` (how many to send), ``keep`` (leave the services running at the end),
            ``models_dir`` (None takes the bundled ones), ``verbose``.
    """
    print("Deepfake detection end to end on this machine; no AWS account, nothing leaves it.")
    with (
        tempfile.TemporaryDirectory(prefix="detection-demo-") as name,
        LocalAws.in_process() as aws,
    ):
        return _Demo(aws, Path(name), args).run()


class _Demo:
    def __init__(self, aws: LocalAws, folder: Path, args: argparse.Namespace) -> None:
        self._aws = aws
        self._args = args
        self._queue_url, self._dead_letter_url = aws.create_queue(
            QUEUE, visibility_s=30, max_receive_count=5, dead_letter=True
        )
        self._worker = WorkerProcess(
            queue_url=self._queue_url,
            environment=aws.environment(),
            endpoint_url=aws.endpoint_url,
            log_path=folder / "worker.log",
            models_dir=args.models_dir,
            verbose=args.verbose,
        )
        self._table = Table()

    def run(self) -> int:
        files = uploads()
        self._upload(files)
        expected = messages(files, self._args.messages, self._aws.callback_url("/ok"))
        self._send([m.body for m in expected])
        started = time.monotonic()
        with self._worker:
            print(f"4. Worker: {self._worker.command_line}")
            outcome = self._watch({m.request_id: m.upload for m in expected}, started)
            outcome.worker_exit_code = self._worker.stop()
        self._count_leftovers(outcome)
        code = self._report(outcome)
        if self._args.keep and code == 0:
            self._serve()
        return code

    def _upload(self, files: list[Upload]) -> None:
        for upload in files:
            self._aws.put_object(BUCKET, upload.key, upload.content)
        kinds = ", ".join(sorted({u.kind for u in files}))
        print(f"1. Local SQS and S3 on {self._aws.endpoint_url}, and a callback receiver.")
        print(
            f"2. {len(files)} files ({kinds}) uploaded to s3://{BUCKET}; one is broken on purpose."
        )

    def _send(self, bodies: list[str]) -> None:
        self._aws.send(self._queue_url, bodies)
        print(f"3. {len(bodies)} messages sent to {self._queue_url}")

    def _watch(self, expected: dict[str, Upload], started: float) -> Outcome:
        """Print results as they arrive until all are there, the worker died or time is up."""
        outcome = Outcome(expected=expected)
        seen = 0
        emptied_s: float | None = None
        while not outcome.complete and time.monotonic() - started < TIMEOUT_S:
            callbacks = self._aws.callbacks(since=seen)
            seen += len(callbacks)
            for callback in callbacks:
                result = json.loads(callback.body)
                outcome.add(result, dict(callback.headers))
                self._table.row(result, expected.get(str(result["request_id"])), len(outcome))
            if callbacks:
                continue
            if self._open(self._queue_url):
                emptied_s = None
            elif emptied_s is None:
                emptied_s = time.monotonic()
            elif time.monotonic() - emptied_s > LAST_RESULT_S:
                break
            if not self._worker.running:
                break
            time.sleep(POLL_S)
        outcome.seconds = time.monotonic() - started
        return outcome

    def _count_leftovers(self, outcome: Outcome) -> None:
        outcome.left_in_queue = self._open(self._queue_url)
        outcome.dead_letters = self._open(self._dead_letter_url)

    def _open(self, url: str) -> int:
        counts: dict[str, int] = self._aws.stats()["queues"][url.rpartition("/")[2]]
        return sum(counts.values())

    def _report(self, outcome: Outcome) -> int:
        wrong = problems(outcome)
        self._table.summary(outcome)
        for problem in wrong:
            print(f"PROBLEM: {problem}")
        if wrong:
            print(f"The worker's log ends:\n{self._worker.log_tail()}")
            return 1
        return 0

    def _serve(self) -> None:
        print(f"Still serving on {self._aws.endpoint_url}; queue {self._queue_url}. Ctrl-C ends.")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            print()
