"""The projections as they were at a cut, without a scan of everything.

An episode sums to zero and knows the span of its entries on both clocks. So at a cut only an episode whose span
straddles it can differ from its row. Most of these had just one entry by then, which the row knows too; the accounts of
the others alone are folded again, from their entries in the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from polars import selectors

from clearwell.flows.model import Model
from clearwell.ledger.fold import EPISODE_SCHEMA, RESERVOIR_EPOCH_EVENTS, Folded, fold, fold_reservoirs
from clearwell.ledger.posting import ACCOUNT, ENTRY_SCHEMA, NOT_ENTERED, NOT_POSTED, entries_of, touching
from clearwell.ledger.sums import EVENT_EPOCH_EVENTS, EVENT_SUMS_SCHEMA, event_sums, joined_sums
from clearwell.log.reader import LogReader
from clearwell.projections.store import TABLES, ProjectionStore
from clearwell.values.cuts import Cut
from clearwell.values.times import stored_text

OPEN_AT, EPISODES_AT, RESERVOIRS_AT, HOURS_AT = "open_at", "episodes_at", "reservoirs_at", "hours_at"
RESERVOIR_TOTALS_AT = "reservoir_totals_at"
"""The relations that `evaluate_at` makes: the tables `open_accounts`, `episodes`, `reservoirs` and `episode_hours` as
of the cut, and sums of the reservoirs per account type and currency."""

_COLUMNS = ", ".join(EPISODE_SCHEMA)
_NAMES = ", ".join(ACCOUNT)
_HOURS = "account_type, currency, epoch_us(opened_effective_at) // 3600000000 AS opened_hour"

_FEW = 100

_ACCOUNTS_SCHEMA = pl.Schema(
    {**dict.fromkeys(ACCOUNT, pl.String()), "first_sequence": pl.Int64(), "first_index": pl.Int16()}
)
_EPOCHS_SCHEMA = pl.Schema({"epoch": pl.Int64(), **dict.fromkeys(ACCOUNT, pl.String())})

_FOLLOWERS = """
CREATE OR REPLACE TEMP TABLE followers AS
SELECT DISTINCT own.account_hash FROM ({begun}) AS own JOIN (
    SELECT account_hash, opened_sequence, opened_entry_index FROM ({straddling})
    WHERE second_sequence <= {sequence} AND later_effective_at > {effective_at}
) AS earlier ON own.account_hash = earlier.account_hash
    AND (own.opened_sequence, own.opened_entry_index) > (earlier.opened_sequence, earlier.opened_entry_index)
"""

_FOLDED_AGAIN = f"""
CREATE OR REPLACE TEMP TABLE folded_again AS
SELECT {_NAMES}, min({{{{'sequence': opened_sequence, 'entry_index': opened_entry_index}}}}) AS first
FROM ({{straddling}}) WHERE NOT ({{first_alone}}) GROUP BY ALL
"""

_IS_FOLDED_AGAIN = """
    EXISTS (SELECT 1 FROM folded_again AS s
        WHERE s.account_type = own.account_type AND s.account = own.account AND s.currency = own.currency
            AND (own.opened_sequence, own.opened_entry_index) >= (s.first.sequence, s.first.entry_index))"""

_FIRST_ENTRIES = """
SELECT account_hash, account_type, account, currency, opened_amount AS balance, greatest(opened_amount, 0) AS turnover,
    1 AS entry_count, opened_effective_at, opened_recorded_at, opened_sequence, opened_entry_index, opened_amount,
    NULL AS second_sequence, NULL AS later_effective_at, opened_effective_at AS last_effective_at,
    opened_recorded_at AS last_recorded_at, opened_sequence AS last_sequence, opened_effective_at AS span_from,
    opened_effective_at AS span_to
FROM ({straddling}) AS own WHERE opened_effective_at <= {effective_at} AND ({first_alone}) AND NOT ({replaced})
"""

_OPEN_SUMS = """
SELECT {hours}, {sign}count(*) AS open_count, {sign}sum(abs(balance)) AS open_money,
    {sign}sum(greatest(turnover, turnover - balance)) AS open_due_money, 0 AS cleared_count, 0 AS cleared_money
FROM ({rows}) AS own GROUP BY ALL
"""

_CLEARED_SUMS = """
SELECT {hours}, 0 AS open_count, 0 AS open_money, 0 AS open_due_money, {sign}count(*) AS cleared_count,
    {sign}sum(turnover) AS cleared_money
