"""What made-up workers and an operator export, and what others export of them."""

import math
from bisect import bisect_left

from detection_testing.monitoring.history import History
from detection_testing.monitoring.queues import SERVICE_S, STEP_S, Moment, Story

PODS = 3
"""At most as many workers of a queue have series: they do the work of all."""
KINDS = {"image": 0.6, "video": 0.3, "audio": 0.1}
STAGES = {"download": 0.15, "decode": 0.7, "inference": 0.45, "callback": 0.12}
VERDICTS = {"real": 0.62, "fake": 0.26, "inconclusive": 0.09, "not_applicable": 0.03}
MODELS = {
    "image": ("image-residual-s", "2", "demo"),
    "video": ("video-frames", "1", "demo"),
    "audio": ("audio-lfb-resnet-s", "3", "demo"),
}
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
WAITS = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 21_600, 86_400)
SCORES = tuple(number / 20 for number in range(1, 21))
FAILURES = {"undecodable": 0.02, "download_failed": 0.004, "timeout": 0.002}


class Pod:
    """One worker of a queue.

    Args:
        history: Where its samples go.
        story: Its queue.
        number: Which of the workers it is.
    """

    def __init__(self, history: History, story: Story, number: int) -> None:
        self._history = history
        self._at_s, self._first = 0.0, number == 0
        self._labels = {
            "cluster": story.cluster, "namespace": story.namespace, "queue": story.name,
            "pod": f"{story.name}-7c9d4f6b8-{'xkqzt'[number]}m{number}p{len(story.name)}",
        }  # fmt: skip

    def _set(self, series: str, value: float, **labels: str) -> None:
        self._history.put(
            self._at_s, f"detection_worker_{series}", value, {**self._labels, **labels}
        )

    def _add(self, series: str, more: float, **labels: str) -> None:
        self._history.add(
            self._at_s, f"detection_worker_{series}", more, {**self._labels, **labels}
        )

    def _observe(
        self, name: str, bounds: tuple[float, ...], typical: float, count: float, **labels: str
    ) -> None:
        """Add ``count`` observations: nine of ten around ``typical``, one at twice that."""
        for bound in bounds:
            part = (0.9 if bound >= typical else 0.2 if bound >= typical / 2 else 0.0) + (
                0.1 if bound >= 2 * typical else 0.0
            )
            self._add(f"{name}_bucket", count * part, le=f"{float(bound)}", **labels)
        self._add(f"{name}_bucket", count, le="+Inf", **labels)
        self._add(f"{name}_count", count, **labels)
        self._add(f"{name}_sum", count * typical * 1.1, **labels)

    def record(self, now: Moment, done: float, *, fails: float, shift: float) -> None:
        """Record a minute.

        Args:
            now: The queue.
            done: Messages that it finished.
            fails: Part of the callbacks that fail.
            shift: What the scores have moved by.
        """
        self._at_s = now.at_s
        self._work(now, done, shift)
        self._delivery(done, fails)
        self._gauges(now)
        self._machine(now)

    def _work(self, now: Moment, done: float, shift: float) -> None:
        for outcome in ("deleted", "dead_lettered", "retried", "released", "kept", "lost"):
            part = {"deleted": 1.0, "retried": 0.02}.get(outcome, 0)
            self._add("messages_total", done * part, outcome=outcome)
        for kind, share in KINDS.items():
            for verdict, part in VERDICTS.items():
                label = {"fake": "FAKE", "not_applicable": "NOT_APPLICABLE"}.get(verdict, "REAL")
                labels = {"kind": kind, "label": label, "verdict": verdict}
                self._add("jobs_total", done * share * part, **labels)
            slow = {"image": 0.6, "video": 4.0, "audio": 1.4}[kind]
            self._observe("job_seconds", SECONDS, slow, done * share, kind=kind)
            model, version, grade = MODELS[kind]
            score = 0.31 + shift * (kind == "image")
            labels = {"kind": kind, "model": model, "version": version}
            distance = {**self._labels, "pod": "", **labels}
            if self._first:
                name = "detection_worker:score:distance1h_7d"
                self._history.put(self._at_s, name, 0.04 + 1.6 * (score - 0.31), distance)
            self._observe("score", SCORES, score, done * share, **labels)
            self._set("model_info", 1, kind=kind, name=model, version=version, grade=grade)
            self._set("service_seconds", SERVICE_S * slow / 2, kind=kind)
            self._set("sustainable_messages_per_second", 1.2 / slow, kind=kind)
        for stage, seconds in STAGES.items():
            self._observe("stage_seconds", SECONDS, seconds, done, stage=stage)
            busy = now.busy / max(now.ready, 1)
            self._set("stage_busy", round(busy * seconds / 0.7, 2), stage=stage)
            self._set("stage_waiting", round(busy * (stage == "decode") * 3), stage=stage)
        self._observe("queue_wait_seconds", WAITS, now.age_s * 0.7, done)
        self._observe("batch_units", (1, 2, 4, 8, 16, 32, 64, 128), 12, done)
        for code, part in FAILURES.items():
            self._add("failures_total", done * part, code=code)

    def _delivery(self, done: float, fails: float) -> None:
        self._add("callbacks_total", done * (1 - fails), result="delivered")
        self._add("callbacks_total", done * fails, result="callback_http")
        self._add("callbacks_deferred_total", done * fails / 4, reason="circuit_open")
        for result in ("queued", "delivered", "dead_lettered", "kept", "refused"):
            part = fails / 4 if result in {"queued", "delivered"} else 0
            self._add("outbox_entries_total", done * part, result=result)
        self._add("results_total", done, destination="s3", result="ok")
        self._add("results_total", done, destination="sqs", result="ok")
        for operation in ("receive", "delete", "extend"):
            self._add("sqs_requests_total", done, operation=operation, result="ok")
        for result, part in (("hit", 0.2), ("miss", 0.8)):
            self._add("cache_lookups_total", done * part, result=result)
        self._add("cache_writes_total", done * 0.8, result="ok")
        self._add("downloaded_bytes_total", done * 2.6e6)
        for name in ("leases_lost", "redeliveries_adopted", "feeder_restarts"):
            self._add(f"{name}_total", 0)

    def _gauges(self, now: Moment) -> None:
        self._set("callback_circuits_open", 0)
        self._set("last_poll_age_seconds", 4 + now.at_s % 7)
        self._set("in_flight", 2)
        self._set("held_work_seconds", 2 * SERVICE_S)
        self._set("draining", 0)
        self._set("ready", 1)

    def _machine(self, now: Moment) -> None:
        place = {key: self._labels[key] for key in ("cluster", "namespace", "pod")}
        busy = now.busy / max(now.ready, 1)
        inside = {**place, "container": "worker"}
        name = "container_cpu_usage_seconds_total"
        self._history.add(now.at_s, name, STEP_S * (0.3 + 2.4 * busy), inside)
        memory = 2.1e9 + 4e8 * busy + 1e8 * math.sin(now.at_s / 900)
        self._history.put(now.at_s, "container_memory_working_set_bytes", memory, inside)
        gpu = {
            "cluster": place["cluster"], "namespace": "gpu-operator", "pod": "dcgm-exporter",
            "exported_namespace": place["namespace"], "exported_pod": place["pod"],
        }  # fmt: skip
        self._history.put(now.at_s, "DCGM_FI_DEV_GPU_UTIL", 12 + 66 * busy, gpu)


