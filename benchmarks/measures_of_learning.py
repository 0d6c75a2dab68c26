"""Measures what is learned from history: the fit of windows."""

from __future__ import annotations

from decimal import Decimal

import lifelines  # noqa: F401 - what a new process costs is not the fit's
import numpy as np
import polars as pl

from clearwell.quality.expectations.windows import DURATIONS_SCHEMA, Rules, fit
from measuring import Measured, Task, timed

ACCOUNT_TYPES, EPISODES = 50, 200_000


def windows(_task: Task) -> Measured:
    """Fit 50 account types from the durations of 200,000 episodes each, of up to some days, 1 of 50 of them open."""
    random = np.random.default_rng(0)
    rules = Rules(Decimal("0.99"), Decimal("1.2"), 200)
    frames = [_durations(random, f"account_type_{number}") for number in range(ACCOUNT_TYPES)]
    with timed() as watch:
        fits = [fit(frame.match_to_schema(DURATIONS_SCHEMA, integer_cast="upcast"), rules) for frame in frames]
    assert all(found.state == "learned" for (found,) in fits)
    return Measured(
        {"learn-windows": watch.seconds}, watch.cpu_seconds, details={"rows": sum(item.height for item in frames)}
    )


def _durations(random: np.random.Generator, account_type: str) -> pl.DataFrame:
    """The durations of 200,000 episodes, counted by the second, as the books give them."""
    episodes = pl.DataFrame(
        {"seconds": random.lognormal(11, 1, 200_000).astype(np.int64), "is_open": random.random(200_000) < 0.02}
    )
    counted = episodes.group_by("seconds").agg(
        cleared_count=(~pl.col("is_open")).sum().cast(pl.Int64), open_count=pl.col("is_open").sum().cast(pl.Int64)
    )
    return counted.select(
        pl.lit(account_type).alias("account_type"), pl.lit("").alias("value"), "seconds", "cleared_count", "open_count"
    )
