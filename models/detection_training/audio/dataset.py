"""The built clips on disk: one row for each in a table, and their samples in one file a split."""

import csv
import gzip
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detection_training.audio.sound import Samples
from detection_training.pipeline.splits import Split
from detection_training.pipeline.steps import write_atomically

TABLE_NAME: Final = "clips.csv"
REAL: Final = "real"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRow:
    """One clip.

    Attributes:
        split: What it may be used for.
        family: ``real``, or how it was made.
        speaker: Voice whose speech it is or was made from.
        language: Spoken.
        source: Package of the speech or of the engine.
        storage: Key of ``channels.STORAGES``.
        channel: Key of ``channels.CHANNELS``.
        samples: Length at 16 kHz.
        sha256: Digest of its samples, 16-bit little-endian.
    """

    split: Split
    family: str
    speaker: str
    language: str
    source: str
    storage: str
    channel: str
    samples: int
    sha256: str

    @property
    def fake(self) -> bool:
        """Whether it was made."""
        return self.family != REAL


class Clips:
    """Clips of one split.

    Args:
        rows: In the order of the samples.
        sound: All samples one after the other, int16.
    """

    def __init__(self, rows: Sequence[ClipRow], sound: NDArray[np.int16]) -> None:
        self.rows = tuple(rows)
        self._sound = sound
        self._ends = np.cumsum([row.samples for row in rows], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def sound(self, index: int) -> Samples:
        """Return a clip's samples in [-1, 1]."""
        end = int(self._ends[index])
        taken = self._sound[end - self.rows[index].samples : end]
        return taken.astype(np.float32) / np.float32(32768)


def originals_of(rows: Sequence[ClipRow]) -> dict[int, int]:
    """Return the index of each copy's original: the real clip of its voice that it follows.

    What an engine spoke has a voice of its own, and so no original.
    """
    found = {}
    latest: dict[str, int] = {}
    for i, row in enumerate(rows):
        if not row.fake:
            latest[row.speaker] = i
        elif row.speaker in latest:
            found[i] = latest[row.speaker]
    return found


def quantised(sound: Samples) -> NDArray[np.int16]:
    """Return samples as they are stored."""
    return np.clip(np.round(sound * 32767), -32768, 32767).astype("<i2")


def digest_of(stored: NDArray[np.int16]) -> str:
    """Return the sha256 of stored samples."""
    return hashlib.sha256(stored.tobytes()).hexdigest()


def write_shard(path: Path, rows: Sequence[ClipRow], sounds: Sequence[NDArray[np.int16]]) -> None:
    """Write a part of a data set, whole or not at all."""
    buffer = io.BytesIO()
    whole = np.concatenate(sounds) if sounds else np.zeros(0, np.int16)
    np.savez(buffer, sound=whole, table=np.frombuffer(table_text(rows).encode(), np.uint8))
    write_atomically(path, buffer.getvalue())


def read_shard(path: Path) -> Clips:
    """Return what ``write_shard`` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return Clips(read_table(stored["table"].tobytes().decode()), stored["sound"])


def join_shards(paths: Iterable[Path], folder: Path) -> None:
    """Write the table and the sound files of all splits, leaving out clips that were had twice."""
    rows: list[ClipRow] = []
    seen: set[str] = set()
    files = {split: (folder / f"{split}.i16.tmp").open("wb") for split in Split}
    try:
        for path in paths:
            clips = read_shard(path)
            for i, row in enumerate(clips.rows):
                if row.sha256 not in seen:
                    seen.add(row.sha256)
                    rows.append(row)
                    files[row.split].write(quantised_again(clips.sound(i)).tobytes())
    finally:
        for file in files.values():
            file.close()
    for split in Split:
        (folder / f"{split}.i16.tmp").replace(folder / f"{split}.i16")
    write_atomically(folder / TABLE_NAME, table_text(rows).encode())


def quantised_again(sound: Samples) -> NDArray[np.int16]:
    """Return the stored samples that ``Clips.sound`` was read from."""
    return np.round(sound * 32768).astype("<i2")


def read_clips(folder: Path, split: Split) -> Clips:
    """Return the clips of a split; the samples stay on disk."""
    rows = [row for row in read_table((folder / TABLE_NAME).read_text()) if row.split is split]
    path = folder / f"{split}.i16"
    empty = not path.stat().st_size
    sound = np.zeros(0, np.int16) if empty else np.memmap(path, dtype="<i2", mode="r")
    return Clips(rows, sound)


def table_text(rows: Iterable[ClipRow]) -> str:
    """Return rows as CSV."""
    buffer = io.StringIO()
    names = [field.name for field in fields(ClipRow)]
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return buffer.getvalue()


def read_table(text: str) -> list[ClipRow]:
    """Return the rows of ``table_text``."""
    return [
        ClipRow(
            **{**row, "split": Split(row["split"]), "samples": int(row["samples"])}  # type: ignore[arg-type]
        )
        for row in csv.DictReader(io.StringIO(text))
    ]


def packed_table(rows: Iterable[ClipRow]) -> bytes:
    """Return the table for the model's folder, gzipped without a time so that it is repeatable."""
    return gzip.compress(table_text(rows).encode(), mtime=0)
