"""One DetectionQueue in one reconcile: what was observed, and the report about it."""

from dataclasses import dataclass

from detection_operator.kube.port import Cluster, Object
from detection_operator.reconcile.act.disruption import budget_problems
from detection_operator.reconcile.act.rejected_deployment import for_generation
from detection_operator.reconcile.observe.conflicts import shared_queue_findings
from detection_operator.reconcile.observe.desired import DesiredSpec
from detection_operator.reconcile.observe.gather import Gathered
from detection_operator.reconcile.observe.trouble import crash_looping, without_image
from detection_operator.reconcile.report.conditions import Report
from detection_operator.reconcile.report.diagnostics import (
    DiagnosticInput,
    findings,
    has_idle_workers,
)
from detection_operator.reconcile.state import QueueState
from detection_operator.scaling.observation import Observation
from detection_operator.scaling.plan import Plan
from detection_operator.spec.queue_spec import QueueSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One DetectionQueue in one reconcile.

    Attributes:
        queue: The DetectionQueue.
        desired: Its parsed spec.
        state: What is remembered of it.
        gathered: Its Deployments, pods and the answers of workers.
        seen: The observation made from these.
        polled: The queue was read in this reconcile.
        now_s: The present, seconds since the epoch.
    """

    queue: Object
    desired: DesiredSpec
    state: QueueState
    gathered: Gathered
    seen: Observation
    polled: bool
    now_s: float

    @property
    def spec(self) -> QueueSpec:
        """The parsed spec."""
        return self.desired.spec

    def report(self, plan: Plan, *, conflict: str | None, cluster: Cluster) -> Report:
        """Return what to report, after the plan was acted on.

        Args:
            plan: The plan.
            conflict: Who else sets the replicas; None: nobody.
            cluster: To compare with the other DetectionQueues.
        """
        rejected = for_generation(self.state.written.rejected, self.desired.generation)
        workers = [worker for item in self.gathered.groups for worker in item.workers]
        return Report(
            spec=self.spec,
            seen=self.seen,
            plan=plan,
            generation=int(self.queue["metadata"].get("generation", 0)),
            now_s=self.now_s,
            selector=self.gathered.selector,
            conflict=conflict,
            findings=(*self._findings(plan), *shared_queue_findings(self.queue, cluster)),
            without_image=without_image(workers),
            crash_looping=crash_looping(workers, self.now_s),
            outbox=self.state.observed.reading.outbox,
            outbox_due=self.state.observed.reading.outbox_due,
            rejected=rejected.condition if rejected else None,
        )

    def _findings(self, plan: Plan) -> tuple[str, ...]:
        reported, reading = self.state.reported, self.state.observed.reading
        if self.polled:
            idle = has_idle_workers(reading, self.seen)
            reported.idle_worker_readings = reported.idle_worker_readings + 1 if idle else 0
        return findings(
            DiagnosticInput(
                spec=self.spec,
                reading=reading,
                seen=self.seen,
                estimates=plan.estimates,
                groups=self.gathered.groups,
                idle_worker_readings=reported.idle_worker_readings,
                now_s=self.now_s,
                problems=(
                    *self.gathered.problems,
                    *budget_problems(self.state.written.budget, self.desired.manifest),
                ),
            )
        )
