"""The process that parses untrusted files, started by ``process.py``.

``python -P -m detection_worker.media.jail.child FD PARENT [TRUST_LIST]`` speaks ``wire.py`` on
the socket ``FD``. It holds no secrets, takes one order with one open file at a time, and answers
with arrays or a coded error.
"""

import array
import gc
import importlib
import io
import logging
import mmap
import os
import pkgutil
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import BinaryIO

import av
import av.logging
import numpy as np
from PIL import Image

from detection_contract.error_codes import ErrorCode
from detection_worker.errors import JobError
from detection_worker.media.decode import decode_file
from detection_worker.media.jail import sandbox, wire
from detection_worker.media.provenance.credentials import ManifestReader
from detection_worker.media.stills import image
from detection_worker.media.values import DecodedMedia, DecodeOrder

PROGRESS_INTERVAL_S = 0.1
PREFIX_BYTES = wire.LENGTH.size


class Child:
    """Serves orders until the parent hangs up.

    Args:
        sock: Connected stream socket to the parent.
        manifests: Reads C2PA manifests.
    """

    def __init__(self, sock: socket.socket, manifests: ManifestReader) -> None:
        self._sock = sock
        self._manifests = manifests
        # Opened now: later no file can be.
        self._statm = os.open("/proc/self/statm", os.O_RDONLY)
        self._idle_bytes = 0
        self._progress_at_s = 0.0

    def serve(self) -> None:
        """Announce readiness, then decode whatever comes."""
        granted = sandbox.give_up_rights()
        self._idle_bytes = self._address_space_bytes()
        self._sock.sendall(wire.frame({"type": "ready", "jail": list(granted)}))
        while self._serve_one():
            pass

    def _serve_one(self) -> bool:
        received = self._receive()
        if received is None:
            return False
        order, fd = received
        sandbox.limit_memory(self._idle_bytes + order.limits.decode_memory_bytes)
        self._progress_at_s = time.monotonic() + PROGRESS_INTERVAL_S
        with os.fdopen(fd, "rb") as file:
            try:
                buffers = wire.pack_done(self._decode(file, order))
            except JobError as exc:
                buffers = [wire.pack_failed(exc)]
            except Exception as exc:  # a bug: say where, then end, for the state is unknown
                self._sock.sendall(wire.pack_failed(_bug(exc)))
                raise
        for buffer in buffers:
            self._sock.sendall(buffer)
        return True

    def _decode(self, file: BinaryIO, order: DecodeOrder) -> DecodedMedia:
        return decode_file(file, order, tick=self._tick, manifests=self._manifests)

    def _receive(self) -> tuple[DecodeOrder, int] | None:
        descriptors = array.array("i")
        prefix, ancillary, _, _ = self._sock.recvmsg(
            PREFIX_BYTES, socket.CMSG_SPACE(descriptors.itemsize)
        )
        if not prefix:
            return None
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(payload)
        prefix += self._exactly(PREFIX_BYTES - len(prefix))
        order = wire.parse_order(self._exactly(wire.header_length(prefix)))
        return order, descriptors[0]

    def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self._sock.recv(count - len(parts))
            if not part:
                raise SystemExit(0)
            parts += part
        return bytes(parts)

    def _tick(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._progress_at_s:
            self._progress_at_s = now_s + PROGRESS_INTERVAL_S
            self._sock.sendall(wire.frame({"type": "progress"}))

    def _address_space_bytes(self) -> int:
        return int(os.pread(self._statm, 64, 0).split()[0]) * mmap.PAGESIZE


def _bug(exc: Exception) -> JobError:
    place = traceback.extract_tb(exc.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    return JobError(
        ErrorCode.DECODE_CRASHED, f"the decoder failed ({type(exc).__name__} in {where})"
    )


def load_everything() -> None:
    """Load all that decoding may need: later no file can be opened."""
    image.prepare()
    # PyAV imports the wrapper of a stream or frame when it first meets one.
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in {"av.__main__", "av.datasets"}:
            importlib.import_module(module.name)
    av.logging.set_level(None)
    logging.raiseExceptions = False
    # A first product takes 32 MiB for ever, and ends the process if the limit leaves no room.
    np.matmul(np.ones(2, np.float32), np.ones((2, 65_536), np.float32))
    np.matmul(np.ones((64, 64), np.float32), np.ones((64, 64), np.float32))
    # A first picture loads what Pillow and numpy put off until they are used.
    for name in ("JPEG", "PNG", "WEBP", "TIFF"):
        buffer = io.BytesIO()
        Image.new("RGB", (16, 16)).save(buffer, name)
        image.read_image(buffer, name.lower(), max_pixels=256)
    # Frames are objects by the thousand: the collector need not look through all modules for them.
    gc.collect()
    gc.freeze()


def main() -> None:
    """Serve the parent that started this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker, which may drain
    fd, parent_pid = (int(arg) for arg in sys.argv[1:3])
    sandbox.die_with(parent_pid)
    with socket.socket(fileno=fd) as sock:
        load_everything()
        Child(sock, ManifestReader(*map(Path, sys.argv[3:4]))).serve()


if __name__ == "__main__":
    main()
