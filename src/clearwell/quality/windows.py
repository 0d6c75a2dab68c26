"""Clearing windows as relations: when each account type's episodes are due.

Fixed windows are seconds, and so are learned ones that were accepted; business days are a table from opening day to due
day, made for the days that occur.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from clearwell.flows.model import AccountType, Model
from clearwell.ledger.views import quoted_text
from clearwell.values.accounts import SEPARATOR
from clearwell.values.durations import BusinessDays, FixedDuration, Learned


@dataclass(frozen=True)
class LearnedSeconds:
    """A learned window: of an account type, and of those values of one of its properties that have their own."""

    seconds: int
    property_name: str = ""
    by_value: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class WindowKinds:
    """What the windows of a cut need beside `windows`: `business_windows`, and `value_windows`.

    `places` has the account types of which values have windows of their own, and the place of the property, from 1.
    """

    business_days: bool = True
    places: Mapping[str, int] = field(default_factory=dict)


def window_kinds(model: Model, learned: Mapping[str, LearnedSeconds]) -> WindowKinds:
    """What the windows of `model` need, with those that were `learned` and accepted."""
    places = {
        name: item.properties.index(learned[name].property_name) + 1
        for name, item in model.account_types.items()
        if isinstance(item.clears_within, Learned)
        and name in learned
        and learned[name].by_value
        and learned[name].property_name in item.properties
    }
    return WindowKinds(has_business_days(model), places)


def value_windows(kinds: WindowKinds, learned: Mapping[str, LearnedSeconds]) -> list[tuple[str, str, int]]:
    """Account type, value and seconds of the windows that values have of their own."""
    return [(name, value, seconds) for name in kinds.places for value, seconds in learned[name].by_value.items()]


def value_of(places: Mapping[str, int], rows: str = "") -> str:
    """The value of the property at its place in the key of an account of `rows`, as SQL; empty for other types."""
    owner = f"{rows}." if rows else ""
    cases = "".join(
        f"WHEN {quoted_text(name)} THEN split_part({owner}account, chr({ord(SEPARATOR)}), {place}) "
        for name, place in places.items()
    )
    return f"CASE {owner}account_type {cases}ELSE '' END" if cases else "''"


def windows(model: Model, learned: Mapping[str, LearnedSeconds]) -> str:
    """The account types of `model` with their windows, as SQL: one row per account type.

    `learned` has, by account type, the windows that were learned and accepted. Both `window_seconds` null and
    `business_calendar` false: to be learned and none accepted yet, or a reservoir. `least_seconds` and `most_seconds`
    are of all windows of the account type, those of values among them.
    """
    rows = [
        f"({position}, {_texts(item.flow, item.name, item.owner, item.kind)}, {_window(item, learned)})"
        for position, item in enumerate(model.account_types.values())
    ]
    return f"""
    SELECT * REPLACE (window_seconds::BIGINT AS window_seconds, least_seconds::BIGINT AS least_seconds,
        most_seconds::BIGINT AS most_seconds)
    FROM (VALUES {", ".join(rows)}) AS given
        (position, flow, account_type, owner, kind, window_seconds, least_seconds, most_seconds, business_calendar)
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


def _window(account_type: AccountType, learned: Mapping[str, LearnedSeconds]) -> str:
    match account_type.clears_within:
        case FixedDuration(seconds=seconds):
            return f"{seconds}, {seconds}, {seconds}, false"
        case BusinessDays():
            return "NULL, NULL, NULL, true"
        case Learned() if account_type.name in learned:
            own = learned[account_type.name]
            every = [own.seconds, *own.by_value.values()]
            return f"{own.seconds}, {min(every)}, {max(every)}, false"
        case _:
            return "NULL, NULL, NULL, false"
