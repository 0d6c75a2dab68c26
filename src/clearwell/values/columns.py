"""The names of an event's columns: one naming for input tables, sources, segments and views.

An event's property `charge` is the column `property_charge`; its amount `gross` is the columns `amount_gross`
(an integer in minor units) and `currency_gross`. Everything else an event has is in `ENVELOPE`.
"""

from __future__ import annotations

from collections.abc import Iterable

PROPERTY_PREFIX = "property_"
AMOUNT_PREFIX = "amount_"
CURRENCY_PREFIX = "currency_"
OTHER_PROPERTIES = "other_properties"
RECORDED_AT = "recorded_at"
"""When an event was recorded. Input has it only where history is imported."""

ENVELOPE = ("type", "id", "producer", "effective_at", "occurred_at")
"""The columns every event has, besides its properties and amounts. `producer` may be left out on input."""


def property_column(name: str) -> str:
    """The column that holds the event property `name`."""
    return PROPERTY_PREFIX + name


def amount_column(name: str) -> str:
    """The column that holds the value of the amount `name`, in minor units."""
    return AMOUNT_PREFIX + name


def currency_column(name: str) -> str:
    """The column that holds the currency of the amount `name`."""
    return CURRENCY_PREFIX + name


def names_with_prefix(columns: Iterable[str], prefix: str) -> list[str]:
    """The names behind `prefix` among `columns`, in their order."""
    return [column.removeprefix(prefix) for column in columns if column.startswith(prefix)]
