"""Finds, for a whole batch at once, the few records that may have to be refused; all others are beyond doubt.

The conditions are those of `ledger.validation`, without telling which of them fails. To look closely at the few only,
and to ask of each column what all event types want of it, takes a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from clearwell.flows.model import EventType, Model
from clearwell.values import columns

ID_BYTES = 256
PROPERTY_BYTES = 512
LARGEST_AMOUNT = 2**63 - 1
CONTROL_CHARACTERS = [*map(chr, range(0x20)), "\x7f"]

_FIRST_PRINTED, _LAST_PRINTED = 0x20, 0x7E

Mask = npt.NDArray[np.bool_]


class Doubts:
    """The rows of a batch that may have to be refused. `given` and `typed` are the same records, row by row."""

    def __init__(self, given: pl.DataFrame, typed: pl.DataFrame, model: Model) -> None:
        """Doubt what is of no declared type; ask for more by the methods."""
        self._given, self._typed, self._model = given, typed, model
        self._events = list(model.event_types.values())
        told = typed["type"].cast(pl.Enum(list(model.event_types)), strict=False).to_physical().cast(pl.Int32)
        self._numbers = told.fill_null(len(self._events)).to_numpy()
        self.rows: Mask = self._numbers == len(self._events)

    def of_envelope(self, latest: Mapping[str, datetime]) -> None:
        """Doubt ids, producers, and instants that are missing, or after the `latest` of their column."""
        ids = self._typed["id"]
        self._doubt(ids.is_null() | (ids == "") | (ids.str.len_bytes() > ID_BYTES) | _has_control(ids))
        producers = self._typed["producer"]
        if producers.null_count() < len(producers):
            self._doubt(producers.is_not_null())  # Rare: whoever says it again is looked at closely.
        for name, limit in latest.items():
            value = self._typed[name]
            self._doubt(value.is_null() | (value > limit))

    def of_properties(self) -> None:
        """Doubt properties that are needed and missing, of a wrong form, or personal where nobody says whose."""
        present = {}
        for name in (name for name in self._typed.columns if name.startswith(columns.PROPERTY_PREFIX)):
            value = self._typed[name]
            present[name] = value.is_not_null().to_numpy()
            if value.null_count() < len(value):
                bad = (value == "") | (value.str.len_bytes() > PROPERTY_BYTES) | _has_control(value)
                self._doubt(bad.fill_null(value=False))
        for name in self._model.property_names:
            needed = self._is_of({event.name for event in self._events if name in event.required_properties})
            self._doubt(~present[columns.property_column(name)] & needed)
        for name in self._model.personal_names:
            given = present[columns.property_column(name)]
            self._doubt(given & ~self._is_of({event.name for event in self._events if name in _personal(event)}))
            for subject in {_personal(event).get(name) for event in self._events} - {None}:
                missing = given & ~present[columns.property_column(str(subject))]
                self._doubt(missing & self._is_of({e.name for e in self._events if _personal(e).get(name) == subject}))

    def of_amounts(self, currencies: Iterable[str]) -> None:
        """Doubt amounts that are missing, unknown, no whole number, out of bounds, or in no known currency."""
        known = list(currencies)
        for column in (name for name in self._given.columns if name.startswith(columns.AMOUNT_PREFIX)):
            name = column.removeprefix(columns.AMOUNT_PREFIX)
            value = self._typed[column]
            rules = [(event.name, rule) for event in self._events for rule in event.amounts if rule.name == name]
            declared = self._is_of({event for event, _rule in rules})
            signed = self._is_of({event for event, rule in rules if rule.signed})
            self._doubt(self._given[column].is_not_null().to_numpy() & ~declared)
            currency = self._typed[columns.currency_column(name)]
            wrong = value.is_null() | (value < -LARGEST_AMOUNT) | currency.is_null() | ~currency.is_in(known)
            self._doubt(wrong.fill_null(value=True).to_numpy() & declared)
            self._doubt((value < 0).fill_null(value=False).to_numpy() & declared & ~signed)

    def _doubt(self, rows: pl.Series | Mask) -> None:
        if isinstance(rows, pl.Series):
            rows = rows.fill_null(value=True).to_numpy()
        self.rows |= rows

    def _is_of(self, event_types: set[str]) -> Mask:
        """The rows of one of these event types."""
        wanted = np.array([*(event.name in event_types for event in self._events), False])
        rows: Mask = wanted[self._numbers] if event_types else np.zeros(len(self._numbers), dtype=np.bool_)
        return rows


def _personal(event: EventType) -> dict[str, str | None]:
    """The personal properties of an event type, each with the property that says whose it is."""
    return {item.name: item.subject for item in event.personal}


def _has_control(texts: pl.Series) -> pl.Series:
    """Which of the texts have control characters; looks at single ones only where not all are plain ASCII."""
    letters = texts.to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()[2]
    found = np.frombuffer(letters, dtype=np.uint8) if letters is not None else np.empty(0, dtype=np.uint8)
    if not len(found) or (found.min() >= _FIRST_PRINTED and found.max() <= _LAST_PRINTED):
        return pl.repeat(value=False, n=len(texts), eager=True)
    return texts.str.contains_any(CONTROL_CHARACTERS)
