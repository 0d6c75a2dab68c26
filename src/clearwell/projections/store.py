"""The DuckDB file that holds the projections, and the one transaction by which a batch is applied.

The applied sequence is part of each transaction: after a crash, the next run goes on where the last one stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb
import polars as pl

from clearwell.errors import StorageError
from clearwell.ledger.fold import EPISODE_SCHEMA, Folded, fold, fold_reservoirs, hash_fingerprint
from clearwell.ledger.posting import Posted

FORMAT = 2
"""Goes up when the tables change; a file of another format is rebuilt."""

_REFUSED_BY_THE_DISK = ("no space left", "could not write", "permission denied", "read-only file system")
"""What DuckDB says when a sound file cannot be opened."""

_FAILED_WRITES = (duckdb.IOException, duckdb.TransactionException, duckdb.FatalException, duckdb.OutOfMemoryException)

_EPISODE_COLUMNS = """
    account_hash UBIGINT NOT NULL, account_type VARCHAR NOT NULL, account VARCHAR NOT NULL, currency VARCHAR NOT NULL,
    balance HUGEINT NOT NULL, turnover HUGEINT NOT NULL, entry_count BIGINT NOT NULL,
    opened_effective_at TIMESTAMPTZ NOT NULL, opened_recorded_at TIMESTAMPTZ NOT NULL, opened_sequence BIGINT NOT NULL,
    opened_entry_index SMALLINT NOT NULL,
    last_effective_at TIMESTAMPTZ NOT NULL, last_recorded_at TIMESTAMPTZ NOT NULL, last_sequence BIGINT NOT NULL,
    span_from TIMESTAMPTZ NOT NULL, span_to TIMESTAMPTZ NOT NULL
"""

_TABLES = f"""
CREATE TABLE progress (format INTEGER NOT NULL, fingerprint BIGINT NOT NULL, applied_sequence BIGINT NOT NULL);
CREATE TABLE open_accounts ({_EPISODE_COLUMNS});
CREATE TABLE episodes ({_EPISODE_COLUMNS});
CREATE TABLE reservoirs (
    account_hash UBIGINT NOT NULL, account_type VARCHAR NOT NULL, account VARCHAR NOT NULL, currency VARCHAR NOT NULL,
    balance HUGEINT NOT NULL, entry_count BIGINT NOT NULL, last_sequence BIGINT NOT NULL, span_to TIMESTAMPTZ NOT NULL
);
"""
"""`episodes` are the cleared ones; their balance is 0, and their `last_*` is the entry that cleared them."""

_SAME_ACCOUNT = """
    target.account_hash = change.account_hash AND target.account_type = change.account_type
    AND target.account = change.account AND target.currency = change.currency
"""

_KEEP_OPEN = f"""
MERGE INTO open_accounts AS target USING changes AS change ON ({_SAME_ACCOUNT})
WHEN MATCHED AND change.balance = 0 THEN DELETE
WHEN MATCHED THEN UPDATE SET
    {", ".join(f"{name} = change.{name}" for name in EPISODE_SCHEMA)}
WHEN NOT MATCHED AND change.balance <> 0 THEN INSERT BY NAME
"""

_ADD_TO_RESERVOIRS = f"""
MERGE INTO reservoirs AS target USING changes AS change ON ({_SAME_ACCOUNT})
WHEN MATCHED THEN UPDATE SET
    balance = target.balance + change.balance, entry_count = target.entry_count + change.entry_count,
    last_sequence = greatest(target.last_sequence, change.last_sequence),
    span_to = greatest(target.span_to, change.span_to)
