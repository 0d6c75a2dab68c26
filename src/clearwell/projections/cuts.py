"""The projections as they were at a cut, without a scan of everything.

An episode sums to zero and knows the span of its entries on both clocks. So at a cut only accounts with an episode
whose span straddles it can differ from the tables: these alone are folded again, from their entries in the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from clearwell.flows.model import Model
from clearwell.ledger.fold import EPISODE_SCHEMA, Folded, fold, fold_reservoirs
from clearwell.ledger.posting import ACCOUNT, ENTRY_SCHEMA, post, touching
from clearwell.log.manifest import LogFile
from clearwell.log.reader import LogReader
from clearwell.projections.store import ProjectionStore
from clearwell.values.cuts import Cut
from clearwell.values.times import stored_text

OPEN_AT, EPISODES_AT, RESERVOIRS_AT = "open_at", "episodes_at", "reservoirs_at"
"""The relations that `evaluate_at` makes: the tables `open_accounts`, `episodes` and `reservoirs` as of the cut."""

_STRADDLING = """
CREATE OR REPLACE TEMP TABLE straddling AS
SELECT account_type, account, currency, min({{'sequence': opened_sequence, 'entry_index': opened_entry_index}}) AS first
FROM (
    SELECT {columns} FROM {open_accounts}
    UNION ALL
    SELECT {columns} FROM {episodes}
)
WHERE NOT (span_to <= $effective_at AND last_sequence <= $sequence)
    AND NOT (span_from > $effective_at OR opened_sequence > $sequence)
GROUP BY ALL
"""

# An episode that lies before the first straddling one of its account stands as it is.
_KEPT = """
CREATE OR REPLACE TEMP VIEW {name} AS
SELECT {columns} FROM {table} AS own WHERE span_to <= {effective_at} AND last_sequence <= {sequence}{unless}
UNION ALL SELECT {columns} FROM {recomputed}
"""

_UNLESS_STRADDLING = """
    AND NOT EXISTS (
        SELECT 1 FROM straddling AS s
        WHERE s.account_type = own.account_type AND s.account = own.account AND s.currency = own.currency
            AND (own.opened_sequence, own.opened_entry_index) >= (s.first.sequence, s.first.entry_index))"""

_RESERVOIRS = """
CREATE OR REPLACE TEMP VIEW reservoirs_at AS
SELECT own.account_type, own.account, own.currency,
    own.balance - coalesce(later.balance, 0) AS balance, own.entry_count - coalesce(later.entry_count, 0) AS entry_count
FROM {reservoirs} AS own LEFT JOIN later_reservoirs AS later USING (account_type, account, currency)
WHERE own.entry_count > coalesce(later.entry_count, 0)
"""


def evaluate_at(store: ProjectionStore, log: LogReader, models: Mapping[str, Model], cut: Cut) -> None:
    """Make the relations `open_at`, `episodes_at` and `reservoirs_at` on the store's connection.

    The store must have applied the whole of `log`. They have the columns of the tables they stand for (reservoirs:
    account, balance and entry_count only).
    """
    connection = store.connection
    tables = {name: store.table(name) for name in ("open_accounts", "episodes", "reservoirs")}
    columns = ", ".join(EPISODE_SCHEMA)
    connection.execute(
        _STRADDLING.format(columns=columns, **tables), {"effective_at": cut.effective_at, "sequence": cut.sequence}
    )
    straddling = _frame(
        store,
        "SELECT * EXCLUDE first, first.sequence AS first_sequence, first.entry_index AS first_index FROM straddling",
    )
    refolded = _folded_again(log, models, cut, straddling)
    _put(store, "refolded_open", refolded.open)
    _put(store, "refolded_episodes", refolded.cleared)
    _put(store, "later_reservoirs", _reservoirs_beyond(log, models, cut))
    for name, table, recomputed in (
        (OPEN_AT, "open_accounts", "refolded_open"),
        (EPISODES_AT, "episodes", "refolded_episodes"),
    ):
        effective_at = f"TIMESTAMPTZ '{stored_text(cut.effective_at)}'"
        connection.execute(
            _KEPT.format(
                name=name,
                table=tables[table],
                recomputed=recomputed,
                columns=columns,
                unless="" if straddling.is_empty() else _UNLESS_STRADDLING,
                effective_at=effective_at,
                sequence=int(cut.sequence),
            )
        )
    connection.execute(_RESERVOIRS.format(**tables))


def _folded_again(log: LogReader, models: Mapping[str, Model], cut: Cut, straddling: pl.DataFrame) -> Folded:
    """The straddling accounts' episodes from the entries that the cut includes."""
    nothing = pl.DataFrame(schema=EPISODE_SCHEMA)
    if straddling.is_empty():
        return Folded(nothing, nothing)
    first = int(straddling["first_sequence"].min())  # type: ignore[arg-type]
    only = set(straddling["account_type"])
    condition = touching(straddling, models)
    parts = [pl.DataFrame(schema=ENTRY_SCHEMA)]
    for file in log.covering(first, cut.sequence):
        entries = post(log.matching(file, condition), models, only).clearing
        counted = entries.filter(pl.col("effective_at") <= cut.effective_at, pl.col("sequence") <= cut.sequence)
        # One event may clear an episode and open the next, so the place within the event counts too.
        later = pl.col("sequence") > pl.col("first_sequence")
        same = (pl.col("sequence") == pl.col("first_sequence")) & (pl.col("entry_index") >= pl.col("first_index"))
        own = counted.join(straddling, on=ACCOUNT).filter(later | same)
        parts.append(own.select(*ENTRY_SCHEMA))
    return fold(nothing, pl.concat(parts))


def _reservoirs_beyond(log: LogReader, models: Mapping[str, Model], cut: Cut) -> pl.DataFrame:
    """What entries beyond the cut have added to reservoirs: to be taken off again."""
    parts = [fold_reservoirs(pl.DataFrame(schema=ENTRY_SCHEMA))]
    for file in _reaching_beyond(log, cut):
        entries = post(log.events(file), models).reservoir
        beyond = (pl.col("effective_at") > cut.effective_at) | (pl.col("sequence") > cut.sequence)
        parts.append(fold_reservoirs(entries.filter(beyond)))
    return pl.concat(parts).group_by(*ACCOUNT).agg(pl.col("balance").sum(), pl.col("entry_count").sum())


def _reaching_beyond(log: LogReader, cut: Cut) -> Iterator[LogFile]:
    effective_at = stored_text(cut.effective_at)
    for file in log.files:
        if file.last_sequence > cut.sequence or file.last_effective_at > effective_at:
            yield file


def _frame(store: ProjectionStore, query: str) -> pl.DataFrame:
    frame = pl.from_arrow(store.connection.execute(query).to_arrow_table())
    assert isinstance(frame, pl.DataFrame)
    return frame


def _put(store: ProjectionStore, name: str, frame: pl.DataFrame) -> None:
    """Make `frame` a temporary table, its wide integers as HUGEINT."""
    wide = {column for column, dtype in frame.schema.items() if dtype == pl.Int128}
    columns = ", ".join(f"{column}::HUGEINT AS {column}" if column in wide else column for column in frame.columns)
    narrow = frame.with_columns(pl.col(column).cast(pl.Decimal(38, 0)) for column in wide)
    store.connection.register("incoming", narrow.to_arrow())
    store.connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {columns} FROM incoming")
    store.connection.unregister("incoming")
