"""The contenders that are not the worker, each a process of its own.

``python -m throughput.contenders by-hand|ours|limit|litserve ...``: the same OpenMP settings for
all, and CPU time that is nobody else's.

- ``by-hand``: the loop of the original guide on N threads: receive, then for each message fetch,
  decode, score, post, delete; with decoding and networks as ``by_hand`` has them.
- ``ours``: the same loop with this project's decoding, outside its jail, and its folded networks.
- ``litserve``: that loop in front of a LitServe server, which decodes, batches and scores.
- ``limit``: decoding and scoring alone, of files on the local disk, with the worker's own decoders
  and batch size; prints when each file was done.
"""

import argparse
import base64
import json
import os
import signal
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch

from detection_contract.media_types import MediaKind
from detection_testing.cpu import tree_cpu_s
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.values import DecodedMedia
from detection_worker.pipeline.files.analysis import decode_request
from detection_worker.settings import MediaLimits
from throughput import litserve_peer
from throughput.by_hand import decode_by_hand, networks_by_hand
from throughput.media import WARM_SHARE
from throughput.scoring import (
    Detectors,
    Services,
    cores,
    decode_bytes,
    detectors_of,
    verdict_of,
)

BATCH_UNITS: Final = 32
WAITING_FILES: Final = 64

Score = Callable[[str, bytes], Mapping[str, object]]
"""From a key and its content to what is posted."""


class Decode(Protocol):
    """From a content to units."""

    def __call__(self, content: bytes, *, name: str, detectors: Detectors) -> DecodedMedia:
        """Return the units that the model of the content's kind takes."""
        ...


def loop(services: Services, score: Score, stopping: threading.Event) -> None:
    """Consume until told to stop, one message after the other."""
    while not stopping.is_set():
        for message in services.receive():
            body = json.loads(message["Body"])
            key = body["sqs_to_ml_url"].rsplit("/", 1)[1]
            result = score(key, services.fetch(key))
            services.post(body["callback_url"], {**body, **result})
            services.delete(message)


def consume(services: Services, score: Score, *, threads: int) -> None:
    """Run the loop on threads until SIGTERM."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(loop, services, score, stopping) for _ in range(threads)]
        while not stopping.wait(0.2):
            ended = [future for future in running if future.done()]
            if ended:
                stopping.set()
                raise SystemExit(f"a thread ended: {ended[0].exception()!r}")


def by_hand(models_dir: Path, queue_url: str, *, threads: int) -> None:
    """The guide's loop as people write it."""
    detectors = networks_by_hand(models_dir)
    guide(detectors, decode_by_hand, queue_url, threads=threads)


def ours(models_dir: Path, queue_url: str, *, threads: int) -> None:
    """The guide's loop around this project's decoding and networks."""
    guide(detectors_of(models_dir, threads=1), decode_bytes, queue_url, threads=threads)


def guide(detectors: Detectors, decode: Decode, queue_url: str, *, threads: int) -> None:
    """The guide's loop; a lone one gives its forward pass all cores, many share them."""
    torch.set_num_threads(cores() if threads == 1 else 1)

    def score(key: str, content: bytes) -> Mapping[str, object]:
        decoded = decode(content, name=key, detectors=detectors)
        logits = detectors[decoded.info.kind].logits(decoded.units)
        return verdict_of(decoded, logits, detectors)

    consume(Services(queue_url), score, threads=threads)


def litserve(models_dir: Path, queue_url: str, *, threads: int) -> None:
    """The guide's loop in front of LitServe."""
    services = Services(queue_url)
    with litserve_peer.serving(models_dir) as url:

        def score(key: str, content: bytes) -> Mapping[str, object]:
            upload = {"name": key, "content": base64.b64encode(content).decode()}
            answer = services.http().post(url, json=upload, timeout=60)
            answer.raise_for_status()
            found: Mapping[str, object] = answer.json()
            return found

        consume(services, score, threads=threads)


LOOPS: Final = {"by-hand": by_hand, "ours": ours, "litserve": litserve}
"""By name what consumes a queue."""

