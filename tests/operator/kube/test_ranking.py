from hypothesis import given
from hypothesis import strategies as st

from detection_operator.kube.pods.ranking import LEAST_COST, going, removal_rank, safe_reduction
from detection_operator.kube.pods.views import PodView


def pod(number: int, **changes: object) -> PodView:
    values: dict[str, object] = {
        "name": f"pod-{number:03d}",
        "uid": f"uid-{number}",
        "ip": "10.0.0.1",
        "port": 8080,
        "revision": "r",
        "template_hash": "h",
        "created_s": float(number),
        "ready_s": 1.0,
        "scheduled": True,
        "running": True,
        "started": True,
        "unschedulable_since_s": None,
        "unschedulable_why": "",
        "broken": "",
        "deletion_cost": 0,
        "drain_since_s": None,
        "terminating": False,
        **changes,
    }
    return PodView(**values)  # type: ignore[arg-type]  # a table of plain values


pods = st.lists(
    st.builds(
        lambda scheduled, running, ready, cost: {
            "scheduled": scheduled,
            "running": running,
            "ready_s": 1.0 if ready else None,
            "deletion_cost": cost,
        },
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.sampled_from([0, 0, LEAST_COST]),
    ),
    max_size=12,
).map(lambda items: [pod(n, **item) for n, item in enumerate(items)])


@given(pods, st.data())
def test_whatever_order_the_controller_takes_among_equals_only_safe_pods_go(
    group: list[PodView], data: st.DataObject
) -> None:
    names = [item.name for item in group]
    chosen = data.draw(st.sets(st.sampled_from(names)) if names else st.just(set[str]()))
    safe = frozenset(chosen)

    count = safe_reduction(group, safe, len(group))

    shuffled = data.draw(st.permutations(group))
    removed = sorted(shuffled, key=removal_rank)[:count]
    assert {item.name for item in removed} <= safe


@given(pods, st.integers(0, 12))
def test_as_many_pods_are_going_as_there_are_too_many(group: list[PodView], replicas: int) -> None:
    assert len(going(group, replicas)) == max(0, len(group) - replicas)


def test_a_drained_pod_with_the_least_cost_may_go_before_its_busy_peers() -> None:
    group = [pod(1), pod(2, deletion_cost=LEAST_COST), pod(3)]

    assert safe_reduction(group, frozenset({"pod-002"}), 3) == 1


def test_a_busy_pod_that_is_not_ready_blocks_the_drained_ones_behind_it() -> None:
    group = [pod(1, ready_s=None), pod(2, deletion_cost=LEAST_COST)]

    assert safe_reduction(group, frozenset({"pod-002"}), 2) == 0
