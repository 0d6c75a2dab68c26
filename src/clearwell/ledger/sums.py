"""What events moved, and how much of it came late, summed by the quarter of an hour in which they were recorded.

Also by epochs of the log, so that a cut in the past needs to look at the events of few epochs.

The same as `quality.timeliness` says of the log, batch by batch; a property test holds the two together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import polars as pl

from clearwell.flows.model import EventType, Model
from clearwell.values import columns
from clearwell.values.periods import QUARTER_US
from clearwell.values.times import INSTANT

EVENT_SUMS_SCHEMA = pl.Schema(
    {
        "event_type": pl.String(),
        "currency": pl.String(),
        "quarter": pl.Int64(),
        "epoch": pl.Int64(),
        "span_to": INSTANT,
        "event_count": pl.Int64(),
        "money": pl.Int128(),
        "judged_count": pl.Int64(),
        "judged_money": pl.Int128(),
        "late_count": pl.Int64(),
        "late_money": pl.Int128(),
    }
)
"""`quarter` counts quarters of an hour since 1970, and `epoch` so many sequences as `EVENT_EPOCH_EVENTS`; `span_to` is
the greatest `effective_at`. An event counts once in each currency that it moved. Judged are
events whose type has a deadline, in the model that they were posted under, and late are those recorded after it."""

EVENT_EPOCH_EVENTS = 1 << 20

EVENT_SUMS_KEY = ("event_type", "currency", "quarter", "epoch")
_SUMS = list(EVENT_SUMS_SCHEMA)[5:]


def event_sums(events: pl.DataFrame, models: Mapping[str, Model]) -> pl.DataFrame:
    """The sums of a batch of events that `posting.post` can post, in `EVENT_SUMS_SCHEMA`, in no order."""
    parts = [
        part
        for (version, name), own in events.partition_by("model_version", "type", as_dict=True).items()
        for part in _parts(own.lazy(), models[str(version)].event_types[str(name)])
    ]
    return joined_sums(pl.collect_all(parts))


def joined_sums(sums: list[pl.DataFrame]) -> pl.DataFrame:
    """Sums of several batches as one."""
    whole = pl.concat([pl.DataFrame(schema=EVENT_SUMS_SCHEMA), *sums])
    return whole.group_by(EVENT_SUMS_KEY).agg(pl.max("span_to"), pl.col(_SUMS).sum()).select(*EVENT_SUMS_SCHEMA)


def _parts(events: pl.LazyFrame, event_type: EventType) -> Iterator[pl.LazyFrame]:
    moves = Counter(move.amount for move in event_type.moves)
    late = pl.lit(value=False)
    if event_type.arrives_within is not None:
        lag = pl.col("recorded_at").to_physical() - pl.col("occurred_at").to_physical()
        late = lag > event_type.arrives_within.seconds * 1_000_000
    judged = event_type.arrives_within is not None
    before: list[str] = []
    for amount, count in sorted(moves.items()):
        value, currency = pl.col(columns.amount_column(amount)), pl.col(columns.currency_column(amount))
        counted = pl.any_horizontal(
            pl.lit(value=False),
            *(
                (pl.col(columns.amount_column(name)) != 0) & (pl.col(columns.currency_column(name)) == currency)
                for name in before
            ),
        )
        own = events.filter(value != 0).select(
            event_type=pl.lit(event_type.name),
            currency=currency,
            quarter=pl.col("recorded_at").to_physical() // QUARTER_US,
            epoch=(pl.col("sequence") - 1) // EVENT_EPOCH_EVENTS,
            effective_at="effective_at",
            event_count=(~counted).cast(pl.Int64),
            money=value.cast(pl.Int128).abs() * count,
            late=late,
        )
        counts, money = pl.col("event_count").sum(), pl.col("money").sum()
        of_late = [pl.col(name).filter("late").sum().alias(f"late_{short}") for name, short in _SUMMED]
        yield (
            own.group_by(EVENT_SUMS_KEY)
            .agg(
                pl.max("effective_at").alias("span_to"),
                counts,
                money,
                *of_late,
                judged_count=counts if judged else pl.lit(0, pl.Int64),
                judged_money=money if judged else pl.lit(0, pl.Int128),
            )
            .select(*EVENT_SUMS_SCHEMA)
        )
        before.append(amount)


_SUMMED = (("event_count", "count"), ("money", "money"))