def record_workers(history: History, story: Story, course: list[Moment], pods: int) -> None:
    """Record the workers of a queue: up to ``pods`` of those that are ready at a time."""
    made = [Pod(history, story, number) for number in range(pods)]
    for now in course:
        late = now.at_s > course[-1].at_s - 3300
        here = made[: now.ready]
        for pod in here:
            done = now.completions * STEP_S / len(here)
            pod.record(now, done, fails=0.03 if story.poison else 0.002, shift=0.14 * late)


def record_operator(history: History, cluster: str, course: list[Moment], queues: int) -> None:
    """Record the operator's own series."""
    labels = {"cluster": cluster, "namespace": "detection", "pod": "detection-queue-operator-0"}

    def put(how: str, name: str, value: float, **more: str) -> None:
        add = history.add if how == "+" else history.put
        add(now.at_s, f"detection_operator_{name}", value, {**labels, **more})

    bounds = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
    for now in course:
        put("=", "leader", 1)
        put("=", "queues", queues)
        put("=", "work_queue_depth", 0)
        put("=", "last_reconcile_timestamp_seconds", now.at_s - 3)
        put("+", "reconciles_total", 12 * queues, result="ok")
        put("+", "decisions_total", 12 * queues, binding="Steady")
        put("+", "drains_total", 0.1 * queues, result="asked")
        put("+", "busy_terminated_total", 0, by="other")
        put("+", "api_requests_total", 9 * queues, verb="PATCH", code="200")
        put("+", "api_writes_total", 2 * queues, kind="status")
        put("+", "sqs_requests_total", 24 * queues, code="200")
        first = bisect_left(bounds, 0.01)
        for place, bound in enumerate(bounds):
            part = 12 * queues * (place >= first)
            put("+", "reconcile_seconds_bucket", part, le=f"{float(bound)}")
        put("+", "reconcile_seconds_bucket", 12 * queues, le="+Inf")
        put("+", "reconcile_seconds_count", 12 * queues)
        put("+", "reconcile_seconds_sum", 0.1 * queues)
