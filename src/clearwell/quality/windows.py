"""Clearing windows as relations: when each account type's episodes are due.

Fixed windows are seconds; business days are a table from opening day to due day, made for the days that occur.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np
import polars as pl

from clearwell.flows.model import AccountType, Model
from clearwell.values.durations import BusinessDays, FixedDuration

WINDOWS_SCHEMA = pl.Schema(
    {
        "position": pl.Int64,
        "flow": pl.String,
        "account_type": pl.String,
        "owner": pl.String,
        "kind": pl.String,
        "window_seconds": pl.Int64,
        "business_calendar": pl.Boolean,
    }
)
"""One row per account type. Both `window_seconds` null and `business_calendar` false: learned, or a reservoir."""

BUSINESS_SCHEMA = pl.Schema({"account_type": pl.String, "opened_day": pl.Date, "due_day": pl.Date})
"""For account types with business days: the local due day of each local day on which an episode opened."""


def windows(model: Model) -> pl.DataFrame:
    """The account types of `model`, with their windows."""
    rows = [
        (position, item.flow, item.name, item.owner, item.kind, *_window(item))
        for position, item in enumerate(model.account_types.values())
    ]
    return pl.DataFrame(rows, schema=WINDOWS_SCHEMA, orient="row")


def business_windows(model: Model, days: Mapping[str, tuple[date, date]]) -> pl.DataFrame:
    """Due days for every day between the first and the last of `days`, by account type."""
    frames = [pl.DataFrame(schema=BUSINESS_SCHEMA)]
    if not days:
        return frames[0]
    from clearwell.values.calendars import business_day_after  # The holidays of the world are slow to import.

    for name, (first, last) in days.items():
        window = model.account_types[name].clears_within
        if isinstance(window, BusinessDays):
            opened = np.arange(np.datetime64(first), np.datetime64(last) + 1)
            due = business_day_after(opened, window.days, window.calendar)
            frames.append(pl.DataFrame({"account_type": [name] * len(opened), "opened_day": opened, "due_day": due}))
    return pl.concat([frames[0], *(frame.match_to_schema(BUSINESS_SCHEMA) for frame in frames[1:])])


def _window(account_type: AccountType) -> tuple[int | None, bool]:
    match account_type.clears_within:
        case FixedDuration(seconds=seconds):
            return seconds, False
        case BusinessDays():
            return None, True
        case _:
            return None, False
