"""The wire format of one event: from a table's row to the JSON object that says the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from clearwell.values import columns


def to_wire(row: Mapping[str, Any]) -> bytes:
    """A row of a table, by column name, as the JSON text that NDJSON would have brought. Nulls are left out."""
    record: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    amounts: dict[str, Any] = {}
    for name, value in row.items():
        if value is None or name == "position":
            continue
        if name.startswith(columns.CURRENCY_PREFIX):
            amounts.setdefault(name.removeprefix(columns.CURRENCY_PREFIX), {"currency": value})
        elif name.startswith(columns.PROPERTY_PREFIX):
            properties[name.removeprefix(columns.PROPERTY_PREFIX)] = value
        elif name.startswith(columns.AMOUNT_PREFIX):
            amount = name.removeprefix(columns.AMOUNT_PREFIX)
            currency = row.get(columns.currency_column(amount))
            amounts[amount] = value if currency is None else {"value": value, "currency": currency}
        elif name == columns.OTHER_PROPERTIES:
            others = _object(value)
            properties.update(others if others is not None else {name: value})
        else:
            record[name] = value
    return json.dumps({**record, "properties": properties, "amounts": amounts}, default=str).encode()


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
