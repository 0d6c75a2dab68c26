"""Encrypts the personal values of events on their way into the log, and decrypts them for whoever may read.

Each distinct value is encrypted once. Events of a model without personal properties pass untouched, and no key is
looked at. A personal value never passes in clear: one without a subject is our mistake, and stops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import polars as pl

from clearwell.catalog.keys import SubjectKeys
from clearwell.flows.model import Model
from clearwell.values import columns
from clearwell.values.encrypted import ERASED, PREFIX, SubjectKey, Unreadable, key_of

Contents = dict[str, str | Unreadable]
"""The clear text of each stored one, or why there is none."""

_OPENED_AT_A_TIME = 10_000


class Encryption:
    """Puts the stored form in the place of the values that a model says are personal."""

    def __init__(self, model: Model, keys: Callable[[], SubjectKeys]) -> None:
        """`keys` opens the file of keys; it is called when there is something to encrypt."""
        self._keys = keys
        self._subject_columns: dict[str, dict[str, list[str]]] = {}
        """By personal property: the columns that name its subject, each with the event types where it does."""
        for event in model.event_types.values():
            for item in event.personal:
                column = columns.property_column(item.subject or item.name)
                self._subject_columns.setdefault(item.name, {}).setdefault(column, []).append(event.name)

    def encrypted(self, events: pl.DataFrame, seen_at: str) -> pl.DataFrame:
        """Validated `events` as they may be stored. New keys are durable when this returns.

        Raises StorageError when the keys cannot be read or written.
        """
        names = [name for name in self._subject_columns if columns.property_column(name) in events.columns]
        if not names:
            return events
        pairs = {name: self._pairs(events, name) for name in names}
        subjects = pl.concat([pair["subject"] for pair in pairs.values()]).unique()
        if subjects.null_count():
            raise AssertionError(f"a value of {', '.join(names)} has no subject")
        keys = self._keys().for_subjects(subjects.to_list(), seen_at)
        for name, pair in pairs.items():
            stored = [_encrypted(name, value, keys[subject]) for subject, value in pair.iter_rows()]
            events = self._replaced(events, name, pair.with_columns(stored=pl.Series(stored, dtype=pl.String)))
        return events

    def _pairs(self, events: pl.DataFrame, name: str) -> pl.DataFrame:
        """The different pairs of subject and value."""
        value = pl.col(columns.property_column(name))
        return events.select(subject=self._subject(name), value=value).filter(pl.col("value").is_not_null()).unique()

    def _subject(self, name: str) -> pl.Expr:
        return pl.coalesce(
            pl.when(pl.col("type").is_in(types)).then(pl.col(column))
            for column, types in self._subject_columns[name].items()
        )

    def _replaced(self, events: pl.DataFrame, name: str, pairs: pl.DataFrame) -> pl.DataFrame:
        column = columns.property_column(name)
        return (
            events.with_columns(subject=self._subject(name))
            .join(pairs, left_on=["subject", column], right_on=["subject", "value"], how="left", maintain_order="left")
            .with_columns(pl.col("stored").alias(column))
            .drop("subject", "stored")
        )


class Decryption:
    """Gives stored values their clear text back, as far as their keys still exist."""

    def __init__(self, keys: Callable[[], SubjectKeys | None]) -> None:
        """`keys` opens the file of keys; None means that there is none."""
        self._keys = keys

    def contents(self, name: str, stored: Iterable[str]) -> Contents:
        """What these texts of the property `name` say; a text that is not encrypted says itself."""
        found: Contents = {}
        by_key: dict[str, list[str]] = {}
        for text in stored:
            found[text] = Unreadable.ERASED if text == ERASED else text
            if (identifier := key_of(text)) is not None:
                by_key.setdefault(identifier, []).append(text)
        wanted = list(by_key)
        for start in range(0, len(wanted), _OPENED_AT_A_TIME):
            some = wanted[start : start + _OPENED_AT_A_TIME]
            keys = file.by_identifier(some) if (file := self._keys()) else {}
            for identifier in some:
                key = keys.get(identifier, Unreadable.LOST)
                for text in by_key[identifier]:
                    found[text] = key.decrypted(name, text) if isinstance(key, SubjectKey) else key
        return found

    def shown(self, name: str, stored: Iterable[str]) -> dict[str, str]:
        """As `contents`, for readers: `(erased)` or `(unreadable)` where there is no clear text."""
        contents = self.contents(name, stored)
        return {text: item.value if isinstance(item, Unreadable) else item for text, item in contents.items()}

    def search_texts(self, name: str, value: str) -> list[str]:
        """The texts as which the log may hold `value` of a property whose subject is the value itself."""
        file = self._keys()
        key = file.of_subject(value) if file else None
        return [value, key.encrypted(name, value)] if isinstance(key, SubjectKey) else [value]


def may_be_encrypted(column: pl.Expr) -> pl.Expr:
    """Whether a stored text may be an encrypted or an erased one."""
    return column.str.starts_with(PREFIX)


def _encrypted(name: str, value: str, key: SubjectKey | Unreadable) -> str:
    return key.encrypted(name, value) if isinstance(key, SubjectKey) else ERASED
