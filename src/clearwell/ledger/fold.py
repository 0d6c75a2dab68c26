"""The fold: entries in log order to episodes. The result never depends on how the entries were batched.

An episode opens at the entry that leaves zero and clears at the entry that returns to zero. Sums are 128 bits wide
wherever 64 could overflow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from clearwell.ledger.codes import CODE, NAMES, AccountCodes
from clearwell.values.deferred import Deferred
from clearwell.values.times import INSTANT

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    _Whole = npt.NDArray[np.int64]
    _Bits = npt.NDArray[np.uint64]
else:
    np = Deferred("numpy")

EPISODE_SCHEMA = pl.Schema(
    {
        "account_hash": pl.UInt64(),
        "account_type": pl.String(),
        "account": pl.String(),
        "currency": pl.String(),
        "balance": pl.Int128(),
        "turnover": pl.Int128(),
        "entry_count": pl.Int64(),
        "opened_effective_at": INSTANT,
        "opened_recorded_at": INSTANT,
        "opened_sequence": pl.Int64(),
        "opened_entry_index": pl.Int16(),
        "opened_amount": pl.Int64(),
        "second_sequence": pl.Int64(),
        "later_effective_at": INSTANT,
        "last_effective_at": INSTANT,
        "last_recorded_at": INSTANT,
        "last_sequence": pl.Int64(),
        "span_from": INSTANT,
        "span_to": INSTANT,
    }
)
"""An episode, open or cleared. `turnover` is the money that came in; `opened_*` and `last_*` are of its first and last
entry in log order (the last entry of a cleared episode is the one that cleared it); `second_sequence` is that of the
entry after the first, and `later_effective_at` the least `effective_at` of all after the first, both null while there
is none; `span_from` and `span_to` are the least and the greatest `effective_at`. A cleared episode has balance 0."""

RESERVOIR_EPOCH_EVENTS = 1 << 20
"""Movements of reservoirs are summed per account and so many sequences."""

RESERVOIR_SCHEMA = pl.Schema(
    {
        "epoch": pl.Int64(),
        "account_hash": pl.UInt64(),
        "account_type": pl.String(),
        "account": pl.String(),
        "currency": pl.String(),
        "balance": pl.Int128(),
        "entry_count": pl.Int64(),
        "last_sequence": pl.Int64(),
        "span_from": INSTANT,
        "span_to": INSTANT,
    }
)
"""What a batch adds to the balance of a reservoir account within an epoch of the log."""

_SAFE_SUM = float(1 << 62)
_NEVER = 2**63 - 1
_FIRST = ("opened_effective_at", "opened_recorded_at", "opened_sequence", "opened_entry_index", "opened_amount")
_LAST = ("last_effective_at", "last_recorded_at", "last_sequence")


CODED_SCHEMA = pl.Schema({"code": CODE, **{name: dtype for name, dtype in EPISODE_SCHEMA.items() if name not in NAMES}})
"""`EPISODE_SCHEMA` with a `code` (`ledger.codes`) in place of account type and currency."""

SINGLE_COLUMNS = ("code", "account_hash", "account", *_FIRST)
"""What says everything about an account that one entry keeps open."""


@dataclass(frozen=True)
class Folded:
    """Both frames have `EPISODE_SCHEMA`: the episodes that cleared, and for every account touched its state now.

    `open` has at most one row per account and currency; an account at zero has none.
    """

    cleared: pl.DataFrame
    open: pl.DataFrame


@dataclass(frozen=True)
class Coded:
    """As `Folded`, with codes, and the open ones apart by whether they have more than one entry.

    `single` has `SINGLE_COLUMNS`; the others have `CODED_SCHEMA`, but `balance` and `turnover` are of 64 bits where
    these suffice. Each frame is in order of `code` and, to the second, `opened_effective_at`.
    """

    cleared: pl.DataFrame
    single: pl.DataFrame
    several: pl.DataFrame


def account_hash() -> pl.Expr:
    """64 bits that tell accounts apart in almost every case; whoever joins on it confirms on the full names.

    The function may change with the version of Polars and the kind of processor: see `hash_fingerprint`.
    """
    return pl.col("account").hash(1) ^ pl.col("account_type").hash(2) ^ pl.col("currency").hash(3)


@cache
def hash_fingerprint() -> int:
    """A number that changes when `account_hash` or an id's hash does: stored hashes are good while it is the same."""
    probe = pl.DataFrame({"account": ["probe"], "account_type": ["of the"], "currency": ["hash function"]})
    return int(probe.select(account_hash()).item() & (2**63 - 1))


