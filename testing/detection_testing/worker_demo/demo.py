"""``detection-worker demo``: the real worker on a local AWS and callback receiver.

No AWS account, no network: what is uploaded, sent, detected, stored and told stays on the loopback
interface of this machine.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from detection_testing.aws.local_aws import LocalAws
from detection_testing.worker_demo.check import (
    Callback,
    Notification,
    Outcome,
    problems,
    wanted_of,
)
from detection_testing.worker_demo.media import BUCKET, Wanted, requests, uploads
from detection_testing.worker_demo.site import (
    FAILURES,
    INBOX,
    OUTBOX,
    QUEUE,
    TOPIC,
    Site,
)
from detection_testing.worker_demo.table import Table
from detection_testing.worker_demo.worker import WorkerProcess

TIMEOUT_S = 400.0
LAST_RESULT_S = 20.0
"""Once the queues are empty nothing more is to come; a callback may still be on its way."""
POLL_S = 0.05


def run(args: argparse.Namespace) -> int:
    """Run the demo and return the exit code: 0 only if everything ended as it should.

    Args:
        args: ``messages`` (how many to send), ``keep`` (leave the services running at the end),
            ``models_dir`` (None takes the bundled ones), ``verbose``.
    """
    print("Deepfake detection end to end here; no AWS account, nothing leaves this machine.")
    with (
        tempfile.TemporaryDirectory(prefix="detection-demo-") as name,
        LocalAws.in_process() as aws,
    ):
        return _Demo(aws, Path(name), args).run()


class _Demo:
    def __init__(self, aws: LocalAws, folder: Path, args: argparse.Namespace) -> None:
        self._site = Site(aws)
        self._args = args
        self._worker = WorkerProcess(
            options=self._site.options(),
            environment=aws.environment(),
            endpoint_url=aws.endpoint_url,
            log_path=folder / "worker.log",
            models_dir=args.models_dir,
            verbose=args.verbose,
        )
        self._table = Table()
        self._outcome = Outcome(wanted=(), success_place=TOPIC, failure_place=FAILURES)

    def run(self) -> int:
        self._outcome.wanted = self._ask()
        started = time.monotonic()
        with self._worker:
            print("4. Worker:", self._worker.command_line.replace(" --", " \\\n     --"))
            self._watch(started)
            self._outcome.worker_exit_code = self._worker.stop()
        self._arrive()
        code = self._report()
        if self._args.keep and code == 0:
            self._serve()
        return code

    def _ask(self) -> list[Wanted]:
        files = uploads()
        callback_url, late_callback_url = self._site.callback_urls()
        wanted = requests(
            files,
            self._args.messages,
            callback_url=callback_url,
            late_callback_url=late_callback_url,
        )
        self._site.ask(wanted)
        events = sum(w.by_event for w in wanted)
        kinds = ", ".join(sorted({f.kind for f in files})).capitalize()
        print(f"1. Local SQS and S3, SNS, callbacks on {self._site.aws.endpoint_url}.")
        print(f"2. {kinds} files uploaded to s3://{BUCKET}, one broken on purpose.")
        print(f"3. {events} events of S3 and {len(wanted) - events} messages sent to {QUEUE}.")
        print("   Nobody waits for a callback of the events; one receiver is down at first.")
        return wanted

    def _watch(self, started: float) -> None:
        """Print results as they arrive until all are there, the worker died or time is up."""
        emptied_s: float | None = None
        while not self._outcome.complete and time.monotonic() - started < TIMEOUT_S:
            if self._arrive():
                continue
            left = self._site.left()
            if left[QUEUE] or left[OUTBOX]:
                emptied_s = None
            elif emptied_s is None:
                emptied_s = time.monotonic()
            elif time.monotonic() - emptied_s > LAST_RESULT_S:
                break
            if not self._worker.running:
                break
            time.sleep(POLL_S)
        self._outcome.seconds = time.monotonic() - started

    def _arrive(self) -> bool:
        """Take what has come; return whether anything has."""
        notifications, callbacks = self._site.notifications(), self._site.callbacks()
        for note in notifications:
            self._note(note)
        for call in callbacks:
            self._take(call)
        return bool(notifications or callbacks)

    def _note(self, note: Notification) -> None:
        self._outcome.notifications.append(note)
        wanted = self._wanted(note.body)
        if wanted is None or wanted.by_event:
            way = "topic" if note.place == TOPIC else "queue"
            result = note.body["result"] or note.body
            self._table.row(result, None if wanted is None else wanted.upload, way)

    def _take(self, call: Callback) -> None:
        late = any(c.webhook_id == call.webhook_id for c in self._outcome.callbacks)
        self._outcome.callbacks.append(call)
        if call.accepted:
            result = json.loads(call.body)
            wanted = self._wanted(result)
            upload = None if wanted is None else wanted.upload
            self._table.row(result, upload, "outbox" if late else "callback")

    def _wanted(self, result: dict[str, object]) -> Wanted | None:
        return wanted_of(self._outcome, str(result["request_id"]), str(result["sqs_to_ml_url"]))

    def _report(self) -> int:
        outcome = self._outcome
        outcome.stored, outcome.downloads = self._site.stored(), self._site.downloads()
        left = self._site.left()
        outcome.dead_letters = left.pop(f"{QUEUE}-dlq")
        outcome.left = {name: count for name, count in left.items() if count and name != INBOX}
        wrong = problems(outcome)
        self._table.summary(outcome)
        for problem in wrong:
            print(f"PROBLEM: {problem}")
        if wrong:
            print(f"The worker's log ends:\n{self._worker.log_tail()}")
            return 1
        return 0

    def _serve(self) -> None:
        url = self._site.aws.endpoint_url
        print(f"Still serving on {url}; queue {self._site.queue_url}. Ctrl-C ends.")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            print()
