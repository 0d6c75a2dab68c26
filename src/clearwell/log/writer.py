"""Makes a segment file durable: written aside, synced, renamed, and its folder synced. Destroys nothing."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

import polars as pl

ROW_GROUP_EVENTS = 65_536
"""Rows per row group: small enough that a search for one id reads little."""


@dataclass(frozen=True)
class SegmentFile:
    """A file that survives a power cut from now on."""

    name: str
    bytes: int
    sha256: str


def write_segment(folder: Path, number: int, events: pl.DataFrame) -> SegmentFile:
    """Write `events` (in order of sequence) as segment `number` into `folder`, durably.

    A file of that number that no manifest row names is the rest of a crash before the commit. It is kept under another
    name in the folder `leftover` beside the log, for whoever knows better. Raises OSError when the disk refuses.
    """
    buffer = io.BytesIO()
    events.write_parquet(buffer, compression="zstd", row_group_size=ROW_GROUP_EVENTS, statistics=True)
    content = buffer.getbuffer()
    name = f"segment-{number:08d}.parquet"
    aside = folder / f".{name}.part"
    with aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if (folder / name).exists():
        _keep_leftover(folder, name)
    aside.replace(folder / name)
    sync_folder(folder)
    return SegmentFile(name, content.nbytes, hashlib.sha256(content).hexdigest())


def _keep_leftover(folder: Path, name: str) -> None:
    kept = folder.parent / "leftover"
    kept.mkdir(exist_ok=True)
    number = sum(1 for path in kept.iterdir() if path.name.startswith(name))
    (folder / name).replace(kept / f"{name}.{number + 1}")


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
