"""Leader election by a ``coordination.k8s.io`` Lease.

A lease has expired when this process has seen it unchanged for its duration. The times written in
it do not count: clocks of two nodes differ.
"""

import logging
from dataclasses import dataclass, field
from typing import Any, Final

from detection_operator.clock import Clock
from detection_operator.errors import ClusterError, Conflict, Forbidden
from detection_operator.kube.objects import micro_timestamp
from detection_operator.kube.port import Leases, Object

DURATION_S: Final = 15
RENEW_DEADLINE_S: Final = 10.0
"""A leader that could not renew for this time stops, before another process may start."""
RETRY_S: Final = 2.0
log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Elector:
    """One candidate.

    Attributes:
        leases: Reads and writes the lease.
        clock: Wall and monotonic time.
        namespace: Namespace of the lease.
        name: Name of the lease.
        identity: Name of this candidate, unique among the candidates.
        deployment: Deployment of the candidates: the garbage collector removes the lease with it.
            None leaves the lease.
        renewed_s: Monotonic time of the last success; None before the first.
    """

    leases: Leases
    clock: Clock
    namespace: str
    name: str
    identity: str
    deployment: str | None = None
    renewed_s: float | None = None
    _seen: tuple[str, float] = field(default=("", float("-inf")))
    _free_s: float = field(default=float("inf"))
    _owners: list[dict[str, Any]] | None = None

    def try_lead(self) -> bool:
        """Take or renew the lease; say whether this candidate leads now. Never raises.

        A leader stays one through errors until the renewal deadline has passed.
        """
        asked_s = self.clock.monotonic_s()
        try:
            held = self._attempt()
        except Conflict:
            held = False
        except ClusterError as exc:
            log.warning("lease could not be read or written", extra={"error": str(exc)})
            if isinstance(exc, Forbidden):
                # The Deployment may not be read; or owners may be set only by those who may
                # delete (admission plug-in OwnerReferencesPermissionEnforcement).
                self._owners = []
            return self.holds()
        if held:
            self.renewed_s = asked_s
            return True
        self.renewed_s = None
        return False

    def release(self) -> None:
        """Release the lease, so that the next leader need not wait for its end. Never raises."""
        if self.renewed_s is None:
            return
        try:
            lease = self.leases.lease(self.namespace, self.name)
            if lease is not None and lease["spec"].get("holderIdentity") == self.identity:
                spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                self.leases.replace_lease({**lease, "spec": spec})
        except ClusterError as exc:
            log.warning("lease could not be released", extra={"error": str(exc)})
        self.renewed_s = None

    def holds(self) -> bool:
        """Say whether no other process can lead yet. Cheap, and safe from any thread.

        A leader whose renewal hangs finds out only when the call ends; its other threads, which
        ask this before each write, stop in time.
        """
        renewed_s = self.renewed_s
        return renewed_s is not None and (self.clock.monotonic_s() - renewed_s < RENEW_DEADLINE_S)

    def wait_s(self) -> float:
        """Return the seconds until the next try: a dead leader's lease may expire sooner."""
        return min(RETRY_S, max(0.0, self._free_s - self.clock.monotonic_s()))

    def _attempt(self) -> bool:
        if self._owners is None:
            self._owners = self._found_owners()
        lease = self.leases.lease(self.namespace, self.name)
        if lease is None:
            self.leases.create_lease(self._manifest())
            return True
        holder = lease["spec"].get("holderIdentity") or ""
        if holder not in {"", self.identity} and not self._expired(lease):
            return False
        self.leases.replace_lease(self._taken(lease, new_holder=holder != self.identity))
        return True

    def _found_owners(self) -> list[dict[str, Any]]:
        if self.deployment is None:
            return []
        found = self.leases.deployment(self.namespace, self.deployment)
        if found is None:
            return []
        uid = found["metadata"]["uid"]
        kind = {"apiVersion": "apps/v1", "kind": "Deployment"}
        return [{**kind, "name": self.deployment, "uid": uid}]

    def _metadata(self, known: Object) -> dict[str, Any]:
        return {**known, "ownerReferences": self._owners} if self._owners else dict(known)

    def _expired(self, lease: Object) -> bool:
        version = str(lease["metadata"].get("resourceVersion"))
        now_s = self.clock.monotonic_s()
        if version != self._seen[0]:
            self._seen = (version, now_s)
        duration_s = float(lease["spec"].get("leaseDurationSeconds") or DURATION_S)
        self._free_s = self._seen[1] + duration_s
        return now_s >= self._free_s

    def _manifest(self) -> dict[str, Any]:
        now = micro_timestamp(self.clock.wall_s())
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": self._metadata({"namespace": self.namespace, "name": self.name}),
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": DURATION_S,
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }

    def _taken(self, lease: Object, *, new_holder: bool) -> dict[str, Any]:
        now = micro_timestamp(self.clock.wall_s())
        spec = {
            **lease["spec"],
            "holderIdentity": self.identity,
            "leaseDurationSeconds": DURATION_S,
            "renewTime": now,
        }
        if new_holder:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = int(lease["spec"].get("leaseTransitions") or 0) + 1
        return {**lease, "metadata": self._metadata(lease["metadata"]), "spec": spec}
