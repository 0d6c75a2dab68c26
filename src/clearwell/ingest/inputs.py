"""Finds the right reader for an input: by its name's endings, through gzip and zstd; files, standard input, SQL."""

from __future__ import annotations

import gzip
import io
import os
import select
import sys
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import duckdb
import pyarrow as pa

from clearwell.errors import DataError, UsageError
from clearwell.flows.model import Model
from clearwell.ingest import tables
from clearwell.ingest.batches import Batch
from clearwell.ingest.ndjson import NdjsonOptions, NdjsonReader
from clearwell.ledger.views import quoted_name
from clearwell.values import columns

FORMATS = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".csv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
"""File ending to format; `.gz` and `.zst` may follow for all but Parquet."""

STANDARD_INPUT = "-"


_PAUSE_SECONDS = 0.2
_WAIT_SECONDS = 1.0
_MOST_PIECES = 256


@dataclass(frozen=True)
class Input:
    """A file (or `-`) in a format, or a source: a name and its SQL. `size` is in bytes, or None when unknown."""

    name: str
    format: str
    compression: str = ""
    sql: str = ""
    size: int | None = None


def file_input(name: str, format_name: str | None = None) -> Input:
    """The input that the path `name` (or `-` for standard input, NDJSON) means. Raises UsageError when it cannot be."""
    if name == STANDARD_INPUT:
        return Input(name, format_name or "ndjson")
    path = Path(name)
    endings = [ending.lower() for ending in path.suffixes]
    compression = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}.get(endings[-1] if endings else "", "")
    ending = (endings[:-1] if compression else endings)[-1:]
    found = format_name or FORMATS.get(ending[0] if ending else "")
    if found not in {*FORMATS.values()}:
        raise UsageError(
            "format_unknown",
            f"{name}: expected one of {', '.join(FORMATS)} (with .gz or .zst), or --input-format, found {path.name!r}",
        )
    if not path.is_file():
        raise UsageError("file_not_found", f"{name}: there is no such file")
    return Input(name, found, compression, size=path.stat().st_size)


def source_inputs(folder: Path) -> list[Input]:
    """The sources of a project: `sources/NAME.sql`, in order of name. Raises DataError for one that is no text."""
    return [
        Input(f"source {path.stem}", "sql", sql=_source_text(path))
        for path in sorted((folder / "sources").glob("*.sql"))
    ]


def _source_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("source_invalid", f"{path}: expected SQL in UTF-8, found: {error}") from error


@dataclass(frozen=True)
class ReadOptions:
    """How inputs are read: rows per batch, the largest record in bytes, what sources see, and whether it is history.

    `earlier_amounts` are as in `NdjsonOptions`.
    """

    batch_rows: int
    record_bytes: int
    folder: Path
    variables: Mapping[str, str]
    imports: bool = False
    earlier_amounts: tuple[str, ...] = ()


def read(inputs: Sequence[Input], model: Model, options: ReadOptions) -> Iterator[tuple[Input, Batch, float]]:
    """Yield the batches of the inputs, each with its input and the share of it that has been read (0 where unknown).

    Raises DataError when an input is not in its format, when a source's SQL fails, or when a file it reads is absent.
    """
    for source in inputs:
        for batch, share in _read(source, model, options):
            if source.format != "ndjson" and not batch.records.is_empty():
                _require_fitting(source, batch, options)
            yield source, batch, share


def _require_fitting(source: Input, batch: Batch, options: ReadOptions) -> None:
    """Raise DataError for a table with `recorded_at` that is not imported, and for one without it that is."""
    if (columns.RECORDED_AT in batch.records.columns) == options.imports:
        return
    expected = "a column recorded_at, which history brings along" if options.imports else "no column recorded_at"
    raise DataError(
        "columns_wrong",
        f"{source.name}: expected {expected}: only `clearwell ingest --import` keeps the times that events bring",
    )


