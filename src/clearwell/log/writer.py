"""Makes a segment file durable: written aside, synced, renamed, and its folder synced. Destroys nothing."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from clearwell.values.times import INSTANT

ROW_GROUP_EVENTS = 65_536
"""Rows per row group: small enough that a search for one id reads little."""

DIGEST_LETTERS = 16
"""So much of a file's SHA-256 is in its name."""

_SAMPLE_EVENTS = 8_192
_MOSTLY_DIFFERENT = 0.95
_MILLISECONDS = pl.Datetime("ms", "UTC")
_WHOLE_NUMBERS = "DELTA_BINARY_PACKED"


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
    content = _encoded(events).getbuffer()
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


def _encoded(events: pl.DataFrame) -> io.BytesIO:
    """The Parquet file of `events`, each column in the encoding that suits its values best.

    A dictionary is left out where it would hold nearly every row. Instants without microseconds are stored as
    milliseconds, which takes two bytes less for each; every reader has them as the same instants.
    """
    frame = events.with_columns(
        column.cast(_MILLISECONDS)
        for column in events
        if column.dtype == INSTANT and not (column.to_physical() % 1_000 != 0).any()
    )
    numbers = {name: _WHOLE_NUMBERS for name, dtype in frame.schema.items() if dtype.is_integer()}
    buffer = io.BytesIO()
    parquet.write_table(
        frame.to_arrow(compat_level=pl.CompatLevel.oldest()),
        pa.PythonFile(buffer, mode="w"),
        compression="zstd",
        compression_level=1,
        row_group_size=ROW_GROUP_EVENTS,
        use_dictionary=[column.name for column in frame if column.name not in numbers and _repeats(column)],
        column_encoding=numbers,
        store_schema=False,
    )
    return buffer


def _repeats(column: pl.Series) -> bool:
    """Whether values of the column come again, by a sample of it."""
    sample = column.head(_SAMPLE_EVENTS) if column.dtype.is_temporal() else column.drop_nulls().head(_SAMPLE_EVENTS)
    most = _MOSTLY_DIFFERENT * len(sample) if column.dtype == pl.String else 1
    return sample.n_unique() <= most


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
