"""kopf as informer and lifecycle: events become keys in the work queue, nothing else."""
