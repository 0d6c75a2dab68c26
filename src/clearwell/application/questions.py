"""The clearing question and its neighbours: which money is stuck, where, whose, and since when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import duckdb

from clearwell.application.cutting import CutRequest, Evaluated, books_at
from clearwell.application.workspace import Workspace
from clearwell.errors import UsageError
from clearwell.flows.model import AccountType, Model
from clearwell.quality import clearing
from clearwell.values.accounts import SEPARATOR, account_key, account_values
from clearwell.values.currencies import Currencies
from clearwell.values.cuts import Cut
from clearwell.values.times import stored_hour

State = Literal["in_flight", "overdue"]
SORTS = {
    "age": "opened_at, opened_sequence, account_type, account, currency",
    "money": "abs(balance) DESC, opened_at, account_type, account, currency",
    "turnover": "turnover DESC, opened_at, account_type, account, currency",
    "account": "account_type, account, currency",
}
"""Orders of open accounts: the oldest first, the most money first, the most turnover first, by name."""

_NAMES = ("account_type", "account", "currency")
SORT_KEYS: Mapping[str, tuple[str, ...]] = {
    "age": ("epoch_us(opened_at)", "opened_sequence", *_NAMES),
    "money": ("-abs(balance)", "epoch_us(opened_at)", *_NAMES),
    "turnover": ("-turnover", "epoch_us(opened_at)", *_NAMES),
    "account": _NAMES,
}
"""What tells where an account stands in each order; no two accounts stand at the same place."""

STATUS_FIELDS = (
    "flow", "account_type", "owner", "kind", "currency", "open_count", "open_money", "in_flight_money",
    "overdue_count", "overdue_money", "due_money", "due_count", "clearing", "clearing_by_count",
)  # fmt: skip
OPEN_FIELDS = (
    "account_type", "properties", "currency", "balance", "turnover", "opened_at", "age_seconds", "state", "entry_count",
)  # fmt: skip
BALANCE_FIELDS = ("account_type", "properties", "currency", "balance", "entry_count")
"""What the rows of the answers have, in this order, whether there are rows or not."""


_OPEN_COLUMNS = (
    "account_type, account, currency, balance, turnover, epoch_us(opened_at), age_seconds, state, entry_count"
)
_OPEN_COUNT = 9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # DuckDB takes twenty times as long to make an instant of Python's.


@dataclass(frozen=True)
class StatusReport:
    """The cut, and a row (a mapping, as documented in docs/guides/questions.md) per account type and currency."""

    cut: Cut
    account_types: list[dict[str, Any]]


@dataclass(frozen=True)
class OpenFilter:
    """Which open accounts are wanted. Money is in minor units and compared with the amount of the balance.

    `opened_from` is the first effective time of opening that is wanted, `opened_until` the first that is not.
    """

    flow: str | None = None
    account_type: str | None = None
    owner: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    state: State | None = None
    currency: str | None = None
    older_than_seconds: int | None = None
    least_money: int | None = None
    most_money: int | None = None
    opened_from: datetime | None = None
    opened_until: datetime | None = None
    sort: str = "age"
    limit: int | None = None
    after: tuple[int | str, ...] = ()
    """Only accounts beyond this place in the order, as `OpenReport.last` told it."""
    total: int | None = None
    """How many match, when that is known already."""


@dataclass(frozen=True)
class OpenReport:
    """`accounts` has a mapping per open account; `total` counts all that match, whatever the limit.

    `owners` gives the owning team of each account type, `last` the place of the last account in the order.
    """

    cut: Cut
    accounts: list[dict[str, Any]]
    total: int
    owners: dict[str, str]
    last: tuple[int | str, ...] = ()


def status(workspace: Workspace, request: CutRequest) -> StatusReport:
    """Per flow and account type: open, in flight, overdue, and the share cleared, at a cut."""
    with books_at(workspace, request) as books:
        kinds = books.kinds
        hours = books.ask(clearing.uncertain_hours(kinds)).fetchall()
        uncertain = [clearing.Uncertain(*row) for row in hours]
        return StatusReport(books.cut, _rows(books.ask(clearing.status(uncertain, kinds))))


def open_accounts(workspace: Workspace, request: CutRequest, wanted: OpenFilter) -> OpenReport:
    """The non-zero clearing accounts that match, at a cut.

    Raises UsageError for a name that the model does not know, an unknown currency, and an unknown sort.
    """
    with books_at(workspace, request) as books:
        total, before = _open_count(books, workspace.currencies, wanted)
        query, parameters = open_query(books, workspace.currencies, wanted, before)
        columns = ", ".join((_OPEN_COLUMNS, *SORT_KEYS[wanted.sort]))
        rows = books.ask(query.format(columns=columns), parameters).fetchall()
        accounts = [_open_account(books.model, row[:_OPEN_COUNT]) for row in rows]
        owners = {item.name: item.owner for item in books.model.account_types.values()}
        last = tuple(rows[-1][_OPEN_COUNT:]) if rows else wanted.after
        return OpenReport(books.cut, accounts, total, owners, last)


def open_query(
    books: Evaluated, currencies: Currencies, wanted: OpenFilter, before: str = "true"
) -> tuple[str, dict[str, Any]]:
    """The query of the open accounts that match, in order, with `{columns}` to be named, and its parameters.

    `before` is a condition that all of them meet.
    """
    conditions, parameters = conditions_of(books.model, currencies, wanted)
    conditions += [before, _beyond(SORT_KEYS[wanted.sort], wanted.after, parameters)]
    limit = f" LIMIT {int(wanted.limit)}" if wanted.limit is not None else ""
    source = clearing.open_with_state(books.kinds)
    return (
        f"SELECT {{columns}} FROM ({source}) WHERE {' AND '.join(conditions)} ORDER BY {SORTS[wanted.sort]}{limit}",
        parameters,
    )


def _open_count(books: Evaluated, currencies: Currencies, wanted: OpenFilter) -> tuple[int, str]:
    """How many open accounts match, on whatever page, and a condition that those of the first page meet."""
    conditions, parameters = conditions_of(books.model, currencies, wanted)
    if wanted.total is not None:
        return wanted.total, "true"
    if wanted.limit and wanted.sort == "age" and not wanted.after and _is_summed(wanted):
        # The sums by hour say how many there are, and before which hour the oldest have opened.
        summed = clearing.open_by_hour(" AND ".join(conditions))
        total, hour = _one(books.ask(summed, {**parameters, "limit": wanted.limit}))
        within = f"opened_at < TIMESTAMPTZ '{stored_hour(hour + 1)}'" if hour is not None else "true"
        return int(total or 0), within
    source = clearing.open_with_state(books.kinds)
    (total,) = _one(books.ask(f"SELECT count(*) FROM ({source}) WHERE {' AND '.join(conditions)}", parameters))
    return int(total or 0), "true"


def balances(
    workspace: Workspace,
    request: CutRequest,
    account_type: str,
    properties: Mapping[str, str],
    *,
    limit: int | None = None,
    after: tuple[int | str, ...] = (),
) -> tuple[Cut, list[dict[str, Any]]]:
    """The balances of the accounts of a type whose properties have these values, per currency, at a cut.

    Accounts that never had an entry, and clearing accounts at zero, are not listed. At most `limit`, beyond the account
    key and the currency `after`.
    """
    with books_at(workspace, request) as books:
        declared, query, parameters = balances_query(books, account_type, properties, limit=limit, after=after)
        columns = "account, currency, balance::HUGEINT AS balance, entry_count::BIGINT AS entry_count"
        found = [
            {
                "account_type": account_type,
                "properties": properties_of(declared, row["account"]),
                "currency": row["currency"],
                "balance": row["balance"],
                "entry_count": row["entry_count"],
            }
            for row in _each(books.ask(query.format(columns=columns), parameters))
        ]
        return books.cut, found


def balances_query(
    books: Evaluated,
    account_type: str,
    properties: Mapping[str, str],
    *,
    limit: int | None = None,
    after: tuple[int | str, ...] = (),
) -> tuple[AccountType, str, dict[str, Any]]:
    """The account type, the query of its balances that match, with `{columns}` to be named, and its parameters."""
    declared = _declared(books.model, account_type)
    condition, parameters = having(declared, properties)
    beyond = _beyond(_NAMES[1:], after, parameters)
    relation = "open_at" if declared.kind == "clearing" else "reservoirs_at"
    most = f" LIMIT {int(limit)}" if limit is not None else ""
    query = f"SELECT {{columns}} FROM {relation} WHERE {condition} AND {beyond} ORDER BY account, currency{most}"
    return declared, query, parameters


def properties_of(account_type: AccountType, key: str) -> dict[str, str]:
    """The property values in an account's key, by name."""
    return dict(zip(account_type.properties, account_values(key, len(account_type.properties)), strict=True))


