"""People's own SQL over documented views of the books at a cut. Reads only, and only the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import duckdb.func
import polars as pl
import pyarrow as pa

from clearwell.application.cutting import CutRequest, Evaluated, books_at
from clearwell.application.reading import reading
from clearwell.application.workspace import Workspace
from clearwell.errors import UsageError
from clearwell.flows.model import Model
from clearwell.ingest.personal import Decryption
from clearwell.ledger.views import entries_query, quoted_name, quoted_text
from clearwell.quality import clearing
from clearwell.values import columns
from clearwell.values.accounts import SEPARATOR
from clearwell.values.cuts import Cut
from clearwell.values.encrypted import PREFIX
from clearwell.values.times import stored_text


@dataclass(frozen=True)
class Answer:
    """The columns and rows of a query; rows come as they are fetched."""

    cut: Cut
    columns: list[str]
    rows: Iterator[Sequence[Any]]


@contextmanager
def query(workspace: Workspace, request: CutRequest, sql: str) -> Iterator[Answer]:
    """Run one SELECT over the views as of the cut. Raises UsageError for SQL that fails or is anything else."""
    _require_select(sql)
    with books_at(workspace, request) as books, reading(books.log):
        books.store.spoil()
        _make_views(books)
        _lock(books, workspace)
        try:
            with reading(books.log):
                result = books.store.connection.execute(sql)
        except duckdb.Error as error:
            raise UsageError("query_failed", str(error)) from error
        yield Answer(books.cut, [item[0] for item in result.description or ()], _fetched(result))


def _require_select(sql: str) -> None:
    try:
        # Some statements make DuckDB look at files as soon as they are parsed.
        with duckdb.connect(config={"enable_external_access": "false"}) as parser:
            statements = parser.extract_statements(sql)
    except duckdb.Error as error:
        raise UsageError("query_failed", str(error)) from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        found = ", ".join(item.type.name for item in statements) or "nothing"
        raise UsageError("query_not_select", f"expected one SELECT, found {found}: the ledger is read only")


def _make_views(books: Evaluated) -> None:
    connection = books.store.connection
    at, sequence = f"TIMESTAMPTZ '{stored_text(books.cut.effective_at)}'", int(books.cut.sequence)
    paths = ", ".join(quoted_text(str(books.log.path(item))) for item in books.log.files)
    source = f"read_parquet([{paths}], union_by_name = true)" if paths else _NO_EVENTS
    chosen = f"SELECT *{_absent_columns(books, source)} FROM {source}"
    if personal := books.personal_names:
        _put_decryption(books.decryption, connection)
        chosen = f"SELECT * REPLACE ({', '.join(map(_decrypted, personal))}) FROM ({chosen})"
    connection.execute(f"CREATE TEMP VIEW events AS {chosen} WHERE sequence <= {sequence} AND effective_at <= {at}")
    names = [row[0] for row in connection.execute("DESCRIBE events").fetchall()]
    entries = entries_query(books.models, names, "temp.events")
    parameters = {"$effective_at": at, "$time_zone": quoted_text(books.time_zone)}
    kinds = books.kinds
    open_now, episodes = clearing.open_with_state(kinds), clearing.cleared_with_due(kinds)
    for name, text in parameters.items():
        open_now, episodes = open_now.replace(name, text), episodes.replace(name, text)
    views = {
        "entries": _with_properties(
            f"SELECT w.flow, e.* FROM ({entries}) AS e JOIN windows AS w USING (account_type)", books.model
        ),
        "open_accounts": _with_properties(open_now, books.model),
        "episodes": _with_properties(episodes, books.model),
        "balances": _with_properties(_BALANCES, books.model),
    }
    for name, text in views.items():
        connection.execute(f"CREATE TEMP VIEW {name} AS {text}")
    _put_segments(books)


def _put_decryption(decryption: Decryption, connection: duckdb.DuckDBPyConnection) -> None:
    """Give the connection a function that decrypts stored values, called for blocks of the rows that a query reads."""

    def decrypted(names: pa.ChunkedArray, stored: pa.ChunkedArray) -> pa.Array:
        name = names[0].as_py()
        frame = pl.DataFrame({"stored": pl.from_arrow(stored)})
        shown = decryption.shown(name, frame["stored"].drop_nulls().unique())
        return frame["stored"].replace(shown).to_arrow()

    text = duckdb.sqltypes.VARCHAR
    connection.create_function(_DECRYPTED, decrypted, [text, text], text, type=duckdb.func.PythonUDFType.ARROW)


_DECRYPTED = "decrypted_personal"


def _decrypted(name: str) -> str:
    column = quoted_name(columns.property_column(name))
    call = f"{_DECRYPTED}({quoted_text(name)}, {column})"
    return f"CASE WHEN starts_with({column}, {quoted_text(PREFIX)}) THEN {call} ELSE {column} END AS {column}"


def _absent_columns(books: Evaluated, source: str) -> str:
    """What the models declare and no event has had yet, as null columns, so that a query does not depend on it."""
    declared = {columns.OTHER_PROPERTIES: "VARCHAR"}
    for model in books.models.values():
        declared |= {columns.property_column(name): "VARCHAR" for name in model.property_names}
        for name in model.amount_names:
            declared |= {columns.amount_column(name): "BIGINT", columns.currency_column(name): "VARCHAR"}
    present = {row[0] for row in books.store.connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    missing = sorted(declared.keys() - present)
    return "".join(f", NULL::{declared[name]} AS {quoted_name(name)}" for name in missing)


_NO_EVENTS = """(SELECT 0::BIGINT AS sequence, now() AS recorded_at, '' AS flow, '' AS type, '' AS id, '' AS producer,
    now() AS effective_at, now() AS occurred_at, '' AS model_version WHERE false)"""

_BALANCES = """
SELECT w.flow, w.owner, w.kind, b.* FROM (
    SELECT account_type, account, currency, balance::HUGEINT AS balance,
        entry_count::BIGINT AS entry_count FROM reservoirs_at
    UNION ALL SELECT account_type, account, currency, balance::HUGEINT, entry_count FROM open_at
) AS b JOIN windows AS w USING (account_type)
"""


def _with_properties(text: str, model: Model) -> str:
    """The query with a column per account property, taken from the account's key, and the account's name for people."""
    names = sorted({name for item in model.account_types.values() for name in item.properties})
    values = []
    for name in names:
        cases = " ".join(
            f"WHEN {quoted_text(item.name)} THEN {_part_of_key(item.properties.index(name))}"
            for item in model.account_types.values()
            if name in item.properties
        )
        values.append(f"CASE account_type {cases} END AS {quoted_name(columns.property_column(name))}")
    shown = " ".join(
        f"WHEN {quoted_text(item.name)} THEN {_display(item.name, item.properties)}"
        for item in model.account_types.values()
    )
    return (
        f"SELECT * REPLACE (CASE account_type {shown} END AS account){''.join(', ' + value for value in values)} "
        f"FROM ({text})"
    )


def _display(account_type: str, properties: Sequence[str]) -> str:
    parts = [quoted_text(account_type + "{")]
    for place, name in enumerate(properties):
        parts.append(quoted_text(f"{', ' if place else ''}{name}="))
        parts.append(_part_of_key(place))
    return " || ".join([*parts, "'}'"])


def _part_of_key(place: int) -> str:
    return f"split_part(account, chr({ord(SEPARATOR)}), {place + 1})"


def _put_segments(books: Evaluated) -> None:
    rows = [item.__dict__ for item in books.log.segments if item.first_sequence <= books.cut.sequence]
    types = {**dict.fromkeys(_NUMBERS, pa.int64()), "imported": pa.bool_()}
    fields = [(name, types.get(name, pa.string())) for name in _SEGMENT_COLUMNS]
    table = pa.Table.from_pylist(rows, schema=pa.schema(fields))
    books.store.connection.register("segment_rows", table)
    instants = ", ".join(f"{name}::TIMESTAMPTZ AS {name}" for name in _SEGMENT_COLUMNS if name.endswith("_at"))
    books.store.connection.execute(f"CREATE TEMP VIEW segments AS SELECT * REPLACE ({instants}) FROM segment_rows")


_NUMBERS = ("number", "first_sequence", "last_sequence", "event_count", "entry_count", "file_bytes", "format")
_SEGMENT_COLUMNS = (
    "number", "first_sequence", "last_sequence", "event_count", "entry_count", "recorded_at", "first_effective_at",
    "last_effective_at", "moved", "model_version", "file_name", "file_bytes", "file_sha256", "previous_hash", "hash",
    "format", "first_recorded_at", "imported",
)  # fmt: skip


def _lock(books: Evaluated, workspace: Workspace) -> None:
    """Leave the query nothing to reach but the log's files and what is attached already."""
    connection = books.store.connection
    connection.execute(f"SET allowed_directories = [{quoted_text(str(workspace.log_folder))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _fetched(result: duckdb.DuckDBPyConnection) -> Iterator[Sequence[Any]]:
    while rows := result.fetchmany(10_000):
        yield from rows
