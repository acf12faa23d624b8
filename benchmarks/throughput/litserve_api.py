"""The LitServe server of the benchmark: ``python -m throughput.litserve_api MODELS PORT``."""

import base64
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import litserve as ls
import numpy as np
from fastapi import Request

from detection_worker.media.values import DecodedMedia
from throughput.scoring import Detectors, cores, decode_bytes, detectors_of, verdict_of

BATCH_FILES: Final = 32
BATCH_WAIT_S: Final = 0.005
Verdict = dict[str, object]


class DetectionApi(ls.LitAPI):  # type: ignore[misc,unused-ignore]
    """Decodes uploads one by one, scores all of a batch together, by kind.

    Args:
        models_dir: Its models.
    """

    def __init__(self, models_dir: Path) -> None:
        super().__init__(max_batch_size=BATCH_FILES, batch_timeout=BATCH_WAIT_S)
        self._models_dir = models_dir
        self._detectors: Detectors = {}

    def setup(self, device: str) -> None:
        """Load the models; each process has one thread, for there is one a core."""
        self._detectors = detectors_of(self._models_dir, threads=1)

    def decode_request(self, request: Request) -> DecodedMedia:
        """Return an upload as units."""
        upload: Any = request  # LitServe has parsed its JSON
        content = base64.b64decode(upload["content"])
        return decode_bytes(content, name=upload["name"], detectors=self._detectors)

    def batch(self, inputs: Sequence[DecodedMedia]) -> list[DecodedMedia]:
        """Return files that are scored together."""
        return list(inputs)

    def predict(self, x: Sequence[DecodedMedia]) -> list[Verdict]:
        """Return the verdicts over files."""
        results: dict[int, Verdict] = {}
        for kind in {file.info.kind for file in x}:
            chosen = [i for i, file in enumerate(x) if file.info.kind is kind]
            logits = self._detectors[kind].logits(np.concatenate([x[i].units for i in chosen]))
            ends = np.cumsum([len(x[i].units) for i in chosen])[:-1]
            for i, found in zip(chosen, np.split(logits, ends), strict=True):
                results[i] = verdict_of(x[i], found, self._detectors)
        return [results[i] for i in range(len(x))]

    def unbatch(self, output: list[Verdict]) -> list[Verdict]:
        """Return the verdicts one by one."""
        return output

    def encode_response(self, output: Verdict) -> Verdict:
        """Return what is answered."""
        return output


def main() -> None:
    """Serve until killed."""
    models_dir, port = Path(sys.argv[1]), int(sys.argv[2])
    server = ls.LitServer(
        DetectionApi(models_dir), accelerator="cpu", workers_per_device=cores(), timeout=60
    )
    server.run(host="127.0.0.1", port=port, log_level="error", generate_client_file=False)


if __name__ == "__main__":
    main()
