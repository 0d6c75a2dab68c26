"""Reads tables (CSV, Parquet, Arrow IPC, query results): a column is a field of the event, a row is a record.

Nested columns `properties` and `amounts` of the wire format are flattened to `property_NAME`, `amount_NAME` and
`currency_NAME`. Refuses a table with a column that is no field of an event, before any row is read.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from threading import Lock
from typing import BinaryIO

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

from clearwell.errors import DataError
from clearwell.flows.model import Model
from clearwell.ingest import undeclared
from clearwell.ingest.batches import Batch, rejections_frame
from clearwell.ingest.wire import to_wire
from clearwell.ledger.rejections import RejectionCode, no_rejections
from clearwell.values import columns

_CSV_BLOCK_BYTES = 32 << 20
_MOST_REFUSED = 500_000
_REFUSED_AT_ONCE = 100_000
_LONGEST_HEADER = 1 << 20
_MOST_PROBLEMS = 50
_SAMPLE_ROWS = 256
_BATCH_BYTES = 256 << 20
_ARROW_FILE = b"ARROW1\0\0"
LARGEST_ARROW_FILE = 1 << 29
"""In bytes, unpacked, for an Arrow file (not a stream) that is compressed or comes from standard input."""

_DAYS = (date(1, 1, 2) - date(1970, 1, 1)).days, (date(9999, 12, 30) - date(1970, 1, 1)).days
_INSTANT_DAYS = -73_000_000, 73_000_000
"""So far a library counts. Instants beyond the calendar, but within this, are refused one by one."""

_PER_DAY = {"D": 1, "s": 86_400, "ms": 86_400_000, "us": 86_400_000_000}
_PREFIXES = (columns.PROPERTY_PREFIX, columns.AMOUNT_PREFIX, columns.CURRENCY_PREFIX)


def read_parquet(file: BinaryIO, source: str, model: Model, batch_rows: int) -> Iterator[tuple[Batch, int]]:
    """Yield the rows of a Parquet file, beside the number of rows it has. Raises DataError when it is none."""
    with _as_table("Parquet", source):
        parquet = pyarrow.parquet.ParquetFile(file)
        _check_columns(parquet.schema_arrow, source)
        for batch in _batches(_groups(parquet, batch_rows), source, model):
            yield batch, parquet.metadata.num_rows


def _groups(parquet: pyarrow.parquet.ParquetFile, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The rows, in batches about as large as their first rows make right: a few bytes may stand for huge rows."""
    first = next(parquet.iter_batches(batch_size=_SAMPLE_ROWS), None)
    if first is None or not first.num_rows:
        return
    row_bytes = max(1, first.nbytes // first.num_rows)
    yield from parquet.iter_batches(batch_size=max(1, min(batch_rows, _BATCH_BYTES // row_bytes)))


def read_arrow(stream: BinaryIO, source: str, model: Model, batch_rows: int) -> Iterator[Batch]:
    """Yield the rows of an Arrow IPC stream or file, batch by batch. Raises DataError when it is none.

    A file, other than a stream, is read from its end: one that cannot be, such as a compressed one, is read into
    memory, and may have at most `LARGEST_ARROW_FILE` bytes.
    """
    with _as_table("Arrow IPC", source):
        start = stream.read(len(_ARROW_FILE))
        if start == _ARROW_FILE:
            with pyarrow.ipc.open_file(_from_the_end(start, stream, source)) as file:
                _check_columns(file.schema, source)
                stored = (file.get_batch(number) for number in range(file.num_record_batches))
                yield from _batches(_slices(stored, batch_rows), source, model)
        else:
            with pyarrow.ipc.open_stream(pa.PythonFile(_Rejoined(start, stream), mode="r")) as reader:
                _check_columns(reader.schema, source)
                yield from _batches(_slices(reader, batch_rows), source, model)


def _from_the_end(start: bytes, stream: BinaryIO, source: str) -> object:
    if isinstance(stream, io.BufferedReader) and isinstance(stream.raw, io.FileIO) and stream.seekable():
        return stream
    content = start + stream.read(LARGEST_ARROW_FILE)
    if len(content) > LARGEST_ARROW_FILE:
        raise DataError(
            "arrow_unreadable",
            f"{source}: expected at most {LARGEST_ARROW_FILE} bytes of an Arrow file that is not plain, found more. "
            "Unpack it, or write it as an Arrow stream",
        )
    return pa.py_buffer(content)


def _slices(batches: Iterable[pa.RecordBatch], most_rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, most_rows):
            yield batch.slice(start, most_rows)


class _Rejoined(io.RawIOBase):
    """A stream of which the first bytes have been read already."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._start, self._rest = start, rest

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The bytes that were read first, then the others."""
        if not self._start:
            return self._rest.read(size)
        piece, self._start = self._start[:size], self._start[size:] if size >= 0 else b""
        return piece


@contextmanager
def _as_table(kind: str, source: str) -> Iterator[None]:
    """Raise DataError where a library finds that the input is no `kind`, whatever it says and however it says so."""
    code = {"Parquet": "parquet_unreadable", "Arrow IPC": "arrow_unreadable"}[kind]
    try:
        yield
    except MemoryError as error:
        raise DataError(
            code, f"{source}: expected {kind} whose parts fit into memory, found one that does not: {error}"
        ) from error
    except (pa.ArrowException, UnicodeDecodeError, ValueError) as error:  # ValueError: a name or type out of bounds.
        raise DataError(code, f"{source}: expected {kind}, found: {error}") from error


def read_rows(batches: Iterable[pa.RecordBatch], schema: pa.Schema, source: str, model: Model) -> Iterator[Batch]:
    """Yield rows that are in memory or come from a query."""
    _check_columns(schema, source)
    yield from _batches(batches, source, model)


def read_csv(stream: BinaryIO, source: str, model: Model) -> Iterator[Batch]:
    """Yield the rows of a CSV file with a header; an empty cell is an absent value.

    Rows with another number of cells than the header go to quarantine. Raises DataError for an unknown column.
    """
    header = stream.readline(_LONGEST_HEADER)
    if len(header) == _LONGEST_HEADER:
        raise DataError("csv_unreadable", f"{source}: expected a header of less than {_LONGEST_HEADER} bytes")
    names = _header_names(header, source)
    _check_columns(pa.schema([(name, pa.string()) for name in names]), source)
    refused: list[tuple[int, str]] = []

    def refuse(row: pyarrow.csv.InvalidRow) -> str:
        if row.text:
            refused.append((row.number, row.text))
        return "skip" if len(refused) < _MOST_REFUSED else "error"

    stoppable = _Stoppable(stream)
    try:
        reader = pyarrow.csv.open_csv(
            pa.PythonFile(stoppable, mode="r"),
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
        if "straddling object" in str(error):
            expected = f"rows of at most {_CSV_BLOCK_BYTES} bytes"
            raise DataError("csv_unreadable", f"{source}: expected {expected}, found one that is longer") from error
        if len(refused) >= _MOST_REFUSED:
            found = f"{_MOST_REFUSED} rows one after the other that do not fit the header"
            raise DataError("csv_unreadable", f"{source}: expected CSV with a header, found {found}") from error
        raise DataError("csv_unreadable", f"{source}: expected CSV in UTF-8, found: {error}") from error
    finally:
        stoppable.stop()


class _Stoppable(io.RawIOBase):
    """A stream for a library that reads ahead in a thread of its own, which must not outlive the interpreter."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream, self._reading, self._stopped = stream, Lock(), False

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """What the stream gives; nothing any more once it was stopped."""
        with self._reading:
            return b"" if self._stopped else self._stream.read(size)

    def stop(self) -> None:
        """End the stream here, after a read that is under way."""
        with self._reading:
            self._stopped = True


def _csv_batches(
    reader: Iterable[pa.RecordBatch], source: str, model: Model, refused: list[tuple[int, str]]
) -> Iterator[Batch]:
    """Give every row its number in the file, counting the header, and add the refused rows to the next batch."""
    next_row = 1
    nothing = pl.DataFrame(schema={"position": pl.Int64})
    for batch in reader:
        known_bad = np.array([number for number, _ in refused], dtype=np.int64)
        candidates = np.arange(next_row, next_row + batch.num_rows + len(known_bad) + 1, dtype=np.int64)
        rows = np.setdiff1d(candidates, known_bad, assume_unique=True)[: batch.num_rows]
        next_row = int(rows[-1]) + 1 if len(rows) else next_row
        before = [item for item in refused if item[0] < next_row]
        del refused[: len(before)]
        yield _csv_batch(
            _records(pa.Table.from_batches([batch]), model), rows, before[:_REFUSED_AT_ONCE], source, model
        )
        for start in range(_REFUSED_AT_ONCE, len(before), _REFUSED_AT_ONCE):
            yield _csv_batch(nothing, rows[:0], before[start : start + _REFUSED_AT_ONCE], source, model)
    for start in range(0, len(refused), _REFUSED_AT_ONCE):
        yield _csv_batch(nothing, np.empty(0, dtype=np.int64), refused[start : start + _REFUSED_AT_ONCE], source, model)


def _csv_batch(
    records: pl.DataFrame, rows: np.ndarray, bad: Sequence[tuple[int, str]], source: str, model: Model
) -> Batch:
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
        return [
            bad[place - count][1].encode("utf-8", "surrogateescape") if place >= count else as_wire([place])[0]
            for place in positions
        ]

    return Batch(source, records, pl.concat([rejections, _other_faults(records, model)]), lines, raw)


def _batches(batches: Iterable[pa.RecordBatch], source: str, model: Model) -> Iterator[Batch]:
    first = 1
    for batch in batches:
        records = _records(_sound(batch, source), model)
        rows = np.arange(first, first + records.height, dtype=np.int64)
        first += records.height
        yield Batch(source, records, _other_faults(records, model), rows, _raw(records))


def _sound(batch: pa.RecordBatch, source: str) -> pa.Table:
    """The batch as flat columns, each timestamp with a zone in UTC.

    Raises DataError for what no library writes: text that is not UTF-8, places outside a buffer, days beyond time.
    """
    try:
        batch.validate(full=True)
    except pa.ArrowException as error:
        raise DataError("table_damaged", f"{source}: expected sound columns, found: {error}") from error
    table = _flat(pa.Table.from_batches([batch]))
    for place, field in enumerate(table.schema):
        if pa.types.is_date(field.type) or pa.types.is_timestamp(field.type):
            _require_calendar_days(table.column(place), f"{source}, column {field.name}")
        if pa.types.is_timestamp(field.type) and field.type.tz:
            in_utc = table.column(place).cast(pa.timestamp(field.type.unit, "UTC"))
            table = table.set_column(place, field.name, in_utc)
    return table


def _require_calendar_days(column: pa.ChunkedArray, where: str) -> None:
    """Raise DataError for days, and for instants far beyond them, that no library can write down."""
    unit = "D" if pa.types.is_date32(column.type) else getattr(column.type, "unit", "ms")
    if unit == "ns":  # From 1677 to 2262.
        return
    numbers = column.cast(pa.int32()).cast(pa.int64()) if unit == "D" else column.cast(pa.int64())
    least, greatest = pc.min_max(numbers).as_py().values()
    low, high = (day * _PER_DAY[unit] for day in (_INSTANT_DAYS if getattr(column.type, "tz", None) else _DAYS))
    if least is not None and (least < low or greatest > high):
        found = f"{least if least < low else greatest} as {column.type}"
        raise DataError("table_damaged", f"{where}: expected days that a calendar has, found {found}")


def _raw(records: pl.DataFrame) -> Callable[[Sequence[int]], list[bytes]]:
    def raw(positions: Sequence[int]) -> list[bytes]:
        chosen = records[list(positions)]
        instants = [name for name, dtype in chosen.schema.items() if isinstance(dtype, pl.Datetime) and dtype.time_zone]
        written = pl.col(instants).dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
        return [to_wire(row) for row in chosen.with_columns(written).iter_rows(named=True)]

    return raw


def _records(table: pa.Table, model: Model) -> pl.DataFrame:
    """`table` with `position`; properties that no event type declares are kept in `other_properties`."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    known = {columns.property_column(name) for name in model.property_names}
    others = sorted(name for name in frame.columns if name.startswith(columns.PROPERTY_PREFIX) and name not in known)
    if others:
        frame = frame.with_columns(_as_object(frame, others)).drop(others)
    return frame.with_columns(position=pl.int_range(pl.len(), dtype=pl.Int64))


def _other_faults(records: pl.DataFrame, model: Model) -> pl.DataFrame:
    """Faults of `other_properties`, when a table brings them: no JSON object, or one that cannot be kept so."""
    if columns.OTHER_PROPERTIES not in records.columns:
        return no_rejections()
    given = records.select("position", text=pl.col(columns.OTHER_PROPERTIES).cast(pl.String)).drop_nulls()
    query = """
        SELECT position, text, coalesce(kind = 'OBJECT', false) AS is_object
        FROM (SELECT position, text, CASE WHEN json_valid(text) THEN json_type(text) END AS kind,
            CASE WHEN json_valid(text) THEN list_intersect(json_keys(text), $1) ELSE [] END AS personal FROM given)
        WHERE NOT is_object OR len(personal) > 0
    """
    with duckdb.connect() as connection:
        connection.register("given", given.to_arrow())
        rows = connection.execute(query, [list(model.personal_names)]).fetchall()
    none, personal = ([(at, text) for at, text, is_object in rows if is_object == wanted] for wanted in (False, True))
    no_objects = _faults_of_others(none, "a JSON object")
    places, found = undeclared.not_kept(given.join(no_objects, on="position", how="anti"))
    return pl.concat(
        [
            no_objects,
            _faults_of_others(zip(places, found, strict=True), undeclared.EXPECTED),
            _faults_of_others(personal, "no personal property, which has a column of its own"),
        ]
    )


def _faults_of_others(faulty: Iterable[tuple[int, str]], expected: str) -> pl.DataFrame:
    places, found = [list(part) for part in zip(*faulty, strict=True)] or ([], [])
    code = RejectionCode.FIELD_INVALID
    return rejections_frame(places, code, field=columns.OTHER_PROPERTIES, expected=expected, found=found)


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
        column = pl.col(name).to_physical() if frame.schema[name] == pl.Duration else pl.col(name)
        single = pl.struct(column.cast(pl.String).alias(name.removeprefix(columns.PROPERTY_PREFIX)))
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
    try:
        names = next(csv.reader(io.StringIO(text), strict=True), [])
    except csv.Error as error:
        raise DataError("csv_unreadable", f"{source}, line 1: expected a header, found: {error}") from error
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
    problems += [f"column {name!r} occurs {count} times" for name, count in Counter(names).items() if count > 1]
    needed = [name for name in columns.ENVELOPE if name != "producer" and name not in names]
    problems += [f"column {name!r} is missing" for name in needed]
    problems += [
        f"column {field.name!r}: expected text, numbers or instants, found {field.type}"
        for field in flat
        if not _is_plain(field.type)
    ]
    problems += [
        f"column {field.name!r}: expected JSON as text, found {field.type}"
        for field in flat
        if field.name == columns.OTHER_PROPERTIES and not _is_text(field.type)
    ]
    if problems:
        message = f"{source}: its columns are not the fields of an event, in {len(problems)} point(s)"
        raise DataError("columns_wrong", message, problems[:_MOST_PROBLEMS])


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return any(is_one(kind) for is_one in (types.is_string, types.is_large_string, types.is_string_view, types.is_null))


def _is_plain(kind: pa.DataType) -> bool:
    """Whether values of this type are texts, numbers, truth values or times."""
    types = pa.types
    if types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    return any(
        is_one(kind)
        for is_one in (
            _is_text,
            types.is_integer,
            types.is_floating,
            types.is_decimal128,
            types.is_boolean,
            types.is_date,
            types.is_time,
            types.is_timestamp,
            types.is_duration,
        )
    )