def having(account_type: AccountType, properties: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The condition that an account is of this type and has these values, with its parameters. Raises UsageError."""
    parameters: dict[str, Any] = {"account_type": account_type.name}
    conditions = ["account_type = $account_type"]
    for name, value in properties.items():
        conditions.append(_has_value([account_type], name, len(parameters), parameters, value))
    return " AND ".join(conditions), parameters


def key_of(row: Mapping[str, Any]) -> str:
    """The account key of a row that has `properties`, in their order."""
    return account_key(list(row["properties"].values()))


def _open_account(model: Model, row: tuple[Any, ...]) -> dict[str, Any]:
    """What is told of an account, of its `_OPEN_COLUMNS`."""
    account_type, account, currency, balance, turnover, opened_microseconds, age_seconds, state, entry_count = row
    return {
        "account_type": account_type,
        "properties": properties_of(model.account_types[account_type], account),
        "currency": currency,
        "balance": balance,
        "turnover": turnover,
        "opened_at": _EPOCH + timedelta(microseconds=opened_microseconds),
        "age_seconds": age_seconds,
        "state": state,
        "entry_count": entry_count,
    }


def conditions_of(model: Model, currencies: Currencies, wanted: OpenFilter) -> tuple[list[str], dict[str, Any]]:
    """What a filter asks of `clearing.open_with_state`: conditions that all must hold, and their parameters.

    Raises UsageError for a name that the model does not know, an unknown currency, and an unknown sort.
    """
    _require_known(model, currencies, wanted)
    tests = {
        "flow = $flow": wanted.flow,
        "account_type = $account_type": wanted.account_type,
        "owner = $owner": wanted.owner,
        "state = $state": wanted.state,
        "currency = $currency": wanted.currency,
        "age_seconds >= $older_than": wanted.older_than_seconds,
        "abs(balance) >= $least_money": wanted.least_money,
        "abs(balance) <= $most_money": wanted.most_money,
        "opened_at >= $opened_from": wanted.opened_from,
        "opened_at < $opened_until": wanted.opened_until,
    }
    conditions, parameters = ["true"], dict[str, Any]()
    for condition, value in tests.items():
        if value is not None:
            conditions.append(condition)
            parameters[condition.rsplit("$", 1)[1]] = value
    for name, value in wanted.properties.items():
        conditions.append(_has_value(list(model.account_types.values()), name, len(parameters), parameters, value))
    return conditions, parameters


def _beyond(keys: Sequence[str], after: Sequence[int | str], parameters: dict[str, Any]) -> str:
    """The condition that a row comes after a place in the order; adds its parameters."""
    if not after:
        return "true"
    parameters.update({f"after_{number}": value for number, value in enumerate(after)})
    return f"({', '.join(keys)}) > ({', '.join(f'$after_{number}' for number in range(len(after)))})"


def _require_known(model: Model, currencies: Currencies, wanted: OpenFilter) -> None:
    """Raise UsageError for a filter that nothing could ever match, because its name is not known."""
    if wanted.sort not in SORTS:
        raise UsageError("sort_unknown", f"expected a sort of {', '.join(SORTS)}, found {wanted.sort!r}")
    if wanted.account_type is not None:
        _declared(model, wanted.account_type)
    if wanted.flow is not None and wanted.flow not in {item.name for item in model.flows}:
        names = ", ".join(item.name for item in model.flows)
        raise UsageError("flow_unknown", f"expected a flow of the model ({names}), found {wanted.flow!r}")
    owners = sorted({item.owner for item in model.account_types.values()})
    if wanted.owner is not None and wanted.owner not in owners:
        raise UsageError("owner_unknown", f"expected an owner of {', '.join(owners)}, found {wanted.owner!r}")
    if wanted.currency is not None and wanted.currency not in currencies:
        expected = "a currency of ISO 4217 or of the project"
        raise UsageError("currency_unknown", f"expected {expected}, found {wanted.currency!r}")


def _has_value(
    account_types: Sequence[AccountType], name: str, number: int, parameters: dict[str, Any], value: str
) -> str:
    """The condition that the account has this property with this value; adds its parameters."""
    parameters[f"value_{number}"] = value
    cases = []
    for position, item in enumerate(account_types):
        if name in item.properties:
            parameters[f"type_{number}_{position}"] = item.name
            place = item.properties.index(name) + 1
            cases.append(
                f"account_type = $type_{number}_{position} "
                f"AND split_part(account, chr({ord(SEPARATOR)}), {place}) = $value_{number}"
            )
    if not cases:
        known = sorted({item for account_type in account_types for item in account_type.properties})
        raise UsageError("property_unknown", f"expected a property of {', '.join(known) or 'none'}, found {name!r}")
    return "(" + " OR ".join(f"({case})" for case in cases) + ")"


def _declared(model: Model, account_type: str) -> AccountType:
    found = model.account_types.get(account_type)
    if found is None:
        names = ", ".join(model.account_types)
        raise UsageError(
            "account_type_unknown", f"expected an account type of the model ({names}), found {account_type!r}"
        )
    return found


def _is_summed(wanted: OpenFilter) -> bool:
    """Whether it asks for nothing but what the sums by hour tell apart."""
    others = (wanted.state, wanted.older_than_seconds, wanted.least_money, wanted.most_money)
    opened = (wanted.opened_from, wanted.opened_until)
    return not wanted.properties and all(value is None for value in (*others, *opened))


def _one(result: duckdb.DuckDBPyConnection) -> tuple[Any, ...]:
    row = result.fetchone()
    assert row is not None
    return row


def _rows(result: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    return list(_each(result))


def _each(result: duckdb.DuckDBPyConnection) -> Iterator[dict[str, Any]]:
    names = [column[0] for column in result.description or ()]
    while rows := result.fetchmany(10_000):
        for row in rows:
            yield dict(zip(names, row, strict=True))