def _read(source: Input, model: Model, options: ReadOptions) -> Iterator[tuple[Batch, float]]:
    try:
        if source.format == "sql":
            yield from ((batch, 0.0) for batch in _read_sql(source, model, options))
        elif source.format == "parquet":
            with Path(source.name).open("rb") as file:
                count = 0
                for batch, rows in tables.read_parquet(file, source.name, model, options.batch_rows):
                    count += batch.records.height
                    yield batch, count / rows
        else:
            with _standard_input(source) if source.name == STANDARD_INPUT else Path(source.name).open("rb") as file:
                for batch in _read_stream(_plain(file, source), source, model, options):
                    yield batch, file.tell() / source.size if source.size else 0.0
    except (EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError("input_unreadable", f"{source.name}: it cannot be read: {error.strerror}") from error
        kind, code = source.compression or source.format, "input_damaged"
        if not source.compression and source.format in ("arrow", "parquet"):  # The library says so as if of a device.
            code = f"{source.format}_unreadable"
        raise DataError(code, f"{source.name}: expected sound {kind}, found: {error}") from error


def _read_stream(stream: BinaryIO, source: Input, model: Model, options: ReadOptions) -> Iterator[Batch]:
    if source.format == "ndjson":
        yield from NdjsonReader(model, _of_ndjson(options)).read(stream, source.name)
    elif source.format == "csv":
        yield from tables.read_csv(stream, source.name, model)
    else:
        yield from tables.read_arrow(stream, source.name, model, options.batch_rows)


def _of_ndjson(options: ReadOptions) -> NdjsonOptions:
    return NdjsonOptions(
        record_bytes=options.record_bytes, imports=options.imports, earlier_amounts=options.earlier_amounts
    )


class _Arriving(io.RawIOBase):
    """Standard input as it arrives: handed on when nothing more comes for a moment, and after a while in any case."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; waits for the first, and gives up on more after a pause, a while, or many pieces."""
        pieces: list[bytes] = []
        left = size
        until = 0.0
        while left and len(pieces) < _MOST_PIECES:
            pause = min(_PAUSE_SECONDS, until - time.monotonic()) if pieces else 0.0
            if pieces and (pause <= 0 or not select.select([self._descriptor], [], [], pause)[0]):
                break
            piece = os.read(self._descriptor, min(left, 1 << 20))
            if not piece:
                break
            until = until or time.monotonic() + _WAIT_SECONDS
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)


def _standard_input(source: Input) -> BinaryIO:
    try:
        descriptor = sys.stdin.fileno()
    except (OSError, ValueError):  # Somebody has put another object in its place.
        return sys.stdin.buffer
    return cast("BinaryIO", _Arriving(descriptor)) if source.format == "ndjson" else sys.stdin.buffer


def _plain(file: BinaryIO, source: Input) -> BinaryIO:
    if source.compression == "gzip":
        return cast("BinaryIO", gzip.open(file, "rb"))
    if source.compression == "zstd":
        return cast("BinaryIO", io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file), "zstd"), 1 << 20))
    return file


def _read_sql(source: Input, model: Model, options: ReadOptions) -> Iterator[Batch]:
    database = duckdb.connect()
    try:
        database.execute("SET file_search_path = ?", [str(options.folder)])
        database.execute("SET TimeZone = 'UTC'")
        for name, value in options.variables.items():
            database.execute(f"SET VARIABLE {quoted_name(name)} = ?", [value])
        reader = database.execute(_single_select(source)).to_arrow_reader(options.batch_rows)
        yield from tables.read_rows(reader, reader.schema, source.name, model)
    except duckdb.IOException as error:
        raise DataError(
            "source_input_missing",
            f"{source.name}: its data is absent or cannot be read: {_first_line(error)}. Say where it is under "
            "`variables` in clearwell.yaml, or with --variable NAME=FOLDER.",
        ) from error
    except duckdb.Error as error:
        raise DataError("source_failed", f"{source.name}: {_first_line(error)}") from error
    finally:
        database.close()


def _single_select(source: Input) -> str:
    try:
        statements = duckdb.extract_statements(source.sql)
    except duckdb.Error as error:
        raise DataError("source_invalid", f"{source.name}: {_first_line(error)}") from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise DataError("source_invalid", f"{source.name}: expected one SELECT, found {len(statements)} statement(s)")
    return source.sql


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
