"""Real processes: feeders that are killed, a device process that is killed, real files."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray

from detection_contract.media_types import MediaKind
from detection_testing.media import sample_media
from detection_testing.samples import sample_path
from detection_worker.core.sampling import VideoSampling
from detection_worker.detectors.registry import load_detectors
from detection_worker.errors import Cancelled
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.values import DecodedMedia, DecodeRequest
from detection_worker.pipeline.device.client import connect
from detection_worker.pipeline.device.memory import place_of
from detection_worker.pipeline.device.server import DeviceServer, feeder_sockets
from detection_worker.pipeline.files.analysis import conclude_tracks
from detection_worker.pipeline.files.applicability import listened
from detection_worker.pipeline.files.decoding import Decoding
from detection_worker.pipeline.files.handovers import Decoded, Scored, Unscored
from detection_worker.pipeline.stages.inference import InferenceStage
from detection_worker.settings import MediaLimits

SOCKET_BUFFER_BYTES = 212_992
IMAGE, VIDEO, AUDIO = MediaKind.IMAGE, MediaKind.VIDEO, MediaKind.AUDIO

FEEDER = """
import socket, sys, time
from dataclasses import dataclass, field
import numpy as np
from detection_contract.media_types import MediaKind
from detection_worker.media.values import DecodedMedia, MediaInfo
from detection_worker.pipeline.device.client import RemoteInference, connect
from detection_worker.pipeline.files.handovers import Decoded, DecodedTrack

@dataclass
class Ticket:
    request_id: str
    cancelled: bool = False
    facts: dict = field(default_factory=dict)
    carrier: None = None

def say(text):
    sys.stdout.write(text + "\\n")  # in one piece, whichever thread
    sys.stdout.flush()

device = connect(socket.socket(fileno=int(sys.argv[1])), timeout_s=30)
inference = RemoteInference(
    device,
    decoding=lambda: 1,
    on_scored=lambda ticket, outcome: say(
        f"{ticket.request_id} {outcome and outcome.main.logits.tolist()}"
    ),
    on_progress=lambda ticket: None,
    on_lost=lambda: say("lost"),
)
assert "torch" not in sys.modules
info = MediaInfo(
    kind=MediaKind.IMAGE, container="x", codec=None, size_bytes=1, sha256="", width=8, height=8,
    duration_s=None, frames_analysed=1, sample_rate_hz=None, truncated=False, warnings=(),
)
for value in map(int, sys.argv[2:]):
    units = device.memory.empty((1, 8, 8, 3), np.uint8)
    units[:] = value
    media = DecodedMedia(
        info=info, units=units, frame=np.zeros(1, np.int32), at_s=np.zeros(1),
        boxes=np.zeros((1, 4), np.int32),
    )
    track = DecodedTrack(media=media, detector=device.detectors[MediaKind.IMAGE])
    inference.put(Decoded(ticket=Ticket(str(value)), main=track))
say("put")
if sys.stdin.readline():
    inference.close()
"""

DEVICE = """
import socket, sys, time
import numpy as np
from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import ImageSampling
from detection_worker.core.verdict import Calibration, Pooling
from detection_worker.detectors.base import DetectorCard
from detection_worker.pipeline.device.server import DeviceServer

class Slow:
    card = DetectorCard(
        name="slow", version="1", sha256="f" * 64, grade="demo", kind=MediaKind.IMAGE,
        sampling=ImageSampling(crop_px=8), pooling=Pooling(), calibration=Calibration(),
    )

    def logits(self, units):
        print("at work", flush=True)
        time.sleep(600)

