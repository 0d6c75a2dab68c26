"""Finds, for a whole batch at once, the few records that may have to be refused; all others are beyond doubt.

The conditions are those of `ledger.validation`, without telling which of them fails. To look closely at the few only,
and to ask of each column what all event types want of it, takes a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from clearwell.flows.model import EventType, Model
from clearwell.values import columns
from clearwell.values.frames import selected

ID_BYTES = 256
PROPERTY_BYTES = 512
LARGEST_AMOUNT = 2**63 - 1
CONTROL_CHARACTERS = [*map(chr, range(0x20)), "\x7f"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_PRINTED, _LAST_PRINTED = 0x20, 0x7E

Mask = npt.NDArray[np.bool_]


def doubtful(
    given: pl.DataFrame, typed: pl.DataFrame, model: Model, latest: Mapping[str, datetime], currencies: Collection[str]
) -> Mask:
    """The rows that may have to be refused. `given` and `typed` are the same records, row by row.

    No instant may be after the `latest` one of its column; `currencies` are those that are known.
    """
    events = list(model.event_types.values())
    properties = [name for name in typed.columns if name.startswith(columns.PROPERTY_PREFIX)]
    amounts = [name for name in typed.columns if name.startswith(columns.AMOUNT_PREFIX)]
    # All that is asked of columns is asked at once: each step has a fixed cost.
    asked = _conditions(tuple(model.event_types), tuple(properties), tuple(amounts), tuple(currencies))
    found = selected(typed, *asked)
    of = {column.name: column.to_numpy() for column in found}
    rows: Mask = of["number"] == len(events)

    def among(event_types: Collection[str]) -> Mask:
        """The rows of one of these event types."""
        wanted = np.array([*(event.name in event_types for event in events), False])
        found: Mask = wanted[of["number"]] if event_types else np.zeros(len(rows), dtype=np.bool_)
        return found

    for name, limit in latest.items():
        too_late = typed[name].to_physical() > (limit - _EPOCH) // timedelta(microseconds=1)
        rows |= (too_late.is_null() | too_late).to_numpy()
    for name in ("id", "producer", *(f"form of {name}" for name in properties)):
        rows |= of[name]
    for name in ("id", *properties):
        rows |= _has_control(typed[name])
    for name in model.property_names:
        needed = among({event.name for event in events if name in event.required_properties})
        rows |= ~of[columns.property_column(name)] & needed
    for name in model.personal_names:
        present = of[columns.property_column(name)]
        rows |= present & ~among({event.name for event in events if name in _personal(event)})
        for subject in {_personal(event).get(name) for event in events} - {None}:
            own = among({event.name for event in events if _personal(event).get(name) == subject})
            rows |= present & ~of[columns.property_column(str(subject))] & own
    for name in amounts:
        rules = [
            (event.name, rule) for event in events for rule in event.amounts if columns.amount_column(rule.name) == name
        ]
        declared = among({event for event, _rule in rules})
        rows |= given[name].is_not_null().to_numpy() & ~declared
        rows |= of[name] & declared
        rows |= of[f"sign of {name}"] & declared & ~among({event for event, rule in rules if rule.signed})
    return rows


@lru_cache(maxsize=8)
def _conditions(
    event_types: tuple[str, ...], properties: tuple[str, ...], amounts: tuple[str, ...], currencies: tuple[str, ...]
) -> list[pl.Expr]:
    """What is asked of every row. To make the expressions takes longer than to ask them of a small batch."""
    told = pl.col("type").cast(pl.Enum(event_types), strict=False).to_physical().cast(pl.Int32)
    return [
        told.fill_null(len(event_types)).alias("number"),
        (pl.col("id").is_null() | (pl.col("id") == "") | (pl.col("id").str.len_bytes() > ID_BYTES)).alias("id"),
        pl.col("producer").is_not_null(),  # Rare: whoever says it again is looked at closely.
        *(pl.col(name).is_not_null() for name in properties),
        *(_is_misformed(name).fill_null(value=False).alias(f"form of {name}") for name in properties),
        *(_is_wrong(name, currencies).fill_null(value=True).alias(name) for name in amounts),
        *((pl.col(name) < 0).fill_null(value=False).alias(f"sign of {name}") for name in amounts),
    ]


def _is_misformed(name: str) -> pl.Expr:
    return (pl.col(name) == "") | (pl.col(name).str.len_bytes() > PROPERTY_BYTES)


def _is_wrong(name: str, currencies: tuple[str, ...]) -> pl.Expr:
    """That there is no sound amount in the column `name`, or no known currency beside it."""
    currency = pl.col(columns.currency_column(name.removeprefix(columns.AMOUNT_PREFIX)))
    sound = pl.col(name).is_not_null() & (pl.col(name) >= -LARGEST_AMOUNT)
    return ~(sound & currency.is_in(pl.lit(pl.Series(currencies, dtype=pl.String).implode())))


def _personal(event: EventType) -> dict[str, str | None]:
    """The personal properties of an event type, each with the property that says whose it is."""
    return {item.name: item.subject for item in event.personal}


def _has_control(texts: pl.Series) -> Mask | bool:
    """Which of the texts have control characters; looks at single ones only where not all are plain ASCII."""
    letters = texts.to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()[2]
    found = np.frombuffer(letters, dtype=np.uint8) if letters is not None else np.empty(0, dtype=np.uint8)
    if not len(found) or (found.min() >= _FIRST_PRINTED and found.max() <= _LAST_PRINTED):
        return False
    rows: Mask = texts.str.contains_any(CONTROL_CHARACTERS).fill_null(value=False).to_numpy()
    return rows
