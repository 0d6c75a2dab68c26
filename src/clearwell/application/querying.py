"""People's own SQL over documented views of the books at a cut. Reads only, and only the ledger."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
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
    batches: Callable[[], Iterator[pa.RecordBatch]]
    """The rows as Arrow, instead of `rows`; whole numbers beyond 64 bits are decimals without a fraction."""
    schema: Callable[[], pa.Schema]


@contextmanager
def query(workspace: Workspace, request: CutRequest, sql: str, *, seconds: float | None = None) -> Iterator[Answer]:
    """Run one SELECT over the views as of the cut. Raises UsageError for SQL that fails or is anything else.

    With `seconds`, it is stopped when making its rows takes longer. Where the projections are shared with a writer of
    this process, it may use no function that changes something, or tells of others who use them.
    """
    tree = _require_select(sql)
    with books_at(workspace, request) as books, reading(books.log):
        if books.store.is_shared:
            _require_harmless(tree)
        _make_views(books)
        books.store.confine(workspace.log_folder)
        connection = books.store.connection
        with _stopped_after(connection, seconds):
            with _refused(books, seconds):
                result = connection.execute(sql)
            yield _answer(books, result, seconds)


def _answer(books: Evaluated, result: duckdb.DuckDBPyConnection, seconds: float | None) -> Answer:
    readers: list[pa.RecordBatchReader] = []

    def reader() -> pa.RecordBatchReader:
        if not readers:
            readers.append(result.to_arrow_reader(_ROWS_AT_ONCE))
        return readers[0]

    def batches() -> Iterator[pa.RecordBatch]:
        with _refused(books, seconds):
            yield from reader()

    def rows() -> Iterator[Sequence[Any]]:
        with _refused(books, seconds):
            yield from _fetched(result)

    names = [item[0] for item in result.description or ()]
    return Answer(books.cut, names, rows(), batches, lambda: reader().schema)


@contextmanager
def _stopped_after(connection: duckdb.DuckDBPyConnection, seconds: float | None) -> Iterator[None]:
    """Interrupt what runs on the connection when so much time has passed."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


@contextmanager
def _refused(books: Evaluated, seconds: float | None) -> Iterator[None]:
    """Turn what DuckDB says about somebody's query into a UsageError."""
    try:
        with reading(books.log):
            yield
    except duckdb.InterruptException as error:
        raise UsageError("query_too_long", f"expected a query of {seconds} s at most: ask for less") from error
    except (duckdb.Error, pa.ArrowException) as error:
        if "interrupted" in str(error).lower():
            raise UsageError("query_too_long", f"expected a query of {seconds} s at most: ask for less") from error
        raise UsageError("query_failed", str(error)) from error


def _require_select(sql: str) -> str:
    """What the statement consists of, as DuckDB tells it in JSON. Raises UsageError when it is no single SELECT."""
    try:
        # Some statements make DuckDB look at files as soon as they are parsed.
        with duckdb.connect(config={"enable_external_access": "false"}) as parser:
            statements = parser.extract_statements(sql)
            if _NEVER_KEPT in _words(sql):
                message = "expected no NOT MATERIALIZED: a few such take hours only to be planned"
                raise UsageError("query_function_not_allowed", message)
            if len(statements) == 1 and statements[0].type == duckdb.StatementType.SELECT:
                found = parser.execute("SELECT json_serialize_sql($sql)", {"sql": sql}).fetchone()
                assert found is not None
                return str(found[0])
    except (duckdb.Error, UnicodeError) as error:
        raise UsageError("query_failed", str(error)) from error
    found_types = ", ".join(item.type.name for item in statements) or "nothing"
    raise UsageError("query_not_select", f"expected one SELECT, found {found_types}: the ledger is read only")


_NEVER_KEPT = " not materialized "


def _words(sql: str) -> str:
    """The words of a statement that are no texts, without comments, with a space before and after each."""
    content, found = sql.encode(), list(duckdb.tokenize(sql))
    ends = [*(place for place, _kind in found), len(content)][1:]
    words = [
        content[start:end].decode("utf-8", "replace").split("--")[0].split("/*")[0].strip()
        for (start, kind), end in zip(found, ends, strict=True)
        if kind != duckdb.token_type.string_const
    ]
    return f" {' '.join(words).lower()} "


