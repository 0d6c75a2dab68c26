"""Posting as SQL text: the moves of models as one query over a relation of events, for people's own questions.

Says the same as `ledger.posting`; a property test holds the two together. Runs nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clearwell.flows.model import AccountReference, Model, PropertyValue
from clearwell.values import columns
from clearwell.values.accounts import SEPARATOR


@dataclass(frozen=True)
class _Side:
    """One side of a move of an event type: what makes one entry."""

    event_type: str
    entry_index: int
    amount: str
    reference: AccountReference


def entries_query(models: Mapping[str, Model], event_columns: Collection[str], events: str = "events") -> str:
    """A query for the entries of the relation `events`: `ENTRY_SCHEMA`, and the type and id of the event.

    `models` holds every version that occurs; `event_columns` are those that the relation has.
    """
    versions: dict[_Side, list[str]] = defaultdict(list)
    for version, model in models.items():
        for event in model.event_types.values():
            for number, move in enumerate(event.moves):
                if columns.amount_column(move.amount) in event_columns:
                    versions[_Side(event.name, 2 * number, move.amount, move.source)].append(version)
                    versions[_Side(event.name, 2 * number + 1, move.amount, move.destination)].append(version)
    queries = [f"{_entry(side, event_columns)} FROM {events} {_of(side, under)}" for side, under in versions.items()]
    return "\nUNION ALL\n".join(queries) or f"{_NOTHING} FROM {events} WHERE false"


_EVENT = "SELECT sequence, type, id, effective_at, recorded_at"
_NOTHING = (
    f"{_EVENT}, 0::SMALLINT AS entry_index, '' AS account_type, '' AS account, '' AS currency, 0::BIGINT AS amount"
)


def _entry(side: _Side, event_columns: Collection[str]) -> str:
    sign = "" if side.entry_index % 2 else "-"
    return (
        f"{_EVENT}, {side.entry_index}::SMALLINT AS entry_index, "
        f"{quoted_text(side.reference.account_type)} AS account_type, "
        f"{_key(side.reference, event_columns)} AS account, "
        f"{quoted_name(columns.currency_column(side.amount))} AS currency, "
        f"{sign}{quoted_name(columns.amount_column(side.amount))} AS amount"
    )


def _of(side: _Side, versions: Collection[str]) -> str:
    among = ", ".join(map(quoted_text, sorted(versions)))
    value = quoted_name(columns.amount_column(side.amount))
    return f"WHERE type = {quoted_text(side.event_type)} AND model_version IN ({among}) AND {value} <> 0"


def _key(reference: AccountReference, event_columns: Collection[str]) -> str:
    values = [_value(item, event_columns) for item in reference.values]
    return f" || chr({ord(SEPARATOR)}) || ".join(values) if values else "''"


def _value(item: PropertyValue, event_columns: Collection[str]) -> str:
    if item.source == "constant":
        return quoted_text(item.value)
    column = columns.property_column(item.value)
    return quoted_name(column) if column in event_columns else "NULL::VARCHAR"


def quoted_name(name: str) -> str:
    """A name quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def with_values(query: str, values: Mapping[str, Any]) -> str:
    """The query with a literal in the place of each `$NAME` of `values`, which are texts, instants or whole numbers.

    DuckDB could be given them as parameters. But where pandas is installed, it imports that for the first of them.
    """

    def literal(match: re.Match[str]) -> str:
        value = values.get(match[1])
        match value:
            case None:
                return match[0]
            case datetime():
                return f"TIMESTAMPTZ '{value.astimezone(UTC).isoformat()}'"
            case str():
                return quoted_text(value)
            case _:
                return str(int(value))

    return re.sub(r"\$([a-z_0-9]+)", literal, query)


def quoted_text(text: str) -> str:
    """A text for SQL, whose literals cannot hold U+0000: that is computed."""
    if "\0" in text:
        return "(" + " || chr(0) || ".join(map(quoted_text, text.split("\0"))) + ")"
    return "'" + text.replace("'", "''") + "'"
