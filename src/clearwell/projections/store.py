"""The DuckDB file that holds the projections, and the one transaction by which a batch is applied.

The applied sequence is part of each transaction: after a crash, the next run goes on where the last one stopped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import polars as pl

from clearwell.errors import StorageError
from clearwell.ledger.codes import CODE, NAMES, AccountCodes
from clearwell.ledger.fold import (
    CODED_SCHEMA,
    RESERVOIR_EPOCH_EVENTS,
    RESERVOIR_SCHEMA,
    SINGLE_COLUMNS,
    Coded,
    account_hash,
    episodes_of,
    fold_coded,
    fold_reservoirs_coded,
    hash_fingerprint,
    over_epochs,
)
from clearwell.ledger.posting import Posted
from clearwell.ledger.sums import EVENT_EPOCH_EVENTS, EVENT_SUMS_KEY, EVENT_SUMS_SCHEMA
from clearwell.ledger.views import quoted_text
from clearwell.projections.attaching import ATTACHED, MEMORY, Reading, confine
from clearwell.values.deferred import Deferred
from clearwell.values.times import INSTANT

if TYPE_CHECKING:
    import numpy as np
else:
    np = Deferred("numpy")

FORMAT = 6
"""Goes up when the tables change; a file of another format is rebuilt."""

TABLES = ("open_accounts", "episodes", "episode_hours", "reservoirs", "reservoir_epochs", "event_sums")
"""What is projected; the table `progress` says how far. All but the hours and the sums of events are views, which put
names in the place of codes: of `single_entries` and `several_entries`, which are the accounts that one entry keeps open
and the others, of `cleared_episodes`, `reservoir_sums` and `epoch_sums`."""

_REFUSED_BY_THE_DISK = ("no space left", "could not write", "permission denied", "read-only file system")
"""What DuckDB says when a sound file cannot be opened."""

_BUSY = ("could not set lock", "unique file handle conflict")
"""What DuckDB says when somebody else has the file."""

_FAILED_WRITES = (duckdb.IOException, duckdb.TransactionException, duckdb.FatalException, duckdb.OutOfMemoryException)

_PASSING = (duckdb.OutOfMemoryException, duckdb.InterruptException, duckdb.TransactionException)
"""What DuckDB says of a sound file when somebody else keeps it busy."""

_ATTEMPTS = 3

_SQL_TYPES = {
    pl.UInt64(): "UBIGINT",
    pl.String(): "VARCHAR",
    pl.Int128(): "DECIMAL(38, 0)",  # Read from Arrow as it is; a HUGEINT takes twice the time.
    pl.Int64(): "BIGINT",
    CODE: "INTEGER",
    pl.Int16(): "SMALLINT",
    INSTANT: "TIMESTAMPTZ",
}
_BLOCK_ROWS = 122_880
"""So many rows DuckDB stores, and passes over, together."""

_PLAIN = {
    # Accounts that are open today are gone tomorrow: to look for the best way to store their names is no gain. And
    # to unpack wide integers takes twenty times as long as to add them.
    "single_entries": ("account",),
    "several_entries": ("account", "balance", "turnover"),
    "cleared_episodes": ("turnover",),
    "episode_hours": ("open_money", "open_due_money", "cleared_money"),
    "reservoir_sums": ("balance",),
    "event_sums": ("money", "judged_money", "late_money"),
}
"""The columns that are not compressed."""

_MAY_BE_NULL = ("second_sequence", "later_effective_at")

_HOURS_SCHEMA = pl.Schema(
    {
        "account_type": pl.String(),
        "currency": pl.String(),
        "opened_hour": pl.Int64(),
        "open_count": pl.Int64(),
        "open_money": pl.Int128(),
        "open_due_money": pl.Int128(),
        "cleared_count": pl.Int64(),
        "cleared_money": pl.Int128(),
    }
)
"""Sums of the episodes by the hour (since 1970) of `opened_effective_at`. `open_due_money` is the greater of money in
and money out, summed; `cleared_money` is turnover."""

_SINGLE_SCHEMA = pl.Schema({name: CODED_SCHEMA[name] for name in SINGLE_COLUMNS})

_EPOCH_SCHEMA = pl.Schema(
    {"code": CODE, **{name: dtype for name, dtype in RESERVOIR_SCHEMA.items() if name not in NAMES}}
)

_NAMED = f"account_hash, account_type, account, currency, {', '.join(list(CODED_SCHEMA)[3:])}"

_VIEWS = f"""
CREATE VIEW open_accounts AS SELECT {_NAMED} FROM (
    SELECT {", ".join(CODED_SCHEMA)} FROM several_entries UNION ALL BY NAME
    SELECT *, opened_amount::DECIMAL(38, 0) AS balance, greatest(opened_amount, 0)::DECIMAL(38, 0) AS turnover,
        1::BIGINT AS entry_count, NULL::BIGINT AS second_sequence, NULL::TIMESTAMPTZ AS later_effective_at,
        opened_effective_at AS last_effective_at, opened_recorded_at AS last_recorded_at,
        opened_sequence AS last_sequence, opened_effective_at AS span_from, opened_effective_at AS span_to
    FROM single_entries
) JOIN codes USING (code);
CREATE VIEW episodes AS SELECT {_NAMED} FROM cleared_episodes JOIN codes USING (code);
CREATE VIEW reservoirs AS SELECT {", ".join(list(RESERVOIR_SCHEMA)[1:])} FROM reservoir_sums JOIN codes USING (code);
CREATE VIEW reservoir_epochs AS SELECT {", ".join(RESERVOIR_SCHEMA)} FROM epoch_sums JOIN codes USING (code)
"""

_SAME_ACCOUNT = (
    "target.account_hash = change.account_hash AND target.code = change.code AND target.account = change.account"
)

_ADDED = """
    balance = target.balance + change.balance, entry_count = target.entry_count + change.entry_count,
    last_sequence = greatest(target.last_sequence, change.last_sequence),
    span_from = least(target.span_from, change.span_from), span_to = greatest(target.span_to, change.span_to)
