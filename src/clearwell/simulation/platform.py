"""The cast of the simulated platform: currencies, card networks, banks and businesses.

Refuses to make events: `world` and `lifecycles` do that.
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

_CURRENCY_SHARES = np.array([0.45, 0.25, 0.12, 0.08, 0.10])
_ZIPF_EXPONENT = 1.05
_SELLS_ABROAD = 0.25
_SHARE_ABROAD = 0.2


@dataclass(frozen=True)
class Businesses:
    """The businesses of one world; every array has one row per business.

    `currency` has two columns: the home currency and the one of sales abroad, as positions in `CURRENCIES`.
    `cumulative_share` ends at 1; `typical_usd` is the median price of a sale.
    """

    ids: pl.Series
    currency: NDArray[np.int64]
    share_abroad: NDArray[np.float64]
    cumulative_share: NDArray[np.float64]
    typical_usd: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids)


def draw_businesses(rng: np.random.Generator, count: int) -> Businesses:
    """Draw `count` businesses: a few have most of the sales (Zipf), a quarter sell in a second currency."""
    weights = 1.0 / np.arange(1, count + 1) ** _ZIPF_EXPONENT
    cumulative = np.cumsum(weights)
    home = rng.choice(len(CURRENCIES), count, p=_CURRENCY_SHARES)
    abroad = (home + rng.integers(1, len(CURRENCIES), count)) % len(CURRENCIES)
    return Businesses(
        ids=identifiers(rng, "acct_", count),
        currency=np.stack([home, abroad], axis=1).astype(np.int64),
        share_abroad=np.where(rng.random(count) < _SELLS_ABROAD, _SHARE_ABROAD, 0.0),
        cumulative_share=cumulative / cumulative[-1],
        typical_usd=rng.lognormal(np.log(35.0), 0.7, count),
    )
