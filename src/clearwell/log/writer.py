"""Makes a segment file durable: written aside, synced, renamed, and its folder synced. Destroys nothing."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, TYPE_CHECKING

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from clearwell.values.columns import OTHER_PROPERTIES, PROPERTY_PREFIX
from clearwell.values.frames import arrow_of
from clearwell.values.times import INSTANT

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

Timed = Callable[[str], AbstractContextManager[object]]
"""What a step of writing is done within, by its name: so whoever writes can measure it."""


def untimed(_step: str) -> AbstractContextManager[object]:
    """Measures nothing."""
    return nullcontext()


ROW_GROUP_EVENTS = 65_536
"""Rows per row group of a segment."""

DIGEST_LETTERS = 16
"""So much of a file's SHA-256 is in its name."""

_SAMPLE_EVENTS = 8_192
_MOSTLY_DIFFERENT = 0.8
_MILLISECONDS = pl.Datetime("ms", "UTC")
_SEARCHED = ("sequence", "effective_at", OTHER_PROPERTIES)
_WHOLE_NUMBERS = "DELTA_BINARY_PACKED"


@dataclass(frozen=True)
class SegmentFile:
    """A file that survives a power cut from now on."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Layout:
    """How the columns of a file are stored. `in_milliseconds` are the instants that have no microseconds.

    They take two bytes less for each event so; every reader has them as the same instants.
    """

    in_milliseconds: frozenset[str]
    repeating: frozenset[str]

    @classmethod
    def of(cls, events: pl.DataFrame) -> Layout:
        """What suits `events` best. A dictionary is left out where it would hold nearly every row."""
        exact = {column.name for column in events if column.dtype == INSTANT and in_whole_milliseconds(column)}
        return cls(frozenset(exact), frozenset(column.name for column in events if _repeats(column)))

    def table(self, events: pl.DataFrame) -> pa.Table:
        """The events as they are stored."""
        columns = [
            column.cast(_MILLISECONDS) if column.name in self.in_milliseconds else column
            for column in events.iter_columns()
        ]
        return arrow_of(pl.DataFrame(columns))

    def writer(self, sink: _Hashing, schema: pa.Schema) -> parquet.ParquetWriter:
        """What writes tables of this layout to `sink`."""
        encodings = {item.name: _WHOLE_NUMBERS for item in schema if pa.types.is_integer(item.type)}
        return parquet.ParquetWriter(
            pa.PythonFile(sink, mode="w"),
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[name for name in schema.names if name in self.repeating and name not in encodings],
            column_encoding=encodings,
            # Searches ask for these ranges; those of the other columns take a fifth of the time, and of a footer half.
            write_statistics=[name for name in schema.names if name in _SEARCHED or name.startswith(PROPERTY_PREFIX)],
            store_schema=False,
        )


def in_whole_milliseconds(instants: pl.Series) -> bool:
    """Whether none of the instants has microseconds."""
    present = instants.drop_nulls() if instants.null_count() else instants
    return not (present.to_physical().to_numpy() % 1_000).any()


def write_segment(folder: Path, stem: str, events: pl.DataFrame, timed: Timed = untimed) -> SegmentFile:
    """Write `events` into `folder`, durably, under a name of `stem` and the file's own hash.

    A name never stands for two contents: a file that is there already is the same one. Syncing is the step `sync` of
    `timed`. Raises OSError when the disk refuses.
    """
    return write_parts(folder, stem, [events], Layout.of(events), ROW_GROUP_EVENTS, timed=timed)


def write_parts(
    folder: Path,
    stem: str,
    parts: Iterable[pl.DataFrame],
    layout: Layout,
    row_group_events: int,
    *,
    timed: Timed = untimed,
) -> SegmentFile:
    """As `write_segment`, for one file of events that come in parts, which all have the same columns.

    A row group never spans two parts.
    """
    with NamedTemporaryFile(dir=folder, prefix=f".{stem}-", suffix=".part", delete=False) as file:
        aside = Path(file.name)
        try:
            sink = _Hashing(file)
            _write(sink, parts, layout, row_group_events)
            name = _name(stem, sink.digest)
            file.flush()
            with timed("sync"):
                _name_durably(file, aside, folder / name)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    return SegmentFile(name, sink.tell(), sink.digest)


def _write(sink: _Hashing, parts: Iterable[pl.DataFrame], layout: Layout, row_group_events: int) -> None:
    """Write the Parquet file of `parts`, of which there is at least one; a row group never spans two of them."""
    writer = None
    for part in parts:
        for group in part.iter_slices(row_group_events):
            table = layout.table(group)
            writer = writer or layout.writer(sink, table.schema)
            writer.write_table(table)
    if writer is None:
        raise AssertionError("a file of no events")
    writer.close()


def _name(stem: str, digest: str) -> str:
    return f"{stem}-{digest[:DIGEST_LETTERS]}.parquet"


def _name_durably(file: IO[bytes], aside: Path, path: Path) -> None:
    """Give what is written to `file`, which is `aside`, its name, such that both survive a power cut."""
    os.fsync(file.fileno())
    aside.replace(path)
    sync_folder(path.parent)


class _Hashing(io.RawIOBase):
    """Passes what is written on to a file, and hashes it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._bytes = 0

    @property
    def digest(self) -> str:
        """The SHA-256 of all that was written, in hex."""
        return self._hash.hexdigest()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._bytes

    def write(self, content: Buffer) -> int:
        self._hash.update(content)
        written = self._file.write(content)
        self._bytes += written
        return written


def _repeats(column: pl.Series) -> bool:
    """Whether values of the column come again, by a sample of it."""
    is_whole = column.dtype.is_temporal() or not column.null_count()
    sample = column.head(_SAMPLE_EVENTS) if is_whole else column.filter(column.is_not_null()).head(_SAMPLE_EVENTS)
    most = _MOSTLY_DIFFERENT * len(sample) if column.dtype == pl.String else 1
    return sample.n_unique() <= most


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