FROM ({rows}) AS own GROUP BY ALL
"""

_RESERVOIRS = """
CREATE OR REPLACE TEMP VIEW reservoirs_at AS
SELECT account_type, account, currency, sum(balance)::DECIMAL(38, 0) AS balance, sum(entry_count) AS entry_count
FROM (
    SELECT account_type, account, currency, balance, entry_count FROM {reservoirs}
    UNION ALL SELECT account_type, account, currency, -balance, -entry_count FROM ({beyond})
    UNION ALL SELECT account_type, account, currency, balance, entry_count FROM summed_again
) GROUP BY ALL HAVING sum(entry_count) > 0
"""


_TOTALS = "count(*) FILTER (WHERE balance <> 0) AS open_count, sum(balance) AS balance"


def evaluate_at(store: ProjectionStore, log: LogReader, models: Mapping[str, Model], cut: Cut) -> None:
    """Make the relations `open_at`, `episodes_at`, `reservoirs_at` and `hours_at` on the store's connection.

    The store must have applied the whole of `log`. They have the columns of the tables they stand for (reservoirs:
    account, balance and entry_count only). `reservoir_totals_at` counts and sums the reservoirs that are not at zero
    per account type and currency.
    """
    if is_present(store, cut):
        for name, table in ((OPEN_AT, 0), (EPISODES_AT, 1), (HOURS_AT, 2), (RESERVOIRS_AT, 3)):
            query = f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT * FROM {store.table(TABLES[table])}"
            store.connection.execute(query)
        by_code = f"SELECT code, {_TOTALS} FROM {store.table('reservoir_sums')} GROUP BY code"
        totals = f"SELECT * EXCLUDE (code) FROM ({by_code}) JOIN {store.table('codes')} USING (code)"
    else:
        _evaluate_episodes(store, log, models, cut)
        _evaluate_reservoirs(store, log, models, cut)
        totals = f"SELECT account_type, currency, {_TOTALS} FROM {RESERVOIRS_AT} GROUP BY ALL"
    store.connection.execute(f"CREATE OR REPLACE TEMP VIEW {RESERVOIR_TOTALS_AT} AS {totals}")


def is_present(store: ProjectionStore, cut: Cut) -> bool:
    """Whether the cut has everything that the store has applied, so that its tables say what was so at the cut."""
    latest = store.latest_effective_at
    return cut.sequence >= store.applied_sequence and (latest is None or cut.effective_at >= latest)


def event_sums_at(store: ProjectionStore, log: LogReader, models: Mapping[str, Model], cut: Cut) -> pl.DataFrame:
    """The sums of events as of the cut, in `EVENT_SUMS_SCHEMA`. Reads the events of epochs that are not whole there."""
    columns, table = ", ".join(EVENT_SUMS_SCHEMA), store.table("event_sums")
    if is_present(store, cut):
        return _frame(store, f"SELECT {columns} FROM {table}", EVENT_SUMS_SCHEMA)
    effective_at = f"TIMESTAMPTZ '{stored_text(cut.effective_at)}'"
    begun = f"SELECT * FROM {table} WHERE epoch * {EVENT_EPOCH_EVENTS} < {int(cut.sequence)}"
    beyond = f"span_to > {effective_at} OR (epoch + 1) * {EVENT_EPOCH_EVENTS} > {int(cut.sequence)}"
    found = store.connection.execute(f"SELECT DISTINCT epoch FROM ({begun}) WHERE {beyond} ORDER BY epoch").fetchall()
    epochs = [int(epoch) for (epoch,) in found]
    whole = f"SELECT {columns} FROM ({begun}) WHERE NOT list_contains({epochs}::BIGINT[], epoch)"
    sums = [_frame(store, whole, EVENT_SUMS_SCHEMA)]
    return joined_sums([*sums, *(event_sums(part, models) for part in _events_of(log, epochs, cut))])


def _events_of(log: LogReader, epochs: Sequence[int], cut: Cut) -> Iterator[pl.DataFrame]:
    """What the cut has of the events of these epochs, file by file."""
    for epoch in epochs:
        first = epoch * EVENT_EPOCH_EVENTS + 1
        last = min(first + EVENT_EPOCH_EVENTS - 1, cut.sequence)
        for file in log.covering(first, last):
            within = pl.col("sequence").is_between(first, last) & (pl.col("effective_at") <= cut.effective_at)
            yield log.collected(file, log.scan(file).filter(within).drop(*NOT_POSTED, strict=False))


@dataclass(frozen=True)
class _Rows:
    """Parts of the tables by how their rows stand at a cut, as SQL.

    Conditions on one column each let whole blocks of a table be passed over.
    """

    effective_at: str
    sequence: int

    def kept(self, table: str) -> str:
        """What lies wholly before the cut."""
        return f"SELECT * FROM {table} AS own WHERE span_to <= {self.effective_at} AND last_sequence <= {self.sequence}"

    def beyond(self, *tables: str, also: str = "true") -> str:
        """What does not."""
        return " UNION ALL ".join(
            f"SELECT * FROM {table} WHERE {condition} AND ({also})"
            for table in tables
            for condition in (
                f"last_sequence > {self.sequence}",
                f"last_sequence <= {self.sequence} AND span_to > {self.effective_at}",
            )
        )

    def begun(self) -> str:
        """The condition that something of an episode may lie before the cut."""
        return f"span_from <= {self.effective_at} AND opened_sequence <= {self.sequence}"


def _evaluate_episodes(store: ProjectionStore, log: LogReader, models: Mapping[str, Model], cut: Cut) -> None:
    connection = store.connection
    open_accounts, episodes, hours = (store.table(name) for name in TABLES[:3])
    rows = _Rows(f"TIMESTAMPTZ '{stored_text(cut.effective_at)}'", int(cut.sequence))
    straddling = rows.beyond(open_accounts, episodes, also=rows.begun())
    first_alone = _first_alone(store, rows, straddling, (open_accounts, episodes))
    connection.execute(_FOLDED_AGAIN.format(straddling=straddling, first_alone=first_alone))
    firsts = "first.sequence AS first_sequence, first.entry_index AS first_index"
    accounts = _frame(store, f"SELECT {_NAMES}, {firsts} FROM folded_again", _ACCOUNTS_SCHEMA)
    folded = _folded_again(log, models, cut, accounts)
    _put(store, "refolded_open", folded.open, open_accounts)
    _put(store, "refolded_episodes", folded.cleared, episodes)
    replaced = "false" if accounts.is_empty() else _IS_FOLDED_AGAIN
    first_entries = _FIRST_ENTRIES.format(
        straddling=straddling, effective_at=rows.effective_at, first_alone=first_alone, replaced=replaced
    )
    kept_open, kept_episodes = (f"{rows.kept(table)} AND NOT ({replaced})" for table in (open_accounts, episodes))
    now_open = f"SELECT * FROM refolded_open UNION ALL {first_entries}"
    for name, query in (
        (OPEN_AT, f"{kept_open} UNION ALL {now_open}"),
        (EPISODES_AT, f"{kept_episodes} UNION ALL SELECT * FROM refolded_episodes"),
    ):
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT {_COLUMNS} FROM ({query})")
    changes = [
        (_OPEN_SUMS, "-", rows.beyond(open_accounts)),
        (_CLEARED_SUMS, "-", rows.beyond(episodes)),
        (_OPEN_SUMS, "", now_open),
        (_CLEARED_SUMS, "", "SELECT * FROM refolded_episodes"),
    ]
    if not accounts.is_empty():
        changes += [
            (_OPEN_SUMS, "-", f"{rows.kept(open_accounts)} AND ({replaced})"),
            (_CLEARED_SUMS, "-", f"{rows.kept(episodes)} AND ({replaced})"),
        ]
    sums = " UNION ALL ".join(query.format(hours=_HOURS, sign=sign, rows=of) for query, sign, of in changes)
    names = ("open_count", "open_money", "open_due_money", "cleared_count", "cleared_money")
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE hours_at AS SELECT account_type, currency, opened_hour, "
        f"{', '.join(f'sum({name}) AS {name}' for name in names)} "
        f"FROM (SELECT * FROM {hours} UNION ALL {sums}) GROUP BY ALL "
        "HAVING sum(open_count) > 0 OR sum(cleared_count) > 0"
    )


def _first_alone(store: ProjectionStore, rows: _Rows, straddling: str, tables: tuple[str, str]) -> str:
    """The condition that nothing of a straddling episode lies before the cut but, perhaps, its first entry.

    That is so when the second was recorded after it. It is so too when all but the first are effective after it,
    unless the account goes on with an episode that is not.
    """
    by_sequence = f"second_sequence > {rows.sequence}"
    by_effective_at = f"second_sequence <= {rows.sequence} AND later_effective_at > {rows.effective_at}"
    found = store.connection.execute(f"SELECT 1 FROM ({straddling}) WHERE {by_effective_at} LIMIT 1").fetchone()
    if found is None:
        return by_sequence
    begun = " UNION ALL ".join(f"SELECT * FROM {table} WHERE {rows.begun()}" for table in tables)
    store.connection.execute(
        _FOLLOWERS.format(begun=begun, straddling=straddling, sequence=rows.sequence, effective_at=rows.effective_at)
    )
    return f"{by_sequence} OR ({by_effective_at} AND account_hash NOT IN (SELECT account_hash FROM followers))"


def _folded_again(log: LogReader, models: Mapping[str, Model], cut: Cut, accounts: pl.DataFrame) -> Folded:
    """The episodes of these accounts, each from its first straddling one on, from the entries that the cut includes."""
    nothing = pl.DataFrame(schema=EPISODE_SCHEMA)
    if accounts.is_empty():
        return Folded(nothing, nothing)
    first = int(accounts["first_sequence"].min())  # type: ignore[arg-type]
    only = set(accounts["account_type"])
    condition = touching(accounts, models)
    parts = [pl.DataFrame(schema=ENTRY_SCHEMA)]
    for file in log.covering(first, cut.sequence):
        entries = entries_of(log.matching(file, condition), models, only)[0]
        counted = entries.filter(pl.col("effective_at") <= cut.effective_at, pl.col("sequence") <= cut.sequence)
        # One event may clear an episode and open the next, so the place within the event counts too.
        later = pl.col("sequence") > pl.col("first_sequence")
        same = (pl.col("sequence") == pl.col("first_sequence")) & (pl.col("entry_index") >= pl.col("first_index"))
        own = counted.join(accounts, on=ACCOUNT).filter(later | same)
        parts.append(own.select(*ENTRY_SCHEMA))
    return fold(nothing, pl.concat(parts))


def _evaluate_reservoirs(store: ProjectionStore, log: LogReader, models: Mapping[str, Model], cut: Cut) -> None:
    """Take off the reservoirs what came after the cut: by epoch, and where one straddles it, by its entries."""
    reservoirs, epochs = (store.table(name) for name in TABLES[3:5])
    rows = _Rows(f"TIMESTAMPTZ '{stored_text(cut.effective_at)}'", int(cut.sequence))
    begun = f"span_from <= {rows.effective_at} AND epoch * {RESERVOIR_EPOCH_EVENTS} < {rows.sequence}"
    straddling = _frame(store, f"SELECT epoch, {_NAMES} FROM ({rows.beyond(epochs, also=begun)})", _EPOCHS_SCHEMA)
    sums = [fold_reservoirs(pl.DataFrame(schema=ENTRY_SCHEMA))]
    for entries in _reservoir_entries(log, models, cut, sorted(set(straddling["epoch"]))):
        before = fold_reservoirs(entries.filter(pl.col("effective_at") <= cut.effective_at))
        sums.append(before.join(straddling, on=["epoch", *ACCOUNT], how="semi"))
    _put(store, "summed_again", pl.concat(sums), epochs)
    store.connection.execute(_RESERVOIRS.format(reservoirs=reservoirs, beyond=rows.beyond(epochs)))


def _reservoir_entries(
    log: LogReader, models: Mapping[str, Model], cut: Cut, epochs: list[int]
) -> Iterator[pl.DataFrame]:
    for epoch in epochs:
        first = epoch * RESERVOIR_EPOCH_EVENTS + 1
        last = min(first + RESERVOIR_EPOCH_EVENTS - 1, cut.sequence)
        for file in log.covering(first, last):
            within = log.scan(file).filter(pl.col("sequence").is_between(first, last))
            yield entries_of(log.collected(file, within.drop(*NOT_ENTERED, strict=False)), models)[1]


def _frame(store: ProjectionStore, query: str, schema: pl.Schema) -> pl.DataFrame:
    """What a query gives; few rows without Arrow, whose import takes longer than they do."""
    few = store.connection.execute(query).fetchmany(_FEW)
    if len(few) < _FEW:
        return pl.DataFrame(few, schema, orient="row")
    frame = pl.from_arrow(store.connection.execute(query).to_arrow_table())
    assert isinstance(frame, pl.DataFrame)
    whole = frame.with_columns(selectors.decimal().cast(pl.Int128))  # As DuckDB stores wide integers.
    return whole.match_to_schema(schema, integer_cast="upcast")


def _put(store: ProjectionStore, name: str, frame: pl.DataFrame, like: str) -> None:
    """Make `frame` a temporary table with the columns of the table `like`, its wide integers as decimals."""
    if frame.is_empty():
        store.connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM {like} WHERE false")
        return
    narrow = frame.with_columns(
        pl.col(column).cast(pl.Decimal(38, 0)) for column, dtype in frame.schema.items() if dtype == pl.Int128
    )
    store.connection.register("incoming", narrow.to_arrow())
    store.connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM incoming")
    store.connection.unregister("incoming")
