"""The trace of a value: every event and account that it touches, as a time line; further steps on request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from clearwell.application.cutting import CutRequest, Evaluated, books_at
from clearwell.application.questions import properties_of
from clearwell.application.reading import reading
from clearwell.application.workspace import Workspace
from clearwell.errors import UsageError
from clearwell.flows.model import AccountReference, AccountType, EventType, Model, PropertyValue
from clearwell.ledger.fold import EPISODE_SCHEMA, fold
from clearwell.ledger.posting import post
from clearwell.ledger.views import quoted_name, quoted_text
from clearwell.values import columns
from clearwell.values.accounts import account_values
from clearwell.values.cuts import Cut

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


def trace(workspace: Workspace, request: CutRequest, values: Mapping[str, str], steps: int = 1) -> Trace:
    """Follow property `values` through the log.

    The first step takes the events that carry the values, in a property of that name or one that an account takes it
    from. Each further step takes the events that touch a clearing account found before. Personal values are decrypted.
    Raises UsageError for a property that no model knows, and for a personal one that cannot be searched for.
    """
    with books_at(workspace, request) as books, reading(books.log):
        finder = _Finder(books)
        condition = " AND ".join(_carries(books, name, value) for name, value in values.items())
        found = finder.events(condition, step=1)
        expanded: set[tuple[str, str]] = set()
        for step in range(2, steps + 1):
            accounts = _clearing_accounts(books, found) - expanded
            if not accounts or finder.truncated:
                break
            expanded |= finder.bounded(accounts)
            touching = finder.events(_touches(books.models, expanded), step=step)
            fresh = touching.join(found, on="sequence", how="anti") if not found.is_empty() else touching
            found = pl.concat([found, fresh], how="diagonal").sort("sequence")
        entries = _entries(books, found)

        def complete(account_type: AccountType, key: str) -> bool:
            """Whether every event of the account is here: it was searched for, or it carries the traced values."""
            own = properties_of(account_type, key)
            searched = (account_type.name, key) in expanded or values.items() <= own.items()
            return searched and not finder.truncated

        accounts_found = _accounts(books, entries, complete)
        return Trace(books.cut, _events(books, found, entries), accounts_found, finder.truncated)


class _Finder:
    """Searches the log's segments up to the cut, and remembers when it had to stop short."""

    def __init__(self, books: Evaluated) -> None:
        self._books = books
        self.truncated = ""
        log = books.log
        paths = ", ".join(quoted_text(str(log.path(item))) for item in log.covering(1, books.cut.sequence))
        self._query = f"SELECT * FROM read_parquet([{paths}], union_by_name = true)" if paths else ""
        self._columns: set[str] = set()
        if paths:
            described = books.store.connection.execute(f"DESCRIBE {self._query}").fetchall()
            self._columns = {row[0] for row in described}

    def events(self, condition: str, step: int) -> pl.DataFrame:
        """The events up to the cut for which `condition` holds, in log order, with the `step` they were found in."""
        if not self._query:
            return pl.DataFrame(schema={"sequence": pl.Int64})
        missing = sorted({name for name in _mentioned(self._books.models.values()) if name not in self._columns})
        absent = "".join(f", NULL::VARCHAR AS {quoted_name(name)}" for name in missing)
        table = self._books.store.connection.execute(
            f"SELECT * FROM (SELECT *{absent} FROM ({self._query})) WHERE ({condition}) AND sequence <= $sequence "
            f"AND effective_at <= $effective_at ORDER BY sequence LIMIT {MOST_EVENTS + 1}",
            {"sequence": self._books.cut.sequence, "effective_at": self._books.cut.effective_at},
        ).to_arrow_table()
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        if frame.height > MOST_EVENTS:
            self.truncated = f"more than {MOST_EVENTS} events match: only the first are shown"
        return frame.head(MOST_EVENTS).drop(missing).with_columns(pl.lit(step).alias("step"))

    def bounded(self, accounts: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """At most `MOST_ACCOUNTS` of the accounts."""
        if len(accounts) > MOST_ACCOUNTS:
            self.truncated = f"more than {MOST_ACCOUNTS} accounts lead on: only {MOST_ACCOUNTS} were followed"
        return set(sorted(accounts)[:MOST_ACCOUNTS])


def _mentioned(models: Iterable[Model]) -> set[str]:
    return {columns.OTHER_PROPERTIES} | {
        columns.property_column(name) for model in models for name in model.property_names
    }


def _carries(books: Evaluated, name: str, value: str) -> str:
    """The condition that an event has `value` in the property `name`, or in one that an account's `name` comes from."""
    models, wanted = books.models, quoted_text(value)
    known = any(name in model.property_names for model in models.values())
    own = quoted_name(columns.property_column(name))
    conditions = {f"{own} IN ({', '.join(map(quoted_text, _stored_texts(books, name, value)))})"} if known else set()
    if known and not all(name in model.property_names for model in models.values()):
        # An event from before the property was declared has it among the others.
        other = f"json_extract_string({columns.OTHER_PROPERTIES}, {quoted_text('$.' + quoted_name(name))})"
        conditions.add(f"({own} IS NULL AND {other} = {wanted})")
    for version, model in models.items():
        for event in model.event_types.values():
            for item in _sources_of(model, event, name) - {PropertyValue("property", name)}:
                known = True
                if item.source == "property":
                    conditions.add(f"({_of(event, version)} AND {_value(item)} = {wanted})")
                elif item.value == value:
                    conditions.add(f"({_of(event, version)})")
    if not known:
        names = sorted({item for model in models.values() for item in model.property_names})
        raise UsageError("property_unknown", f"expected a property of {', '.join(names)}, found {name!r}")
    return "(" + (" OR ".join(sorted(conditions)) or "false") + ")"


def _stored_texts(books: Evaluated, name: str, value: str) -> list[str]:
    """The texts as which the log may hold the value of an event property."""
    personal = [item for model in books.models.values() for item in model.personal_properties if item.name == name]
    others = sorted({item.subject for item in personal if item.subject is not None})
    if others:
        message = f"{name} is kept encrypted under the key of its subject: trace by {' or '.join(others)}"
        raise UsageError("property_not_searchable", message)
    return books.decryption.search_texts(name, value) if personal else [value]


def _of(event: EventType, version: str) -> str:
    """The condition that an event is of this type as this version of the model has it."""
    return f"type = {quoted_text(event.name)} AND model_version = {quoted_text(version)}"


def _value(item: PropertyValue) -> str:
    return quoted_text(item.value) if item.source == "constant" else quoted_name(columns.property_column(item.value))


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


def _touches(models: Mapping[str, Model], accounts: set[tuple[str, str]]) -> str:
    """The condition that a move of the event names one of the accounts."""
    conditions = set()
    for version, model in models.items():
        for event in model.event_types.values():
            for reference in _references(event):
                keys = [key for name, key in accounts if name == reference.account_type]
                for key in keys:
                    tests = [_of(event, version)]
                    for item, value in zip(reference.values, account_values(key, len(reference.values)), strict=True):
                        tests.append(f"{_value(item)} = {quoted_text(value)}")
                    conditions.add(f"({' AND '.join(tests)})")
    return " OR ".join(sorted(conditions)) or "false"


def _entries(books: Evaluated, found: pl.DataFrame) -> pl.DataFrame:
    if found.is_empty():
        return pl.DataFrame(schema={"sequence": pl.Int64, "account_type": pl.String, "account": pl.String})
    posted = post(found.drop("step"), books.models)
    return pl.concat([posted.clearing, posted.reservoir]).sort("sequence", "entry_index")


def _clearing_accounts(books: Evaluated, found: pl.DataFrame) -> set[tuple[str, str]]:
    entries = _entries(books, found)
    return {
        (name, key)
        for name, key in entries.select("account_type", "account").unique().iter_rows()
        if books.model.account_types[name].kind == "clearing"
    }


def _events(books: Evaluated, found: pl.DataFrame, entries: pl.DataFrame) -> list[dict[str, Any]]:
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


def _readable(books: Evaluated, found: pl.DataFrame) -> pl.DataFrame:
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
    books: Evaluated, entries: pl.DataFrame, complete: Callable[[AccountType, str], bool]
) -> list[dict[str, Any]]:
    """The accounts of the entries: what these events moved there, and the balance where that is all there is."""
    if entries.is_empty():
        return []
    sums = entries.group_by("account_type", "account", "currency", maintain_order=True).agg(
        pl.col("amount").cast(pl.Int128).sum().alias("moved"), pl.len().alias("entry_count")
    )
    clearing = [item.name for item in books.model.account_types.values() if item.kind == "clearing"]
    opened = fold(pl.DataFrame(schema=EPISODE_SCHEMA), entries.filter(pl.col("account_type").is_in(clearing))).open
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
