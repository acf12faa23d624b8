"""The ledger: no unit is given away twice, whatever the order and the threads."""

import random
import threading
from types import SimpleNamespace
from typing import Any

from detection_operator.kube.port import Key
from detection_operator.kube.quantities import quantity, units_of_pod
from detection_operator.kube.store import POOL
from detection_operator.reconcile.pools.capacity import SETTLE_S, QuotaUse
from detection_operator.reconcile.pools.ledger import Ledger, Party, Standing
from detection_operator.scaling.pools.demand import Demand
from detection_operator.scaling.pools.share import Pool, share_of

GPU = Key("n", "gpu", POOL)


class Queues:
    """Queues that want what they are told to, and write their plans at once."""

    def __init__(self, capacity: int, count: int) -> None:
        self.now_s = 0.0
        self.ledger = Ledger(lambda: self.now_s)
        self.wanted = {f"q{number:04d}": 0 for number in range(count)}
        self.held = dict.fromkeys(self.wanted, 0)
        self.work_s = dict.fromkeys(self.wanted, 0.0)
        members = {name: Demand(key=name, wanted=0, pinned=True) for name in self.wanted}
        self.ledger.set_pool(GPU, Pool(name="gpu", capacity=capacity), members)

    def decide(self, name: str) -> Any:
        held = self.held[name]
        turn = self.ledger.decide(
            Key("n", name),
            Party(
                pool=GPU,
                standing=Standing(running=held, held=held),
                choose=lambda share: SimpleNamespace(  # type: ignore[arg-type, return-value]
                    desired=min(self.wanted[name], share.replicas), apply=True
                ),
                demand=lambda _plan, granted: Demand(
                    key=name,
                    wanted=self.wanted[name],
                    granted=granted,
                    held=held,
                    work_s=self.work_s[name],
                ),
            ),
        )
        self.held[name] = turn.plan.desired
        return turn


def test_a_capacity_that_becomes_unknown_gives_nobody_what_others_still_hold() -> None:
    queues = Queues(8, 2)
    first, second = queues.wanted
    queues.wanted[first] = 8
    queues.decide(first)
    queues.wanted[second] = 8
    for _ in range(2):
        assert queues.decide(second).share.share == 4
    members = dict(queues.ledger.demands(GPU))

    queues.ledger.set_pool(GPU, Pool(name="gpu", capacity=None), members)

    assert queues.decide(second).share.share == 1
    assert queues.decide(first).share.share == 8


def test_what_exists_stays_within_the_capacity_in_a_small_and_a_large_pool() -> None:
    for count in (5, 120):
        rng, queues = random.Random(3), Queues(40, count)
        for _ in range(1500):
            name = rng.choice(list(queues.wanted))
            queues.wanted[name] = rng.randint(0, 9)
            queues.now_s += rng.random() * 0.05
            queues.decide(name)
            assert sum(queues.held.values()) <= 40


def test_what_exists_stays_within_the_capacity_with_several_threads() -> None:
    queues = Queues(17, 8)
    over: list[int] = []

    def run(names: list[str], seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(200):
            name = rng.choice(names)
            queues.wanted[name] = rng.randint(0, 9)
            queues.decide(name)
            allocation = queues.ledger.allocation(GPU)
            assert allocation is not None
            if allocation.held > 17:
                over.append(allocation.held)

    names = list(queues.wanted)
    threads = [threading.Thread(target=run, args=(names[n::4], n), daemon=True) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert over == []


def test_a_first_comer_gives_up_half_and_noise_moves_nothing_then() -> None:
    queues, rng = Queues(40, 2), random.Random(5)
    first, second = queues.wanted
    for name in (first, first, second, first, first, second):
        queues.wanted[name], queues.work_s[name] = 40, 6000.0
        queues.decide(name)
    assert list(queues.held.values()) == [20, 20]

    for _ in range(100):
        name = rng.choice([first, second])
        queues.work_s[name] = 6000.0 * rng.uniform(0.85, 1.15)
        queues.decide(name)
        assert list(queues.held.values()) == [20, 20]

    queues.work_s[second] = 12_000.0
    for name in (second, first, first, second):
        queues.decide(name)
    assert queues.held[second] > queues.held[first] + 10


def test_only_queues_whose_share_has_changed_are_woken() -> None:
    queues, woken = Queues(10, 30), list[Key]()
    queues.ledger.wake = lambda key, _after_s: woken.append(key)
    queues.wanted["q0000"] = 10
    queues.decide("q0000")
    woken.clear()

    queues.wanted["q0001"] = 4
    queues.decide("q0001")
    assert {key.name for key in woken} == {"gpu", "q0000"}
    woken.clear()

    queues.decide("q0002")
    queues.decide("q0002")
    assert {key.kind for key in woken} <= {POOL}


def test_a_share_of_a_large_pool_says_the_same_as_a_look_at_everybody() -> None:
    queues = Queues(50, 80)
    for number, name in enumerate(queues.wanted):
        queues.wanted[name] = number % 5
        queues.now_s += 1.0
        queues.decide(name)

    turn = queues.decide("q0042")

    allocation = queues.ledger.allocation(GPU)
    assert allocation is not None
    expected = share_of(allocation, "q0042")
    assert (turn.share.takers, turn.share.others) == (expected.takers, expected.others)


def test_use_by_others_falls_at_once_and_rises_when_it_lasts() -> None:
    use = QuotaUse()
    assert use.take(3, 0.0) == 3
    assert use.take(1, 1.0) == 1
    assert use.take(4, 2.0) == 1
    assert use.take(2, 2.0 + SETTLE_S / 2) == 1
    assert use.take(5, 2.0 + SETTLE_S) == 2


def test_quantities_and_the_units_of_a_pod() -> None:
    assert [str(quantity(text)) for text in ("2", "500m", "1Ki", "12e3")] == [
        "2",
        "0.500",
        "1024",
        "12000",
    ]
    assert [quantity(text) for text in ("", "two", "1Q", None)] == [None] * 4
    gpu = {"resources": {"limits": {"nvidia.com/gpu": "1500m"}}}
    pod = {"containers": [gpu, {"resources": {"requests": {"cpu": "1"}}}, {}]}
    assert units_of_pod(pod, "nvidia.com/gpu") == 2
    assert units_of_pod(pod, "requests.nvidia.com/gpu") == 2
    assert units_of_pod(pod, "requests.cpu") == 1
    assert units_of_pod(pod, "pods") == 1
    assert units_of_pod(pod, "memory") == 0