WHEN NOT MATCHED THEN INSERT BY NAME
"""


class ProjectionStore:
    """The projections of one log. Opening a missing, older or foreign file, to write, gives empty tables."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the file at `path`; to write, create it.

        Raises StorageError when another process has it, when it is damaged, and, to read only, when it is not there
        or must be written first (`projections_not_current`).
        """
        self.path = path
        if read_only and not path.exists():
            raise StorageError("projections_not_current", f"{path} does not exist yet")
        try:
            self.connection = duckdb.connect(str(path), read_only=read_only)
            self.connection.execute("SET TimeZone = 'UTC'")
            if not self._is_current():
                if read_only:
                    self.close()
                    raise StorageError("projections_not_current", f"{path} has another format")
                self.clear()
        except (duckdb.IOException, duckdb.ConnectionException) as error:
            # The one says that another process has the file, the other that this process has it open to do otherwise.
            if "could not set lock" in str(error).lower() or isinstance(error, duckdb.ConnectionException):
                message = f"another process is using {path.name}; try again when it has finished"
                raise StorageError("projections_busy", message) from error
            if any(text in str(error).lower() for text in _REFUSED_BY_THE_DISK):
                raise self._not_writable(error) from error
            raise StorageError("projections_damaged", f"{path} cannot be read: {error}") from error
        except duckdb.Error as error:
            raise StorageError("projections_damaged", f"{path} cannot be read: {error}") from error

    @property
    def applied_sequence(self) -> int:
        """The last sequence whose entries are in the tables."""
        row = self.connection.execute("SELECT applied_sequence FROM progress").fetchone()
        assert row is not None
        return int(row[0])

    def table(self, name: str) -> str:
        """The full name of a table, which no view of the same name on the connection can hide."""
        row = self.connection.execute("SELECT current_database()").fetchone()
        assert row is not None
        return f'"{row[0]}".main.{name}'

    def clear(self) -> None:
        """Begin anew: empty tables, nothing applied."""
        with self._transaction():
            for table in ("progress", "open_accounts", "episodes", "reservoirs"):
                self.connection.execute(f"DROP TABLE IF EXISTS {table}")
            self.connection.execute(_TABLES)
            self.connection.execute("INSERT INTO progress VALUES (?, ?, 0)", [FORMAT, hash_fingerprint()])

    def apply(self, posted: Posted, first_sequence: int, last_sequence: int) -> None:
        """Fold the entries of the sequences `first_sequence` to `last_sequence` in, in one transaction.

        They must follow the applied sequence directly: anything else is our mistake, and stops.
        """
        expected = self.applied_sequence + 1
        if first_sequence != expected:
            raise AssertionError(f"the batch begins at sequence {first_sequence}, the projections expect {expected}")
        with self._transaction():
            self._apply_clearing(posted.clearing)
            if not posted.reservoir.is_empty():
                self._execute(_ADD_TO_RESERVOIRS, fold_reservoirs(posted.reservoir))
            self.connection.execute("UPDATE progress SET applied_sequence = ?", [last_sequence])

    def close(self) -> None:
        """Release the file."""
        self.connection.close()

    def _apply_clearing(self, entries: pl.DataFrame) -> None:
        if entries.is_empty():
            return
        before = self._open_among(entries)
        folded = fold(before, entries)
        if not folded.cleared.is_empty():
            columns = ", ".join(EPISODE_SCHEMA)
            self._execute(f"INSERT INTO episodes ({columns}) SELECT {columns} FROM changes", folded.cleared)
        self._execute(_KEEP_OPEN, _changes(before, folded))

    def _open_among(self, entries: pl.DataFrame) -> pl.DataFrame:
        """The open accounts that the entries touch."""
        names = ("account_type", "account", "currency")
        touched = entries.lazy().select(*names).unique().collect()
        self.connection.register("touched", touched.to_arrow())
        found = self.connection.execute(
            "SELECT target.* FROM open_accounts AS target SEMI JOIN touched USING (account_type, account, currency)"
        ).to_arrow_table()
        self.connection.unregister("touched")
        frame = pl.from_arrow(found)
        assert isinstance(frame, pl.DataFrame)
        return frame.select(pl.col(name).cast(dtype) for name, dtype in EPISODE_SCHEMA.items())

    def _execute(self, statement: str, changes: pl.DataFrame) -> None:
        wide = [pl.col(name).cast(pl.Decimal(38, 0)) for name, dtype in changes.schema.items() if dtype == pl.Int128]
        self.connection.register("changes", changes.with_columns(wide).to_arrow())
        self.connection.execute(statement)
        self.connection.unregister("changes")

    def _is_current(self) -> bool:
        tables = self.connection.execute("SELECT table_name FROM duckdb_tables() WHERE table_name = 'progress'")
        if not tables.fetchall():
            return False
        found = self.connection.execute("SELECT format, fingerprint FROM progress").fetchall()
        return found == [(FORMAT, hash_fingerprint())]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN TRANSACTION")
        try:
            yield
            self.connection.execute("COMMIT")
        except _FAILED_WRITES as error:
            self._roll_back()
            raise self._not_writable(error) from error
        except BaseException:
            self._roll_back()
            raise

    def _not_writable(self, error: Exception) -> StorageError:
        return StorageError(
            "projections_not_writable", f"{self.path} cannot be written: {error}. The log is not affected"
        )

    def _roll_back(self) -> None:
        with suppress(duckdb.Error):  # A failed commit has ended the transaction already.
            self.connection.execute("ROLLBACK")


def _changes(before: pl.DataFrame, folded: Folded) -> pl.DataFrame:
    """The rows to be written: accounts open now, and with balance 0 those that were open and are no more."""
    keys = ["account_type", "account", "currency"]
    gone = before.join(folded.open.select(keys), on=keys, how="anti").with_columns(balance=pl.lit(0, pl.Int128))
    return pl.concat([folded.open, gone])
