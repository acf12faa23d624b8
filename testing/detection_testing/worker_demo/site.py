"""The demo's account: buckets, queues, topic and receiver, and what has arrived in them."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from detection_testing.aws.local_aws import LocalAws
from detection_testing.worker_demo.check import Callback, Notification
from detection_testing.worker_demo.media import BUCKET, EVENTS_PREFIX, Wanted

QUEUE: Final = "deepfake-queue"
OUTBOX: Final = "callback-outbox"
TOPIC: Final = "detections"
INBOX: Final = "detections-subscriber"
FAILURES: Final = "failed-detections"
RESULTS_URL: Final = "s3://demo-results/results/"
CACHE_URL: Final = "s3://demo-results/cache/"
_RESULTS_BUCKET: Final = "demo-results"


class Site:
    """What the worker works with, on a local AWS.

    Args:
        aws: The local AWS, running.

    Attributes:
        queue_url: The work queue.
        outbox_url: Where callbacks wait that failed.
    """

    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        self.queue_url, self._dead_letter_url = aws.create_queue(QUEUE)
        self.outbox_url, self._dead_callback_url = aws.create_queue(OUTBOX, visibility_s=60)
        self._inbox_url = aws.create_queue(INBOX, dead_letter=False).queue_url
        self._failures_url = aws.create_queue(FAILURES, dead_letter=False).queue_url
        self._topic_arn = aws.create_topic(TOPIC, self._inbox_url)
        aws.s3().create_bucket(Bucket=_RESULTS_BUCKET)
        aws.notify(BUCKET, self.queue_url, prefix=EVENTS_PREFIX)
        aws.purge(self.queue_url)  # the test event: the worker would only log it
        self._seen = 0

    def options(self) -> list[str]:
        """Return the worker's options."""
        return [
            *("--queue-url", self.queue_url),
            *("--results", RESULTS_URL),
            *("--cache", CACHE_URL),
            *("--on-success", self._topic_arn),
            *("--on-failure", self.aws.queue_arn(self._failures_url)),
            *("--outbox", self.outbox_url),
        ]

    def callback_urls(self) -> tuple[str, str]:
        """Return the URLs of a receiver, and of one that refuses the first attempt."""
        return self.aws.callback_url("/ok"), self.aws.callback_url("/flaky/1")

    def ask(self, wanted: Sequence[Wanted]) -> None:
        """Upload the files and ask for their results.

        The request whose callback has to wait goes first, so that nobody waits long for it.
        """
        files = {w.key: w.upload for w in wanted if not w.key.startswith(EVENTS_PREFIX)}
        for key, upload in files.items():
            self.aws.put_object(BUCKET, key, upload.content)
        self.aws.send(self.queue_url, [w.body for w in wanted if w.late])
        for each in wanted:
            if each.by_event:
                self.aws.put_object(BUCKET, each.key, each.upload.content)
        self.aws.send(self.queue_url, [w.body for w in wanted if w.body and not w.late])

    def callbacks(self) -> list[Callback]:
        """Return the callbacks that came since the last call."""
        found = self.aws.callbacks(since=self._seen)
        self._seen += len(found)
        return [
            Callback(
                body=call.body,
                webhook_id=call.headers.get("webhook-id", ""),
                accepted=call.accepted,
            )
            for call in found
        ]

    def notifications(self) -> list[Notification]:
        """Return the notifications that came since the last call."""
        places = ((TOPIC, self._inbox_url), (FAILURES, self._failures_url))
        return [
            Notification(place=place, body=json.loads(message["Body"]))
            for place, url in places
            for message in self._received(url)
        ]

    def stored(self) -> dict[str, bytes]:
        """Return the stored results by URL."""
        s3, found = self.aws.s3(), {}
        prefix = RESULTS_URL.removeprefix(f"s3://{_RESULTS_BUCKET}/")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=_RESULTS_BUCKET, Prefix=prefix)
        for page in pages:
            for entry in page.get("Contents", ()):
                key = entry["Key"]
                body = s3.get_object(Bucket=_RESULTS_BUCKET, Key=key)["Body"].read()
                found[f"s3://{_RESULTS_BUCKET}/{key}"] = body
        return found

    def downloads(self) -> dict[str, int]:
        """Return how often S3 sent an object, by its URL; "not modified" sends nothing."""
        calls = self.aws.calls(operation="s3.GetObject", resource=f"{BUCKET}/*")
        return Counter(f"s3://{call.resource}" for call in calls if call.status in (200, 206))

    def left(self) -> dict[str, int]:
        """Return how many messages are left, by queue."""
        queues = self.aws.stats()["queues"]
        return {name: sum(counts.values()) for name, counts in queues.items()}

    def _received(self, url: str) -> list[dict[str, Any]]:
        sqs, found = self.aws.sqs(), []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            found += messages
            for message in messages:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found
