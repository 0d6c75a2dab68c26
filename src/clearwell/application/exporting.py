"""Whole answers as Arrow, batch by batch as DuckDB makes them: no row of them passes through Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from clearwell.application.cutting import CutRequest, books_at
from clearwell.application.questions import OpenFilter, balances_query, open_query
from clearwell.application.workspace import Workspace
from clearwell.flows.model import AccountType
from clearwell.ledger.views import quoted_text
from clearwell.values.accounts import SEPARATOR
from clearwell.values.cuts import Cut

_ROWS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Exported:
    """The cut, and the rows: `properties` is a map, money are decimals without a fraction."""

    cut: Cut
    reader: pa.RecordBatchReader


@contextmanager
def open_accounts(workspace: Workspace, request: CutRequest, wanted: OpenFilter) -> Iterator[Exported]:
    """The open accounts that match, all or the first `limit`, in order. Raises as `questions.open_accounts` does."""
    with books_at(workspace, request) as books:
        query, parameters = open_query(books, workspace.currencies, wanted)
        properties = _properties(list(books.model.account_types.values()))
        columns = (
            f"account_type, {properties} AS properties, currency, balance, turnover, opened_at, age_seconds, state, "
            "entry_count"
        )
        result = books.ask(query.format(columns=columns), parameters)
        yield Exported(books.cut, result.to_arrow_reader(_ROWS_AT_ONCE))


@contextmanager
def balances(
    workspace: Workspace, request: CutRequest, account_type: str, properties: Mapping[str, str], limit: int | None
) -> Iterator[Exported]:
    """The balances that match, all or the first `limit`. Raises as `questions.balances` does."""
    with books_at(workspace, request) as books:
        declared, query, parameters = balances_query(books, account_type, properties, limit=limit)
        columns = (
            f"account_type, {_properties([declared])} AS properties, currency, balance::HUGEINT AS balance, "
            "entry_count::BIGINT AS entry_count"
        )
        result = books.ask(query.format(columns=columns), parameters)
        yield Exported(books.cut, result.to_arrow_reader(_ROWS_AT_ONCE))


def _properties(account_types: Sequence[AccountType]) -> str:
    """A map of an account's properties, from its key."""
    cases = " ".join(f"WHEN {quoted_text(item.name)} THEN {_map(item)}" for item in account_types)
    return f"CASE account_type {cases} END"


def _map(account_type: AccountType) -> str:
    names = ", ".join(quoted_text(name) for name in account_type.properties)
    parts = ", ".join(
        f"split_part(account, chr({ord(SEPARATOR)}), {place + 1})" for place in range(len(account_type.properties))
    )
    return f"map([{names}]::VARCHAR[], [{parts}]::VARCHAR[])"