"""

_ADD_TO_EPOCHS = f"""
MERGE INTO epoch_sums AS target USING changes AS change
ON (target.epoch = change.epoch AND target.epoch >= {{earliest}} AND {_SAME_ACCOUNT})
WHEN MATCHED THEN UPDATE SET {_ADDED} WHEN NOT MATCHED THEN INSERT BY NAME
"""

_ADD_TO_RESERVOIRS = f"""
MERGE INTO reservoir_sums AS target USING changes AS change ON ({_SAME_ACCOUNT})
WHEN MATCHED THEN UPDATE SET {_ADDED} WHEN NOT MATCHED THEN INSERT BY NAME
"""

_ADD_TO_HOURS = f"""
MERGE INTO episode_hours AS target USING changes AS change
ON (target.account_type = change.account_type AND target.currency = change.currency
    AND target.opened_hour = change.opened_hour)
WHEN MATCHED THEN UPDATE SET {", ".join(f"{name} = target.{name} + change.{name}" for name in list(_HOURS_SCHEMA)[3:])}
WHEN NOT MATCHED THEN INSERT BY NAME
"""


_ADD_TO_EVENT_SUMS = f"""
MERGE INTO event_sums AS target USING changes AS change
ON ({" AND ".join(f"target.{name} = change.{name}" for name in EVENT_SUMS_KEY)} AND target.epoch >= {{earliest}})
WHEN MATCHED THEN UPDATE SET span_to = greatest(target.span_to, change.span_to),
    {", ".join(f"{name} = target.{name} + change.{name}" for name in list(EVENT_SUMS_SCHEMA)[5:])}
