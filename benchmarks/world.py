"""The benchmark's world: events as a function of their index, so that any part of it can be made at any time.

Ids are random strings of 20 to 30 characters; 3 of the 10 properties have very many values, of 64 random bits each;
there are 5 currencies and 7 event types. 1 % of the records are told twice (within the last `REPEATED_WITHIN` records),
0.1 % cannot become events, 2 % are late by 1 to 10 hours, and from its first part on `open_charges` accounts are open.
Nothing here knows how Clearwell works inside.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

FLOWS = Path(__file__).parent / "flows"
EVENTS_PER_FILE = 1_000_000
REPEATED_WITHIN = 200_000
MOST_OPEN = 5_000_000
SPAN = timedelta(days=30)
CURRENCIES = ("USD", "EUR", "GBP", "JPY", "BRL")

_ALPHABET = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", dtype=np.uint8)
_BLOCK = 100
_TYPES = (
    "charge.creation", "charge.release", "payout.creation", "payout.paid",
    "dispute.opened", "dispute.closed", "network.settlement",
)  # fmt: skip
_BANKS = [f"bank_{place:02d}" for place in range(12)]
_COUNTRIES = [f"C{place:02d}" for place in range(30)]
_STEADY = (40, 40, 8, 8, 1, 1, 2)
_FILLING = (80, 0, 8, 8, 1, 1, 2)
_LAG = 2_000
"""So many payouts, and disputes, are on their way at any time."""

Counts = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class World:
    """`events` records that end at `until`; `open_charges` accounts are open once the first part is over."""

    events: int
    until: datetime

    @property
    def open_charges(self) -> int:
        """5 million, or in a small world half of its events."""
        return min(MOST_OPEN, self.events // 2) // _FILLING[0] * _FILLING[0]

    def records(self, first: int, count: int) -> pl.DataFrame:
        """The records from index `first` on, as a table with the columns of events."""
        places = np.arange(first, first + count, dtype=np.int64)
        draw = _bits(places, 1)
        repeated = (draw % 100 == 7) & (places > REPEATED_WITHIN)
        back = 1 + (_bits(places, 2) % np.uint64(REPEATED_WITHIN)).astype(np.int64)
        told = np.where(repeated, places - back, places)
        # One that was a repetition itself leads on to what it repeated no further: the record is simply new then.
        return _spoiled(self._events(told), told)

    def files(self, folder: Path) -> list[Path]:
        """Write the world to `folder` as Parquet files of a million records, where they are not there yet."""
        starts = range(0, self.events, EVENTS_PER_FILE)
        paths = [folder / f"events-{start // EVENTS_PER_FILE:05d}.parquet" for start in starts]
        todo = [(self, start, path) for start, path in zip(starts, paths, strict=True) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        if len(todo) > 1:
            with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
                list(pool.map(_write, todo))
        elif todo:
            _write(todo[0])
        return paths

    def _events(self, index: Counts) -> pl.DataFrame:
        kind, number = self._kinds(index)
        charge = np.where(kind == 1, number - self.open_charges, number)
        own = np.where(kind <= 1, charge, np.where(kind % 2 == 1, number - _LAG, number))
        own = np.where((kind >= 2) & (kind <= 5) & (own < 0), 0, own)
        family = np.where(kind <= 1, 10, np.where(kind <= 3, 20, np.where(kind <= 5, 30, 40)))
        of_thing = _mixed(own.astype(np.uint64) * np.uint64(64) + family.astype(np.uint64))
        business = _bits(own, 101 + family)
        gross = (10.0 ** (2 + 3 * _share(of_thing))).astype(np.int64)
        fee = gross * 29 // 1000 + 30
        stuck = (kind == 1) & (_bits(own, 7) % np.uint64(10_000) == 1)
        instants = self._instants(index)
        late = _bits(index, 3) % np.uint64(50) == 3
        behind = np.where(late, 3_600_000 + (_bits(index, 4) % np.uint64(9 * 3_600_000)).astype(np.int64), 0)
        occurred = instants - behind
        effective = occurred - (_bits(index, 5) % np.uint64(2_000)).astype(np.int64)
        is_charge, is_payout, is_dispute = kind <= 1, (kind == 2) | (kind == 3), (kind == 4) | (kind == 5)
        things = _things(own, family)
        money = is_payout | is_dispute | (kind == 6)
        frame = pl.DataFrame(
            {
                "type": pl.Series(kind).replace_strict(list(range(7)), list(_TYPES), return_dtype=pl.String),
                "id": _names("evt_", index, np.full(len(index), 50)),
                "effective_at": pl.Series(effective).cast(pl.Datetime("ms", "UTC")),
                "occurred_at": pl.Series(occurred).cast(pl.Datetime("ms", "UTC")),
                "currency": _chosen(CURRENCIES, (business >> np.uint64(8)) % np.uint64(7) % np.uint64(5)),
                "business": pl.Series("b", np.char.mod("acct_%06d", business % np.uint64(50_000))).cast(pl.String),
                "thing": things,
                "network": _chosen(("visa", "mastercard", "amex", "elo", "jcb"), of_thing % np.uint64(5)),
                "bank": _chosen(_BANKS, (of_thing >> np.uint64(4)) % np.uint64(12)),
                "country": _chosen(_COUNTRIES, (of_thing >> np.uint64(9)) % np.uint64(30)),
                "method": _chosen(("card", "wallet", "transfer"), (of_thing >> np.uint64(15)) % np.uint64(3)),
                "channel": _chosen(("web", "app", "store", "phone"), (of_thing >> np.uint64(18)) % np.uint64(4)),
                "reason": _chosen(("fraud", "not_received", "duplicate"), (of_thing >> np.uint64(21)) % np.uint64(3)),
                "kind": kind,
                "gross": np.where(kind == 0, gross, 0),
                "net": gross - fee - np.where(stuck, 1, 0),
                "fee": fee,
                "money": np.where(money, gross * 10, 0),
            }
        )
        at = {"charge": is_charge, "payout": is_payout, "dispute": is_dispute}
        only = {name: pl.when(pl.Series(mask)).then(pl.col("thing")) for name, mask in at.items()}
        return frame.select(
            "type", "id", "effective_at", "occurred_at", "currency",
            *(value.alias(f"property_{name}") for name, value in only.items()),
            pl.when(pl.col("kind") < 6).then("business").alias("property_business"),
            pl.when(pl.col("kind").is_in([0, 6])).then("network").alias("property_network"),
            pl.when(pl.col("kind").is_in([3, 6])).then("bank").alias("property_bank"),
            pl.when(pl.col("kind") == 0).then("country").alias("property_country"),
            pl.when(pl.col("kind") == 0).then("method").alias("property_method"),
            pl.when(pl.col("kind") == 0).then("channel").alias("property_channel"),
            pl.when(pl.col("kind") == 4).then("reason").alias("property_reason"),
            pl.when(pl.col("kind") == 0).then("gross").alias("amount_gross"),
            pl.when(pl.col("kind") == 1).then("net").alias("amount_net"),
            pl.when(pl.col("kind") == 1).then("fee").alias("amount_fee"),
            pl.when(pl.col("kind") > 1).then("money").alias("amount_money"),
        )  # fmt: skip

    def _kinds(self, index: Counts) -> tuple[Counts, Counts]:
        """The event type of each index, and its number among those of its type."""
        filling = self.open_charges // _FILLING[0]
        block, place = index // _BLOCK, index % _BLOCK
        early = block < filling
        kind = np.where(early, _pattern(_FILLING)[0][place], _pattern(_STEADY)[0][place])
        rank = np.where(early, _pattern(_FILLING)[1][place], _pattern(_STEADY)[1][place])
        before = np.minimum(block, filling)[:, None] * np.array(_FILLING)
        after = np.maximum(block - filling, 0)[:, None] * np.array(_STEADY)
        number = np.take_along_axis(before + after, kind[:, None], axis=1)[:, 0] + rank
        return kind, np.where(kind == 1, number + self.open_charges, number)

    def _instants(self, index: Counts) -> Counts:
        """When each was on its way, in milliseconds since 1970."""
        end = int(self.until.timestamp() * 1000)
        return end - ((self.events - index) * (SPAN / timedelta(milliseconds=1)) / self.events).astype(np.int64)


def hour_of(now: datetime) -> datetime:
    """The full hour before `now`, in UTC."""
    return now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _write(task: tuple[World, int, Path]) -> None:
    world, start, path = task
    records = world.records(start, min(EVENTS_PER_FILE, world.events - start))
    aside = path.with_suffix(".part")
    records.write_parquet(aside, compression="zstd", row_group_size=100_000)
    aside.replace(path)


def _spoiled(records: pl.DataFrame, index: Counts) -> pl.DataFrame:
    """One record of a thousand made such that it cannot become an event, in one of three ways."""
    bad = _bits(index, 6) % np.uint64(3_000)
    fault = pl.Series(np.where(bad < 3, bad, 3).astype(np.int8))
    return records.with_columns(
        type=pl.when(fault == 0).then(pl.lit("charge.creatoin")).otherwise("type"),
        currency=pl.when(fault == 1).then(pl.lit("XXQ")).otherwise("currency"),
        effective_at=pl.when(fault == 2).then(None).otherwise("effective_at"),
    )


def _pattern(counts: tuple[int, ...]) -> tuple[Counts, Counts]:
    """The types of a block of records, in an order that mixes them, and each one's rank among its type."""
    kinds = np.repeat(np.arange(len(counts)), counts)
    kinds = kinds[np.random.default_rng(1).permutation(_BLOCK)]
    ranks = np.zeros(_BLOCK, dtype=np.int64)
    for kind in range(len(counts)):
        ranks[kinds == kind] = np.arange(counts[kind])
    return kinds.astype(np.int64), ranks