def fold(open_before: pl.DataFrame, entries: pl.DataFrame) -> Folded:
    """Carry the open episodes on with `entries` of clearing accounts, all later in log order than `open_before`.

    `open_before` has `EPISODE_SCHEMA`, and may hold accounts that no entry touches; `entries` has `ENTRY_SCHEMA`.
    """
    codes = AccountCodes()
    hashed = entries.with_columns(account_hash=account_hash())
    found = fold_coded(codes.coded(open_before), codes.coded(hashed))
    still_open = [found.several, episodes_of(found.single)]
    cleared, still_open[0], still_open[1] = (
        codes.named(frame).select(pl.col(name).cast(dtype) for name, dtype in EPISODE_SCHEMA.items())
        for frame in (found.cleared, *still_open)
    )
    return Folded(cleared, pl.concat(still_open))


def fold_coded(open_before: pl.DataFrame, entries: pl.DataFrame) -> Coded:
    """As `fold`; `open_before` has `CODED_SCHEMA`, entries have `code` and `account_hash` in place of their names."""
    money = _money(open_before, entries)
    before = open_before.with_columns(pl.col("balance", "turnover").cast(money))
    rows = pl.concat([_as_first_entries(before), _as_rows(entries, money)], rechunk=True)
    if rows.is_empty():
        return Coded(before, rows.select(SINGLE_COLUMNS), before)
    order, starts = _account_order(rows, _log_order(entries, before.height))
    amounts = rows["amount"].gather(order)
    total = amounts.cum_sum()
    running = total - (total - amounts).gather(np.flatnonzero(starts)).gather(np.cumsum(starts) - 1)
    is_zero = (running == 0).to_numpy()
    opens = starts.copy()
    opens[1:] |= is_zero[:-1]
    begins = np.flatnonzero(opens)
    ends = np.append(begins[1:], len(order)) - 1
    by_kind = _stored_order(rows, order[begins])
    begins, ends = begins[by_kind], ends[by_kind]
    cleared = is_zero[ends]
    held = order[begins] < before.height
    single = ~cleared & (ends == begins)
    single[held] &= (before["entry_count"] == 1).to_numpy()[order[begins[held]]]
    several = ~cleared & ~single
    found = _Episodes(rows, before, order, running)
    return Coded(
        found.frame(begins[cleared], ends[cleared]),
        rows.select(SINGLE_COLUMNS)[order[begins[single]]],
        found.frame(begins[several], ends[several]),
    )


def episodes_of(single: pl.DataFrame) -> pl.DataFrame:
    """Accounts that one entry keeps open, of `SINGLE_COLUMNS`, with all the columns of an episode."""
    no_instant = pl.lit(None, INSTANT)
    return single.with_columns(
        balance=pl.col("opened_amount").cast(pl.Int128),
        turnover=pl.col("opened_amount").clip(0).cast(pl.Int128),
        entry_count=pl.lit(1, pl.Int64),
        second_sequence=pl.lit(None, pl.Int64),
        later_effective_at=no_instant,
        last_effective_at="opened_effective_at",
        last_recorded_at="opened_recorded_at",
        last_sequence="opened_sequence",
        span_from="opened_effective_at",
        span_to="opened_effective_at",
    )


def fold_reservoirs(entries: pl.DataFrame) -> pl.DataFrame:
    """Sum the entries per epoch, reservoir account and currency: `RESERVOIR_SCHEMA`, one row for each touched."""
    codes = AccountCodes()
    sums = fold_reservoirs_coded(codes.coded(entries.with_columns(account_hash=account_hash())))
    return codes.named(sums).select(*RESERVOIR_SCHEMA)


