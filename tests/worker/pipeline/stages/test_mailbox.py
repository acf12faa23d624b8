"""What waits for the device's thread: files within bounds, news before them."""

import threading

from detection_worker.pipeline.stages.scoring.mailbox import Mailbox


def test_news_come_before_files_and_files_only_when_wanted() -> None:
    mail: Mailbox[str, int] = Mailbox(capacity=8, capacity_bytes=100)
    mail.put("a", size=1)
    mail.put("b", size=1)
    mail.tell(1)

    taken = [mail.take(timeout_s=0, files=files) for files in (False, False, True, True, True)]

    assert taken == [1, None, "a", "b", None]


def test_a_capacity_of_zero_bounds_only_bytes() -> None:
    mail: Mailbox[int, str] = Mailbox(capacity=0, capacity_bytes=100)

    for number in range(100):
        mail.put(number, size=1)

    assert mail.waiting == 100


def test_too_many_files_wait_outside() -> None:
    mail: Mailbox[str, int] = Mailbox(capacity=1, capacity_bytes=100)
    mail.put("a", size=1)
    second = threading.Thread(target=lambda: mail.put("b", size=1))
    second.start()

    second.join(timeout=0.1)
    assert (second.is_alive(), mail.waiting) == (True, 1)
    assert mail.take(timeout_s=0, files=True) == "a"
    second.join(timeout=30)

    assert mail.take(timeout_s=0, files=True) == "b"
