"""The log as relations: events, the money they moved, entries, and episodes, as named Ibis steps.

An engine provides one relation, `events`: the events of the cut, their instants as whole microseconds since 1970 in
UTC. Everything else is computed from it with integers, decimals and text alone, which mean the same on every engine.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

import ibis
from ibis.expr.types import BooleanValue, IntegerValue, StringValue, Table, Value

from clearwell.flows.model import AccountReference, AccountType, EventType, Model, PropertyValue
from clearwell.values import columns
from clearwell.values.accounts import SEPARATOR

EVENTS = "events"
"""The relation that an engine provides."""

KEPT_EPISODES = "kept_episodes"
"""The relation of episodes that an engine may have, too, so that they need not be computed."""

ENVELOPE = ("type", "id", "producer", "model_version")
MICROSECONDS = {"effective_us": "effective_at", "occurred_us": "occurred_at", "recorded_us": "recorded_at"}
"""The instants of `events`, and the columns of the log that they come from."""

MONEY = "decimal(38, 0)"
"""The type of every amount and sum of money, in minor units. A sum of 64 bits could overflow."""


def events(models: Mapping[str, Model]) -> Table:
    """The relation of the cut's events. What the models declare is there, null where an event has it not."""
    return ibis.table(event_schema(models.values()), name=EVENTS)


def event_schema(models: Iterable[Model]) -> dict[str, str]:
    """The columns of `events` with their types."""
    properties = sorted({name for model in models for name in model.property_names})
    amounts = sorted({name for model in models for name in model.amount_names})
    return {
        "sequence": "int64",
        **dict.fromkeys(ENVELOPE, "string"),
        **dict.fromkeys(MICROSECONDS, "int64"),
        **{columns.property_column(name): "string" for name in properties},
        **{columns.amount_column(name): "int64" for name in amounts},
        **{columns.currency_column(name): "string" for name in amounts},
    }


@dataclass(frozen=True)
class _Kind:
    """Event types of one name that move the same: how often each amount, and when they must have arrived."""

    event_type: str
    amounts: tuple[tuple[str, int], ...]
    arrives_within_seconds: int | None


def moved(log: Table, models: Mapping[str, Model], keep: Sequence[str] = ()) -> Table:
    """The money that each event moved: a row per event and amount that is not zero.

    `money` is the amount's size times the moves that it makes. `event_count` is 1 for one row of the event per
    currency, and 0 for others. `is_judged` says that the event's type, as the event was posted, has a deadline, and
    `is_late` that the event came later. The columns of `events` named in `keep` stay.
    """
    kinds: dict[_Kind, list[str]] = defaultdict(list)
    for version, model in models.items():
        for event in model.event_types.values():
            kinds[_kind(event)].append(version)
    return ibis.union(
        *(
            _moved(log, kind, place, versions, keep)
            for kind, versions in kinds.items()
            for place in range(len(kind.amounts))
        )
    )


def _kind(event: EventType) -> _Kind:
    moves = Counter(move.amount for move in event.moves)
    deadline = event.arrives_within.seconds if event.arrives_within else None
    return _Kind(event.name, tuple(sorted(moves.items())), deadline)


def _moved(log: Table, kind: _Kind, place: int, versions: Sequence[str], keep: Sequence[str]) -> Table:
    amount, moves = kind.amounts[place]
    currency = log[columns.currency_column(amount)]
    counted_before = [
        (log[columns.amount_column(other)] != 0) & (log[columns.currency_column(other)] == currency)
        for other, _moves in kind.amounts[:place]
    ]
    is_counted = ibis.ifelse(_any(counted_before).fill_null(False), 0, 1)
    size = log[columns.amount_column(amount)].cast(MONEY).abs().cast(MONEY)
    judged, late = ibis.literal(False), ibis.literal(False)
    if kind.arrives_within_seconds is not None:
        judged = ibis.literal(True)
        late = log.recorded_us - log.occurred_us > kind.arrives_within_seconds * 1_000_000
    own = log.filter(_posted_as(log, kind.event_type, versions), log[columns.amount_column(amount)] != 0)
    return own.select(
        event_type=log.type,
        currency=currency,
        recorded_us=log.recorded_us,
        event_count=is_counted.cast("int64"),
        money=(size * moves).cast(MONEY) if moves > 1 else size,
        is_judged=judged,
        is_late=late,
        **{name: log[name] for name in keep},
    )


def _posted_as(log: Table, event_type: str, versions: Sequence[str]) -> BooleanValue:
    return (log.type == event_type) & log.model_version.isin(sorted(versions))


def _any(conditions: Sequence[BooleanValue]) -> BooleanValue:
    return reduce(or_, conditions, ibis.literal(False))


def entries(log: Table, models: Mapping[str, Model], kind: str = "clearing") -> Table:
    """The entries at accounts of this kind: a row per side of a move that is not zero."""
    sides: dict[_Side, list[str]] = defaultdict(list)
    for version, model in models.items():
        for event in model.event_types.values():
            for number, move in enumerate(event.moves):
                for side, reference in enumerate((move.source, move.destination)):
                    if model.account_types[reference.account_type].kind == kind:
                        sides[_Side(event.name, 2 * number + side, move.amount, reference)].append(version)
    if not sides:
        return _no_entries(log)
    return ibis.union(*(_entry(log, side, versions) for side, versions in sides.items()))


