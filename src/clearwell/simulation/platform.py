"""The cast of the simulated platform: currencies, card networks, banks and businesses.

Refuses to make events: `sales` and `treasury` do that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clearwell.simulation.identifiers import identifiers

CURRENCIES = pl.Series(["USD", "EUR", "GBP", "JPY", "BRL"])
BANKS = pl.Series(["hudson_bank", "rhine_bank", "thames_bank", "sumida_bank", "tiete_bank"])
"""One bank per currency, in the order of `CURRENCIES`."""
NETWORKS = pl.Series(["visa", "mastercard", "amex", "discover"])
NETWORK_SHARES = np.array([0.52, 0.33, 0.10, 0.05])
MINOR_PER_100_USD = np.array([10_000, 9_259, 7_874, 15_384, 55_555], dtype=np.int64)
"""Fixed rates, in the order of `CURRENCIES`; whole numbers, so that conversions are exact."""

BRL = 4
"""The place of the currency whose sales the networks settle a month later."""

_CURRENCY_SHARES = np.array([0.45, 0.25, 0.12, 0.08, 0.10])
_ZIPF_EXPONENT = 1.05
_SELLS_ABROAD = 0.25
_SHARE_ABROAD = 0.2
_MARKETPLACES = 0.08
_SHARE_TRANSFERRED = 0.3


@dataclass(frozen=True)
class Businesses:
    """The businesses of one world; every array has one row per business.

    `currency` has two columns: the home currency and the one of sales abroad, as positions in `CURRENCIES`.
    `cumulative_share` ends at 1; `typical_usd` is the median price of a sale; `share_transferred` is the share of a
    marketplace's sales that belong to connected sellers, and 0 for all others.
    """

    ids: pl.Series
    currency: NDArray[np.int64]
    share_abroad: NDArray[np.float64]
    cumulative_share: NDArray[np.float64]
    typical_usd: NDArray[np.float64]
    share_transferred: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids)

    def sellers_of(self, rng: np.random.Generator, currency: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each currency any business whose home currency it is: its row, or -1 when there is none."""
        by_home = np.argsort(self.currency[:, 0], kind="stable")
        first = np.searchsorted(self.currency[by_home, 0], np.arange(len(CURRENCIES) + 1))
        many = np.diff(first)[currency]
        place = first[currency] + (rng.random(len(currency)) * many).astype(np.int64)
        return np.where(many > 0, by_home[np.minimum(place, len(self) - 1)], -1)


def draw_businesses(rng: np.random.Generator, count: int) -> Businesses:
    """Draw `count` businesses, at least two: a few have most of the sales (Zipf), a quarter sell in a second currency,
    and some are marketplaces.
    """
    weights = 1.0 / np.arange(1, count + 1) ** _ZIPF_EXPONENT
    cumulative = np.cumsum(weights)
    home = rng.choice(len(CURRENCIES), count, p=_CURRENCY_SHARES)
    abroad = (home + rng.integers(1, len(CURRENCIES), count)) % len(CURRENCIES)
    marketplace = rng.random(count) < _MARKETPLACES
    marketplace[1] = True  # However small the world, it has one.
    return Businesses(
        ids=identifiers(rng, "acct_", count),
        currency=np.stack([home, abroad], axis=1).astype(np.int64),
        share_abroad=np.where(rng.random(count) < _SELLS_ABROAD, _SHARE_ABROAD, 0.0),
        cumulative_share=cumulative / cumulative[-1],
        typical_usd=rng.lognormal(np.log(35.0), 0.7, count),
        share_transferred=np.where(marketplace, _SHARE_TRANSFERRED, 0.0),
    )