def fold_reservoirs_coded(entries: pl.DataFrame) -> pl.DataFrame:
    """As `fold_reservoirs`; entries, and the sums, have `code` and `account_hash` in place of their names."""
    epoch = ((pl.col("sequence") - 1) // RESERVOIR_EPOCH_EVENTS).alias("epoch")
    return entries.group_by(epoch, "code", "account_hash", "account").agg(
        balance=pl.col("amount").cast(pl.Int128).sum(),
        entry_count=pl.len().cast(pl.Int64),
        last_sequence=pl.col("sequence").max(),
        span_from=pl.col("effective_at").min(),
        span_to=pl.col("effective_at").max(),
    )


def over_epochs(sums: pl.DataFrame) -> pl.DataFrame:
    """The sums of `fold_reservoirs_coded` of all epochs together."""
    if sums["epoch"].n_unique() <= 1:
        return sums.drop("epoch")
    return sums.group_by("code", "account_hash", "account").agg(
        pl.col("balance", "entry_count").sum(),
        pl.col("last_sequence", "span_to").max(),
        pl.col("span_from").min(),
    )


def _money(open_before: pl.DataFrame, entries: pl.DataFrame) -> pl.DataType:
    """The type in which no sum of these amounts can overflow."""
    numbers = (entries["amount"], open_before["balance"], open_before["turnover"])
    amounts = [column.cast(pl.Float64).abs().to_numpy().sum() for column in numbers]
    return pl.Int64() if sum(amounts) < _SAFE_SUM else pl.Int128()


def _as_first_entries(before: pl.DataFrame) -> pl.DataFrame:
    """An open episode as one entry of its whole balance, ahead of all that follow."""
    return before.select(SINGLE_COLUMNS, amount="balance")


def _as_rows(entries: pl.DataFrame, money: pl.DataType) -> pl.DataFrame:
    """Each entry as the first of an episode."""
    return entries.select(
        "code",
        "account_hash",
        "account",
        opened_effective_at="effective_at",
        opened_recorded_at="recorded_at",
        opened_sequence="sequence",
        opened_entry_index="entry_index",
        opened_amount="amount",
        amount=pl.col("amount").cast(money),
    )


def _log_order(entries: pl.DataFrame, held: int) -> _Whole:
    """The places of `held` rows, and of the entries behind them, in log order."""
    sequences, indexes = entries["sequence"].to_numpy(), entries["entry_index"].to_numpy().astype(np.int64)
    if not len(sequences):
        return np.arange(held, dtype=np.int64)
    keys = (sequences - sequences.min()) * (indexes.max() + 1) + indexes
    return np.concatenate([np.arange(held, dtype=np.int64), held + _sorted_places(keys.astype(np.uint64))])


def _sorted_places(keys: _Bits) -> _Whole:
    """The places of the keys in their order; equal ones stay as they are.

    Sorting numbers that carry their place in the low bits is many times faster than sorting places.
    """
    bits = np.uint64(max(1, (len(keys) - 1).bit_length()))
    if int(keys.max()).bit_length() + int(bits) > 64:
        return np.argsort(keys, kind="stable")
    packed = np.sort((keys << bits) | np.arange(len(keys), dtype=np.uint64))
    return (packed & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)


def _account_order(rows: pl.DataFrame, log_order: _Whole) -> tuple[_Whole, npt.NDArray[np.bool_]]:
    """The places of the rows with each account's together, in log order; and which of them are an account's first."""
    hashes = rows["account_hash"].to_numpy()[log_order]
    bits = np.uint64(max(1, (len(hashes) - 1).bit_length()))
    places = _sorted_places(hashes >> bits)
    ordered = hashes[places]
    behind = ordered[1:] < ordered[:-1]
    if behind.any():  # The low bits of a hash decide between accounts whose high bits are the same.
        mixed = np.flatnonzero(np.isin(ordered >> bits, ordered[1:][behind] >> bits))
        places[mixed] = places[mixed][np.lexsort((places[mixed], ordered[mixed]))]
        ordered = hashes[places]
    order = log_order[places]
    starts = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    same = np.flatnonzero(~starts)
    names = [rows[name] for name in ("code", "account")]
    if any((name.gather(order[same]) != name.gather(order[same - 1])).any() for name in names):
        # Two accounts share a hash.
        ranked = rows.select("code", "account", place=pl.int_range(pl.len()))[log_order]
        order = ranked.sort("code", "account", maintain_order=True)["place"].to_numpy()
        differ = [(name.gather(order[1:]) != name.gather(order[:-1])).to_numpy() for name in names]
        starts = np.concatenate([[True], np.logical_or.reduce(differ)])
    return order, starts


@dataclass(frozen=True)
class _Episodes:
    """Makes rows of episodes. The first rows of `rows` are those of `before`: an episode that begins there goes on.

    `order` are the places of the rows by account, in log order; `running` is the balance after each, in that order.
    """

    rows: pl.DataFrame
    before: pl.DataFrame
    order: _Whole
    running: pl.Series

    def frame(self, begins: _Whole, ends: _Whole) -> pl.DataFrame:
        """The episodes that begin and end at these places of the order."""
        rows, before, order = self.rows, self.before, self.order
        if not len(begins):
            return pl.DataFrame(schema=CODED_SCHEMA)
        lengths = ends - begins + 1
        starts = np.cumsum(lengths) - lengths
        # The places of all their entries, one episode after another.
        own = order[np.arange(lengths.sum()) + np.repeat(begins - starts, lengths)]
        first, last = order[begins], order[ends]
        carried = first < before.height
        earlier = before.select("turnover", "entry_count", "second_sequence", "later_effective_at")[first[carried]]
        has_more = lengths > 1
        effective_at = rows["opened_effective_at"].to_physical().to_numpy()
        latest, least = (_with_first(effective_at, before[name])[own] for name in ("span_to", "span_from"))
        later = least.copy()
        later[starts] = _NEVER
        later[starts[carried]] = earlier["later_effective_at"].to_physical().fill_null(_NEVER).to_numpy()
        received = rows["amount"].clip(0).scatter(np.arange(before.height), 0).gather(own)
        found = rows.select(SINGLE_COLUMNS)[first].with_columns(
            balance=self.running.gather(ends),
            turnover=_added(_sums(received, starts, lengths), carried, earlier["turnover"]),
            entry_count=_added(pl.Series(lengths - carried), carried, earlier["entry_count"]),
            second_sequence=pl.when(pl.Series(has_more)).then(rows["opened_sequence"].gather(order[begins + has_more])),
            later_effective_at=_instants(np.minimum.reduceat(later, starts)),
            span_from=_instants(np.minimum.reduceat(least, starts)),
            span_to=_instants(np.maximum.reduceat(latest, starts)),
            **{name: self._last(name, last) for name in _LAST},
        )
        known = pl.Series(np.flatnonzero(carried)).filter(earlier["second_sequence"].is_not_null())
        second = found["second_sequence"].scatter(known, earlier["second_sequence"].drop_nulls())
        return found.with_columns(second).select(*CODED_SCHEMA)

    def _last(self, name: str, places: _Whole) -> pl.Series:
        of_entries = self.rows[f"opened_{name.removeprefix('last_')}"].to_physical().to_numpy()
        return pl.Series(_with_first(of_entries, self.before[name])[places]).cast(self.before.schema[name])


def _sums(values: pl.Series, starts: _Whole, lengths: _Whole) -> pl.Series:
    """The sum of each run of values."""
    total = values.cum_sum()
    return total.gather(starts + lengths - 1) - (total - values).gather(starts)


def _added(values: pl.Series, places: npt.NDArray[np.bool_], more: pl.Series) -> pl.Series:
    """The values, with `more` added at the places that are true."""
    chosen = np.flatnonzero(places)
    return values.scatter(chosen, values.gather(chosen) + more) if len(chosen) else values


def _stored_order(rows: pl.DataFrame, places: _Whole) -> _Whole:
    """The order of these rows by code and, to the second, `opened_effective_at`: like ones are stored together."""
    seconds = rows["opened_effective_at"].to_physical().to_numpy()[places] >> 20
    codes = rows["code"].to_numpy()[places].astype(np.int64)
    return np.argsort((codes << 32) + np.clip(seconds, 0, (1 << 32) - 1))


def _with_first(numbers: _Whole, others: pl.Series) -> _Whole:
    """The numbers, of which `others` take the place of the first."""
    if others.is_empty():
        return numbers
    replaced = numbers.copy()
    replaced[: len(others)] = others.to_physical().to_numpy()
    return replaced


def _instants(microseconds: _Whole) -> pl.Series:
    """The instants; null for the greatest number, which stands for none."""
    numbers = pl.Series(microseconds)
    return pl.select(pl.when(numbers != _NEVER).then(numbers)).to_series().cast(INSTANT)