def _no_entries(log: Table) -> Table:
    texts = {name: ibis.null("string") for name in ("account_type", "account", "currency")}
    nothing = log.filter(ibis.literal(False))
    whole = {"sequence": log.sequence, "entry_index": log.sequence, "effective_us": log.effective_us}
    return nothing.select(**texts, **whole, amount=no_money())


@dataclass(frozen=True)
class _Side:
    """One side of a move of an event type: what makes one entry."""

    event_type: str
    entry_index: int
    amount: str
    reference: AccountReference


def _entry(log: Table, side: _Side, versions: Sequence[str]) -> Table:
    value = log[columns.amount_column(side.amount)]
    return log.filter(_posted_as(log, side.event_type, versions), value != 0).select(
        account_type=ibis.literal(side.reference.account_type),
        account=_key(log, side.reference.values),
        currency=log[columns.currency_column(side.amount)],
        sequence=log.sequence,
        entry_index=ibis.literal(side.entry_index, "int64"),
        effective_us=log.effective_us,
        amount=(value if side.entry_index % 2 else -value).cast(MONEY),
    )


def _key(log: Table, values: Sequence[PropertyValue]) -> StringValue:
    """The key of an account, as `values.accounts` has it."""
    texts: list[StringValue] = []
    for item in values:
        if texts:
            texts.append(ibis.literal(SEPARATOR))
        constant = item.source == "constant"
        texts.append(ibis.literal(item.value) if constant else log[columns.property_column(item.value)])
    return reduce(lambda one, other: one.concat(other), texts) if texts else ibis.literal("")


def property_of(accounts: Table, account_types: Iterable[AccountType], name: str) -> StringValue:
    """The value of an account property, from the account's key; null for account types that have it not."""
    cases = [
        (accounts.account_type == item.name, accounts.account.split(SEPARATOR)[item.properties.index(name)])
        for item in account_types
        if name in item.properties
    ]
    return ibis.cases(*cases, else_=ibis.null("string")) if cases else ibis.null("string")


def episodes(entered: Table) -> Table:
    """The episodes of clearing accounts: a row each, with a `balance` that is zero where it has cleared.

    In log order: it opens at the entry that leaves zero, and clears at the one that returns there. `opened_us` and
    `last_us` are of its first and last entry, `turnover` is the money that came in.
    """
    ends = _ends(entered)
    along = ibis.window(group_by=_ACCOUNT, order_by=[ends.sequence, ends.entry_index])

    def at_last(value: Value) -> Value:
        return ibis.ifelse(ends.is_last, value, value.lead().over(along))

    # Of the ends alone, the last entry of an episode is the same row as its first, or the one that follows.
    found = ends.select(
        *_ACCOUNT,
        "is_first",
        balance=at_last(ends.after).cast(MONEY),
        turnover=(at_last(ends.came_so_far) - ends.came_so_far + ends.came).cast(MONEY),
        entry_count=(at_last(ends.number) - ends.number + 1).cast("int64"),
        opened_us=ends.effective_us,
        last_us=at_last(ends.effective_us),
    )
    return found.filter(found.is_first).drop("is_first")


_ACCOUNT = ("account_type", "account", "currency")


def _ends(entered: Table) -> Table:
    """The entries at which episodes begin and end, the last of an account among them, with the account's sums so far.

    One pass over the entries in order, instead of one more to number the episodes, and another to find their ends.
    """
    in_order = [entered.sequence, entered.entry_index]
    so_far = ibis.window(group_by=_ACCOUNT, order_by=in_order, preceding=None, following=0)
    along = ibis.window(group_by=_ACCOUNT, order_by=in_order)
    came = ibis.ifelse(entered.amount > 0, entered.amount, no_money())
    rows = entered.mutate(
        came=came,
        after=entered.amount.sum().over(so_far).cast(MONEY),
        came_so_far=came.sum().over(so_far).cast(MONEY),
        number=ibis.row_number().over(along),
        next_sequence=entered.sequence.lead().over(along),
    )
    marked = rows.mutate(is_first=rows.after == rows.amount, is_last=(rows.after == 0) | rows.next_sequence.isnull())
    return marked.filter(marked.is_first | marked.is_last)


def kept_episodes() -> Table:
    """The relation `KEPT_EPISODES`, with the columns of `episodes`."""
    texts, whole = ("account_type", "account", "currency"), ("entry_count", "opened_us", "last_us")
    money = dict.fromkeys(("balance", "turnover"), MONEY)
    return ibis.table({**dict.fromkeys(texts, "string"), **money, **dict.fromkeys(whole, "int64")}, name=KEPT_EPISODES)


def whole_steps(instant_us: IntegerValue, step_us: int) -> IntegerValue:
    """How many whole steps an instant lies after 1970, negative before.

    Divided is only what the step divides without a rest: engines divide in floating point, some rounded to six digits.
    """
    rest = (instant_us % step_us + step_us) % step_us
    return ((instant_us - rest) / step_us).cast("int64")


def no_money() -> Value:
    """Nothing, of the type of money."""
    return ibis.literal(0).cast(MONEY)
