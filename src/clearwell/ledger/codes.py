"""Numbers that stand for an account type with a currency: telling, sorting and storing them takes far less than names.

A number means something together with the `AccountCodes` that gave it, nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

NAMES = ("account_type", "currency")
"""What a code stands for."""

CODE = pl.Int32()

_MOST_CURRENCIES = 1 << 16


class AccountCodes:
    """The codes of all names that were met; new names get new codes."""

    def __init__(self, known: Iterable[tuple[int, str, str]] = ()) -> None:
        """Go on from the rows that `rows` gave."""
        self._names: tuple[list[str], list[str]] = ([], [])
        for code, *names in sorted(known):
            for place, number in enumerate(divmod(code, _MOST_CURRENCIES)):
                own = self._names[place]
                own += [""] * (number + 1 - len(own))
                own[number] = names[place]

    def coded(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with `code`, in place of the names."""
        account_type, currency = (self._numbers(frame[name], own) for name, own in zip(NAMES, self._names, strict=True))
        return frame.drop(NAMES).with_columns(code=account_type * _MOST_CURRENCIES + currency)

    def named(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with its names back."""
        numbers = (frame["code"] // _MOST_CURRENCIES, frame["code"] % _MOST_CURRENCIES)
        names = [
            pl.Series(name, own, dtype=pl.String).gather(places)
            for name, own, places in zip(NAMES, self._names, numbers, strict=True)
        ]
        return frame.drop("code").with_columns(names)

    def rows(self, codes: Iterable[int]) -> list[tuple[int, str, str]]:
        """Each code with the names that it stands for."""
        types, currencies = self._names
        return [(code, types[code // _MOST_CURRENCIES], currencies[code % _MOST_CURRENCIES]) for code in codes]

    @staticmethod
    def _numbers(column: pl.Series, names: list[str]) -> pl.Series:
        """The places of the column's values among `names`, to which those that are missing are added."""
        try:
            told = column.cast(pl.Enum(names))
        except pl.exceptions.InvalidOperationError:
            names += sorted(set(column.unique()) - set(names))
            told = column.cast(pl.Enum(names))
        return told.to_physical().cast(CODE)
