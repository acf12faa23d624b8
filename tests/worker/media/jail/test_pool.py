import gc
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from detection_contract.error_codes import ErrorCode
from detection_testing.media import sample_media
from detection_worker.errors import Cancelled, JobError
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.values import DecodeRequest
from detection_worker.settings import MediaLimits

RequestFor = Callable[..., DecodeRequest]


@pytest.fixture
def own_pool() -> Iterator[ProcessDecoder]:
    with ProcessDecoder(1) as pool:
        pool.warm()
        yield pool


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return sample_media.make_image(tmp_path / "a.jpg", width=100, height=80)


def never() -> bool:
    return False


def ignore() -> None:
    return None


def after(calls: int, act: Callable[[], bool]) -> Callable[[], bool]:
    """Return a ``cancelled`` whose ``calls``-th and later calls do ``act``."""
    count = 0

    def cancelled() -> bool:
        nonlocal count
        count += 1
        return count >= calls and act()

    return cancelled


def ends(pid: int, timeout_s: float = 10) -> bool:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], timeout_s)[0])
    finally:
        os.close(fd)


def test_a_stopped_child_is_killed_by_the_timeout_and_replaced(
    own_pool: ProcessDecoder, picture: Path, request_for: RequestFor
) -> None:
    (pid,) = own_pool.pids()
    os.kill(pid, signal.SIGSTOP)
    hurried = request_for(picture, limits=MediaLimits(decode_timeout_s=0.3))
    before_s = time.monotonic()

    with pytest.raises(JobError) as caught:
        own_pool.decode(hurried, on_progress=ignore, cancelled=never)

    assert caught.value.code is ErrorCode.TIMEOUT
    assert time.monotonic() - before_s < 5
    assert ends(pid)
    patient = request_for(picture)
    assert own_pool.decode(patient, on_progress=ignore, cancelled=never).info.width == 100


def test_a_child_killed_in_mid_decode_is_a_crash_and_the_next_decode_works(
    own_pool: ProcessDecoder, picture: Path, request_for: RequestFor
) -> None:
    (pid,) = own_pool.pids()
    os.kill(pid, signal.SIGSTOP)

    def kill() -> bool:
        os.kill(pid, signal.SIGKILL)
        return False

    with pytest.raises(JobError, match="SIGKILL") as caught:
        own_pool.decode(request_for(picture), on_progress=ignore, cancelled=after(4, kill))

    assert caught.value.code is ErrorCode.DECODE_CRASHED
    again = own_pool.decode(request_for(picture), on_progress=ignore, cancelled=never)
    assert again.info.width == 100


def test_a_child_that_died_while_idle_costs_no_job(
    own_pool: ProcessDecoder, picture: Path, request_for: RequestFor
) -> None:
    (pid,) = own_pool.pids()
    os.kill(pid, signal.SIGKILL)
    assert ends(pid)

    media = own_pool.decode(request_for(picture), on_progress=ignore, cancelled=never)

    assert media.info.width == 100


def test_cancelling_kills_the_child_at_once(
    own_pool: ProcessDecoder, picture: Path, request_for: RequestFor
) -> None:
    (pid,) = own_pool.pids()
    os.kill(pid, signal.SIGSTOP)
    before_s = time.monotonic()

    with pytest.raises(Cancelled):
        own_pool.decode(request_for(picture), on_progress=ignore, cancelled=after(4, lambda: True))

    assert time.monotonic() - before_s < 5
    assert ends(pid, timeout_s=0)


def test_waiting_for_a_free_child_can_be_cancelled(
    own_pool: ProcessDecoder, picture: Path, request_for: RequestFor
) -> None:
    (pid,) = own_pool.pids()
    os.kill(pid, signal.SIGSTOP)
    taken, stop = threading.Event(), threading.Event()
    errors: list[Exception] = []

    def hold() -> None:
        def cancelled() -> bool:
            if not own_pool.pids():
                taken.set()
            return stop.is_set()

        try:
            own_pool.decode(request_for(picture), on_progress=ignore, cancelled=cancelled)
        except Cancelled as exc:
            errors.append(exc)

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(30)

    with pytest.raises(Cancelled):
        own_pool.decode(request_for(picture), on_progress=ignore, cancelled=after(2, lambda: True))

    stop.set()
    holder.join()
    assert len(errors) == 1


