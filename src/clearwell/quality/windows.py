"""Clearing windows as relations: when each account type's episodes are due.

Fixed windows are seconds, and so are learned ones that were accepted; business days are a table from opening day to due
day, made for the days that occur.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from clearwell.flows.model import AccountType, Model
from clearwell.ledger.views import quoted_text
from clearwell.values.durations import BusinessDays, FixedDuration, Learned


def windows(model: Model, learned: Mapping[str, int]) -> str:
    """The account types of `model` with their windows, as SQL: one row per account type.

    `learned` has the seconds, by account type, of the windows that were learned and accepted. Both `window_seconds`
    null and `business_calendar` false: to be learned and none accepted yet, or a reservoir.
    """
    rows = [
        f"({position}, {_texts(item.flow, item.name, item.owner, item.kind)}, {_window(item, learned)})"
        for position, item in enumerate(model.account_types.values())
    ]
    return f"""
    SELECT position, flow, account_type, owner, kind, window_seconds::BIGINT AS window_seconds, business_calendar
    FROM (VALUES {", ".join(rows)})
        AS given (position, flow, account_type, owner, kind, window_seconds, business_calendar)
    """


def has_business_days(model: Model) -> bool:
    """Whether a window of the model is of business days."""
    return any(isinstance(item.clears_within, BusinessDays) for item in model.account_types.values())


def has_learned(model: Model) -> bool:
    """Whether a window of the model is to be learned."""
    return any(isinstance(item.clears_within, Learned) for item in model.account_types.values())


def business_windows(
    model: Model, days: Mapping[str, tuple[date, date]]
) -> dict[str, tuple[Sequence[date], Sequence[date]]]:
    """For account types with business days: the days from the first to the last of `days`, and when each is due."""
    import numpy as np  # These take long to import, the holidays of the world above all.

    from clearwell.values.calendars import business_day_after

    found: dict[str, tuple[Sequence[date], Sequence[date]]] = {}
    for name, (first, last) in days.items():
        window = model.account_types[name].clears_within
        if isinstance(window, BusinessDays):
            opened = np.arange(np.datetime64(first), np.datetime64(last) + 1)
            due = business_day_after(opened, window.days, window.calendar)
            found[name] = (opened.tolist(), due.tolist())
    return found


def _texts(*texts: str) -> str:
    return ", ".join(map(quoted_text, texts))


def _window(account_type: AccountType, learned: Mapping[str, int]) -> str:
    match account_type.clears_within:
        case FixedDuration(seconds=seconds):
            return f"{seconds}, false"
        case BusinessDays():
            return "NULL, true"
        case Learned() if account_type.name in learned:
            return f"{learned[account_type.name]}, false"
        case _:
            return "NULL, false"
