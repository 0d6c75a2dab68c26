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

DIGEST_LETTERS = 16
"""So much of a file's SHA-256 is in its name."""


@dataclass(frozen=True)
class SegmentFile:
    """A file that survives a power cut from now on."""

    name: str
    bytes: int
    sha256: str


def write_segment(folder: Path, stem: str, events: pl.DataFrame) -> SegmentFile:
    """Write `events` into `folder`, durably, under a name of `stem` and the file's own hash.

    A name never stands for two contents: a file that is there already is the same one. Raises OSError when the disk
    refuses.
    """
    buffer = io.BytesIO()
    events.write_parquet(buffer, compression="zstd", row_group_size=ROW_GROUP_EVENTS, statistics=True)
    content = buffer.getbuffer()
    digest = hashlib.sha256(content).hexdigest()
    name = f"{stem}-{digest[:DIGEST_LETTERS]}.parquet"
    aside = folder / f".{name}.part"
    with aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(folder / name)
    sync_folder(folder)
    return SegmentFile(name, content.nbytes, digest)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
