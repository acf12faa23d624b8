"""Give workers back that were asked to drain, and that nobody is going to remove now.

Only those that bear the operator's mark: what somebody else drained is for him to resume. The mark
stays until the worker answered, so that each is given back once and none is forgotten.
"""

from collections.abc import Collection, Iterable

from detection_operator.kube.manifests.deployment import worker_selector
from detection_operator.kube.pods.views import pod_views
from detection_operator.kube.selectors import selector_text
from detection_operator.reconcile.act.executor import Actor
from detection_operator.reconcile.observe.conflicts import is_claimed
from detection_operator.reconcile.observe.fleet import Worker, is_marked
from detection_operator.reconcile.observe.gather import address


def give_back(actor: Actor, workers: Iterable[Worker]) -> None:
    """Let marked workers receive again.

    Raises:
        ClusterError: The API server refused or did not answer.
    """
    for worker in workers:
        if is_marked(worker.pod) and worker.state is not None:
            actor.resume(worker)


def release(actor: Actor, names: Collection[str], *, own: bool = False) -> bool:
    """Give back the workers of Deployments that no plan is made for; say whether any was marked.

    Args:
        actor: Of the DetectionQueue that drained them.
        names: Of adopted Deployments; those that another DetectionQueue refers to are left to it.
        own: The Deployments that the operator made, too.

    Raises:
        ClusterError: The API server refused or did not answer.
    """
    sources, queue = actor.sources, actor.queue
    namespace = queue["metadata"]["namespace"]
    selectors = [worker_selector(queue)] if own else []
    for name in sorted(names):
        claimed = is_claimed(queue, name, sources.cluster)
        found = None if claimed else sources.cluster.deployment(namespace, name)
        if found is not None:
            selectors.append(selector_text(found["spec"]["selector"]))
    marked = {
        pod.uid: pod
        for selector in selectors
        for pod in pod_views(sources.cluster.pods(namespace, selector))
        if is_marked(pod) and not pod.terminating
    }
    asked = [address(pod) for pod in marked.values() if pod.ip and pod.running]
    states = sources.workers.states(asked)
    give_back(actor, [Worker(pod, states.get(uid)) for uid, pod in marked.items()])
    return bool(marked)