WHEN NOT MATCHED THEN INSERT BY NAME
"""


class ProjectionStore:
    """The projections of one log. Opening a missing, older or foreign file, to write, gives empty tables."""

    def __init__(self, path: Path, *, read_only: bool = False, shared_with: Path | None = None) -> None:
        """Open the file at `path`; to write, create it.

        A writer may share it with readers of its process until `close`; all that they, or a query of somebody's, can
        reach then is the file, and the folder `shared_with` of the log.
        Raises StorageError when another process has it, when it is damaged, and, to read only, when it is not there
        or must be written first (`projections_not_current`).
        """
        self.path = path
        self._reading = Reading.of(path) if read_only else None
        self._sharing = Reading.of(path) if shared_with is not None else None
        self._read_progress: tuple[int, datetime | None] | None = None
        if read_only and not path.exists():
            raise StorageError("projections_not_current", f"{path} does not exist yet")
        try:
            self.connection = self._reading.connection() if self._reading else self._attached()
            try:
                self._require_whole()
                if not self._is_current():
                    if read_only:
                        raise StorageError("projections_not_current", f"{path} has another format")
                    self.clear()
                if shared_with is not None:
                    self._share(shared_with)
            except BaseException:
                self._release()
                raise
        except (duckdb.IOException, duckdb.BinderException) as error:
            # The one says that another process has the file, the other that this process has it open to do otherwise.
            if any(text in str(error).lower() for text in _BUSY):
                message = f"another process is using {path.name}; try again when it has finished"
                raise StorageError("projections_busy", message) from error
            if any(text in str(error).lower() for text in _REFUSED_BY_THE_DISK):
                raise self._not_writable(error) from error
            raise StorageError("projections_damaged", f"{path} cannot be read: {error}") from error
        except _PASSING as error:
            raise StorageError("projections_busy", f"{path.name} cannot be read just now: {error}") from error
        except duckdb.Error as error:
            raise StorageError("projections_damaged", f"{path} cannot be read: {error}") from error

    @property
    def applied_sequence(self) -> int:
        """The last sequence whose entries are in the tables."""
        return self._progress[0]

    def table(self, name: str) -> str:
        """The full name of a table, which no view of the same name on the connection can hide."""
        return f"{ATTACHED}.main.{name}"

    @property
    def latest_effective_at(self) -> datetime | None:
        """The greatest `effective_at` of any entry in the tables."""
        return self._progress[1]

    @property
    def _progress(self) -> tuple[int, datetime | None]:
        if self._read_progress:
            return self._read_progress
        row = self.connection.execute("SELECT applied_sequence, latest_effective_at FROM progress").fetchone()
        assert row is not None
        return int(row[0]), row[1]

    def clear(self) -> None:
        """Begin anew: empty tables, nothing applied."""
        tables: dict[str, Mapping[str, pl.DataType]] = {
            "codes": {"code": CODE, "account_type": pl.String(), "currency": pl.String()},
            "single_entries": _SINGLE_SCHEMA,
            "several_entries": CODED_SCHEMA,
            "cleared_episodes": CODED_SCHEMA,
            "episode_hours": _HOURS_SCHEMA,
            "reservoir_sums": {name: dtype for name, dtype in _EPOCH_SCHEMA.items() if name != "epoch"},
            "epoch_sums": _EPOCH_SCHEMA,
            "event_sums": EVENT_SUMS_SCHEMA,
        }
        with self._transaction():
            for kind in ("view", "table"):
                found = f"SELECT {kind}_name FROM duckdb_{kind}s() WHERE database_name = current_database()"
                for (name,) in self.connection.execute(f"{found} AND NOT internal").fetchall():
                    quoted = str(name).replace('"', '""')
                    self.connection.execute(f'DROP {kind} "{quoted}"')
            for name, schema in tables.items():
                self.connection.execute(f"CREATE TABLE {name} ({_columns(schema, _PLAIN.get(name, ()))})")
            self.connection.execute(_VIEWS)
            self.connection.execute(
                "CREATE TABLE progress (format INTEGER NOT NULL, fingerprint BIGINT NOT NULL, "
                "applied_sequence BIGINT NOT NULL, latest_effective_at TIMESTAMPTZ)"
            )
            self.connection.execute("INSERT INTO progress VALUES (?, ?, 0, NULL)", [FORMAT, hash_fingerprint()])

    def apply(self, posted: Posted, first_sequence: int, last_sequence: int) -> None:
        """Fold the entries of the sequences `first_sequence` to `last_sequence` in, in one transaction.

        They must follow the applied sequence directly: anything else is our mistake, and stops.
        """
        expected = self.applied_sequence + 1
        if first_sequence != expected:
            raise AssertionError(f"the batch begins at sequence {first_sequence}, the projections expect {expected}")
        with self._transaction():
            known = self.connection.execute("SELECT code, account_type, currency FROM codes").fetchall()
            codes = AccountCodes(known)
            clearing, reservoir = (
                codes.coded(entries.with_columns(account_hash=account_hash()))
                for entries in (posted.clearing, posted.reservoir)
            )
            new = {*clearing["code"].unique(), *reservoir["code"].unique()} - {code for code, *_names in known}
            if new:
                self.connection.executemany("INSERT INTO codes VALUES (?, ?, ?)", codes.rows(sorted(new)))
            self._apply_clearing(clearing, codes)
            sums = fold_reservoirs_coded(reservoir)
            self._execute(_ADD_TO_RESERVOIRS, over_epochs(sums))
            earliest = (first_sequence - 1) // RESERVOIR_EPOCH_EVENTS  # The others need not be looked at.
            self._execute(_ADD_TO_EPOCHS.format(earliest=earliest), sums)
            earliest = (first_sequence - 1) // EVENT_EPOCH_EVENTS
            self._execute(_ADD_TO_EVENT_SUMS.format(earliest=earliest), posted.sums)
            latest = [frame["effective_at"].max() for frame in (posted.clearing, posted.reservoir)]
            self.connection.execute(
                "UPDATE progress SET applied_sequence = ?, latest_effective_at = greatest(latest_effective_at, ?, ?)",
                [last_sequence, *latest],
            )

    def checkpoint(self) -> bool:
        """Bring what was applied into the file: a crash does not undo it then. False when readers are in the way.

        Raises StorageError when the disk refuses.
        """
        try:
            self.connection.execute("CHECKPOINT")
        except duckdb.TransactionException:
            return False
        except _FAILED_WRITES as error:
            raise self._not_writable(error) from error
        return True

    def close(self) -> None:
        """Release the file; what was applied is in it then. Readers it is shared with may go on for a while."""
        try:
            if not self._reading:
                # Else it is applied again from the log, by whoever opens it next.
                for _ in range(_ATTEMPTS):
                    if self.checkpoint():
                        break
        finally:
            self._release()

    @property
    def is_shared(self) -> bool:
        """Whether this is a reader of a file that a writer of the same process has, and shares."""
        return self._reading is not None and not self._reading.has_own(self.connection)

    def confine(self, folder: Path) -> None:
        """Leave what is asked from now on nothing to reach but this file, and `folder`: it may be somebody's query."""
        if self._reading:
            self._reading.confine(self.connection, folder)

    def _attached(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own, whose database is the file, to write to it.

        No second log is written: after a crash the file is as at its last checkpoint, and follows from there again.
        """
        connection = duckdb.connect(config={"temp_directory": f"{self.path}.tmp"})
        try:
            connection.execute(f"ATTACH {quoted_text(str(self.path))} AS {ATTACHED} (RECOVERY_MODE NO_WAL_WRITES)")
            # Insertion with more threads takes three times the processor's time, which the writer beside it needs.
            connection.execute("SET GLOBAL TimeZone = 'UTC'; SET threads = 1")
            connection.execute(f"USE {ATTACHED}; SET memory_limit = '{MEMORY}'")
            connection.execute("SET checkpoint_threshold = '100GB'")  # At the end is soon enough.
        except BaseException:
            connection.close()
            raise
        return connection

    def _share(self, folder: Path) -> None:
        """Give readers connections, none of which reaches more than they need."""
        confine(self.connection, folder)
        assert self._sharing is not None
        self._sharing.share(self.connection.cursor())

    def _release(self) -> None:
        if self._sharing:
            self._sharing.share(None)
        if self._reading:
            self._reading.close(self.connection)
        else:
            self.connection.close()

    def _apply_clearing(self, coded: pl.DataFrame, codes: AccountCodes) -> None:
        if coded.is_empty():
            return
        touched = coded.select(pl.col("account_hash").unique())
        single = self._taken_out("single_entries", _SINGLE_SCHEMA, touched)
        several = self._taken_out("several_entries", CODED_SCHEMA, touched)
        before = pl.concat([episodes_of(single).select(*CODED_SCHEMA), several])
        folded = fold_coded(before, coded)
        for table, rows in (
            ("cleared_episodes", folded.cleared),
            ("single_entries", folded.single),
            ("several_entries", folded.several),
        ):
            self._execute(f"INSERT INTO {table} BY NAME SELECT * FROM changes", rows)
        self._execute(_ADD_TO_HOURS, codes.named(_hours(before, folded)))

    def _taken_out(self, table: str, schema: pl.Schema, touched: pl.DataFrame) -> pl.DataFrame:
        """Remove the accounts with one of the hashes from a table of open accounts, and return them.

        Looks at the hashes alone first: reading every column of every row would take forty times as long.
        """
        places = self._frame(
            f"SELECT target.rowid AS row FROM {table} AS target SEMI JOIN given USING (account_hash)", touched
        )
        found = [
            self._frame(
                f"SELECT * FROM {table} WHERE rowid >= {first} AND rowid <= {last} "
                "AND rowid IN (SELECT row FROM given)",
                places,
            )
            for first, last in _runs_of_blocks(places["row"])
        ]
        self._execute(f"DELETE FROM {table} WHERE rowid IN (SELECT row FROM changes)", places)
        columns = [pl.col(name).cast(dtype) for name, dtype in schema.items()]
        return pl.concat([pl.DataFrame(schema=schema), *(frame.select(columns) for frame in found)])

    def _frame(self, query: str, given: pl.DataFrame) -> pl.DataFrame:
        self.connection.register("given", given.to_arrow())
        frame = pl.from_arrow(self.connection.execute(query).to_arrow_table())
        self.connection.unregister("given")
        assert isinstance(frame, pl.DataFrame)
        return frame

    def _execute(self, statement: str, changes: pl.DataFrame) -> None:
        if changes.is_empty():
            return
        wide = [pl.col(name).cast(pl.Decimal(38, 0)) for name, dtype in changes.schema.items() if dtype == pl.Int128]
        self.connection.register("changes", changes.with_columns(wide).to_arrow())
        self.connection.execute(statement)
        self.connection.unregister("changes")

    def _require_whole(self) -> None:
        """Raise StorageError when the file has lost its end, which DuckDB notices only where it reads there.

        Free blocks at the end may be missing.
        """
        row = self.connection.execute(
            "SELECT used_blocks * block_size FROM pragma_database_size() WHERE database_name = current_database()"
        ).fetchone()
        assert row is not None
        if self.path.stat().st_size < int(row[0]):
            raise StorageError("projections_damaged", f"{self.path} cannot be read: its end is missing")

    def _is_current(self) -> bool:
        query = "SELECT format, fingerprint, applied_sequence, latest_effective_at FROM progress"
        try:
            found = self.connection.execute(query).fetchall()
        except duckdb.CatalogException:
            return False
        if self._reading and found:  # A reader sees one state of the file.
            self._read_progress = found[0][2:]
        return [row[:2] for row in found] == [(FORMAT, hash_fingerprint())]

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


def _runs_of_blocks(places: pl.Series) -> list[tuple[int, int]]:
    """The first and last row of each run of blocks, next to each other, that hold one of these places."""
    blocks = (places // _BLOCK_ROWS).unique().sort().to_numpy()
    breaks = np.flatnonzero(np.diff(blocks) > 1) + 1
    runs = np.split(blocks, breaks) if len(blocks) else []
    return [(int(run[0]) * _BLOCK_ROWS, (int(run[-1]) + 1) * _BLOCK_ROWS - 1) for run in runs]


def _columns(schema: Mapping[str, pl.DataType], plain: Collection[str]) -> str:
    """The columns of a table, in SQL; those that are `plain` are not compressed."""
    return ", ".join(
        f"{name} {_SQL_TYPES[dtype]}{'' if name in _MAY_BE_NULL else ' NOT NULL'}"
        f"{' USING COMPRESSION uncompressed' if name in plain else ''}"
        for name, dtype in schema.items()
    )


def _hours(before: pl.DataFrame, folded: Coded) -> pl.DataFrame:
    """What the fold changes in the sums by the hour of opening: `_HOURS_SCHEMA`, with codes."""
    amount, balance, turnover = pl.col("opened_amount"), pl.col("balance"), pl.col("turnover")
    due = pl.max_horizontal(turnover, turnover - balance)
    changes = [
        _summed(before, opened=-1, money=balance.abs(), due=due),
        _summed(folded.single, opened=1, money=amount.abs(), due=amount.abs()),
        _summed(folded.several, opened=1, money=balance.abs(), due=due),
        _summed(folded.cleared, opened=0, money=turnover, due=due),
    ]
    return pl.concat(changes).group_by("code", "opened_hour").sum()


def _summed(frame: pl.DataFrame, opened: int, money: pl.Expr, due: pl.Expr) -> pl.DataFrame:
    """The sums of a frame by code and hour, of episodes that are open now (1), or no longer (-1), or cleared (0)."""
    nothing = pl.lit(0, pl.Int128)
    hour = (pl.col("opened_effective_at").to_physical() // 3_600_000_000).alias("opened_hour")
    sums = frame.group_by("code", hour).agg(
        count=pl.len().cast(pl.Int64), money=money.cast(pl.Int128).sum(), due=due.cast(pl.Int128).sum()
    )
    return sums.select(
        "code",
        "opened_hour",
        open_count=pl.col("count") * opened,
        open_money=pl.col("money") * opened,
        open_due_money=pl.col("due") * opened,
        cleared_count=pl.col("count") * (1 - abs(opened)),
        cleared_money=pl.col("money") if opened == 0 else nothing,
    )
