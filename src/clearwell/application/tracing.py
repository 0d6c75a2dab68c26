"""The trace of a value: every event and account that it touches, as a time line; further steps on request."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import polars as pl

from clearwell.application.cutting import CutRequest, Known, known_at
from clearwell.application.questions import properties_of
from clearwell.application.workspace import Workspace
from clearwell.errors import UsageError
from clearwell.flows.model import AccountReference, AccountType, EventType, Model, PropertyValue
from clearwell.ledger.fold import EPISODE_SCHEMA, fold
from clearwell.ledger.posting import account_key_expression, entries_of
from clearwell.ledger.views import quoted_name, quoted_text
from clearwell.log.search import Alternative, Condition, found_by
from clearwell.values import columns
from clearwell.values.accounts import account_values
from clearwell.values.cuts import Cut
from clearwell.values.instants import format_instant

MOST_EVENTS = 10_000
MOST_ACCOUNTS = 1_000


@dataclass(frozen=True)
class Trace:
    """`events` in log order, each with its entries; `accounts` that these events touched. `truncated` says why not all.

    An account's `balance` at the cut is known when all its events are in the trace, and None otherwise.
    """

    cut: Cut
    events: list[dict[str, Any]]
    accounts: list[dict[str, Any]]
    truncated: str


def trace(
    workspace: Workspace,
    request: CutRequest,
    values: Mapping[str, str],
    steps: int = 1,
    event: str = "",
    *,
    bound: Mapping[str, str] | None = None,
) -> Trace:
    """Follow property `values`, or one `event`, given as `PRODUCER/ID` or `#SEQUENCE`, through the log.

    The first step takes the event, or the events that carry the values, in a property of that name or one that an
    account takes it from, and the values `bound`, too. Each further step takes the events that touch a clearing account
    found before. Personal values are decrypted. Raises UsageError for a property that no model knows, for a personal
    one that cannot be searched for, for an event that the books have not, and unless either values or an event are
    given.
    """
    if bool(values or bound) == bool(event):
        raise UsageError("trace_subject_wrong", "expected either property values (NAME=VALUE) or one event to trace")
    books = known_at(workspace, request)
    finder = _Finder(books)
    if event:
        found = finder.event(event)
    else:
        wanted = [*values.items(), *(bound or {}).items()]
        found = finder.events([_carries(books, name, value) for name, value in wanted], step=1)
    expanded: set[tuple[str, str]] = set()
    for step in range(2, steps + 1):
        accounts = _clearing_accounts(books, found) - expanded
        if not accounts or finder.truncated:
            break
        expanded |= finder.bounded(accounts)
        touching = finder.events([_touches(books.models, expanded)], step=step)
        fresh = touching.join(found, on="sequence", how="anti") if not found.is_empty() else touching
        found = pl.concat([found, fresh], how="diagonal").sort("sequence")
    entries = _entries(books, found)

    def complete(account_type: AccountType, key: str) -> bool:
        """Whether every event of the account is here: it was searched for, or it carries the traced values."""
        own = properties_of(account_type, key)
        searched = (account_type.name, key) in expanded or (bool(values) and values.items() <= own.items())
        return searched and not finder.truncated

    accounts_found = _accounts(books, entries, complete)
    return Trace(books.cut, _events(books, found, entries), accounts_found, finder.truncated)


class _Finder:
    """Searches the log up to the cut, and remembers when it had to stop short."""

    def __init__(self, books: Known) -> None:
        self._books = books
        self.truncated = ""

    def events(self, condition: Condition, step: int) -> pl.DataFrame:
        """The events up to the cut that meet `condition`, in log order, with the `step` they were found in."""
        found = found_by(self._books.log, condition, self._books.cut, MOST_EVENTS + 1)
        if found.height > MOST_EVENTS:
            self.truncated = f"more than {MOST_EVENTS} events match: only the first are shown"
        return found.head(MOST_EVENTS).with_columns(pl.lit(step).alias("step"))

    def event(self, named: str) -> pl.DataFrame:
        """The event of `PRODUCER/ID` or `#SEQUENCE`, as the first step. Raises UsageError."""
        producer, slash, own_id = named.partition("/")
        if named.startswith("#") and named[1:].isdecimal():
            found = self._numbered(int(named[1:]))
        elif slash:
            found = self.events([[_having({"producer": [producer], "id": [own_id]})]], step=1)
        else:
            raise UsageError("event_unreadable", f"expected an event as PRODUCER/ID or #SEQUENCE, found {named!r}")
        if found.is_empty():
            cut = self._books.cut
            up_to = f"the books up to {format_instant(cut.effective_at)}, sequence {cut.sequence}"
            raise UsageError("event_unknown", f"expected an event of {up_to}; found no {named}")
        return found

    def _numbered(self, sequence: int) -> pl.DataFrame:
        cut = self._books.cut
        if not 1 <= sequence <= cut.sequence:
            return pl.DataFrame()
        found = self._books.log.at(np.array([sequence], dtype=np.int64))
        return found.filter(pl.col("effective_at") <= cut.effective_at).with_columns(pl.lit(1).alias("step"))

    def bounded(self, accounts: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """At most `MOST_ACCOUNTS` of the accounts."""
        if len(accounts) > MOST_ACCOUNTS:
            self.truncated = f"more than {MOST_ACCOUNTS} accounts lead on: only {MOST_ACCOUNTS} were followed"
        return set(sorted(accounts)[:MOST_ACCOUNTS])


def _carries(books: Known, name: str, value: str) -> list[Alternative]:
    """How an event has `value`: in the property `name`, or in one that an account's `name` comes from."""
    models, column = books.models, columns.property_column(name)
    declared = [name in model.property_names for model in models.values()]
    known, alternatives = any(declared), []
    if known:
        alternatives.append(_having({column: _stored_texts(books, name, value)}))
    if known and not all(declared):
        # An event from before the property was declared has it among the others.
        among = _among_others(name).eq(value) & pl.col(column).is_null()
        alternatives.append(Alternative(among, {columns.OTHER_PROPERTIES: None}))
    for version, model in models.items():
        for event in model.event_types.values():
            for item in sorted(_sources_of(model, event, name) - {PropertyValue("property", name)}, key=str):
                known = True
                if item.source == "property":
                    alternatives.append(_having(_of(event, version) | {columns.property_column(item.value): [value]}))
                elif item.value == value:
                    alternatives.append(_having(_of(event, version)))
    if not known:
        names = sorted({item for model in models.values() for item in model.property_names})
        raise UsageError("property_unknown", f"expected a property of {', '.join(names)}, found {name!r}")
    return alternatives


