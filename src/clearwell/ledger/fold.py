"""The fold: entries in log order to episodes. The result never depends on how the entries were batched.

An episode opens at the entry that leaves zero and clears at the entry that returns to zero. Sums are 128 bits wide
wherever 64 could overflow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from clearwell.ledger.posting import ACCOUNT
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


@dataclass(frozen=True)
class Folded:
    """Both frames have `EPISODE_SCHEMA`: the episodes that cleared, and for every account touched its state now.

    `open` has at most one row per account and currency; an account at zero has none.
    """

    cleared: pl.DataFrame
    open: pl.DataFrame


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

    `open_before` has `EPISODE_SCHEMA` and may hold accounts that no entry touches; `entries` has `ENTRY_SCHEMA`.
    """
    money = _money(open_before, entries)
    rows = pl.concat([_as_first_entries(open_before, money), _as_rows(entries, money)], rechunk=True)
    if rows.is_empty():
        return Folded(open_before, open_before)
    order, starts = _account_order(rows, _log_order(entries, open_before.height))
    amounts = rows["amount"].gather(order)
    total = amounts.cum_sum()
    running = total - (total - amounts).gather(np.flatnonzero(starts)).gather(np.cumsum(starts) - 1)
    opens = starts.copy()
    opens[1:] |= (running == 0).to_numpy()[:-1]
    episodes = _episodes(rows, order, running, np.flatnonzero(opens), open_before)
    is_open = pl.col("balance") != 0
    return Folded(cleared=episodes.filter(~is_open), open=episodes.filter(is_open))


def fold_reservoirs(entries: pl.DataFrame) -> pl.DataFrame:
    """Sum the entries per epoch, reservoir account and currency: `RESERVOIR_SCHEMA`, one row for each touched."""
    epoch = ((pl.col("sequence") - 1) // RESERVOIR_EPOCH_EVENTS).alias("epoch")
    sums = entries.group_by(epoch, *ACCOUNT).agg(
        balance=pl.col("amount").cast(pl.Int128).sum(),
        entry_count=pl.len().cast(pl.Int64),
        last_sequence=pl.col("sequence").max(),
        span_from=pl.col("effective_at").min(),
        span_to=pl.col("effective_at").max(),
    )
    return sums.with_columns(account_hash=account_hash()).select(*RESERVOIR_SCHEMA)


def _money(open_before: pl.DataFrame, entries: pl.DataFrame) -> pl.DataType:
    """The type in which no sum of these amounts can overflow."""
    amounts = [column.cast(pl.Float64).abs().to_numpy().sum() for column in (entries["amount"], open_before["balance"])]
    return pl.Int64() if sum(amounts) < _SAFE_SUM else pl.Int128()


def _as_first_entries(before: pl.DataFrame, money: pl.DataType) -> pl.DataFrame:
    """An open episode as one entry of its whole balance, ahead of all that follow."""
    return before.select(
        "account_hash",
        *ACCOUNT,
        *_FIRST,
        *_LAST,
        "span_from",
        "span_to",
        amount=pl.col("balance").cast(money),
    )


def _as_rows(entries: pl.DataFrame, money: pl.DataType) -> pl.DataFrame:
    """Each entry as an episode of its own."""
    return entries.select(
        account_hash().alias("account_hash"),
        *ACCOUNT,
        opened_effective_at="effective_at",
        opened_recorded_at="recorded_at",
        opened_sequence="sequence",
        opened_entry_index="entry_index",
        opened_amount="amount",
        last_effective_at="effective_at",
        last_recorded_at="recorded_at",
        last_sequence="sequence",
        span_from="effective_at",
        span_to="effective_at",
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
    names = [rows[name] for name in ACCOUNT]
    if any((name.gather(order[same]) != name.gather(order[same - 1])).any() for name in names):
        # Two accounts share a hash.
        ranked = rows.select(*ACCOUNT, place=pl.int_range(pl.len()))[log_order]
        order = ranked.sort(*ACCOUNT, maintain_order=True)["place"].to_numpy()
        differ = [(name.gather(order[1:]) != name.gather(order[:-1])).to_numpy() for name in names]
        starts = np.concatenate([[True], np.logical_or.reduce(differ)])
    return order, starts


def _episodes(
    rows: pl.DataFrame, order: _Whole, running: pl.Series, begins: _Whole, before: pl.DataFrame
) -> pl.DataFrame:
    """One row per episode; the first rows are those of `before`, and an episode that begins with one continues it."""
    ends = np.append(begins[1:], len(order)) - 1
    first, last = order[begins], order[ends]
    carried = first < before.height
    earlier = before.select("turnover", "entry_count", "second_sequence", "later_effective_at")[first[carried]]
    has_more = ends > begins
    second = rows["opened_sequence"].gather(order[begins + has_more])
    latest, least = _microseconds(rows["span_to"], order), _microseconds(rows["span_from"], order)
    later = least.copy()
    later[begins] = _NEVER
    later[begins[carried]] = earlier["later_effective_at"].to_physical().fill_null(_NEVER).to_numpy()
    found = rows.select("account_hash", *ACCOUNT, *_FIRST)[first].with_columns(
        balance=running.gather(ends).cast(pl.Int128),
        turnover=_received(rows, order, begins, ends, before.height).cast(pl.Int128),
        entry_count=pl.Series(ends - begins + 1 - carried),
        second_sequence=pl.when(pl.Series(has_more)).then(second),
        later_effective_at=_instants(np.minimum.reduceat(later, begins)),
        span_from=_instants(np.minimum.reduceat(least, begins)),
        span_to=_instants(np.maximum.reduceat(latest, begins)),
    )
    whole = pl.concat([found, rows.select(_LAST)[last]], how="horizontal")
    return _with_what_was(whole, carried, earlier).select(*EPISODE_SCHEMA)


def _received(rows: pl.DataFrame, order: _Whole, begins: _Whole, ends: _Whole, held: int) -> pl.Series:
    """The money that the entries of each episode brought in; the first `held` rows are no entries."""
    amounts = rows["amount"].clip(0).scatter(np.arange(held), 0).gather(order)
    total = amounts.cum_sum()
    return total.gather(ends) - (total - amounts).gather(begins)


def _with_what_was(episodes: pl.DataFrame, carried: npt.NDArray[np.bool_], earlier: pl.DataFrame) -> pl.DataFrame:
    """Add what the continued episodes had already, which is in `earlier`, row by row, to those that are `carried`."""
    places = np.flatnonzero(carried)
    if not len(places):
        return episodes
    had = pl.DataFrame({"place": places}).hstack(earlier)
    continued = episodes[places].with_columns(
        turnover=pl.col("turnover") + had["turnover"],
        entry_count=pl.col("entry_count") + had["entry_count"],
        second_sequence=pl.coalesce(had["second_sequence"], "second_sequence"),
    )
    return pl.concat([episodes.filter(~pl.Series(carried)), continued])


def _microseconds(instants: pl.Series, order: _Whole) -> _Whole:
    return instants.to_physical().to_numpy()[order]


def _instants(microseconds: _Whole) -> pl.Series:
    """The instants; null for the greatest number, which stands for none."""
    numbers = pl.Series(microseconds)
    return pl.select(pl.when(numbers != _NEVER).then(numbers)).to_series().cast(INSTANT)