# -- the machine's limit -------------------------------------------------------------------------


class _Waiting:
    """Decoded files by kind, until their units fill a batch or nothing else is there."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._files: dict[MediaKind, deque[DecodedMedia]] = defaultdict(deque)
        self._failure: BaseException | None = None
        self._count = 0

    def put(self, decoded: DecodedMedia) -> None:
        """Add a file once there is room."""
        with self._changed:
            while self._count >= WAITING_FILES and self._failure is None:
                self._changed.wait()
            self._files[decoded.info.kind].append(decoded)
            self._count += 1
            self._changed.notify_all()

    def fail(self, failure: BaseException) -> None:
        """End the wait of every thread: one of them failed."""
        with self._changed:
            self._failure = failure
            self._changed.notify_all()

    def take(self) -> list[DecodedMedia]:
        """Return files of one kind, of which most wait."""
        with self._changed:
            while not self._count and self._failure is None:
                self._changed.wait()
            if self._failure is not None:
                raise self._failure
            files = max(self._files.values(), key=lambda found: sum(len(f.units) for f in found))
            batch = [files.popleft()]
            while files and sum(len(f.units) for f in batch) < BATCH_UNITS:
                batch.append(files.popleft())
            self._count -= len(batch)
            self._changed.notify_all()
            return batch


def limit(models_dir: Path, folder: Path, *, count: int) -> None:
    """Decode and score ``count`` times a file of a folder, and print when each was done."""
    paths = sorted(folder.iterdir())
    detectors = detectors_of(models_dir, threads=cores())
    waiting = _Waiting()
    with ProcessDecoder(cores()) as decoder, ThreadPoolExecutor(cores()) as threads:
        decoder.warm()

        def decode(number: int) -> None:
            path = paths[number % len(paths)]
            try:
                request = decode_request(
                    path, name=path.name, detectors=detectors, limits=MediaLimits()
                )
                waiting.put(
                    decoder.decode(request, on_progress=lambda: None, cancelled=lambda: False)
                )
            except BaseException as exc:
                waiting.fail(exc)
                raise

        for number in range(count):
            threads.submit(decode, number)
        try:
            print(json.dumps(_score_all(waiting, detectors, count=count)))
        except BaseException as exc:
            waiting.fail(exc)
            raise


def _score_all(waiting: _Waiting, detectors: Detectors, *, count: int) -> dict[str, object]:
    """Return when each file was done, and the CPU ms of each after the warm-up."""
    times: list[float] = []
    warm: tuple[int, float] | None = None
    while len(times) < count:
        if warm is None and len(times) >= count * WARM_SHARE:
            warm = len(times), tree_cpu_s(os.getpid())
        batch = waiting.take()
        detector = detectors[batch[0].info.kind]
        units = np.concatenate([file.units for file in batch])
        logits = np.concatenate(
            [
                detector.logits(units[start : start + BATCH_UNITS])
                for start in range(0, len(units), BATCH_UNITS)
            ]
        )
        ends = np.cumsum([len(file.units) for file in batch])[:-1]
        for file, found in zip(batch, np.split(logits, ends), strict=True):
            verdict_of(file, found, detectors)
            times.append(time.time())
    first, before_s = warm or (0, 0.0)
    cpu_s = tree_cpu_s(os.getpid()) - before_s
    return {"times": times, "cpu_ms": cpu_s / max(1, count - first) * 1000}


def main() -> int:
    """Run one contender."""
    parser = argparse.ArgumentParser(description="A contender of worker_throughput.py.")
    parser.add_argument("name", choices=[*LOOPS, "limit"])
    parser.add_argument("--models-dir", type=Path, required=True)
    parser.add_argument("--queue-url")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--count", type=int, default=0)
    args: Any = parser.parse_args()
    if args.name == "limit":
        limit(args.models_dir, args.folder, count=args.count)
    else:
        LOOPS[args.name](args.models_dir, args.queue_url, threads=args.threads)
    sys.stdout.flush()
    os._exit(0)  # what a server left behind must not hold up the next contender


if __name__ == "__main__":
    raise SystemExit(main())