def _having(texts: Mapping[str, Sequence[str]]) -> Alternative:
    """That each of these columns has one of its texts."""
    return Alternative(pl.all_horizontal(_is_one_of(name, own) for name, own in texts.items()), texts)


def _is_one_of(name: str, texts: Sequence[str]) -> pl.Expr:
    return pl.col(name).eq(texts[0]) if len(texts) == 1 else pl.col(name).is_in(list(texts))


def _among_others(name: str) -> pl.Expr:
    """The value of an undeclared property as text."""
    path = "$." + quoted_name(name)

    def extracted(others: pl.Series) -> pl.Series:
        with duckdb.connect() as connection:
            connection.register("events", pl.DataFrame({"others": others}).to_arrow())
            query = f"SELECT json_extract_string(others, {quoted_text(path)}) AS value FROM events"
            frame = pl.from_arrow(connection.execute(query).to_arrow_table())
        assert isinstance(frame, pl.DataFrame)
        return frame["value"]

    return pl.col(columns.OTHER_PROPERTIES).map_batches(extracted, return_dtype=pl.String)


def _stored_texts(books: Known, name: str, value: str) -> list[str]:
    """The texts as which the log may hold the value of an event property."""
    personal = [item for model in books.models.values() for item in model.personal_properties if item.name == name]
    others = sorted({item.subject for item in personal if item.subject is not None})
    if others:
        message = f"{name} is kept encrypted under the key of its subject: trace by {' or '.join(others)}"
        raise UsageError("property_not_searchable", message)
    return books.decryption.search_texts(name, value) if personal else [value]


def _of(event: EventType, version: str) -> dict[str, Sequence[str]]:
    """What the columns of an event of this type have, as this version of the model has it."""
    return {"type": [event.name], "model_version": [version]}


def _sources_of(model: Model, event: EventType, name: str) -> set[PropertyValue]:
    """Where accounts of the event take their property `name` from: event properties, and constants."""
    found = set()
    for reference in _references(event):
        for account_property, item in zip(
            model.account_types[reference.account_type].properties, reference.values, strict=True
        ):
            if account_property == name:
                found.add(item)
    return found


def _references(event: EventType) -> list[AccountReference]:
    return [side for move in event.moves for side in (move.source, move.destination)]


def _touches(models: Mapping[str, Model], accounts: set[tuple[str, str]]) -> list[Alternative]:
    """How a move of an event names one of the accounts."""
    alternatives = []
    for version, model in models.items():
        for event in model.event_types.values():
            for reference in sorted(set(_references(event)), key=str):
                keys = sorted(key for name, key in accounts if name == reference.account_type)
                if keys:
                    own = _having(_of(event, version))
                    named = account_key_expression(reference.values).is_in(keys)
                    needs = dict(own.needs)
                    for place, item in enumerate(reference.values):
                        if item.source == "property":
                            texts = {account_values(key, len(reference.values))[place] for key in keys}
                            needs[columns.property_column(item.value)] = texts
                    alternatives.append(Alternative(own.expression & named, needs))
    return alternatives


