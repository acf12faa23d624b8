"""What watches, lists and answers to writes have told, in whatever order they arrive."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.environment import LABEL_QUEUE
from detection_operator.crd.manifest import KIND
from detection_operator.kube.cache import CachedCluster
from detection_operator.kube.port import Key, Listed, Object
from detection_operator.kube.store import DEPLOYMENT, POD, Store
from detection_testing.kubernetes.cluster import InMemoryCluster
from detection_testing.scenes.fakes import FakeClock

KINDS = [KIND, DEPLOYMENT, POD]


def pod(name: str, version: int, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "n",
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {LABEL_QUEUE: "video"},
            "managedFields": [{"manager": "kubelet", "fieldsV1": {}}],
        },
        "spec": {"containers": [{"name": "worker", "env": ["secret"]}]},
        "status": status,
    }


def made(name: str, version: object, uid: str | None = None) -> dict[str, Any]:
    """Return an object that is good for any kind."""
    return {
        "metadata": {
            "name": name,
            "namespace": "n",
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {LABEL_QUEUE: "video"},
        },
        "spec": {},
    }


def names(store: Store, kind: str) -> set[str]:
    return {obj["metadata"]["name"] for obj in store.all(kind)}


@dataclass(frozen=True)
class Api:
    """What the versions of an API server are like.

    Attributes:
        version: Resource version with a number.
        tells: Lists say of which version they are.
    """

    version: Callable[[int], str]
    tells: bool

    def listed(self, objects: Iterable[Object], version: int) -> Listed:
        """Return a list."""
        return Listed(objects, version if self.tells else None)


NUMBERS, OPAQUE = Api(str, tells=True), Api("v{}".format, tells=False)
APIS = [
    pytest.param(NUMBERS, id="numbers"),
    pytest.param(Api(str, tells=False), id="lists without a version"),
    pytest.param(OPAQUE, id="opaque"),
]


class Slow(InMemoryCluster):
    """Something happens while a list is under way; versions of lists are told or not."""

    def __init__(self, kind: str, found: list[Object], meanwhile: Callable[[], object]) -> None:
        super().__init__(FakeClock().wall_s)
        self._kind, self._found, self._meanwhile = kind, found, meanwhile

    def _list(self, kind: str) -> list[Object]:
        if kind != self._kind:
            return []
        found = self._found
        self._meanwhile()
        return found

    def queues(self) -> list[Object]:
        """Return DetectionQueues."""
        return self._list(KIND)

    def all_deployments(self) -> list[Object]:
        """Return Deployments."""
        return self._list(DEPLOYMENT)

    def all_pods(self) -> list[Object]:
        """Return pods."""
        return self._list(POD)


def relisted(
    kind: str, store: Store, found: list[Object], meanwhile: Callable[[], object] = lambda: None
) -> set[str]:
    CachedCluster(Slow(kind, found, meanwhile), store).relist()
    return names(store, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("api", APIS)
class TestWhileAListIsUnderWay:
    def test_what_is_made_stays(self, kind: str, api: Api) -> None:
        store = Store()

        kept = relisted(
            kind,
            store,
            api.listed([], 4),
            lambda: store.put(kind, made("new", api.version(5))),
        )

        assert kept == {"new"}

    def test_what_is_deleted_stays_away(self, kind: str, api: Api) -> None:
        store = Store()
        old = made("old", api.version(1))
        store.put(kind, old)

        kept = relisted(
            kind,
            store,
            api.listed([old], 4),
            lambda: store.remove(kind, made("old", api.version(6))),
        )

        assert kept == set()
        assert store.children(kind, Key("n", "video")) == []

    def test_what_is_made_and_deleted_stays_away(self, kind: str, api: Api) -> None:
        store = Store()

        def meanwhile() -> None:
            store.put(kind, made("brief", api.version(5)))
            store.remove(kind, made("brief", api.version(6)))

        listed = [made("brief", api.version(5))]

        kept = relisted(kind, store, api.listed(listed, 5), meanwhile)

        assert kept == set()

    def test_what_is_made_anew_under_its_name_stays(self, kind: str, api: Api) -> None:
        store = Store()
        old = made("a", api.version(1), "first")
        store.put(kind, old)

        def meanwhile() -> None:
            store.remove(kind, made("a", api.version(6), "first"))
            store.put(kind, made("a", api.version(7), "second"))

        relisted(kind, store, api.listed([old], 4), meanwhile)

        (kept,) = store.all(kind)
        assert kept["metadata"]["uid"] == "second"

    def test_what_changes_stays_changed(self, kind: str, api: Api) -> None:
        store = Store()
        old = made("a", api.version(9))
        store.put(kind, old)

        relisted(
            kind,
            store,
            api.listed([old], 9),
            lambda: store.put(kind, made("a", api.version(10))),
        )

        (kept,) = store.all(kind)
        assert kept["metadata"]["resourceVersion"] == api.version(10)

    def test_what_nobody_tells_of_goes(self, kind: str, api: Api) -> None:
        store = Store()
        store.put(kind, made("gone", api.version(2)))
        kept = made("kept", api.version(3))
        store.put(kind, kept)

        assert relisted(kind, store, api.listed([kept], 4)) == {"kept"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_that_is_older_than_what_was_told_before_changes_nothing(kind: str) -> None:
    store = Store()
    store.put(kind, made("new", 8))
    store.put(kind, made("changed", 7))
    store.put(kind, made("deleted", 2))
    store.remove(kind, made("deleted", 6))

    kept = relisted(kind, store, Listed([made("deleted", 2), made("changed", 3)], 5))

    assert kept == {"new", "changed"}
    found = store.get(kind, "n", "changed")
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "7"
    # Nor does the next one.
    assert relisted(kind, store, Listed([made("deleted", 2)], 5)) == {"new", "changed"}
    assert relisted(kind, store, Listed([], 8)) == set()


def test_a_deletion_that_is_told_late_spares_the_successor() -> None:
    store = Store()
    store.put(POD, made("a", 3, "first"))
    store.replace(POD, Listed([made("a", 8, "second")], 9))

    assert not store.remove(POD, made("a", 6, "first"))

    assert names(store, POD) == {"a"}
    assert store.remove(POD, made("a", 10, "second"))


def test_what_a_list_did_not_hold_does_not_come_back_by_what_is_told_late() -> None:
    store = Store()
    store.put(KIND, made("a", 3))
    store.replace(KIND, Listed([], 6))

    assert not store.put(KIND, made("a", 4))
    assert names(store, KIND) == set()
    assert store.put(KIND, made("a", 7))


def test_an_answer_to_a_write_that_comes_after_the_deletion_brings_nothing_back() -> None:
    store = Store()
    store.put(DEPLOYMENT, made("a", 3))
    store.remove(DEPLOYMENT, made("a", 5))

    assert not store.put(DEPLOYMENT, made("a", 4))

    assert names(store, DEPLOYMENT) == set()


def test_deletions_are_forgotten_once_a_list_knows_of_them() -> None:
    store = Store()
    for number in range(1, 1000):
        store.remove(POD, made(f"pod-{number}", number))

    store.replace(POD, Listed([], 1000))

    assert not store._collections[POD].gone


def test_a_child_that_changes_its_parent_is_a_child_of_one() -> None:
    store = Store()
    store.put(POD, made("a", 1))
    moved = made("a", 2)
    moved["metadata"]["labels"] = {LABEL_QUEUE: "audio"}

    store.put(POD, moved)

    assert store.children(POD, Key("n", "video")) == []
    assert len(store.children(POD, Key("n", "audio"))) == 1


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        pytest.param("9", "10", id="not as text"),
        pytest.param(str(2**64 - 1), str(2**64), id="of any size"),
        pytest.param("99999999999999999999", "100000000000000000000", id="beyond 64 bits"),
    ],
)
def test_versions_are_compared_as_numbers(older: str, newer: str) -> None:
    store = Store()
    store.put(KIND, made("a", newer))

    store.put(KIND, made("a", older))

    (kept,) = store.all(KIND)
    assert kept["metadata"]["resourceVersion"] == newer


@pytest.mark.parametrize("text", ["007", "0", "", "abc", "1e3", "-5", "٣"])
def test_a_version_that_is_no_number_is_older_and_newer_than_none(text: str) -> None:
    store = Store()
    store.put(KIND, made("a", 5))

    store.put(KIND, made("a", text))

    (kept,) = store.all(KIND)
    assert kept["metadata"]["resourceVersion"] == text


@dataclass
class History:
    """An API server, a watch that lags behind, one list at a time, and answers on their way."""

    api: Api
    store: Store = field(default_factory=Store)
    now: dict[str, Object] = field(default_factory=dict)
    untold: list[tuple[str, Object]] = field(default_factory=list)
    answers: list[Object] = field(default_factory=list)
    listing: tuple[int, Listed] | None = None
    last: Listed = field(default_factory=Listed)
    revision: int = 1

    def write(self, name: str) -> None:
        """Create or change an object."""
        self.revision += 1
        before = self.now.get(name)
        uid = before["metadata"]["uid"] if before else f"{name}-{self.revision}"
        self.now[name] = made(name, self.api.version(self.revision), uid)
        self.untold.append(("MODIFIED", self.now[name]))

    def delete(self, name: str) -> None:
        """Delete an object."""
        obj = self.now.pop(name, None)
        if obj is not None:
            self.revision += 1
            last = made(name, self.api.version(self.revision), obj["metadata"]["uid"])
            self.untold.append(("DELETED", last))

    def answer(self, name: str) -> None:
        """Let the API server answer with an object; the answer is on its way."""
        if name in self.now:
            self.answers.append(self.now[name])

    def arrive(self) -> None:
        """Let an answer arrive."""
        if self.answers:
            self.store.put(KIND, self.answers.pop(0))

    def tell(self) -> None:
        """Let the watch tell of one change."""
        if self.untold:
            type_, obj = self.untold.pop(0)
            (self.store.remove if type_ == "DELETED" else self.store.put)(KIND, obj)

    def list_(self) -> None:
        """Begin a list, or let the one that is under way arrive."""
        if self.listing is None:
            found = self.api.listed(self.now.values(), self.revision)
            self.listing = self.store.turn(), found
            return
        since, self.last = self.listing
        self.listing = None
        self.store.replace(KIND, self.last, since=since)

    def check(self) -> None:
        """Nothing comes back that a list knew to be gone."""
        held = {obj["metadata"]["resourceVersion"] for obj in self.last}
        assert all(int(version) > (self.last.version or 0) for version in self.known() - held)

    def there(self) -> set[str]:
        """Return the versions of what there is."""
        return {obj["metadata"]["resourceVersion"] for obj in self.now.values()}

    def known(self) -> set[str]:
        """Return the versions of what the store holds."""
        return {obj["metadata"]["resourceVersion"] for obj in self.store.all(KIND)}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["write", "delete", "answer"]), st.sampled_from("ab")),
        st.tuples(st.sampled_from(["tell", "list_", "arrive"])),
    ),
    max_size=40,
)


@given(steps=STEPS)
def test_whatever_overtakes_what_the_store_ends_up_with_what_there_is(
    steps: list[tuple[str, ...]],
) -> None:
    history = History(NUMBERS)
    for name, *arguments in steps:
        getattr(history, name)(*arguments)
        history.check()

    while history.untold:
        history.tell()
    while history.answers:
        history.arrive()
    if history.listing is not None:
        history.list_()

    assert history.known() == history.there()


@given(steps=STEPS)
def test_without_versions_to_compare_the_watch_has_the_last_word(
    steps: list[tuple[str, ...]],
) -> None:
    history = History(OPAQUE)
    for name, *arguments in steps:
        if name not in {"answer", "arrive"}:
            getattr(history, name)(*arguments)

    if history.listing is not None:
        history.list_()
    while history.untold:
        history.tell()

    assert history.known() == history.there()


def test_an_older_version_never_replaces_a_newer_one() -> None:
    store = Store()
    store.put(POD, pod("a", 5, phase="Running"))

    assert not store.put(POD, pod("a", 4, phase="Pending"))

    (kept,) = store.children(POD, Key("n", "video"))
    assert kept["status"]["phase"] == "Running"


def test_only_what_a_decision_looks_at_is_news() -> None:
    store = Store()

    assert store.put(POD, pod("a", 1, phase="Pending"))
    assert not store.put(POD, pod("a", 2, phase="Pending", message="still pulling"))
    assert store.put(POD, pod("a", 3, phase="Running"))


def test_a_status_of_the_operator_itself_is_no_news() -> None:
    store = Store()
    queue = {"metadata": {"name": "q", "namespace": "n", "uid": "u", "resourceVersion": "1"}}
    store.put(KIND, {**queue, "spec": {"a": 1}})
    queue["metadata"]["resourceVersion"] = "2"

    assert not store.put(KIND, {**queue, "spec": {"a": 1}, "status": {"replicas": 3}})
    assert store.put(KIND, {**queue, "spec": {"a": 2}})


def test_what_vanished_while_nobody_watched_goes_with_the_next_list() -> None:
    store = Store()
    store.put(POD, pod("a", 1))
    store.put(POD, pod("b", 2))

    missed = store.replace(POD, [pod("b", 2), pod("c", 3)])

    assert {p["metadata"]["name"] for p in store.children(POD, Key("n", "video"))} == {"b", "c"}
    assert missed == 2
    assert store.replace(POD, [pod("b", 2), pod("c", 3)]) == 0


def test_nothing_is_kept_that_nobody_reads() -> None:
    store = Store()
    store.put(POD, pod("a", 1))
    owners = [
        {"manager": "hpa", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "kubectl", "fieldsV1": {"f:spec": {"f:template": {}}}},
    ]
    deployment = pod("d", 1)
    deployment["metadata"]["managedFields"] = owners
    store.put(DEPLOYMENT, deployment)

    (kept,) = store.children(POD, Key("n", "video"))
    assert "managedFields" not in kept["metadata"]
    assert "env" not in kept["spec"]["containers"][0]
    found = store.get(DEPLOYMENT, "n", "d")
    assert found is not None
    assert [entry["manager"] for entry in found["metadata"]["managedFields"]] == ["hpa"]


def test_children_are_forgotten_with_their_last_one() -> None:
    store = Store()
    store.put(POD, pod("a", 1))

    assert store.remove(POD, pod("a", 2))
    assert not store.remove(POD, pod("a", 2))

    assert store.children(POD, Key("n", "video")) == []


def reading(name: str, version: int, url: str) -> Object:
    """Return a DetectionQueue of an SQS queue."""
    return {**made(name, version), "spec": {"queue": {"url": url}}}


def test_the_detectionqueues_of_an_sqs_queue_are_those_that_name_it_now() -> None:
    store = Store()

    def found(url: str) -> set[str]:
        return {queue["metadata"]["name"] for queue in store.queues_of(url)}

    store.replace(KIND, [reading("a", 1, "one"), reading("b", 2, "one"), made("c", 3)])
    assert (found("one"), found("two")) == ({"a", "b"}, set())

    store.put(KIND, reading("a", 4, "two"))
    assert (found("one"), found("two")) == ({"b"}, {"a"})

    store.put(KIND, reading("a", 1, "one"))
    store.remove(KIND, reading("b", 5, "one"))
    assert (found("one"), found("two")) == (set(), {"a"})
