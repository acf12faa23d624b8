"""Let workers resume that were asked to drain and will not be removed now.

Only workers with the operator's annotation: what an administrator drained stays drained. The
annotation stays until the worker answered, so that each resumes once and none is forgotten.
"""

from collections.abc import Collection, Iterable

from detection_operator.kube.manifests.deployment import worker_selector
from detection_operator.kube.pods.views import pod_views
from detection_operator.kube.selectors import selector_text
from detection_operator.reconcile.act.executor import Executor
from detection_operator.reconcile.observe.conflicts import has_other_owner
from detection_operator.reconcile.observe.fleet import Worker, is_marked
from detection_operator.reconcile.observe.gather import address


def undrain(executor: Executor, workers: Iterable[Worker]) -> None:
    """Let those of the workers resume that the operator asked to drain.

    Raises:
        ClusterError: The API server refused or did not answer.
    """
    for worker in workers:
        if is_marked(worker.pod) and worker.state is not None:
            executor.resume(worker)


def undrain_deployments(executor: Executor, names: Collection[str], *, own: bool = False) -> bool:
    """Let the workers of Deployments resume that no plan is made for.

    Args:
        executor: Executor of the DetectionQueue that drained them.
        names: Adopted Deployments; one that another DetectionQueue refers to is left to it.
        own: Include the Deployments that the operator made.

    Returns:
        Whether any worker had been asked to drain.

    Raises:
        ClusterError: The API server refused or did not answer.
    """
    sources, queue = executor.sources, executor.queue
    namespace = queue["metadata"]["namespace"]
    selectors = [worker_selector(queue)] if own else []
    for name in sorted(names):
        owned = has_other_owner(queue, name, sources.cluster)
        found = None if owned else sources.cluster.deployment(namespace, name)
        if found is not None:
            selectors.append(selector_text(found["spec"]["selector"]))
    marked = {
        pod.uid: pod
        for selector in selectors
        for pod in pod_views(sources.cluster.pods(namespace, selector))
        if is_marked(pod) and not pod.terminating
    }
    reachable = [address(pod) for pod in marked.values() if pod.ip and pod.running]
    states = sources.workers.states(reachable)
    undrain(executor, [Worker(pod, states.get(uid)) for uid, pod in marked.items()])
    return bool(marked)
