from detection_testing.scenes.world import MINIMAL, World


def test_a_burst_is_answered_in_one_decision_and_ends_at_zero_without_losing_work() -> None:
    world = World()
    key = world.create_queue("video", MINIMAL)
    world.run(40)
    assert world.replicas == 0
    before = world.clock.monotonic
    world.queue.visible = 400

    assert world.run(60, until=lambda: world.replicas > 0)

    first = world.replicas
    assert first > 1
    assert world.clock.monotonic - before <= 31
    assert world.run(3600, until=lambda: world.replicas == 0)
    assert world.queue.visible == world.queue.in_flight == 0
    assert world.lost == []
    world.run(40)
    assert world.status(key)["replicas"] == 0
    assert world.errors == []