def _entries(books: Known, found: pl.DataFrame) -> pl.DataFrame:
    if found.is_empty():
        return pl.DataFrame(schema={"sequence": pl.Int64, "account_type": pl.String, "account": pl.String})
    return pl.concat(entries_of(found.drop("step"), books.models)).sort("sequence", "entry_index")


def _clearing_accounts(books: Known, found: pl.DataFrame) -> set[tuple[str, str]]:
    entries = _entries(books, found)
    return {
        (name, key)
        for name, key in entries.select("account_type", "account").unique().iter_rows()
        if books.model.account_types[name].kind == "clearing"
    }


def _events(books: Known, found: pl.DataFrame, entries: pl.DataFrame) -> list[dict[str, Any]]:
    by_event: dict[int, list[dict[str, Any]]] = {}
    for entry in entries.iter_rows(named=True):
        declared = books.model.account_types[entry["account_type"]]
        by_event.setdefault(entry["sequence"], []).append(
            {
                "account_type": entry["account_type"],
                "properties": properties_of(declared, entry["account"]),
                "currency": entry["currency"],
                "amount": entry["amount"],
            }
        )
    readable = _readable(books, found)
    return [_event(row, by_event.get(row["sequence"], [])) for row in readable.iter_rows(named=True)]


def _readable(books: Known, found: pl.DataFrame) -> pl.DataFrame:
    """The events with their personal values decrypted."""
    for name in books.personal_names:
        column = columns.property_column(name)
        if column in found.columns:
            shown = books.decryption.shown(name, found[column].drop_nulls().unique())
            found = found.with_columns(pl.col(column).replace(shown))
    return found


def _event(row: Mapping[str, Any], entries: list[dict[str, Any]]) -> dict[str, Any]:
    names = (
        "step",
        "sequence",
        "flow",
        "type",
        "producer",
        "id",
        "effective_at",
        "occurred_at",
        "recorded_at",
    )
    properties = {
        name.removeprefix(columns.PROPERTY_PREFIX): value
        for name, value in row.items()
        if name.startswith(columns.PROPERTY_PREFIX) and value is not None
    }
    if row.get(columns.OTHER_PROPERTIES):
        properties |= json.loads(row[columns.OTHER_PROPERTIES])
    amounts = {
        name: {"value": row[columns.amount_column(name)], "currency": row[columns.currency_column(name)]}
        for name in columns.names_with_prefix(row, columns.AMOUNT_PREFIX)
        if row[columns.amount_column(name)] is not None
    }
    return {
        **{name: row[name] for name in names},
        "properties": properties,
        "amounts": amounts,
        "entries": entries,
    }


def _accounts(
    books: Known, entries: pl.DataFrame, complete: Callable[[AccountType, str], bool]
) -> list[dict[str, Any]]:
    """The accounts of the entries: what these events moved there, and the balance where that is all there is."""
    if entries.is_empty():
        return []
    sums = entries.group_by("account_type", "account", "currency", maintain_order=True).agg(
        pl.col("amount").cast(pl.Int128).sum().alias("moved"), pl.len().alias("entry_count")
    )
    clearing = {item.name for item in books.model.account_types.values() if item.kind == "clearing"}
    since = {}
    # What sums to zero is cleared: only of the rest is it asked when it was opened.
    if any(row["moved"] and row["account_type"] in clearing for row in sums.iter_rows(named=True)):
        own = entries.filter(pl.col("account_type").is_in(sorted(clearing)))
        opened = fold(pl.DataFrame(schema=EPISODE_SCHEMA), own).open
        since = {(row["account_type"], row["account"], row["currency"]): row for row in opened.iter_rows(named=True)}
    found = []
    for row in sums.iter_rows(named=True):
        declared = books.model.account_types[row["account_type"]]
        known = declared.kind == "clearing" and complete(declared, row["account"])
        episode = since.get((row["account_type"], row["account"], row["currency"])) if known else None
        found.append(
            {
                "flow": declared.flow,
                "account_type": row["account_type"],
                "kind": declared.kind,
                "owner": declared.owner,
                "properties": properties_of(declared, row["account"]),
                "currency": row["currency"],
                "moved": row["moved"],
                "entry_count": row["entry_count"],
                "balance": row["moved"] if known else None,
                "opened_at": episode["opened_effective_at"] if episode else None,
            }
        )
    return found
