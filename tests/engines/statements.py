"""Engines for tests that run what `--sql` prints: the statement in a dialect, by the system that speaks it."""

from __future__ import annotations

import csv
import io
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from ibis.expr.types import Table

from clearwell.engines.answers import as_declared
from clearwell.quality.dialects import EVENTS_TABLE, Dialect, statement
from clearwell.quality.relations import MICROSECONDS
from clearwell.quality.running import LogAtCut


def skip_aloud(reason: str) -> None:
    """Skip with a reason; in CI fail: what is not installed there is never tested anywhere."""
    if os.environ.get("CI"):
        pytest.fail(f"a skip is a failure in CI: {reason}")
    pytest.skip(reason)


class StatementEngine:
    """Answers by the text of the statement alone."""

    dialect: Dialect

    def __init__(self, log: LogAtCut) -> None:
        self._log = log
        self._put_events(log)

    def run(self, relation: Table, tables: Mapping[str, pa.Table] | None = None) -> pa.Table:
        answer = self._answer(statement(relation, self._log, self.dialect, tables))
        return as_declared(relation, answer)

    def close(self) -> None:
        """Nothing is held."""

    def _put_events(self, log: LogAtCut) -> None:
        """Make the table that the statement reads."""

    def _answer(self, sql: str) -> pa.Table:
        raise NotImplementedError


def stored_columns(log: LogAtCut) -> dict[str, str]:
    """The columns of the log's files, as far as the models declare them, with `instant` as the type of instants."""
    return {
        MICROSECONDS.get(name, name): "instant" if name in MICROSECONDS else dtype for name, dtype in log.schema.items()
    }


class DuckDBStatements(StatementEngine):
    """DuckDB, which reads the files by itself."""

    dialect: Dialect = "duckdb"

    def _answer(self, sql: str) -> pa.Table:
        return duckdb.connect().execute(sql).to_arrow_table()


class ClickHouseStatements(StatementEngine):
    """ClickHouse, in this process."""

    dialect: Dialect = "clickhouse"

    def _put_events(self, log: LogAtCut) -> None:
        from chdb.session import Session

        types = {"instant": "Nullable(DateTime64(6, 'UTC'))", "int64": "Nullable(Int64)", "string": "Nullable(String)"}
        stored = stored_columns(log)
        columns = ", ".join(
            f"{name} {types[dtype] if name != 'sequence' else 'Int64'}" for name, dtype in stored.items()
        )
        self._session = Session()
        self._session.query(f"CREATE OR REPLACE TABLE {EVENTS_TABLE} ({columns}) ENGINE = Memory")
        for path in log.paths:
            self._session.query(f"INSERT INTO {EVENTS_TABLE} SELECT * FROM file('{path}', Parquet, $${columns}$$)")

    def _answer(self, sql: str) -> pa.Table:
        content = self._session.query(sql, "ArrowStream").bytes()
        found = pa.ipc.open_stream(content).read_all()
        texts = {field.name for field in found.schema if pa.types.is_binary(field.type)}
        return found.cast(
            pa.schema([(item.name, pa.string() if item.name in texts else item.type) for item in found.schema])
        )

    def close(self) -> None:
        self._session.close()


class PostgresServer:
    """A server of its own in a scratch folder, asked by psql."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder

    def ask(self, sql: str, content: str = "") -> str:
        command = [str(self._programs / "psql"), "-h", str(self._folder), "-U", "postgres", "-XqAt", "-v"]
        done = subprocess.run(
            [*command, "ON_ERROR_STOP=1", "-c", sql], input=content, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server on a socket in a folder of its own."""
    found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if not found:
        skip_aloud("a PostgreSQL server is not installed")
    programs = max(found, key=lambda path: float(path.parent.name))
    folder = Path(tempfile.mkdtemp(prefix="cw-", dir="/tmp"))  # The name of a socket has 107 bytes at most.
    user = None
    if not os.getuid():
        user = "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"
        shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(programs / program), "-D", str(folder / "data"), *arguments], user=user, cwd=folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    try:
        run("initdb", "--auth=trust", "--username=postgres", "--locale=C", "--encoding=UTF8")
        settings = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", settings, "start")
        try:
            yield PostgresServer(programs, folder)
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class PostgresStatements(StatementEngine):
    """PostgreSQL, which the events are copied to."""

    dialect: Dialect = "postgres"

    def __init__(self, log: LogAtCut, server: PostgresServer) -> None:
        self._server = server
        super().__init__(log)

    def run(self, relation: Table, tables: Mapping[str, pa.Table] | None = None) -> pa.Table:
        content = self._server.ask(
            f"COPY ({statement(relation, self._log, 'postgres', tables)}) TO STDOUT (FORMAT csv)"
        )
        kinds = dict(relation.schema().items())
        columns: dict[str, list[Any]] = {name: [] for name in kinds}
        for row in csv.reader(io.StringIO(content)):
            for name, text in zip(kinds, row, strict=True):
                columns[name].append(None if text == "" else text if kinds[name].is_string() else int(text))
        arrays = {
            name: pa.array(values, pa.string() if kinds[name].is_string() else pa.decimal128(38, 0))
            for name, values in columns.items()
        }
        return as_declared(relation, pa.table(arrays))

    def _put_events(self, log: LogAtCut) -> None:
        types = {"instant": "TIMESTAMPTZ", "int64": "BIGINT", "string": "TEXT"}
        stored = stored_columns(log)
        columns = ", ".join(f'"{name}" {types[dtype]}' for name, dtype in stored.items())
        self._server.ask(f"DROP TABLE IF EXISTS {EVENTS_TABLE}; CREATE TABLE {EVENTS_TABLE} ({columns})")
        for path in log.paths:
            read = duckdb.connect()
            read.execute("SET TimeZone = 'UTC'")
            found = read.execute(f"SELECT * FROM read_parquet('{path}')").to_arrow_table()
            names = [name for name in stored if name in found.column_names]
            with tempfile.NamedTemporaryFile(suffix=".csv") as file:
                read.register("found", found.select(names))
                read.execute(f"COPY found TO '{file.name}' (FORMAT csv, HEADER false, NULL '\\N')")
                copied = f"COPY {EVENTS_TABLE} ({', '.join(names)}) FROM STDIN (FORMAT csv, NULL '\\N')"
                self._server.ask(copied, Path(file.name).read_text(encoding="utf-8"))
