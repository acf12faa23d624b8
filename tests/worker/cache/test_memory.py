import threading

from detection_worker.cache.base import StoredEntry
from detection_worker.cache.memory import MemoryLayer


def entry(size: int = 100, etag: str = "e") -> StoredEntry:
    return StoredEntry(body=b"x" * size, etag=etag)


def test_the_least_recently_used_is_dropped_first() -> None:
    memory = MemoryLayer(max_bytes=1_500)
    for name in "abc":
        memory.put(name, entry())
    assert memory.get("a") is not None

    memory.put("d", entry())

    assert memory.get("b") is None
    assert [memory.get(name) is not None for name in "acd"] == [True, True, True]


def test_an_entry_takes_the_place_of_an_older_one() -> None:
    memory = MemoryLayer(max_bytes=1_500)
    for number in range(50):
        memory.put("a", entry(etag=str(number)))

    assert memory.get("a") == entry(etag="49")
    assert len(memory) == 1


def test_one_that_is_larger_than_all_room_is_not_kept() -> None:
    memory = MemoryLayer(max_bytes=1_000)
    memory.put("a", entry())

    memory.put("b", entry(2_000))

    assert (memory.get("a"), memory.get("b"), len(memory)) == (None, None, 0)
    memory.put("c", entry())
    assert memory.get("c") is not None


def test_what_is_forgotten_leaves_its_room() -> None:
    memory = MemoryLayer(max_bytes=600)
    memory.put("a", entry())
    memory.forget("a")
    memory.forget("never there")

    memory.put("b", entry())

    assert (memory.get("a"), memory.get("b")) == (None, entry())


def test_threads_leave_no_room_unaccounted() -> None:
    memory = MemoryLayer(max_bytes=50_000)

    def churn(seed: int) -> None:
        for number in range(2_000):
            name = str((seed * number) % 200)
            memory.put(name, entry(number % 300))
            memory.get(str(number % 200))
            if number % 7 == 0:
                memory.forget(name)

    threads = [threading.Thread(target=churn, args=(seed,)) for seed in (3, 5, 7, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(200):
        memory.forget(str(number))
    for number in range(100):
        memory.put(f"n{number}", entry(100))

    assert len(memory) == 100  # 500 bytes each: all the room is there again
