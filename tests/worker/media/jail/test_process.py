import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from detection_contract.error_codes import ErrorCode
from detection_testing.media import sample_media
from detection_worker.errors import JobError
from detection_worker.media.jail.process import ChildProcess, Patience
from detection_worker.media.jail.wire import order_of
from detection_worker.media.values import DecodeRequest

RequestFor = Callable[..., DecodeRequest]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return sample_media.make_image(tmp_path / "a.jpg", width=100, height=80)


def ignore() -> None:
    return None


GARBAGE = {
    "a pickle": "import pickle\nsock.sendall(pickle.dumps(ValueError()))",
    "a huge header": "sock.sendall((2**31).to_bytes(4, 'big'))",
    "no JSON": "sock.sendall((4).to_bytes(4, 'big') + b'\\xff\\xff\\xff\\xff')",
    "a list": "say([])",
    "an unknown type": "say({'type': 'exec'})",
    "an unknown code": "say({'type': 'failed', 'code': 'credentials', 'message': ''})",
    "a control character": "say({'type': 'failed', 'code': 'no_frames', 'message': '\\x1b[2J'})",
    "a result without facts": "say({'type': 'done', 'units': 1, 'frames': 1})",
    "too many units": "say({'type': 'done', 'info': info, 'units': 10**9, 'frames': 1})",
    "another kind": "info['kind'] = 'pdf'\nsay({'type': 'done', 'info': info, 'units': 1})",
    "arrays of noise": "say({'type': 'done', 'info': info, 'units': 1, 'frames': 1})\n"
    "sock.sendall(b'\\xff' * 64 * 64 * 3 + b'\\xff' * 28)",
    "half an answer": "say({'type': 'done', 'info': info, 'units': 1, 'frames': 1})",
}
HIJACKED = """
import json, socket, sys
sock = socket.socket(fileno=int(sys.argv[1]))
info = dict(kind="image", container="png", codec=None, size_bytes=9, sha256="0" * 64, width=64,
            height=64, duration_s=None, frames_analysed=1, sample_rate_hz=None, truncated=False,
            warnings=[])
def say(header):
    body = json.dumps(header).encode()
    sock.sendall(len(body).to_bytes(4, "big") + body)
say({"type": "ready"})
sock.recv(1)
"""


@pytest.mark.parametrize("garbage", [pytest.param(v, id=k) for k, v in GARBAGE.items()])
def test_garbage_from_a_hijacked_child_is_refused(
    garbage: str, picture: Path, request_for: RequestFor
) -> None:
    child = ChildProcess((sys.executable, "-c", HIJACKED + garbage))
    patience = Patience(deadline_s=time.monotonic() + 20, check=ignore)
    order = order_of(request_for(picture))
    try:
        child.wait_ready(patience)
        with picture.open("rb") as file, pytest.raises(JobError) as caught:
            child.decode(file.fileno(), order, patience=patience, on_progress=ignore)
    finally:
        child.kill()

    assert caught.value.code is ErrorCode.DECODE_CRASHED


def test_a_program_that_does_not_speak_is_no_child() -> None:
    child = ChildProcess((sys.executable, "-c", "raise SystemExit(3)"))
    try:
        with pytest.raises(JobError, match="status 3") as caught:
            child.wait_ready(Patience(deadline_s=time.monotonic() + 20, check=ignore))
    finally:
        child.kill()

    assert caught.value.code is ErrorCode.DECODE_CRASHED
