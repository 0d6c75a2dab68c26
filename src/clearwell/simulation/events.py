"""The events of the simulated platform as frames: their columns, and how one frame of one type is made.

Refuses to know what an event means: `lifecycles` does that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clearwell.simulation.delivery import INSTANT, PRODUCERS, Instants, deliver
from clearwell.simulation.identifiers import identifiers
from clearwell.simulation.lifecycles import Step
from clearwell.values.columns import amount_column, currency_column, property_column

PROPERTIES = (
    *("charge", "business", "network", "refund", "dispute", "transfer", "seller"),
    *("payout", "bank", "conversion", "settlement"),
)
AMOUNTS = (
    *("gross", "net", "fee", "refunded", "disputed", "dispute_fee", "transferred"),
    *("paid_out", "sold", "bought", "settled"),
)
_EVENT_COLUMNS: dict[str, type[pl.DataType] | pl.DataType] = {
    "type": pl.String,
    "id": pl.String,
    "effective_at": INSTANT,
    "occurred_at": INSTANT,
    **{property_column(name): pl.String for name in PROPERTIES},
    **{amount_column(name): pl.Int64 for name in AMOUNTS},
    **{currency_column(name): pl.String for name in AMOUNTS},
}
EVENT_SCHEMA = pl.Schema(_EVENT_COLUMNS)
"""The columns of a chunk of events."""

STREAM_SCHEMA = pl.Schema({**EVENT_SCHEMA, "recorded_at": INSTANT})
"""The same with the instant at which each event arrives, by which the stream is ordered."""


@dataclass(frozen=True)
class Content:
    """What the events of one frame say, each column one value per event; `bank` numbers the bank of a daily file."""

    properties: Mapping[str, pl.Series]
    amounts: Mapping[str, tuple[NDArray[np.int64], pl.Series]]
    bank: NDArray[np.int64] | None = None


def event_frame(rng: np.random.Generator, step: Step, effective: Instants, content: Content) -> pl.DataFrame:
    """One event per instant, with an id, delivered as its producer does.

    The columns are those of `STREAM_SCHEMA` that events of this type have.
    """
    occurred, recorded = deliver(rng, PRODUCERS[step.producer], effective, content.bank)
    columns: dict[str, pl.Series] = {
        "id": identifiers(rng, "evt_", len(effective)),
        "effective_at": pl.Series(effective).cast(INSTANT),
        "occurred_at": pl.Series(occurred).cast(INSTANT),
        "recorded_at": pl.Series(recorded).cast(INSTANT),
    }
    columns |= {property_column(name): values for name, values in content.properties.items()}
    for name, (values, currency) in content.amounts.items():
        columns |= {amount_column(name): pl.Series(values), currency_column(name): currency}
    return pl.DataFrame(columns).with_columns(type=pl.lit(step.event_type))
