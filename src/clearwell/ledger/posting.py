"""Posting: events to entries, by the moves of the model that was in force. Every event balances by construction.

An entry is one side of a move: −amount at `from`, +amount at `to`. A move of zero makes no entry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from clearwell.flows.model import AccountReference, EventType, Model, PropertyValue
from clearwell.ledger.sums import event_sums, joined_sums
from clearwell.values import columns
from clearwell.values.accounts import SEPARATOR
from clearwell.values.frames import filtered, parted, repeated, selected, stacked
from clearwell.values.times import INSTANT

ACCOUNT = ("account_type", "account", "currency")
"""What names an account's balance: its type, its key (`values.accounts`), and one currency."""

ENTRY_SCHEMA = pl.Schema(
    {
        "account_type": pl.String(),
        "account": pl.String(),
        "currency": pl.String(),
        "sequence": pl.Int64(),
        "entry_index": pl.Int16(),
        "effective_at": INSTANT,
        "recorded_at": INSTANT,
        "amount": pl.Int64(),
    }
)
"""Entries: `entry_index` is twice the move's number in its event type, plus one at the `to` side. Log order is
(`sequence`, `entry_index`)."""

NOT_POSTED = ("id", "producer", "flow", columns.OTHER_PROPERTIES)
"""Columns of events that `post` does not need."""

NOT_ENTERED = (*NOT_POSTED, "occurred_at")
"""Columns of events that no entry needs."""


@dataclass(frozen=True)
class Posted:
    """The entries of a batch, apart by the kind of their accounts, and its events with their models.

    Both frames of entries have `ENTRY_SCHEMA`, and are in no order.
    """

    clearing: pl.DataFrame
    reservoir: pl.DataFrame
    events: Sequence[pl.DataFrame] = ()
    models: Mapping[str, Model] = field(default_factory=dict)

    @classmethod
    def joined(cls, batches: Sequence[Posted]) -> Posted:
        """Several batches as one."""
        clearing = pl.concat([item.clearing for item in batches], rechunk=True)
        reservoir = pl.concat([item.reservoir for item in batches], rechunk=True)
        models = {version: model for item in batches for version, model in _used(item)}
        return cls(clearing, reservoir, [frame for item in batches for frame in item.events], models)

    @cached_property
    def sums(self) -> pl.DataFrame:
        """What the events moved, as `sums.event_sums` gives it; computed when asked for, so that no commit waits."""
        if not self.events:
            return joined_sums([])
        return event_sums(pl.concat(self.events, how="diagonal"), self.models)

    @property
    def entry_count(self) -> int:
        """How many entries there are."""
        return self.clearing.height + self.reservoir.height

    def moved(self) -> dict[str, int]:
        """Per currency, the sum of the values of the moves that made entries: what arrived at the `to` sides."""
        sums: Counter[str] = Counter()
        for frame in (self.clearing, self.reservoir):
            arrivals = filtered(frame[["currency", "amount"]], frame["entry_index"] % 2 == 1)
            found = arrivals.group_by("currency").agg(pl.col("amount").cast(pl.Int128).sum())
            sums.update(dict(found.iter_rows()))
        return dict(sorted(sums.items()))


def _used(posted: Posted) -> Iterator[tuple[str, Model]]:
    """The models of the events, by version: of all that were ever in force, only those are loaded."""
    for version in {version for frame in posted.events for version in frame["model_version"].unique()}:
        yield version, posted.models[version]


def post(events: pl.DataFrame, models: Mapping[str, Model]) -> Posted:
    """What becomes of `events`, which have `sequence`, `recorded_at` and `model_version` beside an event's columns.

    `models` holds every version that occurs. An event that its model cannot post is our mistake, and fails loudly.
    """
    return Posted(*entries_of(events, models), [events], models)


def entries_of(
    events: pl.DataFrame, models: Mapping[str, Model], only: Collection[str] | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The entries of `events` at clearing accounts and at reservoirs. With `only`, those of other types are left out.

    Nothing of `NOT_ENTERED` is needed.
    """
    parts: dict[str, list[pl.DataFrame]] = {"clearing": [], "reservoir": []}
    for part in parted(events, "model_version", "type"):
        model = models[part["model_version"][0]]
        _post_type(part, model.event_types[part["type"][0]], model, parts, only)
    empty = pl.DataFrame(schema=ENTRY_SCHEMA)
    return (
        stacked(parts["clearing"] or [empty]),
        stacked(parts["reservoir"] or [empty]),
    )


def touching(accounts: pl.DataFrame, models: Mapping[str, Model]) -> pl.Expr:
    """The condition that an event may have an entry at one of `accounts` (`account_type`, `account`); never misses one.

    It is meant for reading little: of each account it compares the first property that comes from the event.
    """
    keys = {str(name): part["account"] for (name,), part in accounts.partition_by("account_type", as_dict=True).items()}
    conditions = [
        (pl.col("type") == event.name) & _may_have(keys[side.account_type], side)
        for model in models.values()
        for event in model.event_types.values()
        for move in event.moves
        for side in (move.source, move.destination)
        if side.account_type in keys
    ]
    return pl.any_horizontal(pl.lit(value=False), *conditions)


def _may_have(keys: pl.Series, reference: AccountReference) -> pl.Expr:
    for place, item in enumerate(reference.values):
        if item.source == "property":
            wanted = keys.str.split(SEPARATOR).list.get(place).unique()
            return pl.col(columns.property_column(item.value)).is_in(wanted.implode())
    return pl.lit(value=True)


def _post_type(
    events: pl.DataFrame,
    event_type: EventType,
    model: Model,
    parts: Mapping[str, list[pl.DataFrame]],
    only: Collection[str] | None,
) -> None:
    keys: dict[tuple[PropertyValue, ...], pl.Series] = {}
    for move_index, move in enumerate(event_type.moves):
        for side, reference in enumerate((move.source, move.destination)):
            if only is not None and reference.account_type not in only:
                continue
            if reference.values not in keys:
                keys[reference.values] = _account_keys(events, reference.values)
            value = events[columns.amount_column(move.amount)]
            entries = pl.DataFrame(
                [
                    repeated("account_type", reference.account_type, pl.String(), events.height),
                    keys[reference.values],
                    events[columns.currency_column(move.amount)].alias("currency"),
                    events["sequence"],
                    repeated("entry_index", 2 * move_index + side, pl.Int16(), events.height),
                    events["effective_at"],
                    events["recorded_at"],
                    (value if side else value * -1).alias("amount"),
                ]
            )
            moves = value != 0
            kind = model.account_types[reference.account_type].kind
            parts[kind].append(entries if moves.all(ignore_nulls=False) else filtered(entries, moves))


def _account_keys(events: pl.DataFrame, values: Sequence[PropertyValue]) -> pl.Series:
    if all(item.source == "constant" for item in values):
        return repeated("account", SEPARATOR.join(item.value for item in values), pl.String(), events.height)
    if len(values) == 1:
        return events[columns.property_column(values[0].value)].alias("account")
    return selected(events, account_key_expression(values).alias("account")).to_series()


def account_key_expression(values: Sequence[PropertyValue]) -> pl.Expr:
    """The key of an account, for every event: its property values joined in the account type's order."""
    if not values:
        return pl.lit("")
    return pl.concat_str(
        [
            pl.lit(item.value) if item.source == "constant" else pl.col(columns.property_column(item.value))
            for item in values
        ],
        separator=SEPARATOR,
    )
