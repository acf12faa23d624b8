"""An operator that dies between any two of its writes, on the cluster in memory."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from detection_operator.kube.port import Key, Object
from detection_testing.kubernetes.cluster import InMemoryCluster
from detection_testing.scenes.world import MINIMAL, World


class Killed(BaseException):
    """The process is gone: nothing of it runs any more, no handler either."""


class Mortal(InMemoryCluster):
    """Kills the operator at its n-th write, just before it or just after."""

    left = -1
    after = False

    def _struck(self, write: Callable[[], Any]) -> Any:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        result = write()
        if self.left == 0:
            raise Killed
        return result

    def apply(self, manifest: Object) -> Object:
        """Apply, or die."""
        done: Object = self._struck(lambda: super(Mortal, self).apply(manifest))
        return done

    def scale(
        self, namespace: str, name: str, replicas: int, *, resource_version: str | None
    ) -> None:
        """Scale, or die."""
        version = resource_version
        self._struck(
            lambda: super(Mortal, self).scale(namespace, name, replicas, resource_version=version)
        )

    def annotate_pod(
        self, namespace: str, name: str, annotations: Mapping[str, str | None]
    ) -> Object:
        """Annotate, or die."""
        done: Object = self._struck(
            lambda: super(Mortal, self).annotate_pod(namespace, name, annotations)
        )
        return done

    def apply_status(self, key: Key, status: Object) -> Object:
        """Write the status, or die."""
        done: Object = self._struck(lambda: super(Mortal, self).apply_status(key, status))
        return done

    def delete_deployment(self, namespace: str, name: str, *, resource_version: str) -> None:
        """Delete, or die."""
        version = resource_version
        self._struck(
            lambda: super(Mortal, self).delete_deployment(
                namespace, name, resource_version=version
            )
        )


def mortal_world() -> tuple[World, Mortal]:
    world = World()
    cluster = Mortal(world.clock.wall_s)
    world.cluster = world.nodes.cluster = cluster  # type: ignore[union-attr]
    world.start()
    return world, cluster


def live(world: World, seconds: int) -> bool:
    """Let time pass; say whether the operator was killed meanwhile."""
    try:
        world.run(seconds)
    except Killed:
        world.kill()
        return True
    return False


def survives(number: int, *, after: bool) -> bool:
    """Let the operator die at its n-th write of a burst's life; say whether it came so far."""
    world, cluster = mortal_world()
    cluster.left, cluster.after = number, after
    world.workers.service_s = 4.0
    world.create_queue("video", MINIMAL)
    world.queue.visible = 60

    died = live(world, 400)
    cluster.left = -1
    world.start()

    assert world.run(900, until=lambda: world.replicas == 0), number
    world.run(5)
    assert world.lost == [], number
    assert world.queue.visible == world.queue.in_flight == 0, number
    assert world.cluster.of_kind("Pod") == [], number
    return died


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before a write", "after a write"])
def test_death_at_any_write_of_a_whole_life_loses_no_message(*, after: bool) -> None:
    deaths = 0
    while survives(deaths + 1, after=after):
        deaths += 1

    assert deaths >= 20