def test_closing_cancels_decodes_in_progress_and_leaves_no_process(
    picture: Path, request_for: RequestFor
) -> None:
    pool = ProcessDecoder(2)
    pool.warm()
    pids = pool.pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    busy = threading.Event()
    errors: list[Exception] = []

    def note() -> bool:
        busy.set()
        return False

    def run() -> None:
        try:
            pool.decode(request_for(picture), on_progress=ignore, cancelled=after(3, note))
        except Cancelled as exc:
            errors.append(exc)

    worker = threading.Thread(target=run)
    worker.start()
    assert busy.wait(30)
    pool.close()
    worker.join(30)

    assert len(errors) == 1
    assert len(pids) == 2
    assert all(ends(pid, timeout_s=0) for pid in pids)
    with pytest.raises(Cancelled):
        pool.decode(request_for(picture), on_progress=ignore, cancelled=never)


def test_children_decode_in_parallel_for_many_threads(
    tmp_path: Path, request_for: RequestFor
) -> None:
    paths = [
        sample_media.make_image(tmp_path / f"{width}.png", width=width, height=70)
        for width in range(64, 88)
    ]
    widths: list[int | None] = []

    def run(part: list[Path]) -> None:
        for path in part:
            media = pool.decode(request_for(path), on_progress=ignore, cancelled=never)
            widths.append(media.info.width)

    with ProcessDecoder(2) as pool:
        threads = [threading.Thread(target=run, args=(paths[i::6],)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(w or 0 for w in widths) == list(range(64, 88))
        assert len(pool.pids()) == 2


@pytest.mark.slow
def test_children_are_recycled_and_neither_descriptors_nor_zombies_pile_up(
    tmp_path: Path, picture: Path, request_for: RequestFor
) -> None:
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    seen: set[int] = set()
    with ProcessDecoder(1, recycle_after=10) as pool:
        pool.warm()
        gc.collect()  # what tests before this one have left open
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(20):
            pool.decode(request_for(picture), on_progress=ignore, cancelled=never)
            seen.update(pool.pids())
            with pytest.raises(JobError):
                pool.decode(request_for(tmp_path / "b.jpg"), on_progress=ignore, cancelled=never)
        pool.warm()
        after_ = len(list(Path("/proc/self/fd").iterdir()))
        last = set(pool.pids())

    assert after_ <= before
    assert len(seen | last) == 5
    assert all(ends(pid, timeout_s=0) for pid in seen | last)


@pytest.mark.slow
def test_progress_is_reported_while_a_long_file_decodes(
    own_pool: ProcessDecoder, tmp_path: Path, request_for: RequestFor
) -> None:
    path = sample_media.make_audio(tmp_path / "s.flac", codec="flac", seconds=100, rate_hz=44_100)
    calls: list[float] = []

    own_pool.decode(
        request_for(path), on_progress=lambda: calls.append(time.monotonic()), cancelled=never
    )

    gaps = [b - a for a, b in pairwise(calls)]
    assert calls
    assert not gaps or sum(gaps) / len(gaps) > 0.09


def test_the_environment_of_a_child_holds_no_credentials(
    monkeypatch: pytest.MonkeyPatch, picture: Path, request_for: RequestFor
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-leak")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token")
    monkeypatch.setenv("DETECTION_CALLBACK_SIGNING_SECRETS", "whsec_do-not-leak")
    with ProcessDecoder(1) as pool:
        pool.warm()
        (pid,) = pool.pids()
        environment = Path(f"/proc/{pid}/environ").read_bytes()

    names = {entry.partition(b"=")[0].decode() for entry in environment.split(b"\0") if entry}
    assert b"leak" not in environment
    assert names <= {
        "PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH",
        "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX",
        "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_",
    }  # fmt: skip


def test_a_child_loads_neither_torch_nor_aws(own_pool: ProcessDecoder) -> None:
    (pid,) = own_pool.pids()

    maps = Path(f"/proc/{pid}/maps").read_text()

    assert "libavcodec" in maps
    assert "torch" not in maps
    assert "botocore" not in maps


def test_children_die_with_their_parent() -> None:
    script = (
        "import sys\n"
        "from detection_worker.media.jail.pool import ProcessDecoder\n"
        "pool = ProcessDecoder(1)\n"
        "pool.warm()\n"
        "print(pool.pids()[0], flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        parent.kill()

        assert ends(pid)


def test_a_running_child_has_no_way_to_gain_or_leave_anything(own_pool: ProcessDecoder) -> None:
    (pid,) = own_pool.pids()

    status = Path(f"/proc/{pid}/status").read_text()
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    limits = {line[:26].strip(): line[26:].split()[:2] for line in lines}

    assert "NoNewPrivs:\t1" in status
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max file size"] == ["0", "0"]
    assert limits["Max open files"] == ["32", "32"]


@pytest.mark.parametrize(("children", "recycle_after"), [(0, 1), (1, 0)])
def test_a_pool_needs_a_child_and_a_file(children: int, recycle_after: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ProcessDecoder(children, recycle_after=recycle_after)
