"""The fold: entries in log order to episodes. The result never depends on how the entries were batched.

An episode opens at the entry that leaves zero and clears at the entry that returns to zero. Sums are 128 bits wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from clearwell.ledger.posting import ACCOUNT
from clearwell.values.times import INSTANT

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
        "last_effective_at": INSTANT,
        "last_recorded_at": INSTANT,
        "last_sequence": pl.Int64(),
        "span_from": INSTANT,
        "span_to": INSTANT,
    }
)
"""An episode, open or cleared. `turnover` is the money that came in; `opened_*` and `last_*` are of its first and last
entry in log order (the last entry of a cleared episode is the one that cleared it); `span_from` and `span_to` are the
least and the greatest `effective_at` of its entries. A cleared episode has balance 0."""

RESERVOIR_SCHEMA = pl.Schema(
    {
        "account_hash": pl.UInt64(),
        "account_type": pl.String(),
        "account": pl.String(),
        "currency": pl.String(),
        "balance": pl.Int128(),
        "entry_count": pl.Int64(),
        "last_sequence": pl.Int64(),
        "span_to": INSTANT,
    }
)
"""What a batch adds to the balance of a reservoir account."""


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


def hash_fingerprint() -> int:
    """A number that changes when `account_hash` or an id's hash does: stored hashes are good while it is the same."""
    probe = pl.DataFrame({"account": ["probe"], "account_type": ["of the"], "currency": ["hash function"]})
    return int(probe.select(account_hash()).item() & (2**63 - 1))


def fold(open_before: pl.DataFrame, entries: pl.DataFrame) -> Folded:
    """Carry the open episodes on with `entries` of clearing accounts, all later in log order than `open_before`.

    `open_before` has `EPISODE_SCHEMA` and may hold accounts that no entry touches; `entries` has `ENTRY_SCHEMA`.
    """
    before = open_before.with_row_index("state")
    rows = pl.concat([_as_first_entries(before), _hashed(entries)], how="diagonal")
    episodes = _episodes(_in_account_order(rows))
    continued = _carried_on(episodes, before)
    is_open = pl.col("balance") != 0
    return Folded(cleared=continued.filter(~is_open), open=continued.filter(is_open))


def fold_reservoirs(entries: pl.DataFrame) -> pl.DataFrame:
    """Sum the entries per reservoir account and currency: `RESERVOIR_SCHEMA`, one row for each that was touched."""
    sums = entries.group_by(ACCOUNT).agg(
        balance=pl.col("amount").cast(pl.Int128).sum(),
        entry_count=pl.len().cast(pl.Int64),
        last_sequence=pl.col("sequence").max(),
        span_to=pl.col("effective_at").max(),
    )
    return sums.with_columns(account_hash=account_hash()).select(*RESERVOIR_SCHEMA)


def _as_first_entries(before: pl.DataFrame) -> pl.DataFrame:
    """An open episode as one entry of its whole balance, ahead of all that follow; `state` says whose it is."""
    return before.select(
        "state",
        "account_hash",
        *ACCOUNT,
        sequence="last_sequence",
        entry_index=pl.lit(-1, pl.Int16),
        effective_at="opened_effective_at",
        recorded_at="opened_recorded_at",
        amount="balance",
    )


def _hashed(entries: pl.DataFrame) -> pl.DataFrame:
    return entries.with_columns(account_hash=account_hash(), amount=pl.col("amount").cast(pl.Int128))


def _in_account_order(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with each account's together, in log order, and `starts` at the first of each."""
    ordered = rows.sort("account_hash", "sequence", "entry_index")
    same_hash = pl.col("account_hash") == pl.col("account_hash").shift()
    same_account = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in ACCOUNT)
    marked = ordered.with_columns(starts=~same_hash.fill_null(value=False), same=same_account.fill_null(value=False))
    if marked.select((~pl.col("starts") & ~pl.col("same")).any()).item():  # Two accounts share a hash.
        ordered = rows.sort(*ACCOUNT, "sequence", "entry_index")
        marked = ordered.with_columns(starts=~same_account.fill_null(value=False))
    return marked


def _episodes(ordered: pl.DataFrame) -> pl.DataFrame:
    """One row per episode (its part in these rows), with the running balance restarted at each account."""
    total = pl.col("amount").cum_sum()
    before_account = pl.when("starts").then(total - pl.col("amount")).forward_fill()
    running = ordered.with_columns(running=total - before_account)
    opens = pl.col("starts") | (pl.col("running").shift() == 0)
    is_entry = pl.col("state").is_null()
    return (
        running.with_columns(episode=opens.cum_sum())
        .group_by("episode")
        .agg(
            pl.first("state", "account_hash", *ACCOUNT),
            balance=pl.last("running"),
            turnover=pl.col("amount").filter(is_entry & (pl.col("amount") > 0)).sum(),
            entry_count=is_entry.sum().cast(pl.Int64),
            opened_effective_at=pl.first("effective_at"),
            opened_recorded_at=pl.first("recorded_at"),
            opened_sequence=pl.first("sequence"),
            opened_entry_index=pl.first("entry_index"),
            last_effective_at=pl.last("effective_at"),
            last_recorded_at=pl.last("recorded_at"),
            last_sequence=pl.last("sequence"),
            span_from=pl.col("effective_at").filter(is_entry).min(),
            span_to=pl.col("effective_at").filter(is_entry).max(),
        )
    )


def _carried_on(episodes: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """Add to the episodes that continue one of `before` what that one had already."""
    fresh = episodes.filter(pl.col("state").is_null()).select(*EPISODE_SCHEMA)
    joined = episodes.filter(pl.col("state").is_not_null()).join(before, on="state", suffix="_before")
    touched = pl.col("entry_count") > 0
    carried = joined.select(
        "account_hash",
        *ACCOUNT,
        "balance",
        turnover=pl.col("turnover") + pl.col("turnover_before"),
        entry_count=pl.col("entry_count") + pl.col("entry_count_before"),
        opened_effective_at="opened_effective_at_before",
        opened_recorded_at="opened_recorded_at_before",
        opened_sequence="opened_sequence_before",
        opened_entry_index="opened_entry_index_before",
        **{
            name: pl.when(touched).then(name).otherwise(f"{name}_before")
            for name in ("last_effective_at", "last_recorded_at", "last_sequence")
        },
        span_from=pl.min_horizontal("span_from", "span_from_before"),
        span_to=pl.max_horizontal("span_to", "span_to_before"),
    )
    return pl.concat([fresh, carried.select(*EPISODE_SCHEMA)])
