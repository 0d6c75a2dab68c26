"""Reads tables (CSV, Parquet, Arrow IPC, query results): a column is a field of the event, a row is a record.

Nested columns `properties` and `amounts` of the wire format are flattened to `property_NAME`, `amount_NAME` and
`currency_NAME`. Refuses a table with a column that is no field of an event, before any row is read.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

from clearwell.errors import DataError
from clearwell.flows.model import Model
from clearwell.ingest.batches import Batch, rejections_frame
from clearwell.ingest.wire import to_wire
from clearwell.ledger.rejections import RejectionCode, no_rejections
from clearwell.values import columns

_CSV_BLOCK_BYTES = 32 << 20
_PREFIXES = (columns.PROPERTY_PREFIX, columns.AMOUNT_PREFIX, columns.CURRENCY_PREFIX)


def read_parquet(file: BinaryIO, source: str, model: Model, batch_rows: int) -> Iterator[tuple[Batch, int]]:
    """Yield the rows of a Parquet file, beside the number of rows it has. Raises DataError when it is none."""
    try:
        parquet = pyarrow.parquet.ParquetFile(file)
        _check_columns(parquet.schema_arrow, source)
        for batch in _batches(parquet.iter_batches(batch_size=batch_rows), source, model):
            yield batch, parquet.metadata.num_rows
    except pa.ArrowException as error:
        raise DataError("parquet_unreadable", f"{source}: expected a Parquet file, found: {error}") from error


def read_arrow(stream: BinaryIO, source: str, model: Model, batch_rows: int) -> Iterator[Batch]:
    """Yield the rows of an Arrow IPC stream or file. Raises DataError when it is none."""
    content = stream.read()
    try:
        if content.startswith(b"ARROW1"):
            table = pyarrow.ipc.open_file(content).read_all()
        else:
            table = pyarrow.ipc.open_stream(content).read_all()
    except pa.ArrowException as error:
        raise DataError("arrow_unreadable", f"{source}: expected Arrow IPC, found: {error}") from error
    yield from read_rows(table.to_batches(max_chunksize=batch_rows), table.schema, source, model)


def read_rows(batches: Iterable[pa.RecordBatch], schema: pa.Schema, source: str, model: Model) -> Iterator[Batch]:
    """Yield rows that are in memory or come from a query."""
    _check_columns(schema, source)
    yield from _batches(batches, source, model)


def read_csv(stream: BinaryIO, source: str, model: Model) -> Iterator[Batch]:
    """Yield the rows of a CSV file with a header; an empty cell is an absent value.

    Rows with another number of cells than the header go to quarantine. Raises DataError for an unknown column.
    """
    header = stream.readline(1 << 20)
    names = _header_names(header, source)
    _check_columns(pa.schema([(name, pa.string()) for name in names]), source)
    refused: list[tuple[int, str]] = []

    def refuse(row: pyarrow.csv.InvalidRow) -> str:
        if row.text:
            refused.append((row.number, row.text))
        return "skip"

    try:
        reader = pyarrow.csv.open_csv(
            pa.PythonFile(stream, mode="r"),
            read_options=pyarrow.csv.ReadOptions(block_size=_CSV_BLOCK_BYTES, column_names=names, use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        )
        yield from _csv_batches(reader, source, model, refused)
    except pa.ArrowException as error:
        if "at least one column" in str(error) or "Empty CSV file" in str(error):
            return
        raise DataError("csv_unreadable", f"{source}: expected CSV in UTF-8, found: {error}") from error


def _csv_batches(
    reader: Iterable[pa.RecordBatch], source: str, model: Model, refused: list[tuple[int, str]]
) -> Iterator[Batch]:
    """Give every row its number in the file, counting the header, and add the refused rows to the next batch."""
    next_row, taken = 1, 0
    for batch in reader:
        known_bad = np.array([number for number, _ in refused], dtype=np.int64)
        candidates = np.arange(next_row, next_row + batch.num_rows + len(known_bad) + 1, dtype=np.int64)
        rows = np.setdiff1d(candidates, known_bad, assume_unique=True)[: batch.num_rows]
        next_row = int(rows[-1]) + 1 if len(rows) else next_row
        bad = [(number, text) for number, text in refused[taken:] if number < next_row]
        taken += len(bad)
        yield _csv_batch(_records(batch, model), rows, bad, source)
    if taken < len(refused):
        nothing = pl.DataFrame(schema={"position": pl.Int64})
        yield _csv_batch(nothing, np.empty(0, dtype=np.int64), refused[taken:], source)


def _csv_batch(records: pl.DataFrame, rows: np.ndarray, bad: Sequence[tuple[int, str]], source: str) -> Batch:
    count = records.height
    rejections = rejections_frame(
        range(count, count + len(bad)),
        RejectionCode.RECORD_UNREADABLE,
        field="record",
        expected="a row with as many cells as the header",
        found=[text[:80] for _, text in bad],
    )
    lines = np.concatenate([rows, np.array([number for number, _ in bad], dtype=np.int64)]) + 1
    as_wire = _raw(records)

    def raw(positions: Sequence[int]) -> list[bytes]:
        return [bad[place - count][1].encode() if place >= count else as_wire([place])[0] for place in positions]

    return Batch(source, records, pl.concat([rejections, _not_objects(records)]), lines, raw)


def _batches(batches: Iterable[pa.RecordBatch], source: str, model: Model) -> Iterator[Batch]:
    first = 1
    for batch in batches:
        records = _records(batch, model)
        rows = np.arange(first, first + records.height, dtype=np.int64)
        first += records.height
        yield Batch(source, records, _not_objects(records), rows, _raw(records))


def _raw(records: pl.DataFrame) -> Callable[[Sequence[int]], list[bytes]]:
    def raw(positions: Sequence[int]) -> list[bytes]:
        chosen = records[list(positions)]
        instants = [name for name, dtype in chosen.schema.items() if isinstance(dtype, pl.Datetime) and dtype.time_zone]
        written = pl.col(instants).dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
        return [to_wire(row) for row in chosen.with_columns(written).iter_rows(named=True)]

    return raw


def _records(batch: pa.RecordBatch, model: Model) -> pl.DataFrame:
    """Flat columns, with `position`; properties that no event type declares are kept in `other_properties`."""
    frame = pl.from_arrow(_flat(pa.Table.from_batches([batch])))
    assert isinstance(frame, pl.DataFrame)
    known = {columns.property_column(name) for name in model.property_names}
    others = sorted(name for name in frame.columns if name.startswith(columns.PROPERTY_PREFIX) and name not in known)
    if others:
        frame = frame.with_columns(_as_object(frame, others)).drop(others)
    return frame.with_columns(position=pl.int_range(pl.len(), dtype=pl.Int64))


def _not_objects(records: pl.DataFrame) -> pl.DataFrame:
    """Faults of the rows whose `other_properties`, when a table brings them, are not a JSON object."""
    if columns.OTHER_PROPERTIES not in records.columns:
        return no_rejections()
    given = records.select("position", text=pl.col(columns.OTHER_PROPERTIES).cast(pl.String)).drop_nulls().to_arrow()
    faulty = duckdb.from_arrow(given).filter(
        "NOT json_valid(text) OR CASE WHEN json_valid(text) THEN json_type(text) END <> 'OBJECT'"
    )
    rows = faulty.fetchall()
    return rejections_frame(
        [position for position, _ in rows],
        RejectionCode.FIELD_INVALID,
        field=columns.OTHER_PROPERTIES,
        expected="a JSON object",
        found=[text for _, text in rows],
    )


def _as_object(frame: pl.DataFrame, names: Sequence[str]) -> pl.Expr:
    """The non-null values of these columns as a JSON object in text; null for a row that has none."""
    if columns.OTHER_PROPERTIES in frame.columns:
        raise DataError(
            "column_unknown",
            f"a table with the column {columns.OTHER_PROPERTIES} may not have properties that no event type declares: "
            + ", ".join(names),
        )
    pairs = []
    for name in names:
        single = pl.struct(pl.col(name).cast(pl.String).alias(name.removeprefix(columns.PROPERTY_PREFIX)))
        text = single.struct.json_encode().str.strip_prefix("{").str.strip_suffix("}")
        pairs.append(pl.when(pl.col(name).is_not_null()).then(text))
    inner = pl.concat_str(pairs, separator=",", ignore_nulls=True)
    return pl.when(inner != "").then(pl.concat_str(pl.lit("{"), inner, pl.lit("}"))).alias(columns.OTHER_PROPERTIES)


def _flat(table: pa.Table) -> pa.Table:
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table.rename_columns([_flat_name(name) for name in table.column_names])


def _flat_name(name: str) -> str:
    """`properties.charge` is `property_charge`; `amounts.gross`, or its `.value`, is `amount_gross`; and so on."""
    match name.split("."):
        case ["properties", inner]:
            return columns.property_column(inner)
        case ["amounts", inner] | ["amounts", inner, "value"]:
            return columns.amount_column(inner)
        case ["amounts", inner, "currency"]:
            return columns.currency_column(inner)
        case _:
            return name


def _header_names(header: bytes, source: str) -> list[str]:
    try:
        text = header.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("csv_unreadable", f"{source}, line 1: expected a header in UTF-8, found: {error}") from error
    names = next(csv.reader(io.StringIO(text)), [])
    return [_flat_name(name.strip()) for name in names]


def _check_columns(schema: pa.Schema, source: str) -> None:
    """Raise DataError unless every column is a field of an event, once, and there are those that every event needs."""
    flat = _flat(schema.empty_table()).schema
    names = flat.names
    known = {*columns.ENVELOPE, "currency", columns.OTHER_PROPERTIES, columns.RECORDED_AT}
    expected = f"expected {', '.join(sorted(known))}, property_NAME, amount_NAME or currency_NAME"
    problems = [
        f"column {name!r}: {expected}"
        for name in names
        if name not in known and not (name.startswith(_PREFIXES) and name.split("_", 1)[1])
    ]
    problems += [
        f"column {name!r} occurs {names.count(name)} times" for name in sorted(set(names)) if names.count(name) > 1
    ]
    needed = [name for name in columns.ENVELOPE if name != "producer" and name not in names]
    problems += [f"column {name!r} is missing" for name in needed]
    problems += [
        f"column {field.name!r}: expected text, numbers or instants, found {field.type}"
        for field in flat
        if pa.types.is_nested(field.type) or pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
    ]
    if problems:
        raise DataError("columns_wrong", f"{source}: its columns are not the fields of an event", problems)