server = DeviceServer({MediaKind.IMAGE: Slow()}, max_units=8, max_wait_s=0.0)
server.attach(socket.socket(fileno=int(sys.argv[1])))
sys.stdin.read()
"""


def child(program: str, fd: int, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", program, str(fd), *map(str, arguments)],
        pass_fds=(fd,),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_processes_without_torch_feed_one_device(rig: Any) -> None:
    feeders = []
    for values in ((1, 2), (3,)):
        with rig.server.connect() as sock:
            feeders.append(child(FEEDER, sock.fileno(), *values))

    told = [feeder.communicate("end\n", timeout=60)[0].split("\n") for feeder in feeders]
    assert sorted(told[0]) == ["", "1 [-4.0]", "2 [-3.0]", "put"]
    assert sorted(told[1]) == ["", "3 [-2.0]", "put"]
    assert [feeder.returncode for feeder in feeders] == [0, 0]
    assert rig.eventually(lambda: rig.server.feeders == 0)


def test_what_a_killed_feeder_left_is_not_scored(rig: Any) -> None:
    with rig.server.connect() as sock:
        feeder = child(FEEDER, sock.fileno(), 7, 1, 2)
    assert line_of(feeder) == "put"
    assert rig.detectors[IMAGE].entered.wait(30)
    feeder.kill()
    assert rig.eventually(lambda: rig.server.feeders == 0)
    rig.open_gates()
    other = rig.feeder()
    other.put("a", other.media(IMAGE, 3))

    assert other.logits("a") == [-2]
    assert sum(rig.units) <= 4
    assert feeder.wait(30) == -signal.SIGKILL
    feeder.communicate()


def test_a_killed_device_process_ends_every_file_of_a_feeder(rig: Any) -> None:
    ours, theirs = feeder_sockets()
    with theirs:
        device = child(DEVICE, theirs.fileno())
    rig.feeders.append(feeder := type(rig.feeder())(connect(ours, timeout_s=60)))
    feeder.put("a", feeder.media(IMAGE, 1))
    assert line_of(device) == "at work"
    feeder.put("b", feeder.media(IMAGE, 1))
    device.kill()

    assert feeder.lost.wait(30)
    assert (feeder.outcome("a"), feeder.outcome("b")) == (None, None)
    feeder.put("c", feeder.media(IMAGE, 1))
    assert feeder.outcome("c") is None
    assert device.wait(30) == -signal.SIGKILL
    device.communicate()


def test_a_device_process_that_ends_while_it_loads_is_noticed() -> None:
    ours, theirs = feeder_sockets()
    with theirs:
        feeder = child(FEEDER, theirs.fileno())
    ours.close()

    assert feeder.wait(60) == 1
    feeder.communicate()


# -- real files ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    faces = tmp_path_factory.mktemp("face-models")
    shutil.copytree(tiny_models / "tiny-audio", faces / "tiny-audio")
    image = {"crop_px": 128, "max_crops": 3, "view": "faces"}
    video = {"max_frames": 6, "crop_px": 128, "crops_per_frame": 2, "view": "faces"}
    for name, preprocess in (("tiny-image", image), ("tiny-video", video)):
        path = Path(shutil.copytree(tiny_models / name, faces / name)) / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "preprocess": preprocess}))
    return {"crops": tiny_models, "faces": faces}.__getitem__


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = sample_media.make_video(
        tmp_path_factory.mktemp("film") / "f.mp4", seconds=4, width=160, height=120
    )
    tone = np.sin(np.arange(4 * 16_000) / 7).astype(np.float32)
    return sample_media.add_sound(path, tone, rate_hz=16_000)


def test_a_decode_that_ends_early_leaves_no_memory_taken(film: Path, rig: Any) -> None:
    memory = rig.feeder().device.memory
    request = DecodeRequest(
        path=film,
        announced=VIDEO,
        image=None,
        video=VideoSampling(max_frames=16),
        audio=None,
        limits=MediaLimits(),
    )

    def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        if stop:
            os.kill(stop[0], signal.SIGSTOP)  # the answer is larger than a socket's buffer
        taken.append(memory.empty(shape, dtype))
        return taken[-1]

    def decode() -> DecodedMedia:
        return decoder.decode(
            request, on_progress=lambda: None, cancelled=lambda: bool(stop and taken)
        )

    taken: list[NDArray[Any]] = []
    stop: list[int] = []
    with ProcessDecoder(1, empty=empty) as decoder:
        decoded = decode()
        assert place_of(decoded.units)
        assert taken.pop() is decoded.units
        assert decoded.units.nbytes > 2 * SOCKET_BUFFER_BYTES
        del decoded
        assert memory.free == memory.size
        assert rig.eventually(decoder.pids)
        stop += decoder.pids()
        with pytest.raises(Cancelled):
            decode()
        assert len(taken) == 1
        taken.clear()
        assert memory.free == memory.size


@pytest.fixture(params=["crops", "faces"])
def server(request: pytest.FixtureRequest, models: Any) -> Iterator[tuple[Any, DeviceServer]]:
    loaded = load_detectors(models(request.param), threads=1).by_kind
    server = DeviceServer(loaded, max_units=32, max_wait_s=0.0)
    yield loaded, server
    server.close()


@pytest.mark.slow
def test_verdicts_over_real_files_are_those_of_a_stage_in_process(
    server: Any, film: Path, rig: Any
) -> None:
    loaded, there = server
    feeder = type(rig.feeder())(connect(there.connect(), timeout_s=20))
    here: dict[str, Any] = {}
    stage: InferenceStage[Any] = InferenceStage(
        max_units=32,
        max_wait_s=0.0,
        more_coming=lambda: False,
        on_scored=lambda ticket, outcome: here.update({ticket.request_id: outcome}),
        on_progress=lambda ticket: None,
        capacity=8,
    )
    files = [sample_path(n) for n in ("astronaut.jpg", "cat.png", "reading.wav")] + [film]
    with ProcessDecoder(1, empty=feeder.device.memory.empty) as decoder:
        decoding = Decoding(
            decoder=decoder,
            detectors=feeder.device.detectors,
            limits=MediaLimits(),
            video_audio=True,
        )
        for path in files:
            ticket = feeder.decoded(path.name, feeder.media(IMAGE, 1)).ticket
            decoded = decoding.decode_for(ticket, path, name=path.name, on_progress=lambda: None)
            assert all(place_of(t.media.units) for t in decoded.tracks)
            # One at a time: a file's scores may not depend on its neighbours in a batch.
            stage.put(with_detectors(decoded, loaded))
            assert rig.eventually(lambda name=path.name: name in here)
            feeder.inference.put(decoded)
            assert said(feeder.outcome(path.name)) == said(here[path.name])
    stage.close()
    feeder.inference.close()


def with_detectors(decoded: Decoded[Any], loaded: Any) -> Decoded[Any]:
    def track(remote: Any) -> Any:
        units = remote.media.units.copy()
        media = type(remote.media)(
            **{n: getattr(remote.media, n) for n in remote.media.__slots__ if n != "units"},
            units=units,
        )
        return type(remote)(media=media, detector=loaded[media.info.kind])

    sound = None if decoded.sound is None else track(decoded.sound)
    return Decoded(ticket=decoded.ticket, main=track(decoded.main), sound=sound)


def said(outcome: Scored[Any] | Unscored | None) -> list[Any]:
    """All that a result says, with every bit of the logits."""
    assert isinstance(outcome, Scored)
    tracks = [listened(t) for t in (outcome.main, outcome.sound) if t is not None]
    found = conclude_tracks(tracks[0], tracks[1] if len(tracks) > 1 else None, threshold=0.5)
    return [
        *(t.logits.tobytes() for t in tracks),
        type(found),
        found.segments,
        found.media,
        found.model,
        getattr(found, "verdict", None),
        getattr(found, "reason", None),
        [(t.track, t.counts) for t in found.tracks],
    ]
