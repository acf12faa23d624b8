"""Two workers finish the same message: one is frozen at a step, the other does all of it."""

from typing import Any

import pytest

STEPS = (
    "after MessageSource.receive",
    "after Storage.fetch",
    "after Detector.logits",
    "before ResultStore.put",
    "after ResultStore.put",
    "before Notifier.publish",
    "after Notifier.publish",
    "before Notifier.publish 3",
    "before CallbackClient.post",
    "after CallbackClient.post",
    "before MessageSource.delete",
)


@pytest.mark.parametrize("step", STEPS)
def test_both_tell_the_same(scene: Any, step: str) -> None:
    scene.options = [
        *("--results", f"s3://{scene.name}-results/"),
        *("--on-success", scene.destinations),
    ]
    scene.send()
    pid = scene.freeze(step)
    scene.wait()
    assert scene.run() == 0, scene.log()
    [envelope] = scene.stored()

    scene.resume(pid)

    assert scene.stored() == [envelope]
    assert {c.body for c in scene.posted()} == {envelope}
    assert {c.headers["webhook-id"] for c in scene.posted()} == {f"msg_{scene.message_id}_0"}
    for inbox in range(3):
        assert len({scene.parsed(text) for text in scene.notifications(inbox)}) == 1
    assert scene.left(scene.queue_url) == scene.left(scene.dlq_url) == 0