def _require_harmless(tree: str) -> None:
    """Raise UsageError for a function that does more than to compute, such as to write to DuckDB's own log.

    Of functions in the place of a table only those are known to do no more that `_TABLE_FUNCTIONS` lists.
    """
    content = json.loads(tree)
    if content.get("error"):
        raise UsageError("query_failed", str(content.get("error_message", "the statement cannot be read")))
    for kind, name in _functions_of(content):
        is_unbounded = kind == "FUNCTION" and name in _UNBOUNDED
        if (kind == "TABLE_FUNCTION" and name not in _TABLE_FUNCTIONS) or name in _FORBIDDEN or is_unbounded:
            expected = ", ".join(sorted(_TABLE_FUNCTIONS))
            message = f"{name} cannot be used here; expected views and, in place of a table, {expected}"
            raise UsageError("query_function_not_allowed", message)


def _functions_of(tree: Any) -> Iterator[tuple[str, str]]:
    """Every function that a statement names, with what it stands for there."""
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, list):
            nodes += node
        elif isinstance(node, dict):
            if node.get("type") == "TABLE_FUNCTION":
                function = node["function"]
                yield "TABLE_FUNCTION", str(function["function_name"]).lower()
                nodes += [value for name, value in node.items() if name != "function"]
                nodes += [value for name, value in function.items() if name != "function_name"]
                continue
            if "function_name" in node:
                yield "FUNCTION", str(node["function_name"]).lower()
            nodes += node.values()


_TABLE_FUNCTIONS = frozenset({"unnest", "range", "generate_series", "json_each", "json_tree", "repeat", "summary"})
_FORBIDDEN = frozenset({"write_log", "nextval", "currval", "query", "query_table", "getvariable"})
_UNBOUNDED = frozenset({"range", "generate_series", "repeat", "list_resize", "array_resize"})
"""Make values of any size, beyond what DuckDB counts as memory, and past its interruption."""
_ROWS_AT_ONCE = 10_000


def _make_views(books: Evaluated) -> None:
    connection = books.store.connection
    at, sequence = f"TIMESTAMPTZ '{stored_text(books.cut.effective_at)}'", int(books.cut.sequence)
    paths = ", ".join(quoted_text(str(books.log.path(item))) for item in books.log.files)
    source = f"read_parquet([{paths}], union_by_name = true)" if paths else _NO_EVENTS
    chosen = f"SELECT *{_absent_columns(books, source)} FROM {source}"
    if personal := books.personal_names:
        function = _put_decryption(books.decryption, connection)
        shown = ", ".join(_decrypted(name, function) for name in personal)
        chosen = f"SELECT * REPLACE ({shown}) FROM ({chosen})"
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


def _put_decryption(decryption: Decryption, connection: duckdb.DuckDBPyConnection) -> str:
    """Give the connection a function that decrypts stored values, called for blocks of the rows that a query reads.

    Returns its name, which is a new one each time: DuckDB keeps functions for all connections at once. A connection
    that is shared makes it within its transaction, which is never committed, so that no other ever sees it.
    """

    def decrypted(names: pa.ChunkedArray, stored: pa.ChunkedArray) -> pa.Array:
        name = names[0].as_py()
        frame = pl.DataFrame({"stored": pl.from_arrow(stored)})
        shown = decryption.shown(name, frame["stored"].drop_nulls().unique())
        return frame["stored"].replace(shown).to_arrow()

    text = duckdb.sqltypes.VARCHAR
    function = f"decrypted_personal_{next(_numbers)}"
    connection.create_function(function, decrypted, [text, text], text, type=duckdb.func.PythonUDFType.ARROW)
    return function


_numbers = itertools.count(1)


def _decrypted(name: str, function: str) -> str:
    column = quoted_name(columns.property_column(name))
    call = f"{function}({quoted_text(name)}, {column})"
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


def _fetched(result: duckdb.DuckDBPyConnection) -> Iterator[Sequence[Any]]:
    while rows := result.fetchmany(_ROWS_AT_ONCE):
        yield from rows