def _mixed(values: Bits) -> Bits:
    """SplitMix64: 64 bits that look random for each value."""
    with np.errstate(over="ignore"):
        mixed = values * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def _bits(places: Counts, stream: int | Counts) -> Bits:
    return _mixed(_mixed(places.astype(np.uint64)) ^ _mixed(np.asarray(stream, dtype=np.uint64)))


def _share(bits: Bits) -> npt.NDArray[np.float64]:
    return (bits >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _chosen(values: tuple[str, ...] | list[str], place: Bits) -> pl.Series:
    return pl.Series(list(values))[place.astype(np.int64)]


def _things(number: Counts, family: Counts) -> pl.Series:
    """The value of a property with very many values: its kind and 64 random bits as 11 letters and digits."""
    bits = _bits(number, family + 1000)
    letters = np.empty((len(number), 11), dtype=np.uint8)
    for place in range(11):
        letters[:, place] = _ALPHABET[(bits % np.uint64(62)).astype(np.int64)]
        bits //= np.uint64(62)
    texts = pl.Series(letters.view("S11").ravel().astype(object)).cast(pl.Binary).cast(pl.String)
    prefixes = pl.Series(family).replace_strict({10: "ch_", 20: "po_", 30: "dp_", 40: ""}, return_dtype=pl.String)
    return prefixes + texts


def _names(prefix: str, number: Counts, stream: Counts) -> pl.Series:
    """Random strings of 20 to 30 characters, prefix included: the same for the same number and stream."""
    least, most = 20 - len(prefix), 30 - len(prefix)
    letters = np.empty((len(number), 30), dtype=np.uint8)
    for part in range(3):
        bits = _bits(number, stream + 1000 * (part + 1))
        for place in range(10):
            letters[:, part * 10 + place] = _ALPHABET[(bits % np.uint64(62)).astype(np.int64)]
            bits //= np.uint64(62)
    lengths = least + (_bits(number, stream + 9000) % np.uint64(most - least + 1)).astype(np.int64)
    texts = pl.Series(np.ascontiguousarray(letters[:, :most]).view(f"S{most}").ravel().astype(object)).cast(pl.Binary)
    shortened = texts.cast(pl.String).to_frame("text").with_columns(length=pl.Series(lengths))
    return shortened.select(pl.lit(prefix) + pl.col("text").str.slice(0, pl.col("length"))).to_series()
