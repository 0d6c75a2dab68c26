"""What a tenant sees: the balances and events that are its own, by the property values that its key is bound to.

An account is a tenant's own when its account type has all the properties that the key is bound to, and the account all
their values. Of an event only the entries of such accounts are told, and no property or amount but theirs. Nothing is
searched for but what is told, so that no question can be used to guess at the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clearwell.application.cutting import CutRequest, books_at, known_at
from clearwell.application.questions import having
from clearwell.application.tracing import Trace, trace
from clearwell.application.workspace import Workspace
from clearwell.errors import UsageError
from clearwell.flows.model import AccountType, Model
from clearwell.values.cuts import Cut

_EVENT_FIELDS = ("sequence", "flow", "type", "producer", "id", "effective_at", "occurred_at", "recorded_at")


@dataclass(frozen=True)
class OwnBalances:
    """Per currency what is `available` (in reservoirs) and `pending` (in clearing accounts), in minor units.

    `account_types` has the parts that these are the sums of, with the number of accounts that are not at zero.
    """

    cut: Cut
    balances: list[dict[str, Any]]
    account_types: list[dict[str, Any]]


def own_account_types(model: Model, bound: Mapping[str, str]) -> list[AccountType]:
    """The account types that have all the properties of `bound`, in the model's order."""
    return [item for item in model.account_types.values() if bound.keys() <= set(item.properties)]


def own_balances(workspace: Workspace, request: CutRequest, bound: Mapping[str, str]) -> OwnBalances:
    """The balances of the accounts that have the values `bound`, at a cut. Raises as `books_at` does."""
    _require_bound(bound)
    with books_at(workspace, request) as books:
        rows: list[dict[str, Any]] = []
        for item in own_account_types(books.model, bound):
            condition, parameters = having(item, bound)
            relation = "open_at" if item.kind == "clearing" else "reservoirs_at"
            found = books.ask(
                f"SELECT currency, sum(balance)::HUGEINT, count(*) FILTER (WHERE balance <> 0) FROM {relation} "
                f"WHERE {condition} GROUP BY currency ORDER BY currency",
                parameters,
            )
            named = {"flow": item.flow, "account_type": item.name, "kind": item.kind}
            rows += [
                {**named, "currency": currency, "balance": int(balance), "account_count": count}
                for currency, balance, count in found.fetchall()
            ]
        return OwnBalances(books.cut, _by_currency(rows), rows)


def _by_currency(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    sums: dict[str, dict[str, int]] = {}
    for row in rows:
        own = sums.setdefault(row["currency"], {"available": 0, "pending": 0})
        own["pending" if row["kind"] == "clearing" else "available"] += row["balance"]
    return [{"currency": currency, **own} for currency, own in sorted(sums.items())]


def own_trace(workspace: Workspace, request: CutRequest, bound: Mapping[str, str], values: Mapping[str, str]) -> Trace:
    """The events that touch the accounts of `bound`, or carry its values, and have all of `values` in what is told.

    Raises UsageError for a property that the accounts of `bound` do not have, whether there is such a one or not.
    """
    _require_bound(bound)
    model = known_at(workspace, request).model
    names = {name for item in own_account_types(model, bound) for name in item.properties}
    for name in values:
        if name not in names:
            expected = ", ".join(sorted(names)) or "none"
            raise UsageError("property_unknown", f"expected a property of {expected}, found {name!r}")
    if not names:
        return Trace(known_at(workspace, request).cut, [], [], "")
    whole = trace(workspace, request, values, bound=bound)
    events = [item for item in (_told(event, bound) for event in whole.events) if item is not None]
    events = [item for item in events if values.items() <= _pairs(item, bound)]
    touched = {_account(entry) for event in events for entry in event["entries"]}
    accounts = [item for item in whole.accounts if _account(item) in touched]
    return Trace(whole.cut, events, accounts, whole.truncated)


def _require_bound(bound: Mapping[str, str]) -> None:
    assert bound, "a tenant is bound to something, or everything would be its own"


def _told(event: Mapping[str, Any], bound: Mapping[str, str]) -> dict[str, Any] | None:
    """What a tenant is told of an event; None when it is none of its own."""
    entries = [item for item in event["entries"] if bound.items() <= item["properties"].items()]
    carried = all(event["properties"].get(name) == value for name, value in bound.items())
    if not entries and not carried:
        return None
    properties = dict(bound)
    for entry in entries:
        properties |= entry["properties"]
    told = {name: event[name] for name in _EVENT_FIELDS}
    return {**told, "properties": properties, "entries": entries}


def _pairs(told: Mapping[str, Any], bound: Mapping[str, str]) -> set[tuple[str, str]]:
    """Every property value that is told of an event."""
    return {*bound.items(), *(pair for entry in told["entries"] for pair in entry["properties"].items())}


def _account(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["account_type"], row["currency"], *row["properties"].items()
